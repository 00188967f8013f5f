"""What changes the weights in training, and how fast: as a recipe names it."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import lr_scheduler

from harness.settings_spec import TrainingSettings


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name, over the parameters that are trained."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=settings.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=rate, betas=settings.betas, weight_decay=decay)


def make_schedule(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, steps_per_epoch: int
) -> lr_scheduler.LRScheduler:
    """Return the learning-rate schedule that the settings name, stepped after every batch."""
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
