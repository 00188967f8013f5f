"""Optimizers and learning-rate schedules by the names in a recipe."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from harness.networks.freezing import layer_depths
from harness.settings_spec import TrainingSettings


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe for the trainable parameters of a network."""
    parameters = _parameters(network, settings)
    usual: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.fused_optimizer:
        usual["fused"] = True
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=settings.momentum, **usual)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, betas=settings.betas, **usual)


def make_schedule(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, steps_per_epoch: int
) -> lr_scheduler.LRScheduler:
    """Return the learning-rate schedule of a recipe, which is stepped after every batch."""
    if settings.schedule == "one_cycle":
        return lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=settings.epochs * steps_per_epoch,
            pct_start=settings.warmup_fraction,
            cycle_momentum=False,
        )
    if settings.warmup_epochs is None:
        return _make_falling(optimizer, settings, steps_per_epoch, 0)
    warmup = max(int(settings.warmup_epochs * steps_per_epoch), 1)
    # No step is lost at a rate of 0, and the first one after them has the whole rate.
    rising = lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)
    falling = _make_falling(optimizer, settings, steps_per_epoch, warmup)
    return lr_scheduler.SequentialLR(optimizer, [rising, falling], milestones=[warmup])


def _make_falling(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, steps_per_epoch: int, begin: int
) -> lr_scheduler.LRScheduler:
    """Return a schedule that starts at step `begin`; epochs count from the first step of all."""
    if settings.schedule == "cosine":
        end = (settings.cosine_epochs or settings.epochs) * steps_per_epoch
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(end - begin, 1))
    steps = [epoch * steps_per_epoch - begin for epoch in settings.step_epochs]
    return lr_scheduler.MultiStepLR(
        optimizer,
        milestones=steps if settings.schedule == "step" else [],
        gamma=settings.step_factor,
    )


def _parameters(network: nn.Module, settings: TrainingSettings) -> list[Any]:
    """Return the trainable parameters, in groups by their learning rate where layers differ."""
    if settings.layer_decay is None:
        return [p for p in network.parameters() if p.requires_grad]
    layers: dict[int, list[nn.Parameter]] = {}
    depths = layer_depths(network)
    for parameter, depth in depths.items():
        if parameter.requires_grad:
            layers.setdefault(max(depths.values()) - depth, []).append(parameter)
    rate, decay = settings.learning_rate, settings.layer_decay
    return [{"params": layers[above], "lr": rate * decay**above} for above in sorted(layers)]
