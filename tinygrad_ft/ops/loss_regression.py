"""Losses of predicted numbers: squared and absolute differences, and what lies between them."""

from __future__ import annotations

from tinygrad_ft.ops._loss_reduction import Reduction, alike, check_reduction, reduce
from tinygrad_ft.ops._operands import as_tensor
from tinygrad_ft.ops.activation_piecewise import hardtanh
from tinygrad_ft.ops.reduce import sum
from tinygrad_ft.ops.unary import abs
from tinygrad_ft.tensor import Tensor, TensorLike


def mse_loss(
    input: Tensor,
    target: TensorLike,
    reduction: Reduction = "mean",
    weight: TensorLike | None = None,
) -> Tensor:
    """The squared difference of each pair, averaged, summed or left per element.

    out = (input - target)^2
    grad_input = 2 * (input - target) * grad_out,  grad_target = -grad_input

    Shapes must be equal, that of `weight` too; with it the mean is sum(weight * out) / sum(weight).
    """
    x, goal = alike("mse_loss", input, target)
    difference = x - goal
    return _weighted_mean("mse_loss", difference * difference, weight, reduction)


def l1_loss(
    input: Tensor,
    target: TensorLike,
    reduction: Reduction = "mean",
    weight: TensorLike | None = None,
) -> Tensor:
    """The absolute difference of each pair, averaged, summed or left per element.

    out = |input - target|
    grad_input = sign(input - target) * grad_out,  grad_target = -grad_input

    The derivative where both are equal is 0. Shapes must be equal, that of `weight` too; with it
    the mean is sum(weight * out) / sum(weight).
    """
    x, goal = alike("l1_loss", input, target)
    return _weighted_mean("l1_loss", abs(x - goal), weight, reduction)


def huber_loss(
    input: Tensor,
    target: TensorLike,
    reduction: Reduction = "mean",
    delta: float = 1.0,
    weight: TensorLike | None = None,
) -> Tensor:
    """Quadratic for differences up to `delta`, linear beyond, so that outliers pull less.

    out = c * (d - c / 2), d = input - target, c = clamp(d, -delta, delta)
    grad_input = c * grad_out,  grad_target = -grad_input

    That is d^2 / 2 inside and delta * (|d| - delta / 2) outside. Shapes must be equal, that of
    `weight` too; the mean is over the number of elements, weighted or not, as in PyTorch.
    Source: Huber 1964, doi 10.1214/aoms/1177703732.
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be greater than 0, got {delta}")
    x, goal = alike("huber_loss", input, target)
    losses = _huber(x - goal, delta)
    if weight is not None:
        losses = losses * _element_weight("huber_loss", weight, losses)
    return reduce("huber_loss", losses, reduction)


def smooth_l1_loss(
    input: Tensor, target: TensorLike, reduction: Reduction = "mean", beta: float = 1.0
) -> Tensor:
    """The absolute difference with its corner at 0 rounded over the width `beta`.

    out = c * (d - c / 2) / beta, d = input - target, c = clamp(d, -beta, beta)
    grad_input = c / beta * grad_out,  grad_target = -grad_input

    That is d^2 / (2 beta) inside and |d| - beta / 2 outside: the Huber loss divided by beta; with
    beta 0 it is `l1_loss`. Shapes must be equal. Source: Girshick 2015, arXiv 1504.08083.
    """
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    x, goal = alike("smooth_l1_loss", input, target)
    losses = _huber(x - goal, beta) * (1.0 / beta) if beta else abs(x - goal)
    return reduce("smooth_l1_loss", losses, reduction)


def _huber(difference: Tensor, delta: float) -> Tensor:
    # no square of a large difference, so that none overflows; hardtanh is flat at its limits, which
    # makes the second derivative 0 at the corners, as in PyTorch
    clipped = hardtanh(difference, -delta, delta)
    return clipped * (difference - clipped * 0.5)


def _element_weight(op: str, weight: TensorLike, losses: Tensor) -> Tensor:
    w = as_tensor(weight).to(losses.dtype)
    if w.shape != losses.shape:
        raise ValueError(f"{op}: weight {w.shape} and input {losses.shape} differ in shape")
    return w


def _weighted_mean(
    op: str, losses: Tensor, weight: TensorLike | None, reduction: Reduction
) -> Tensor:
    check_reduction(op, reduction)
    if weight is None:
        return reduce(op, losses, reduction)
    w = _element_weight(op, weight, losses)
    if reduction == "mean":
        return sum(losses * w) / sum(w)
    return reduce(op, losses * w, reduction)
