"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

import kernels
from tinygrad_ft.optim.optimizer import Array, Item, Optimizer, Params


class SGD(Optimizer):
    """SGD with momentum, Nesterov momentum and L2 weight decay, as in PyTorch:

        g = grad + weight_decay * p                     (-grad if maximize)
        v = momentum * v + (1 - dampening) * g          (the first time v = g)
        p = p - lr * v                                  (g instead of v without momentum,
                                                         g + momentum * v if nesterov)

    Sources: Sutskever et al. 2013; PyTorch's variant applies lr to v, not inside it.

    Raises: ValueError for a negative lr, momentum or weight_decay, and for nesterov without
    momentum or with dampening.
    """

    state_arrays: ClassVar[frozenset[str]] = frozenset({"momentum_buffer"})

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def check_options(self, group: dict[str, Any]) -> None:
        super().check_options(group)
        if not group["momentum"] >= 0:
            raise ValueError(f"SGD: invalid momentum: {group['momentum']}")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("SGD: Nesterov momentum requires a momentum and zero dampening")

    def update(
        self, param: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        buffer, dampening = None, group["dampening"]
        if group["momentum"] != 0:
            if "momentum_buffer" not in state:
                # v = g is momentum * 0 + 1 * g
                state["momentum_buffer"], dampening = np.zeros_like(param), 0.0
            buffer = state["momentum_buffer"]
        kernels.sgd_update(
            param,
            -grad if group["maximize"] else grad,
            buffer,
            group["lr"],
            group["momentum"],
            dampening,
            group["weight_decay"],
            group["nesterov"],
        )

    def update_all(self, items: Sequence[Item], group: dict[str, Any]) -> None:
        if group["momentum"] == 0 or type(self).update is not SGD.update:
            super().update_all(items, group)
            return
        known = [item for item in items if "momentum_buffer" in item[2]]
        if len(known) < len(items):
            new = [item for item in items if "momentum_buffer" not in item[2]]
            super().update_all(new, group)
        kernels.sgd_update_all(
            [param for param, _, _ in known],
            [-grad if group["maximize"] else grad for _, grad, _ in known],
            [state["momentum_buffer"] for _, _, state in known],
            group["lr"],
            group["momentum"],
            group["dampening"],
            group["weight_decay"],
            group["nesterov"],
        )
