"""Cosine schedules (Loshchilov and Hutter 2017, arXiv 1608.03983)."""

from __future__ import annotations

import math

from tinygrad_ft.optim.lr_scheduler.base import LRScheduler
from tinygrad_ft.optim.optimizer import Optimizer


class CosineAnnealingLR(LRScheduler):
    """lr(t) = eta_min + (base - eta_min) * (1 + cos(pi t / T_max)) / 2

    After T_max the rate rises again, as in PyTorch; `CosineWarmupLR` stays down.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR needs T_max >= 1, got {T_max}")
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, T = self.last_epoch, self.T_max
        if t == 0:
            return self._current_lr()
        if (t - 1 - T) % (2 * T) == 0:
            # the step before was a minimum, where the ratio below is 0 / 0
            rise = (1 - math.cos(math.pi / T)) / 2
            return [
                lr + (base - self.eta_min) * rise
                for lr, base in zip(self._current_lr(), self.base_lrs, strict=True)
            ]
        ratio = (1 + math.cos(math.pi * t / T)) / (1 + math.cos(math.pi * (t - 1) / T))
        return [ratio * (lr - self.eta_min) + self.eta_min for lr in self._current_lr()]

    def closed_form_lr(self) -> list[float]:
        share = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]


class CosineWarmupLR(LRScheduler):
    """A linear rise over the first w = `warmup_steps`, then a cosine down to `eta_min` at
    T = `total_steps`, then `eta_min` for good:

        t < w:       lr(t) = base * (t + 1) / (w + 1)
        w <= t < T:  lr(t) = eta_min + (base - eta_min) * (1 + cos(pi (t - w) / (T - w))) / 2
        t >= T:      lr(t) = eta_min

    The first step already learns (at base / (w + 1)) and step w is the first at the full rate.
    Steps are whatever `step()` counts: batches or epochs. The rate depends on t alone, so this
    schedule does not combine with others on one optimizer.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_steps: int = 0,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                f"CosineWarmupLR needs 0 <= warmup_steps < total_steps, got {warmup_steps} and "
                f"{total_steps}"
            )
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, w, T = self.last_epoch, self.warmup_steps, self.total_steps
        if t < w:
            return [base * (t + 1) / (w + 1) for base in self.base_lrs]
        share = (1 + math.cos(math.pi * min(1.0, (t - w) / (T - w)))) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]
