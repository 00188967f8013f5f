"""The training loop of every network, which can be interrupted and continued at any step."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from harness.data.batches import too_few_images
from harness.data.shares import Share
from harness.errors import CellError, RequestError
from harness.jobs import Device
from harness.measure.conditions import fp32_precision
from harness.measure.networks import laid_out
from harness.settings_spec import TrainingSettings
from harness.training.checkpoints import damaged, load_training, save_checkpoint
from harness.training.objectives import CrossEntropy, Objective
from harness.training.optimizers import make_optimizer, make_schedule
from harness.training.whole_batch import WholeBatch
from harness.util import stopping
from harness.util.progress import PROGRESS, bar, describe_seconds
from harness.util.random_state import random_state, restore_random_state

logger = logging.getLogger(__name__)

_STEPS_BETWEEN_REPORTS = 10
# Some networks have parameters that are not used.
_PARALLEL = DistributedDataParallelKwargs(find_unused_parameters=True)


@dataclass(frozen=True, kw_only=True)
class EpochLog:
    """The log of one epoch; loss and accuracy are means over its training images."""

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    seconds: float


class Batches(Protocol):
    """Batches of training images, each of which depends on its epoch and step alone."""

    steps: int
    images: int

    def epoch(self, number: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield network input and labels, on the device, for steps `first_step` to `steps` - 1.

        Of several processes that train together, each yields its share of every batch.
        """


