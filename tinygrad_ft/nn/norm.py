"""Batch normalisation (Ioffe and Szegedy 2015, arXiv 1502.03167) and instance normalisation
(Ulyanov et al. 2016, arXiv 1607.08022), with PyTorch's conventions. Other norms are in
`group_norm.py`.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn import init
from tinygrad_ft.nn.module import Module
from tinygrad_ft.nn.parameter import Parameter
from tinygrad_ft.repeating import repeat
from tinygrad_ft.tensor import Tensor


class RunningNorm(Module):
    """What norms with running statistics share: parameters, buffers, and how they are shown.

    `frozen` (see `nn.freeze`) keeps the statistics as they are, and used, in training too.
    """

    optional_state: ClassVar[frozenset[str]] = frozenset({"num_batches_tracked"})
    input_dims: ClassVar[dict[int, str]]

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        if num_features < 1:
            raise ValueError(f"{type(self).__name__} needs 1 or more channels, got {num_features}")
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.frozen = False

        ones, zeros = np.ones(num_features, np.float32), np.zeros(num_features, np.float32)
        self.register_parameter("weight", Parameter(ones) if affine else None)
        self.register_parameter("bias", Parameter(zeros) if affine else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", Tensor(zeros.copy()) if tracked else None)
        self.register_buffer("running_var", Tensor(ones.copy()) if tracked else None)
        count = np.zeros((), np.int64)
        self.register_buffer("num_batches_tracked", Tensor(count) if tracked else None)

    def reset_running_stats(self) -> None:
        """Forget the running statistics: mean 0, variance 1, no batches."""
        if self.running_mean is not None and self.running_var is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
        if self.num_batches_tracked is not None:
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and no running statistics."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}" + (", frozen=True" * self.frozen)
        )


class BatchNorm(RunningNorm):
    """What BatchNorm1d and BatchNorm2d share; per channel

        y = (x - mean) / sqrt(var + eps) * weight + bias

    In training mean and (biased) variance are those of the batch, and the running values follow:
    running = (1 - momentum) * running + momentum * batch, with the unbiased variance; `momentum`
    None keeps the plain average over all batches. In evaluation, and when `frozen` (see
    `nn.freeze`), the running values are used and stay as they are.
    """

    def _count_batch(self) -> None:
        if self.num_batches_tracked is not None:
            self.num_batches_tracked._place("batch_norm")[()] += 1

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in self.input_dims or input.shape[1] != self.num_features:
            wanted = " or ".join(self.input_dims.values()).replace("C", str(self.num_features))
            raise ValueError(f"{self!r} got an input of shape {input.shape}: expected {wanted}")
        running_mean, tracked = self.running_mean, self.num_batches_tracked
        use_batch = running_mean is None or (self.training and not self.frozen)
        if use_batch and self.training and math.prod(input.shape) == self.num_features:
            raise ValueError(
                f"{self!r} got an input of shape {input.shape}: in training it needs more than one "
                "value per channel; use a larger batch (or drop the last, smaller one) or eval()"
            )
        momentum = 0.0 if self.momentum is None else self.momentum
        if use_batch and tracked is not None:
            repeat(self._count_batch, changes=tracked)
            if self.momentum is None:
                momentum = 1.0 / tracked.item()
        return F.batch_norm(
            input,
            running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=use_batch,
            momentum=momentum,
            eps=self.eps,
        )


class BatchNorm2d(BatchNorm):
    """Batch norm over (N, H, W) of images (N, C, H, W)."""

    input_dims: ClassVar[dict[int, str]] = {4: "(N, C, H, W)"}


class BatchNorm1d(BatchNorm):
    """Batch norm over N of vectors (N, C), or over (N, L) of sequences (N, C, L)."""

    input_dims: ClassVar[dict[int, str]] = {2: "(N, C)", 3: "(N, C, L)"}


class InstanceNorm(RunningNorm):
    """What InstanceNorm1d and InstanceNorm2d share; per item and channel

        y = (x - mean) / sqrt(var + eps) * weight + bias

    mean and (biased) variance are those of the item's channel, in training and in evaluation. With
    `track_running_stats` the running values follow their average over the batch in training, and
    are used in evaluation and when `frozen` (see `nn.freeze`).
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def forward(self, input: Tensor) -> Tensor:
        shape = self.input_dims.get(input.ndim)
        if shape is None or input.shape[shape[1:].split(", ").index("C")] != self.num_features:
            wanted = " or ".join(self.input_dims.values()).replace("C", str(self.num_features))
            raise ValueError(f"{self!r} got an input of shape {input.shape}: expected {wanted}")
        use_own = self.running_mean is None or (self.training and not self.frozen)
        out = F.instance_norm(
            input if "N" in shape else input.unsqueeze(0),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            use_own,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return out if "N" in shape else out.squeeze(0)


class InstanceNorm2d(InstanceNorm):
    """Instance norm over (H, W) of images (N, C, H, W) or (C, H, W)."""

    input_dims: ClassVar[dict[int, str]] = {4: "(N, C, H, W)", 3: "(C, H, W)"}


class InstanceNorm1d(InstanceNorm):
    """Instance norm over L of sequences (N, C, L) or (C, L)."""

    input_dims: ClassVar[dict[int, str]] = {3: "(N, C, L)", 2: "(C, L)"}
