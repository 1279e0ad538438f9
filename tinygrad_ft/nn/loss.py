"""Losses as modules; the formulas are with the functions of `nn.functional`."""

from __future__ import annotations

from typing import Literal

from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn.module import Module
from tinygrad_ft.ops._loss_reduction import Reduction
from tinygrad_ft.tensor import Tensor


class _Loss(Module):
    """What the losses share: `reduction` is 'mean', 'sum' or 'none' (a loss for each item)."""

    reductions: tuple[str, ...] = ("mean", "sum", "none")
    reduction: Reduction

    def __init__(self, reduction: Reduction) -> None:
        super().__init__()
        if reduction not in self.reductions:
            choice = " or ".join(repr(r) for r in self.reductions)
            raise ValueError(f"{type(self).__name__} takes reduction={choice}, got {reduction!r}")
        self.reduction = reduction


class CrossEntropyLoss(_Loss):
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
        super().__init__(reduction)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"CrossEntropyLoss takes label_smoothing between 0 and 1, got {label_smoothing}"
            )
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_Loss):
    """-log p of the target class, from log-probabilities (N, C) or (N, C, ...) as `LogSoftmax`
    gives them and class indices (N, ...); options as in `CrossEntropyLoss`."""

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class BCELoss(_Loss):
    """-(t log x + (1 - t) log(1 - x)) of probabilities x and targets t between 0 and 1, times
    `weight`, which broadcasts. After a sigmoid `BCEWithLogitsLoss` is more accurate."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, *, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """`BCELoss` of sigmoid(x), computed from the scores x without overflow; `pos_weight` multiplies
    the part of the positive targets, usually one number a class."""

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        reduction: Reduction = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, self.reduction, self.pos_weight
        )


class KLDivLoss(_Loss):
    """target (log target - x) with x in logarithms, and the target too with `log_target`.

    'batchmean', the sum divided by the size of the batch, is the divergence as defined.
    """

    reductions = ("mean", "sum", "none", "batchmean")
    reduction: Reduction | Literal["batchmean"]  # type: ignore[assignment]

    def __init__(
        self,
        *,
        reduction: Reduction | Literal["batchmean"] = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(reduction)  # type: ignore[arg-type]
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(input, target, self.reduction, self.log_target)


class MSELoss(_Loss):
    """mean((x - target)^2), or the sum, or every term."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """mean(|x - target|), or the sum, or every term."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """|x - target| - beta / 2, and (x - target)^2 / (2 beta) where the difference is less than
    `beta`."""

    def __init__(self, *, reduction: Reduction = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        if not beta >= 0:
            raise ValueError(f"SmoothL1Loss takes a beta that is not negative, got {beta}")
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(_Loss):
    """delta (|x - target| - delta / 2), and (x - target)^2 / 2 where the difference is less than
    `delta`."""

    def __init__(self, reduction: Reduction = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not delta > 0:
            raise ValueError(f"HuberLoss takes a delta greater than 0, got {delta}")
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(input, target, self.reduction, self.delta)
