"""One step of an optimizer, on copies: parameters before, their gradients, parameters after."""

from __future__ import annotations

import copy
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_ft.optim.optimizer import Optimizer
from tinygrad_ft.tensor import Tensor


@dataclass
class Update:
    """Of one parameter; `gradient` None: the optimizer leaves it as it is."""

    tensor: Tensor
    before: np.ndarray
    gradient: np.ndarray | None
    after: np.ndarray


@dataclass
class OptimizerStep:
    """`options` are those of the first group; `formula` the update as the optimizer's docstring
    states it."""

    name: str
    options: dict[str, Any]
    formula: str
    updates: list[Update]


def try_step(
    optimizer: Optimizer, gradient_of: Callable[[Tensor], np.ndarray | None]
) -> OptimizerStep:
    """What `optimizer.step()` would do with these gradients. Its own update code runs, on copies of
    the parameters and of its state, so nothing changes."""
    updates = []
    for group in optimizer.param_groups:
        for param in group["params"]:
            gradient = gradient_of(param)
            before = param._data.copy(order="K")
            after = before.copy(order="K")
            if gradient is not None:
                state = copy.deepcopy(optimizer.state.get(param, {}))
                optimizer.update(after, gradient, state, group)
            updates.append(Update(param, before, gradient, after))
    options = {
        key: value
        for key, value in optimizer.param_groups[0].items()
        if key not in ("params", "param_names")
    }
    return OptimizerStep(type(optimizer).__name__, options, _formula(optimizer), updates)


def _formula(optimizer: Optimizer) -> str:
    """The indented block of the docstring."""
    lines = inspect.cleandoc(type(optimizer).__doc__ or "").split("\n")
    block = [line for line in lines if line.startswith("    ")]
    # the remarks stand far to the right of the formulas; a phone has no such width
    return re.sub(r" {9,}", "   ", textwrap.dedent("\n".join(block)))
