"""The steps of a training: each updates a network, on any device, in one process or several."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from harness.data.shares import Share
from harness.jobs import Device
from harness.measure.networks import laid_out
from harness.settings_spec import TrainingSettings
from harness.training.optimizers import make_optimizer, make_schedule
from harness.training.whole_batch import WholeBatch

Objective = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes a network, its inputs and their targets; returns the mean loss of the batch, which training
makes smaller, and which of the N images the network has right."""

# Some networks have parameters that are not used.
_PARALLEL = DistributedDataParallelKwargs(find_unused_parameters=True)


def cross_entropy(
    network: nn.Module, inputs: Tensor, labels: Tensor, *, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """Return the cross entropy of N×K logits with smoothed targets, as an `Objective` does.

    The labels are classes, int64 N, or the share of each class in mixed images, float N×(K or
    fewer). A mixed image is right when the class with the largest share is found.
    """
    logits = network(inputs).float()
    targets, classes = labels, labels
    if labels.ndim == 2:
        targets = nn.functional.pad(labels, (0, logits.shape[1] - labels.shape[1]))
        classes = labels.argmax(1)
    loss = nn.functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    return loss, logits.argmax(1) == classes


class Steps:
    """A network, on the device until `finish`, with its optimizer, schedule and moving average.

    Without an objective it is the cross entropy, smoothed as the recipe says, that is made smaller.
    `share` is the share of every batch that this process takes.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: TrainingSettings,
        device: Device,
        steps_per_epoch: int,
        objective: Objective | None = None,
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
        _forget_preparation(network)
        network.to(self.accelerator.device)
        if settings.channels_last:
            network.to(memory_format=torch.channels_last)
        optimizer = make_optimizer(network, settings)
        self.network, self.optimizer = self.accelerator.prepare(network, optimizer)
        if settings.compile is not None:
            self.network.compile(mode=settings.compile)
        self.schedule = make_schedule(optimizer, settings, steps_per_epoch)
        self.average = None
        if settings.ema_decay is not None:
            update = get_ema_multi_avg_fn(settings.ema_decay)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(self._plain, multi_avg_fn=update, use_buffers=True)
        self.settings = settings
        self.objective: Objective = objective or partial(
            cross_entropy, label_smoothing=settings.label_smoothing
        )

    @property
    def _plain(self) -> nn.Module:
        network: nn.Module = self.accelerator.unwrap_model(self.network)
        return network

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step; that of the last layer, where they differ."""
        return float(max(self.schedule.get_last_lr()))

    def take(self, inputs: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Take a step on this process's share of a batch of `count` images.

        Returns:
            The mean loss of the batch and the number of right images; of several processes, each
            returns its part of both.
        """
        if self.settings.channels_last and inputs.ndim == 4:
            inputs = inputs.to(memory_format=torch.channels_last)
        elif inputs.ndim == 4:
            inputs = laid_out(inputs, torch.contiguous_format)
        self.optimizer.zero_grad()
        loss, right = self._accumulate(inputs, labels, count)
        if self.settings.max_gradient_norm is not None:
            self.accelerator.clip_grad_norm_(
                self.network.parameters(), self.settings.max_gradient_norm
            )
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self._plain)
        correct = right.sum()
        if count < self.share.processes:
            # Every process took the whole batch.
            correct = correct / self.share.processes
        return loss, correct

    def _accumulate(self, inputs: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Add up the gradients of a batch of `count` images, by micro-batches if there are any.

        Returns:
            The mean loss times the weight of this process, and which images are right.
        """
        size, processes = self.settings.micro_batch_size or len(labels), self.share.processes
        whole: AbstractContextManager[object] = nullcontext()
        if 1 < processes <= count:
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
            if processes > 1:
                loss = loss * self.share.weight(count)
            # Gradients are averaged over the processes, not summed.
            self.accelerator.backward(loss * processes if processes > 1 else loss)
            losses.append(loss.detach())
            rights.append(right)
        return torch.stack(losses).sum(), torch.cat(rights)

    def state(self, *, finished: bool) -> dict[str, Any]:
        """Return all that the next step depends on; where all are finished, the weights alone."""
        state: dict[str, Any] = {"network": self._plain.state_dict()}
        if self.average is not None:
            state["average"] = self.average.state_dict()
        if finished:
            # Adam's moments are twice the size of the weights.
            return state
        scaler = self.accelerator.scaler
        return state | {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": scaler.state_dict() if scaler else {},
        }

    def load(self, state: dict[str, Any], *, finished: bool) -> None:
        """Load what `state` returned."""
        self._plain.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if not finished:
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            if self.accelerator.scaler and state.get("scaler"):
                self.accelerator.scaler.load_state_dict(state["scaler"])

    def finish(self) -> None:
        """Return the network to its original form, on the CPU and in evaluation mode."""
        network = self.accelerator.unwrap_model(self.network, keep_fp32_wrapper=False)
        _forget_preparation(network)
        if self.average is not None:
            network.load_state_dict(self.average.module.state_dict())
        network.to("cpu", memory_format=torch.contiguous_format).eval()


def _forget_preparation(network: nn.Module) -> None:
    """Remove what preparation leaves on a network; a copy with it would not be prepared again."""
    for name in ("_is_accelerate_prepared", "_compiled_call_impl"):
        vars(network).pop(name, None)
    own = vars(network).get("forward")
    if getattr(own, "__func__", None) is type(network).forward:
        del network.forward
