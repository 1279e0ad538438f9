"""Adam and AdamW."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from tinygrad_ft.optim.optimizer import Array, Optimizer, Params, chunks


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, arXiv 1412.6980), with weight decay as an L2 term, as in PyTorch.

    At step t = 1, 2, ... with betas = (b1, b2):

        g = grad + weight_decay * p                     (-grad if maximize) m = b1 * m + (1 - b1) *
        g v = b2 * v + (1 - b2) * g^2 p = p - lr * m_hat / (sqrt(v_hat) + eps),       m_hat = m / (1
        - b1^t), v_hat = v / (1 - b2^t)

    With ``amsgrad`` the largest v so far stands for v in the last line (Reddi et al. 2018).

    Raises: ValueError for a negative lr, eps or weight_decay and for betas outside [0, 1).
    """

    state_arrays: ClassVar[frozenset[str]] = frozenset({"exp_avg", "exp_avg_sq", "max_exp_avg_sq"})

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
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
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * bool(group["amsgrad"])
        for key in names:
            if key not in state:
                state[key] = np.zeros_like(param)
        t = state["step"] = int(state.get("step", 0)) + 1

        # float(): a NumPy float64 scalar, from a schedule say, would turn float32 into float64
        b1, b2 = (float(beta) for beta in group["betas"])
        lr, eps = float(group["lr"]), float(group["eps"])
        step_size = lr / (1 - b1**t)
        root = math.sqrt(1 - b2**t)
        shrink, l2 = self._weight_decay(lr, float(group["weight_decay"]))

        for p, g, m, v, *largest in chunks(param, grad, *(state[key] for key in names)):
            if group["maximize"]:
                g = -g
            if shrink != 1:
                p *= shrink
            if l2:
                g = g + l2 * p
            m *= b1
            m += (1 - b1) * g
            v *= b2
            v += (1 - b2) * (g * g)
            if largest:
                np.maximum(largest[0], v, out=largest[0])
            denominator = np.sqrt(largest[0] if largest else v)
            denominator /= root
            denominator += eps
            np.divide(m, denominator, out=denominator)
            denominator *= step_size
            p -= denominator

    def _weight_decay(self, lr: float, weight_decay: float) -> tuple[float, float]:
        """(factor on the parameter, L2 term in the gradient)"""
        return 1.0, weight_decay


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101), as in
    PyTorch:

    p = p - lr * weight_decay * p, then Adam's step with g = grad (see ``Adam``).
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

    def _weight_decay(self, lr: float, weight_decay: float) -> tuple[float, float]:
        return 1 - lr * weight_decay, 0.0
