"""Losses as modules; the formulas are with the functions of `nn.functional`."""

from __future__ import annotations

from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn.module import Module
from tinygrad_ft.ops.loss import Reduction
from tinygrad_ft.tensor import Tensor


def _check_reduction(loss: Module, reduction: Reduction) -> Reduction:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(
            f"{type(loss).__name__} takes reduction='mean', 'sum' or 'none', got {reduction!r}"
        )
    return reduction


class CrossEntropyLoss(Module):
    """Cross-entropy of logits (N, C) or (N, C, ...) with class indices (N, ...) or with
    probabilities of the logits' shape.

    `weight` (C,) weighs classes; targets equal to `ignore_index` count for nothing;
    `label_smoothing` s mixes the target with the uniform distribution: (1 - s) target + s / C.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"CrossEntropyLoss takes label_smoothing between 0 and 1, got {label_smoothing}"
            )
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = _check_reduction(self, reduction)
        self.label_smoothing = label_smoothing

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            x,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class MSELoss(Module):
    """mean((x - target)^2), or the sum, or every term."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction = _check_reduction(self, reduction)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(x, target, reduction=self.reduction)
