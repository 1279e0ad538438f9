"""Schedules one after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, ClassVar

from tinygrad_ft.optim.lr_scheduler.base import LRScheduler
from tinygrad_ft.optim.optimizer import Optimizer


class SequentialLR(LRScheduler):
    """`schedulers[0]` until step `milestones[0]`, where `schedulers[1]` begins at its own
    step 0, and so on:

        SequentialLR(opt, [LinearLR(opt, 0.1, total_iters=5), CosineAnnealingLR(opt, 95)], [5])
    """

    unsaved: ClassVar[frozenset[str]] = LRScheduler.unsaved | {"schedulers"}

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self.schedulers = list(schedulers)
        self.milestones = list(milestones)
        if not self.schedulers:
            raise ValueError("SequentialLR needs one or more schedulers")
        for i, scheduler in enumerate(self.schedulers):
            if scheduler.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: scheduler {i} belongs to another optimizer")
        if len(self.milestones) != len(self.schedulers) - 1:
            raise ValueError(
                f"SequentialLR needs one milestone between each two schedulers: got "
                f"{len(self.schedulers)} schedulers and {len(self.milestones)} milestones"
            )
        if any(b <= a for a, b in zip([0, *self.milestones], self.milestones, strict=False)):
            raise ValueError(
                f"SequentialLR needs milestones that are positive and rise, got {self.milestones}"
            )
        # Each scheduler took its first step when it was created: take them back, and begin with the
        # first one alone.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        index = bisect_right(self.milestones, self.last_epoch)
        scheduler = self.schedulers[index]
        if self.last_epoch == ([0, *self.milestones])[index]:
            scheduler._restart()
        else:
            scheduler.step()
        return scheduler.get_last_lr()

    def _restart(self) -> None:
        self.last_epoch = 0
        self._set_lr(self.get_lr())

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "schedulers": [s.state_dict() for s in self.schedulers]}

    def _take_state(self, state_dict: dict[str, Any]) -> None:
        for scheduler, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            scheduler._take_state(state)
        super()._take_state({k: v for k, v in state_dict.items() if k != "schedulers"})

    def _check_state(self, state_dict: dict[str, Any]) -> None:
        super()._check_state(state_dict)
        saved = state_dict["schedulers"]
        if len(saved) != len(self.schedulers):
            raise ValueError(
                f"SequentialLR: the loaded state is of {len(saved)} schedulers, this one has "
                f"{len(self.schedulers)}"
            )
        for scheduler, state in zip(self.schedulers, saved, strict=True):
            scheduler._check_state(state)
