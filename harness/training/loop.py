"""The training loop of every network, which can be interrupted and continued at any step."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from harness.data.batches import too_few_images
from harness.errors import CellError, RequestError
from harness.jobs import Device
from harness.measure.conditions import fp32_precision
from harness.settings_spec import TrainingSettings
from harness.training.checkpoints import damaged, load_training, save_checkpoint
from harness.training.steps import Objective, Steps
from harness.util import stopping
from harness.util.progress import PROGRESS, bar, describe_seconds
from harness.util.random_state import random_state, restore_random_state

logger = logging.getLogger(__name__)

_STEPS_BETWEEN_REPORTS = 10

EpochLog = dict[str, Any]
"""The fields of `harness.records.parts.Epoch`, without the stage."""


class Batches(Protocol):
    """Batches of training images, each of which depends on its epoch and step alone."""

    steps: int
    images: int

    def epoch(self, number: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield network input and targets, on the device, for steps `first_step` to `steps` - 1.

        What targets are is up to the objective; the usual one is `steps.cross_entropy`.
        Of several processes that train together, each yields its share of every batch.
        """


@dataclass(kw_only=True)
class _Tally:
    """The running sums of an epoch; loss and number of right images stay on the device.

    `learning_rate` is that of its first step.
    """

    step: int = 0
    images: int = 0
    seconds: float = 0.0
    learning_rate: float | None = None
    # The first sums are scalars on the CPU, which may be added to those of any device.
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    correct: Tensor = field(default_factory=lambda: torch.zeros(()))


@stopping.deferred()
def train(
    network: nn.Module,
    batches: Batches,
    settings: TrainingSettings,
    *,
    device: Device,
    checkpoint: Path,
    checkpoint_seconds: float = 300.0,
    start: str = "random",
    title: str = "training",
    objective: Objective | None = None,
    on_epoch: Callable[[EpochLog], object] = lambda _: None,
) -> list[EpochLog]:
    """Train a network in place, and return a log of every epoch.

    After each epoch, and within long ones, everything that the next step depends on is written
    to `checkpoint`; when that file is there, training goes on from it. On a CPU a continued run
    ends with the same weights, bit for bit, as an uninterrupted one with the same number of
    threads. The file stays when training ends: the caller deletes it once the weights are safe.

    Where torchrun started this process with others, all train the same network: each takes its
    share of every batch, and the first one writes the checkpoints.

    Args:
        network: Takes what `batches` yields; returns N×K logits unless an objective is given. It is
            moved to the device and comes back on the CPU.
        batches: The training images.
        settings: The recipe.
        device: Where to train.
        checkpoint: The file to write and to continue from.
        checkpoint_seconds: How much time of an epoch may be lost at the most.
        start: What the weights start from; kept in the checkpoint.
        title: What to call the run beside the progress bar.
        objective: What to make smaller; None: the cross entropy with the recipe's smoothing.
        on_epoch: Is told of every epoch once it is safe, and of those that the checkpoint brings.

    Raises:
        RequestError: No whole batch of images, too few of them in the last one for local norm
            statistics, or the checkpoint is of another network.
        CellError: The loss is no longer finite, or the disk is full.
        KeyboardInterrupt: A signal asked this process to stop; the checkpoint is of the last step.
    """
    if batches.steps < 1:
        raise too_few_images(batches.images, settings)
    last = batches.images - (batches.steps - 1) * settings.batch_size
    local = settings.norm_statistics == "local"
    if local and settings.processes <= last < 2 * settings.processes and settings.processes > 1:
        raise RequestError(
            f"training.norm_statistics is local, but the last batch has {last} images, too few for "
            f"{settings.processes} processes: use another training.batch_size or training.drop_last"
        )
    run = _Run(network, batches, settings, device, title, objective)

    def save() -> None:
        if run.steps.share.rank == 0:
            save_checkpoint(checkpoint, {**run.state(), "start": start})

    run.resume(checkpoint)
    for log in run.logs:
        on_epoch(log)
    while not run.finished:
        with fp32_precision("tf32" if settings.precision == "tf32" else "ieee"):
            run.epoch(save, checkpoint_seconds)
        save()
        on_epoch(run.logs[-1])
        PROGRESS.info("%s: %s", title, run.describe_epoch())
    run.steps.finish()
    return run.logs


