"""The optimiser and the learning-rate schedule that settings ask for."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.optim import SGD, AdamW, Optimizer
from tinygrad_ft.optim.lr_scheduler import (
    CosineWarmupLR,
    LambdaLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
)
from tinygrad_ft.train.settings import Settings, SettingsError


def make_optimizer(model: ImageClassifier, settings: Settings) -> Optimizer:
    """Groups for the parameters that require gradients: for each stage those with and those without
    weight decay; vectors have none: biases, norm weights and shifts.

    The stage k below the head has the peak rate lr * layer_decay^k, and that factor as the group's
    `scale`; the head has `head_lr`, or `lr`.
    """
    head_lr = settings.lr if settings.head_lr is None else settings.head_lr
    stages = [stage for _, stage in model.stage_modules()]
    groups: list[dict[str, Any]] = []
    for number, stage in enumerate(stages):
        below = len(stages) - 1 - number
        scale = settings.layer_decay**below
        lr = settings.lr * scale if below else head_lr
        for decayed in (True, False):
            params = [p for p in stage.parameters() if p.requires_grad and (p.ndim > 1) == decayed]
            if params:
                decay = settings.weight_decay if decayed else 0.0
                groups.append({"params": params, "lr": lr, "weight_decay": decay, "scale": scale})
    if not groups:
        raise SettingsError(f"--freeze {settings.freeze} leaves nothing to train")
    if settings.optimizer == "adamw":
        return AdamW(groups, lr=settings.lr)
    nesterov = settings.momentum > 0
    return SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=nesterov)


def make_scheduler(optimizer: Optimizer, settings: Settings, steps_per_epoch: int) -> LRScheduler:
    """A schedule that is stepped after every batch."""
    total = settings.epochs * steps_per_epoch
    if settings.schedule == "cosine":
        warmup = min(round(settings.warmup_epochs * steps_per_epoch), total - 1)
        return CosineWarmupLR(optimizer, total, warmup)
    if settings.schedule == "onecycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        # the momentum stays the one that was asked for
        return OneCycleLR(optimizer, peaks, total_steps=total, cycle_momentum=False)
    if settings.schedule == "step":
        # the first steps of which at least 1/2 and 3/4 of all have gone before
        milestones = [math.ceil(total / 2), math.ceil(3 * total / 4)]
        return MultiStepLR(optimizer, milestones, gamma=0.1)
    return LambdaLR(optimizer, lambda step: 1.0)
