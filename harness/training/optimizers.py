"""Optimizers and learning-rate schedules by the names in a recipe."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from harness.settings_spec import TrainingSettings


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe for the trainable parameters of a network."""
    parameters = [p for p in network.parameters() if p.requires_grad]
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
    total = settings.epochs * steps_per_epoch
    if settings.schedule == "cosine":
        epochs = settings.cosine_epochs or settings.epochs
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * steps_per_epoch)
    if settings.schedule == "one_cycle":
        return lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=settings.learning_rate,
            total_steps=total,
            pct_start=settings.warmup_fraction,
            cycle_momentum=False,
        )
    steps = [epoch * steps_per_epoch for epoch in settings.step_epochs]
    return lr_scheduler.MultiStepLR(
        optimizer,
        milestones=steps if settings.schedule == "step" else [],
        gamma=settings.step_factor,
    )
