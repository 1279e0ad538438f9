"""Losses of class scores: cross-entropy, and the negative log-likelihood it ends in."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.grad_mode import is_grad_enabled
from tinygrad_ft.ops._loss_reduction import Reduction, check_reduction, reduce
from tinygrad_ft.ops._operands import as_tensor, float_operand
from tinygrad_ft.ops.activation import mask
from tinygrad_ft.ops.reduce import sum
from tinygrad_ft.ops.shape import permute, reshape
from tinygrad_ft.ops.softmax import log_softmax, shifted, softmax
from tinygrad_ft.tensor import Tensor, TensorLike

Grads = tuple[Tensor | None, ...]
Shape = tuple[int, ...]


class CrossEntropy(Function):
    """out = sum_n (ln sum_c e^x[n, c] - x[n, labels[n]]) / divisor
    grad_x[n, c] = grad_out * (softmax(x[n])[c] - (1 where c = labels[n], else 0)) / divisor

    n runs over the items that are used.
    """

    fresh_gradients = True

    def forward(
        self, x: np.ndarray, *, labels: np.ndarray, used: np.ndarray | None, divisor: float
    ) -> np.ndarray:
        """`used` None: all items are."""
        self.save_input(0)
        self.save_constant("labels", labels)
        self.all_used = used is None
        if used is not None:
            self.save_constant("used", used)
        self.divisor = divisor
        below = shifted(x, 1)
        exps = np.exp(below)
        sums = np.add.reduce(exps, axis=1)
        self.save_statistics("softmax", exps / sums[:, None])
        losses = np.log(sums) - below[np.arange(len(x)), labels]
        # not times 0: the scores of an item that is not used may be infinite
        total = np.add.reduce(losses, where=True if used is None else used)
        return np.asarray(total / x.dtype.type(divisor))

    def backward(self, grad_out: Tensor) -> Grads:
        labels = self.constant("labels")
        used = self.used()
        items = np.arange(len(labels))
        if is_grad_enabled():
            x = self.input(0)
            target = np.zeros(x.shape, x.dtype)
            target[items, labels] = 1
            grad_x = (softmax(x, 1) - Tensor._wrap(target)) * (grad_out / self.divisor)
            if used is not None:
                grad_x = mask(grad_x, np.broadcast_to(used[:, None], x.shape))
            return (grad_x,)
        grad = self.statistics("softmax").copy()
        grad[items, labels] -= 1
        grad *= grad_out._data / grad.dtype.type(self.divisor)
        if used is not None:
            grad[~used] = 0
        return (Tensor._wrap(grad),)

    def used(self) -> np.ndarray | None:
        """Whether each item counts; None if all do."""
        return None if self.all_used else self.constant("used")


class PickClass(Function):
    """out[n] = x[n, labels[n]];  grad_x[n, c] = grad_out[n] where c = labels[n], else 0"""

    def forward(self, x: np.ndarray, *, labels: np.ndarray) -> np.ndarray:
        self.classes = x.shape[1]
        self.save_constant("labels", labels)
        return x[np.arange(len(x)), labels]

    def backward(self, grad_out: Tensor) -> Grads:
        labels = self.constant("labels")
        return (PutClass.apply(grad_out, labels=labels, classes=self.classes),)


class PutClass(Function):
    """out[n, c] = x[n] where c = labels[n], else 0;  grad_x[n] = grad_out[n, labels[n]]"""

    def forward(self, x: np.ndarray, *, labels: np.ndarray, classes: int) -> np.ndarray:
        self.save_constant("labels", labels)
        out = np.zeros((len(x), classes), x.dtype)
        # one place in each row, so nothing is met twice
        out[np.arange(len(x)), labels] = x
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        return (PickClass.apply(grad_out, labels=self.constant("labels")),)


def cross_entropy(
    input: Tensor,
    target: TensorLike,
    weight: TensorLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross-entropy of class scores with classes or with a distribution q over classes.

    out = -sum_c q[c] * w[c] * log_softmax(input)[c]
    grad_input[c] = grad_out * (softmax(input)[c] * (sum_k q[k] * w[k]) - q[c] * w[c])

    input (N, C), (C) or (N, C, d1, ...) of unnormalised scores; target class indices (integers,
    shape without C) or probabilities (floats, shape of input). q is one-hot for indices; label
    smoothing e makes it (1 - e) q + e / C. w is `weight`, one number a class. With indices, "mean"
    divides by the sum of w at the targets that are not `ignore_index`; with probabilities, by their
    number.

    Raises ValueError if the shapes do not fit, IndexError if an index is no class.
    """
    scores = float_operand("cross_entropy", input)
    goal = as_tensor(target)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"cross_entropy: label_smoothing must be between 0 and 1, got {label_smoothing}"
        )
    class_weight = _class_weight("cross_entropy", scores, weight)
    check_reduction("cross_entropy", reduction)
    if goal.dtype.kind == "f":
        return _with_probabilities(scores, goal, class_weight, reduction, label_smoothing)
    labels, used = _labels("cross_entropy", scores, goal, ignore_index)
    if class_weight is None and label_smoothing == 0 and reduction != "none":
        divisor = 1.0
        if reduction == "mean":
            divisor = float(len(labels) if used is None else used.sum())
        arguments: dict[str, Any] = {"labels": labels, "used": used, "divisor": divisor}
        total: Tensor = CrossEntropy.apply(_rows(scores), **arguments)
        return total
    if used is None:
        used = np.ones(labels.shape, np.bool_)
    log_p = log_softmax(_rows(scores), 1)
    losses, item_weight = _chosen(log_p, labels, used, class_weight)
    if label_smoothing:
        spread = log_p if class_weight is None else log_p * class_weight
        share = label_smoothing / log_p.shape[1]
        losses = losses * (1 - label_smoothing) - sum(spread, 1) * share
    return _over_items(losses, item_weight, used, _outer(scores), reduction)


