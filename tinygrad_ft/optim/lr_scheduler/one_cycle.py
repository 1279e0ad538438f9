"""The one-cycle schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from tinygrad_ft.optim.lr_scheduler.base import LRScheduler
from tinygrad_ft.optim.optimizer import Optimizer


class Phase(NamedTuple):
    """A stretch of the cycle; the names are keys of a parameter group."""

    end_step: float
    start_lr: str
    end_lr: str
    start_momentum: str
    end_momentum: str


class OneCycleLR(LRScheduler):
    """Up from max_lr / div_factor to max_lr in the first `pct_start` of all steps, then down to
    the start divided by `final_div_factor`; momentum (or Adam's first beta) goes the other way
    (Smith and Topin 2018, arXiv 1708.07120; shapes and defaults are PyTorch's).

    The number of steps is `total_steps` or `epochs * steps_per_epoch`; call `step()` after
    every batch. `three_phase`: down to the start in the same number of steps as up, then the
    final descent.

    Raises: ValueError for wrong options and for more steps than there are.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR needs 0 <= pct_start <= 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR takes anneal_strategy='cos' or 'linear', got {anneal_strategy!r}"
            )
        self.pct_start = pct_start
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.three_phase = three_phase

        groups = optimizer.param_groups
        if cycle_momentum and not {"momentum", "betas"} & optimizer.defaults.keys():
            raise ValueError(
                f"{type(optimizer).__name__} has neither momentum nor betas: pass "
                "cycle_momentum=False"
            )
        max_lrs = _per_group("max_lr", max_lr, len(groups))
        max_momenta = _per_group("max_momentum", max_momentum, len(groups))
        base_momenta = _per_group("base_momentum", base_momentum, len(groups))
        if last_epoch == -1:
            for i, group in enumerate(groups):
                group["initial_lr"] = max_lrs[i] / div_factor
                group["max_lr"] = max_lrs[i]
                group["min_lr"] = group["initial_lr"] / final_div_factor
                if cycle_momentum:
                    group["max_momentum"] = max_momenta[i]
                    group["base_momentum"] = base_momenta[i]
        super().__init__(optimizer, last_epoch)

    def _phases(self) -> list[Phase]:
        peak, last = self.pct_start * self.total_steps - 1, float(self.total_steps - 1)
        up = Phase(peak, "initial_lr", "max_lr", "max_momentum", "base_momentum")
        if not self.three_phase:
            return [up, Phase(last, "max_lr", "min_lr", "base_momentum", "max_momentum")]
        return [
            up,
            Phase(2 * peak, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
            Phase(last, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
        ]

    def _anneal(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (1 + math.cos(math.pi * share))

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        # PyTorch's bound: one step more than the schedule has, for the step() after the last batch
        if t > self.total_steps:
            raise ValueError(f"OneCycleLR has {self.total_steps} steps and was stepped {t} times")
        phases = self._phases()
        start_step, phase = 0.0, phases[0]
        for following in phases[1:]:
            if t <= phase.end_step:
                break
            start_step, phase = phase.end_step, following
        span = phase.end_step - start_step
        share = (t - start_step) / span if span else 1.0

        for group in self.optimizer.param_groups if self.cycle_momentum else ():
            momentum = self._anneal(group[phase.start_momentum], group[phase.end_momentum], share)
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum
        return [
            self._anneal(group[phase.start_lr], group[phase.end_lr], share)
            for group in self.optimizer.param_groups
        ]


def _total_steps(total: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total is None:
        if epochs is None or steps_per_epoch is None:
            raise ValueError("OneCycleLR needs total_steps, or epochs and steps_per_epoch")
        if epochs < 1 or steps_per_epoch < 1:
            raise ValueError(
                f"OneCycleLR needs positive epochs and steps_per_epoch, got {epochs} and "
                f"{steps_per_epoch}"
            )
        return epochs * steps_per_epoch
    if total < 1:
        raise ValueError(f"OneCycleLR needs total_steps >= 1, got {total}")
    return total


def _per_group(name: str, value: Any, groups: int) -> list[float]:
    values = list(value) if isinstance(value, list | tuple) else [value] * groups
    if len(values) != groups:
        raise ValueError(
            f"OneCycleLR: {name} has {len(values)} values for {groups} parameter groups"
        )
    return values
