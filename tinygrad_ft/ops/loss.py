"""Losses: cross-entropy and mean squared error."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tinygrad_ft.ops._operands import as_tensor, float_operand
from tinygrad_ft.ops.activation import mask
from tinygrad_ft.ops.index import take_along_dim
from tinygrad_ft.ops.reduce import mean, sum
from tinygrad_ft.ops.shape import permute, reshape
from tinygrad_ft.ops.softmax import log_softmax
from tinygrad_ft.tensor import Tensor, TensorLike

Reduction = Literal["none", "mean", "sum"]


def mse_loss(input: Tensor, target: TensorLike, reduction: Reduction = "mean") -> Tensor:
    """(input - target)^2, averaged, summed or left per element. Shapes must be equal."""
    goal = as_tensor(target)
    if input.shape != goal.shape:
        raise ValueError(f"mse_loss: input {input.shape} and target {goal.shape} differ in shape")
    difference = input - goal
    return _reduce("mse_loss", difference * difference, reduction)


def cross_entropy(
    input: Tensor,
    target: TensorLike,
    weight: TensorLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-sum_c q_c w_c log softmax(input)_c, q the target distribution, w the class weights.

    input (N, C), (C) or (N, C, d1, ...) of unnormalised scores; target class indices (integers,
    shape without C) or probabilities (floats, shape of input). q is one-hot for indices; label
    smoothing e makes it (1 - e) q + e / C. With indices, "mean" divides by the sum of w at the
    targets that are not `ignore_index`; with probabilities, by their number. The gradient of the
    scores is softmax - q.

    Raises ValueError if the shapes do not fit, IndexError if an index is no class.
    """
    scores = float_operand("cross_entropy", input)
    goal = as_tensor(target)
    if scores.ndim == 0:
        raise ValueError("cross_entropy: input needs a class dimension, got shape ()")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be in [0, 1], got {label_smoothing}")
    _check_reduction("cross_entropy", reduction)
    classes = scores.shape[min(1, scores.ndim - 1)]
    if weight is None:
        class_weight = None
    else:
        class_weight = as_tensor(weight).to(scores.dtype)
        if class_weight.shape != (classes,):
            raise ValueError(
                f"cross_entropy: weight has shape {class_weight.shape}, expected ({classes},)"
            )
    if goal.dtype.kind == "f":
        return _with_probabilities(scores, goal, class_weight, reduction, label_smoothing)
    outer = (*scores.shape[:1], *scores.shape[2:]) if scores.ndim > 1 else ()
    if goal.shape != outer:
        raise ValueError(
            f"cross_entropy: input {scores.shape} needs class indices of shape {outer} or "
            f"probabilities of shape {scores.shape}, got {goal.shape}"
        )
    losses = _with_indices(scores, goal._data, class_weight, ignore_index, label_smoothing)
    per_item, counted = losses
    if reduction == "none":
        return reshape(per_item, outer)
    if reduction == "sum":
        return sum(per_item)
    return sum(per_item) / counted


def _with_indices(
    scores: Tensor,
    target: np.ndarray,
    weight: Tensor | None,
    ignore_index: int,
    smoothing: float,
) -> tuple[Tensor, Tensor]:
    """The loss of each item (0 where ignored), and the sum of weights that a mean divides by."""
    rows = _rows(scores)
    labels = target.reshape(-1).astype(np.int64)
    used = labels != ignore_index
    classes = rows.shape[1]
    wrong = used & ((labels < 0) | (labels >= classes))
    if wrong.any():
        raise IndexError(
            f"cross_entropy: target {labels[wrong][0]} is no class index below {classes}"
        )
    log_p = log_softmax(rows, 1)
    chosen = np.where(used, labels, 0)
    at_target = reshape(take_along_dim(log_p, Tensor._wrap(chosen[:, None]), 1), (-1,))
    dtype = scores.dtype
    item_weight = Tensor._wrap(used.astype(dtype))
    if weight is not None:
        item_weight = item_weight * weight[chosen]
    losses = -(at_target * item_weight)
    if smoothing:
        spread = log_p if weight is None else log_p * weight
        losses = losses * (1 - smoothing) - sum(spread, 1) * (smoothing / classes)
    # not times 0: the scores of an ignored item may be infinite
    return mask(losses, used), sum(item_weight)


def _with_probabilities(
    scores: Tensor, target: Tensor, weight: Tensor | None, reduction: Reduction, smoothing: float
) -> Tensor:
    if target.shape != scores.shape:
        raise ValueError(
            f"cross_entropy: probabilities of shape {target.shape} for input {scores.shape}"
        )
    log_p, q = log_softmax(_rows(scores), 1), _rows(target.to(scores.dtype))
    if smoothing:
        q = q * (1 - smoothing) + smoothing / log_p.shape[1]
    if weight is not None:
        q = q * weight
    losses = -sum(q * log_p, 1)
    outer = (*scores.shape[:1], *scores.shape[2:]) if scores.ndim > 1 else ()
    return _reduce("cross_entropy", reshape(losses, outer), reduction)


def _rows(x: Tensor) -> Tensor:
    """(C), (N, C) or (N, C, d1, ...) as (items, C)."""
    if x.ndim > 2:
        x = permute(x, (0, *range(2, x.ndim), 1))
    return reshape(x, (-1, x.shape[-1])) if x.numel() else reshape(x, (0, x.shape[-1]))


def _check_reduction(op: str, reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{op}: reduction must be 'none', 'mean' or 'sum', not {reduction!r}")


def _reduce(op: str, losses: Tensor, reduction: Reduction) -> Tensor:
    _check_reduction(op, reduction)
    if reduction == "none":
        return losses
    return mean(losses) if reduction == "mean" else sum(losses)
