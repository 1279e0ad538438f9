"""Shared by the losses: their shapes must agree, and the losses of the items become one number."""

from __future__ import annotations

from typing import Literal

from tinygrad_ft.ops._operands import as_tensor, check_broadcast, float_operand
from tinygrad_ft.ops.reduce import mean, sum
from tinygrad_ft.tensor import Tensor, TensorLike

Reduction = Literal["none", "mean", "sum"]


def check_reduction(op: str, reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{op}: reduction must be 'none', 'mean' or 'sum', not {reduction!r}")


def reduce(op: str, losses: Tensor, reduction: Reduction) -> Tensor:
    """The losses themselves, their mean, or their sum."""
    check_reduction(op, reduction)
    if reduction == "none":
        return losses
    return mean(losses) if reduction == "mean" else sum(losses)


def alike(op: str, input: TensorLike, target: TensorLike) -> tuple[Tensor, Tensor]:
    """Input and target as floating tensors; ValueError unless their shapes are equal.

    Broadcasting would compare every prediction with every target, which is never meant.
    """
    x, goal = float_operand(op, input), float_operand(op, target)
    if x.shape != goal.shape:
        raise ValueError(f"{op}: input {x.shape} and target {goal.shape} differ in shape")
    return x, goal


def broadcast_weight(op: str, name: str, weight: TensorLike, losses: Tensor) -> Tensor:
    """The weight in the dtype of the losses; ValueError unless it broadcasts to their shape."""
    w = as_tensor(weight).to(losses.dtype)
    if check_broadcast(f"{op}: {name} and input", w.shape, losses.shape) != losses.shape:
        raise ValueError(f"{op}: {name} {w.shape} does not fit an input of shape {losses.shape}")
    return w
