"""Adam and AdamW."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

import kernels
from tinygrad_ft.optim.optimizer import Array, Optimizer, Params


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, arXiv 1412.6980), with weight decay as an L2 term, as in PyTorch.

    At step t = 1, 2, ... with betas = (b1, b2):

        g = grad + weight_decay * p                 (-grad if maximize)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g^2
        p = p - lr * m_hat / (sqrt(v_hat) + eps)    m_hat = m / (1 - b1^t), v_hat = v / (1 - b2^t)

    Raises: ValueError for a negative lr, eps or weight_decay and for betas outside [0, 1).
    """

    state_arrays: ClassVar[frozenset[str]] = frozenset({"exp_avg", "exp_avg_sq"})
    #: weight decay acts on the parameter itself, not through the gradient
    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def check_options(self, group: dict[str, Any]) -> None:
        super().check_options(group)
        name = type(self).__name__
        if not group["eps"] >= 0:
            raise ValueError(f"{name}: invalid epsilon: {group['eps']}")
        if len(group["betas"]) != 2:
            raise ValueError(f"{name}: betas are two numbers, got {group['betas']}")
        for i, beta in enumerate(group["betas"]):
            if not 0 <= beta < 1:
                raise ValueError(f"{name}: invalid beta at index {i}: {beta}; it must be in [0, 1)")

    def update(
        self, param: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        for key in ("exp_avg", "exp_avg_sq"):
            if key not in state:
                state[key] = np.zeros_like(param)
        state["step"] = int(state.get("step", 0)) + 1
        kernels.adam_update(
            param,
            -grad if group["maximize"] else grad,
            state["exp_avg"],
            state["exp_avg_sq"],
            state["step"],
            group["lr"],
            group["betas"],
            group["eps"],
            group["weight_decay"],
            self.decoupled,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101):

        p = p - lr * weight_decay * p, and then the step of `Adam` with g = grad

    as in PyTorch.
    """

    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, maximize=maximize)
