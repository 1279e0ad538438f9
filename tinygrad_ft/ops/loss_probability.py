"""Losses of probabilities that stand for themselves: yes-or-no targets, whole distributions."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._loss_reduction import Reduction, alike, broadcast_weight, reduce
from tinygrad_ft.ops.activation import logsigmoid
from tinygrad_ft.ops.reduce import sum
from tinygrad_ft.ops.selection import clamp, where
from tinygrad_ft.ops.unary import exp, log
from tinygrad_ft.tensor import Tensor, TensorLike

Grads = tuple[Tensor | None, ...]

# PyTorch's: a probability of exactly 0 or 1 has a finite loss and finite gradients
LOG_FLOOR = -100.0
SLOPE_FLOOR = 1e-12


class BinaryCrossEntropy(Function):
    """out = -(t * log(x) + (1 - t) * log(1 - x)), both logarithms at least -100

    grad_x = grad_out * (x - t) / max(x * (1 - x), 1e-12),
    grad_t = grad_out * (log(1 - x) - log(x))
    """

    def forward(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        self.save_input(0)
        self.save_input(1, needed_by=0)
        log_x, log_rest = np.log(x), np.log1p(-x)
        return (t - 1) * np.maximum(log_rest, LOG_FLOOR) - t * np.maximum(log_x, LOG_FLOOR)

    def backward(self, grad_out: Tensor) -> Grads:
        x = self.input(0)
        grad_x = grad_t = None
        if self.needs_input_grad[0]:
            grad_x = grad_out * BinaryCrossEntropySlope.apply(x, self.input(1))
        if self.needs_input_grad[1]:
            grad_t = grad_out * (ClampedLog.apply(1.0 - x) - ClampedLog.apply(x))
        return grad_x, grad_t


class BinaryCrossEntropySlope(Function):
    """out = (x - t) / max(x * (1 - x), 1e-12)

    grad_x = grad_out * (x^2 - 2 * x * t + t) / ((x + 1e-12)^2 * (1 - x + 1e-12)^2),
    grad_t = -grad_out / max(x * (1 - x), 1e-12)
    """

    def forward(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        self.save_input(0)
        self.save_input(1, needed_by=0)
        return (x - t) / np.maximum(x * (1 - x), SLOPE_FLOOR)

    def backward(self, grad_out: Tensor) -> Grads:
        x = self.input(0)
        grad_x = grad_t = None
        if self.needs_input_grad[0]:
            t = self.input(1)
            root = (x + SLOPE_FLOOR) * (1.0 - x + SLOPE_FLOOR)
            grad_x = grad_out * ((x * x - 2.0 * x * t + t) / (root * root))
        if self.needs_input_grad[1]:
            grad_t = -grad_out / clamp(x * (1.0 - x), SLOPE_FLOOR)
        return grad_x, grad_t


class ClampedLog(Function):
    """out = max(log(x), -100);  grad_x = grad_out / x where log(x) > -100, else 0"""

    def forward(self, x: np.ndarray) -> np.ndarray:
        out = np.log(x)
        self.save_input(0)
        self.save_constant("inside", out > LOG_FLOOR)
        return np.maximum(out, LOG_FLOOR)

    def backward(self, grad_out: Tensor) -> Grads:
        inside = self.constant("inside")
        return (where(inside, grad_out, 0.0) / where(inside, self.input(0), 1.0),)


def binary_cross_entropy(
    input: Tensor,
    target: TensorLike,
    weight: TensorLike | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """The cross-entropy of probabilities `input` of "yes" with targets between 0 and 1.

    out = -weight * (target * log(input) + (1 - target) * log(1 - input))
    grad_input = grad_out * weight * (input - target) / (input * (1 - input))

    The logarithms are at least -100 and the divisor at least 1e-12, so that 0 and 1 are finite.
    Shapes of input and target must be equal; `weight` broadcasts. Raises ValueError for an input
    or target outside [0, 1]. After a sigmoid, `binary_cross_entropy_with_logits` of its argument is
    more accurate.
    """
    x, goal = alike("binary_cross_entropy", input, target)
    for name, tensor in (("input", x), ("target", goal)):
        inside = (tensor._data >= 0) & (tensor._data <= 1)
        if not inside.all():
            raise ValueError(
                f"binary_cross_entropy: {name} must be between 0 and 1, got "
                f"{tensor._data[~inside][0]}; for scores use binary_cross_entropy_with_logits"
            )
    losses = BinaryCrossEntropy.apply(x, goal.to(x.dtype))
    if weight is not None:
        losses = losses * broadcast_weight("binary_cross_entropy", "weight", weight, losses)
    return reduce("binary_cross_entropy", losses, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: TensorLike,
    weight: TensorLike | None = None,
    reduction: Reduction = "mean",
    pos_weight: TensorLike | None = None,
) -> Tensor:
    """The binary cross-entropy of scores: of sigmoid(input) and target, without overflow.

    out = -weight * (pos_weight * target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    grad_input = grad_out * weight * ((1 - target) * sigmoid(input) - pos_weight * target *
    sigmoid(-input))

    Shapes of input and target must be equal; `weight` and `pos_weight` (of the positive answers,
    usually one a class, in the last dimension) broadcast and are 1 by default.
    """
    op = "binary_cross_entropy_with_logits"
    x, goal = alike(op, input, target)
    goal = goal.to(x.dtype)
    yes = goal if pos_weight is None else goal * broadcast_weight(op, "pos_weight", pos_weight, x)
    losses = -(yes * logsigmoid(x) + (1.0 - goal) * logsigmoid(-x))
    if weight is not None:
        losses = losses * broadcast_weight(op, "weight", weight, losses)
    return reduce(op, losses, reduction)


def kl_div(
    input: Tensor,
    target: TensorLike,
    reduction: Reduction | Literal["batchmean"] = "mean",
    log_target: bool = False,
) -> Tensor:
    """The Kullback-Leibler divergence of distributions: `input` has logarithms of probabilities.

    out = target * (log(target) - input), 0 where target = 0
    grad_input = -target * grad_out,  grad_target = (log(target) + 1 - input) * grad_out

    With `log_target` the target has logarithms too: out = e^target * (target - input). Shapes must
    be equal. "batchmean" divides the sum by the size of dimension 0, which is the divergence as
    defined; "mean" divides by the number of elements.
    """
    x, goal = alike("kl_div", input, target)
    if log_target:
        losses = exp(goal) * (goal - x)
    else:
        # 0 * log 0 is 0, in the value and in every gradient
        losses = goal * (log(where(goal._data == 0, 1.0, goal)) - x)
    if reduction == "batchmean":
        if x.ndim == 0:
            raise ValueError("kl_div: 'batchmean' needs a batch dimension, got shape ()")
        return sum(losses) / x.shape[0]
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(
            f"kl_div: reduction must be 'none', 'mean', 'sum' or 'batchmean', not {reduction!r}"
        )
    return reduce("kl_div", losses, reduction)