@dataclass(kw_only=True)
class _Tally:
    """The running sums of an epoch; loss and number of right images stay on the device."""

    step: int = 0
    images: int = 0
    seconds: float = 0.0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    correct: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, loss: Tensor, correct: Tensor, images: int) -> None:
        """Add the mean loss of a batch of `images` images, and the number of right ones.

        Of several processes, each adds its part of both.
        """
        self.step += 1
        self.images += images
        # The first sums are scalars on the CPU, which may be added to those of any device.
        self.loss_sum = loss * images + self.loss_sum
        self.correct = correct + self.correct


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
    on_epoch: Callable[[EpochLog], None] | None = None,
) -> list[EpochLog]:
    """Train a network in place, and return a log of every epoch.

    After each epoch, and within long ones, everything that the next step depends on is written
    to `checkpoint`; when that file is there, training goes on from it. On a CPU a continued run
    ends with the same weights, bit for bit, as an uninterrupted one with the same number of
    threads. The file stays when training ends: the caller deletes it once the weights are safe.

    Where torchrun started this process with others, all train the same network: each takes its
    share of every batch, and the first one writes the checkpoints.

    Args:
        network: Takes what `batches` yields; returns N×K logits unless an objective is given.
        batches: The training images.
        settings: The recipe.
        device: Where to train; the network is moved there and comes back on the CPU.
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
    objective = objective or CrossEntropy(label_smoothing=settings.label_smoothing)
    run = _Run(network, batches, settings, device, title, objective)

    def save() -> None:
        if run.share.rank == 0:
            save_checkpoint(checkpoint, {**run.state(), "start": start})

    tell = on_epoch or _tell_nobody
    run.resume(checkpoint)
    for log in run.logs:
        tell(log)
    while not run.finished:
        with fp32_precision("tf32" if settings.precision == "tf32" else "ieee"):
            run.epoch(save, checkpoint_seconds)
        save()
        tell(run.logs[-1])
        PROGRESS.info("%s: %s", title, describe_epoch(run.logs, settings.epochs, batches.images))
    run.finish()
    return run.logs


def describe_epoch(logs: Sequence[EpochLog], epochs: int, images: int) -> str:
    """Return one line about the last epoch so far, of `images` training images."""
    log = logs[-1]
    line = (
        f"epoch {log.epoch}/{epochs}: loss {log.loss:.4f}, training accuracy "
        f"{100 * log.accuracy:.2f}%, {images / log.seconds:.0f} images/s, {log.seconds:.1f} s"
    )
    left = (epochs - len(logs)) * sum(each.seconds for each in logs) / len(logs)
    return f"{line}, {describe_seconds(left)} left" if left else line


def _tell_nobody(_: EpochLog) -> None:
    """Ignore an epoch."""


class _Run:
    """The parts of one training run: network, optimizer, schedule and device."""

    def __init__(
        self,
        network: nn.Module,
        batches: Batches,
        settings: TrainingSettings,
        device: Device,
        title: str,
        objective: Objective,
    ) -> None:
        # Accelerate keeps one global state a process; another run may want another precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        precision = settings.precision if settings.precision in ("bf16", "fp16") else "no"
        self.accelerator = Accelerator(
            mixed_precision=precision, cpu=device == "cpu", kwargs_handlers=[_PARALLEL]
        )
        self.share = Share(
            rank=self.accelerator.process_index, processes=self.accelerator.num_processes
        )
        self.parallel = self.share.processes > 1
        _forget_preparation(network)
        network.to(self.accelerator.device)
        if settings.channels_last:
            network.to(memory_format=torch.channels_last)
        optimizer = make_optimizer(network, settings)
        self.network, self.optimizer = self.accelerator.prepare(network, optimizer)
        if settings.compile is not None:
            self.network.compile(mode=settings.compile)
        self.schedule = make_schedule(optimizer, settings, batches.steps)
        self.average = None
        if settings.ema_decay is not None:
            update = get_ema_multi_avg_fn(settings.ema_decay)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(self._plain, multi_avg_fn=update, use_buffers=True)
        self.batches, self.settings, self.title = batches, settings, title
        self.objective = objective
        self.logs: list[EpochLog] = []
        self.tally = _Tally()

    @property
    def _plain(self) -> nn.Module:
        network: nn.Module = self.accelerator.unwrap_model(self.network)
        return network

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return len(self.logs) >= self.settings.epochs

    def epoch(self, save: Callable[[], None], checkpoint_seconds: float) -> None:
        """Train for one epoch, or for the rest of an interrupted one."""
        self.network.train()
        tally, number, means = self.tally, len(self.logs) + 1, None
        learning_rate = float(self.schedule.get_last_lr()[0])
        saved = time.perf_counter()
        start = saved - tally.seconds
        title = f"{self.title}, epoch {number}/{self.settings.epochs}"
        with bar(title, self.batches.images) as report:
            for inputs, labels in self.batches.epoch(number, tally.step):
                tally.add(*self._step(inputs, labels))
                tally.seconds = time.perf_counter() - start
                if stopping.asked():
                    save()
                    raise KeyboardInterrupt
                if tally.step % _STEPS_BETWEEN_REPORTS == 0 or tally.step == self.batches.steps:
                    means = self._means()
                    self._check_finite(means[0], number)
                    report(tally.images, _describe(*means, tally.images / tally.seconds))
                    if time.perf_counter() - saved > checkpoint_seconds:
                        save()
                        saved = time.perf_counter()
        # There were none if the checkpoint was written after the last step.
        loss, accuracy = means or self._means()
        self.logs.append(
            EpochLog(
                epoch=number,
                loss=loss,
                accuracy=accuracy,
                learning_rate=learning_rate,
                seconds=tally.seconds,
            )
        )
        self.tally = _Tally()

    def _means(self) -> tuple[float, float]:
        """Return the mean loss and the share of right images; the host waits for the device."""
        tally = self.tally
        sums = torch.stack([tally.loss_sum, tally.correct])
        if self.parallel:
            sums = self.accelerator.reduce(sums.to(self.accelerator.device), "sum")
            # The first process writes checkpoints, so it keeps what was summed up to here.
            tally.loss_sum, tally.correct = sums * (self.share.rank == 0)
        loss_sum, correct = sums.tolist()
        return loss_sum / tally.images, correct / tally.images

    def _step(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int]:
        """Make a step; return what `_Tally.add` takes."""
        images = len(labels)
        if self.parallel:
            size = self.settings.batch_size
            images = min(size, self.batches.images - self.tally.step * size)
        if self.settings.channels_last and inputs.ndim == 4:
            inputs = inputs.to(memory_format=torch.channels_last)
        elif inputs.ndim == 4:
            inputs = laid_out(inputs, torch.contiguous_format)
        self.optimizer.zero_grad()
        loss, right = self._accumulate(inputs, labels, images)
        if self.settings.max_gradient_norm is not None:
            self.accelerator.clip_grad_norm_(
                self.network.parameters(), self.settings.max_gradient_norm
            )
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self._plain)
        correct = right.sum()
        if images < self.share.processes:
            # Every process took the whole batch.
            correct = correct / self.share.processes
        return loss, correct, images

    def _accumulate(self, inputs: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Add up the gradients of a batch of `count` images, by micro-batches if there are any.

        Returns:
            The mean loss times the weight of this process, and which images are right.
        """
        size = self.settings.micro_batch_size or len(labels)
        whole: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if self.parallel and count >= self.share.processes:
            synced = self.settings.norm_statistics == "sync"
            whole = WholeBatch(self.share, count, synced=synced)
        losses, rights = [], []
        for images, wanted in zip(
            torch.split(inputs, size), torch.split(labels, size), strict=True
        ):
            with self.accelerator.autocast(), whole:
                loss, right = self.objective(self.network, images, wanted)
            if len(wanted) < len(labels):
                loss = loss * (len(wanted) / len(labels))
            if self.parallel:
                loss = loss * self.share.weight(count)
            # Gradients are averaged over the processes, not summed.
            self.accelerator.backward(loss * self.share.processes if self.parallel else loss)
            losses.append(loss.detach())
            rights.append(right)
        return torch.stack(losses).sum(), torch.cat(rights)

    def _check_finite(self, loss: float, number: int) -> None:
        if not math.isfinite(loss):
            raise CellError(
                f"training loss is {loss} in epoch {number}, by step {self.tally.step}: lower "
                f"training.learning_rate (now {self.settings.learning_rate:g}) or set "
                "training.max_gradient_norm"
            )

    def state(self) -> dict[str, object]:
        """Return all that the next step depends on; after the last step, the weights and logs."""
        state: dict[str, object] = {
            "network": self._plain.state_dict(),
            "random": random_state(),
            "logs": [asdict(log) for log in self.logs],
            "tally": asdict(self.tally),
        }
        if self.average is not None:
            state["average"] = self.average.state_dict()
        if self.finished:
            # Adam's moments are twice the size of the weights.
            return state
        scaler = self.accelerator.scaler
        return state | {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": scaler.state_dict() if scaler else {},
        }

    def resume(self, checkpoint: Path) -> None:
        """Restore the state in `checkpoint`, if there is one."""
        state = load_training(checkpoint)
        if state is None:
            return
        try:
            self._plain.load_state_dict(state["network"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            restore_random_state(state["random"])
            self.logs = [EpochLog(**log) for log in state["logs"]]
            self.tally = _Tally(**state["tally"])
            if self.share.rank > 0:
                self.tally.loss_sum = self.tally.correct = torch.zeros(())
            if not self.finished:
                self.optimizer.load_state_dict(state["optimizer"])
                self.schedule.load_state_dict(state["schedule"])
                if self.accelerator.scaler and state.get("scaler"):
                    self.accelerator.scaler.load_state_dict(state["scaler"])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise damaged(checkpoint) from error
        epoch, step = len(self.logs) + 1, self.tally.step + 1
        logger.info("%s: continuing in epoch %d at step %d", self.title, epoch, step)

    def finish(self) -> None:
        """Return the network to its original form, on the CPU and in evaluation mode."""
        network = self.accelerator.unwrap_model(self.network, keep_fp32_wrapper=False)
        _forget_preparation(network)
        if self.average is not None:
            network.load_state_dict(self.average.module.state_dict())
        network.to("cpu", memory_format=torch.contiguous_format).eval()


def _describe(loss: float, accuracy: float, images_per_s: float) -> str:
    return f"loss {loss:.3f}  acc {100 * accuracy:.1f}%  {images_per_s:.0f} images/s"


def _forget_preparation(network: nn.Module) -> None:
    """Remove what preparation leaves on a network; a copy with it would not be prepared again."""
    for name in ("_is_accelerate_prepared", "_compiled_call_impl"):
        vars(network).pop(name, None)
    own = vars(network).get("forward")
    if getattr(own, "__func__", None) is type(network).forward:
        del network.forward