class _Run:
    """One training run: its steps, the logs of past epochs and the sums of the present one."""

    def __init__(
        self,
        network: nn.Module,
        batches: Batches,
        settings: TrainingSettings,
        device: Device,
        title: str,
        objective: Objective | None = None,
    ) -> None:
        self.steps = Steps(network, settings, device, batches.steps, objective)
        self.batches, self.settings, self.title = batches, settings, title
        self.logs: list[EpochLog] = []
        self.tally = _Tally()

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return len(self.logs) >= self.settings.epochs

    def epoch(self, save: Callable[[], None], checkpoint_seconds: float) -> None:
        """Train for one epoch, or for the rest of an interrupted one."""
        self.steps.network.train()
        tally, number, means = self.tally, len(self.logs) + 1, None
        if tally.learning_rate is None:
            tally.learning_rate = self.steps.learning_rate
        saved = time.perf_counter()
        start = saved - tally.seconds
        title = f"{self.title}, epoch {number}/{self.settings.epochs}"
        with bar(title, self.batches.images) as report:
            for inputs, labels in self.batches.epoch(number, tally.step):
                self._step(inputs, labels)
                tally.seconds = time.perf_counter() - start
                if stopping.asked():
                    save()
                    raise KeyboardInterrupt
                if tally.step % _STEPS_BETWEEN_REPORTS == 0 or tally.step == self.batches.steps:
                    loss, accuracy = means = self._means()
                    self._check_finite(loss, number)
                    speed = f"{tally.images / tally.seconds:.0f} images/s"
                    report(tally.images, f"loss {loss:.3f}  acc {100 * accuracy:.1f}%  {speed}")
                    if time.perf_counter() - saved > checkpoint_seconds:
                        save()
                        saved = time.perf_counter()
        # There were none if the checkpoint was written after the last step.
        loss, accuracy = means or self._means()
        self.logs.append(
            {
                "epoch": number,
                "loss": loss,
                "accuracy": accuracy,
                "learning_rate": tally.learning_rate,
                "seconds": tally.seconds,
            }
        )
        self.tally = _Tally()

    def _step(self, inputs: Tensor, labels: Tensor) -> None:
        """Take a step, and add what comes of it to the sums of the epoch."""
        tally, images = self.tally, len(labels)
        if self.steps.share.processes > 1:
            size = self.settings.batch_size
            images = min(size, self.batches.images - tally.step * size)
        loss, correct = self.steps.take(inputs, labels, images)
        tally.step += 1
        tally.images += images
        tally.loss_sum = loss * images + tally.loss_sum
        tally.correct = correct + tally.correct

    def _means(self) -> tuple[float, float]:
        """Return the mean loss and the share of right images; the host waits for the device."""
        tally, accelerator = self.tally, self.steps.accelerator
        sums = torch.stack([tally.loss_sum, tally.correct])
        if self.steps.share.processes > 1:
            sums = accelerator.reduce(sums.to(accelerator.device), "sum")
            # The first process writes checkpoints, so it keeps what was summed up to here.
            tally.loss_sum, tally.correct = sums * (self.steps.share.rank == 0)
        loss_sum, correct = sums.tolist()
        return loss_sum / tally.images, correct / tally.images

    def _check_finite(self, loss: float, number: int) -> None:
        if not math.isfinite(loss):
            raise CellError(
                f"training loss is {loss} in epoch {number}, by step {self.tally.step}: lower "
                f"training.learning_rate (now {self.settings.learning_rate:g}) or set "
                "training.max_gradient_norm"
            )

    def describe_epoch(self) -> str:
        """Return one line about the last epoch."""
        log, epochs, done = self.logs[-1], self.settings.epochs, len(self.logs)
        line = (
            f"epoch {log['epoch']}/{epochs}: loss {log['loss']:.4f}, training accuracy "
            f"{100 * log['accuracy']:.2f}%, {self.batches.images / log['seconds']:.0f} images/s, "
            f"{log['seconds']:.1f} s"
        )
        left = (epochs - done) * sum(each["seconds"] for each in self.logs) / done
        return f"{line}, {describe_seconds(left)} left" if left else line

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on; after the last step, the weights and logs."""
        own = {"random": random_state(), "logs": self.logs, "tally": vars(self.tally)}
        return self.steps.state(finished=self.finished) | own

    def resume(self, checkpoint: Path) -> None:
        """Restore the state in `checkpoint`, if there is one."""
        state = load_training(checkpoint)
        if state is None:
            return
        try:
            self.logs, self.tally = state["logs"], _Tally(**state["tally"])
            self.steps.load(state, finished=self.finished)
            restore_random_state(state["random"])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise damaged(checkpoint) from error
        if self.steps.share.rank > 0:
            self.tally.loss_sum = self.tally.correct = torch.zeros(())
        epoch, step = len(self.logs) + 1, self.tally.step + 1
        logger.info("%s: continuing in epoch %d at step %d", self.title, epoch, step)
