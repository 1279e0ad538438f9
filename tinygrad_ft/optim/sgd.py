"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinygrad_ft.optim.optimizer import Array, Optimizer, Params, chunks


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
        # float(): a NumPy float64 scalar, from a schedule say, would turn float32 into float64
        lr, momentum = float(group["lr"]), float(group["momentum"])
        decay, fresh = float(group["weight_decay"]), 1 - float(group["dampening"])

        first = momentum != 0 and "momentum_buffer" not in state
        if first:
            state["momentum_buffer"] = np.empty_like(param)
        kept = [state["momentum_buffer"]] if momentum else []

        for p, g, *buffers in chunks(param, grad, *kept):
            if group["maximize"]:
                g = -g
            if decay:
                g = g + decay * p
            for v in buffers:  # one, or none without momentum
                if first:
                    v[...] = g
                else:
                    v *= momentum
                    v += fresh * g
                g = g + momentum * v if group["nesterov"] else v
            p -= lr * g