def nll_loss(
    input: Tensor,
    target: TensorLike,
    weight: TensorLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Tensor:
    """The negative log-likelihood of the target classes, given log-probabilities.

    out = -weight[target] * input[target]
    grad_input[c] = -grad_out * weight[c] where c = target, else 0

    input (N, C), (C) or (N, C, d1, ...), as `log_softmax` along dimension 1 gives it; target class
    indices of the shape without C. "mean" divides by the sum of the weights at the targets that are
    not `ignore_index`.

    Raises ValueError if the shapes do not fit, TypeError if the target is not of integers,
    IndexError if an index is no class.
    """
    log_p = float_operand("nll_loss", input)
    class_weight = _class_weight("nll_loss", log_p, weight)
    check_reduction("nll_loss", reduction)
    labels, used = _labels("nll_loss", log_p, as_tensor(target), ignore_index)
    if used is None:
        used = np.ones(labels.shape, np.bool_)
    losses, item_weight = _chosen(_rows(log_p), labels, used, class_weight)
    return _over_items(losses, item_weight, used, _outer(log_p), reduction)


def _class_weight(op: str, scores: Tensor, weight: TensorLike | None) -> Tensor | None:
    if scores.ndim == 0:
        raise ValueError(f"{op}: input needs a class dimension, got shape ()")
    if weight is None:
        return None
    classes = scores.shape[min(1, scores.ndim - 1)]
    class_weight = as_tensor(weight).to(scores.dtype)
    if class_weight.shape != (classes,):
        raise ValueError(f"{op}: weight has shape {class_weight.shape}, expected ({classes},)")
    return class_weight


def _labels(
    op: str, scores: Tensor, target: Tensor, ignore_index: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """The class of each item (0 where ignored) and whether it counts (None: all do), in one
    dimension."""
    outer = _outer(scores)
    if target.shape != outer:
        also = f" or probabilities of shape {scores.shape}" if op == "cross_entropy" else ""
        raise ValueError(
            f"{op}: input {scores.shape} needs class indices of shape {outer}{also}, got "
            f"{target.shape}"
        )
    if target.dtype.kind not in "iu":
        raise TypeError(f"{op}: class indices must be integers, not {target.dtype}")
    labels = target._data.reshape(-1).astype(np.int64)
    classes = scores.shape[min(1, scores.ndim - 1)]
    # as unsigned numbers negative ones are large
    if labels.size and np.maximum.reduce(labels.view(np.uint64)) < classes <= ignore_index % 2**64:
        return labels, None
    used = labels != ignore_index
    wrong = used & ((labels < 0) | (labels >= classes))
    if wrong.any():
        raise IndexError(f"{op}: target {labels[wrong][0]} is no class index below {classes}")
    return np.where(used, labels, 0), used


def _chosen(
    log_p: Tensor, labels: np.ndarray, used: np.ndarray, weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    """-w log p at the label of each row of `log_p`, and w itself (0 where ignored)."""
    at_target = PickClass.apply(log_p, labels=labels)
    item_weight = Tensor._wrap(used.astype(log_p.dtype))
    if weight is not None:
        item_weight = item_weight * weight[labels]
    return -(at_target * item_weight), item_weight


def _over_items(
    losses: Tensor, item_weight: Tensor, used: np.ndarray, outer: Shape, reduction: Reduction
) -> Tensor:
    # not times 0: the scores of an ignored item may be infinite
    losses = mask(losses, used)
    if reduction == "none":
        return reshape(losses, outer)
    return sum(losses) if reduction == "sum" else sum(losses) / sum(item_weight)


def _with_probabilities(
    scores: Tensor, target: Tensor, weight: Tensor | None, reduction: Reduction, smoothing: float
) -> Tensor:
    if target.shape != scores.shape:
        raise ValueError(
            f"cross_entropy: input {scores.shape} needs class indices of shape {_outer(scores)} "
            f"(integers) or probabilities of shape {scores.shape}, got {target.shape} of "
            f"{target.dtype}"
        )
    log_p, q = log_softmax(_rows(scores), 1), _rows(target.to(scores.dtype))
    if smoothing:
        q = q * (1 - smoothing) + smoothing / log_p.shape[1]
    if weight is not None:
        q = q * weight
    return reduce("cross_entropy", reshape(-sum(q * log_p, 1), _outer(scores)), reduction)


def _outer(scores: Tensor) -> Shape:
    """The shape without the class dimension."""
    return (*scores.shape[:1], *scores.shape[2:]) if scores.ndim > 1 else ()


def _rows(x: Tensor) -> Tensor:
    """(C), (N, C) or (N, C, d1, ...) as (items, C)."""
    if x.ndim == 2:
        return x
    if x.ndim > 2:
        x = permute(x, (0, *range(2, x.ndim), 1))
    return reshape(x, (-1, x.shape[-1])) if x.numel() else reshape(x, (0, x.shape[-1]))
