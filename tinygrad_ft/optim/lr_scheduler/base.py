"""LRScheduler: what every schedule shares."""

from __future__ import annotations

from typing import Any, ClassVar

from tinygrad_ft.optim.optimizer import Optimizer


class LRScheduler:
    """Base class: a subclass writes `get_lr`.

    Creating a scheduler makes its first step, so the optimizer starts at the schedule's learning
    rate for `last_epoch` 0; each `step()` goes on by one. The rate that a group had at first is
    kept in the group as `initial_lr`.

    As in PyTorch, schedules that can be written as a change of the present rate are: two of them on
    one optimizer multiply. To resume, create optimizer and scheduler as before and load both state
    dicts, the optimizer's last: its groups hold the present rates.
    """

    #: attributes that are not saved
    unsaved: ClassVar[frozenset[str]] = frozenset({"optimizer"})

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__} takes an Optimizer, got {type(optimizer).__name__}"
            )
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{type(self).__name__}: parameter group {i} has no 'initial_lr', which is "
                    f"needed to resume at last_epoch={last_epoch}: load the optimizer's state first"
                )
        self.optimizer = optimizer
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def get_lr(self) -> list[float]:
        """The rate of each group at `last_epoch`, given that the groups hold those of the step
        before."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr(): define one")

    def closed_form_lr(self) -> list[float]:
        """The rate of each group at `last_epoch`, whatever the groups hold."""
        return self.get_lr()

    def step(self) -> None:
        """Go on by one epoch (or batch) and set the learning rate of every group."""
        groups = len(self.optimizer.param_groups)
        if groups != len(self.base_lrs):
            raise ValueError(
                f"{type(self).__name__} was made for {len(self.base_lrs)} parameter groups and the "
                f"optimizer now has {groups}: add groups first, then make the schedule"
            )
        self.last_epoch += 1
        self._set_lr(self.get_lr())

    def get_last_lr(self) -> list[float]:
        """The rate of each group, as last set by this scheduler."""
        return list(self._last_lr)

    def _initial_step(self) -> None:
        self.last_epoch += 1
        self._set_lr(self.get_lr() if self.last_epoch == 0 else self._current_lr())

    def _restart(self) -> None:
        """Begin at epoch 0 from the initial rates; for SequentialLR."""
        self.last_epoch = 0
        self._set_lr(self.closed_form_lr())

    def _current_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _set_lr(self, rates: list[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = rates

    def state_dict(self) -> dict[str, Any]:
        """All there is to know except the optimizer: plain Python numbers, strings and lists."""
        return {
            key: list(value) if isinstance(value, list) else value
            for key, value in self.__dict__.items()
            if key not in self.unsaved
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict()` gave. Raises ValueError, and changes nothing, when it
        comes from another kind of schedule or another number of groups."""
        self._check_state(state_dict)
        self._take_state(state_dict)

    def _take_state(self, state_dict: dict[str, Any]) -> None:
        for key, value in state_dict.items():
            setattr(self, key, list(value) if isinstance(value, list) else value)

    def _check_state(self, state_dict: dict[str, Any]) -> None:
        name, own = type(self).__name__, self.state_dict()
        if own.keys() != state_dict.keys():
            raise ValueError(
                f"{name}: the loaded state has the fields {sorted(state_dict)}, expected "
                f"{sorted(own)}: was it saved by another kind of schedule?"
            )
        if "base_lrs" in own and len(state_dict["base_lrs"]) != len(own["base_lrs"]):
            raise ValueError(
                f"{name}: the loaded state is of {len(state_dict['base_lrs'])} parameter groups, "
                f"this optimizer has {len(own['base_lrs'])}"
            )
