"""Normalisation within an item of the batch: layer, group, instance and RMS norm.

All four are one op on (N, C, ...) in which the channels are cut into groups: a layer norm is a
group norm of rows with one group, an instance norm has as many groups as channels, and an RMS norm
takes the mean to be 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

import kernels
from tinygrad_ft.function import Function
from tinygrad_ft.grad_mode import is_grad_enabled, no_grad
from tinygrad_ft.ops.norm import batch_norm, check_vectors
from tinygrad_ft.ops.reduce import mean, sum
from tinygrad_ft.ops.shape import reshape
from tinygrad_ft.ops.unary import sqrt
from tinygrad_ft.tensor import Tensor

Grads = tuple[Tensor | None, ...]


class GroupNorm(Function):
    """xhat = (x - mean) / sqrt(var + eps),  out = xhat * weight + bias

    mean and var over the channels of a group and all further dimensions of an item; var is biased.

    g = grad_out * weight,  grad_x = (g - mean(g) - xhat * mean(g * xhat)) / sqrt(var + eps),
    grad_weight = sum grad_out * xhat,  grad_bias = sum grad_out

    Unrecorded, the backward is one fused kernel with the saved statistics. Recorded, it is the same
    formula in Tensor ops, in which mean and var are computed from x again so that they are
    differentiated. Sources: Ba et al. 2016, arXiv:1607.06450; Wu & He 2018, arXiv:1803.08494.
    """

    differentiable_outputs = 1
    centred: ClassVar[bool] = True

    def forward(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, groups: int, eps: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.groups, self.eps = groups, eps
        out, mean, var = kernels.group_norm_forward(x, weight, bias, groups, eps, self.centred)
        self.save_input(0)
        self.save_input(1)
        self.save_statistics("mean", mean)
        self.save_statistics("var", var)
        return out, mean, var

    def backward(self, grad_out: Tensor, *_: Any) -> Grads:
        if is_grad_enabled():
            return self.recorded_backward(grad_out)
        grads = kernels.group_norm_backward(
            grad_out._data,
            self.input(0)._data,
            self.input(1)._data,
            self.statistics("mean"),
            self.statistics("var"),
            self.eps,
            self.centred,
            self.needs_input_grad[0],
        )
        return tuple(
            Tensor._wrap(g) if needed and g is not None else None
            for g, needed in zip(grads, self.needs_input_grad, strict=True)
        )

    def recorded_backward(self, grad_out: Tensor) -> Grads:
        x, weight = self.input(0), self.input(1)
        per_channel = (1, -1) + (1,) * (x.ndim - 2)
        # (N, groups, everything that is normalised together)
        in_groups = (x.shape[0], self.groups, x.numel() // max(x.shape[0] * self.groups, 1))
        rows = reshape(x, in_groups)
        centred = rows - mean(rows, -1, keepdim=True) if self.centred else rows
        inverse_std = 1.0 / sqrt(mean(centred * centred, -1, keepdim=True) + self.eps)
        xhat = centred * inverse_std
        grad_x = grad_weight = grad_bias = None
        dims = (0, *range(2, x.ndim))
        if self.needs_input_grad[0]:
            g = reshape(grad_out * reshape(weight, per_channel), in_groups)
            slope = mean(g * xhat, -1, keepdim=True)
            if self.centred:
                g = g - mean(g, -1, keepdim=True)
            grad_x = reshape((g - xhat * slope) * inverse_std, x.shape)
        if self.needs_input_grad[1]:
            grad_weight = sum(grad_out * reshape(xhat, x.shape), dims)
        if self.needs_input_grad[2]:
            grad_bias = sum(grad_out, dims)
        return grad_x, grad_weight, grad_bias


class RMSNorm(GroupNorm):
    """xhat = x / sqrt(mean(x^2) + eps),  out = xhat * weight

    g = grad_out * weight,  grad_x = (g - xhat * mean(g * xhat)) / sqrt(mean(x^2) + eps),
    grad_weight = sum grad_out * xhat

    Source: Zhang & Sennrich 2019, arXiv:1910.07467.
    """

    centred = False


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise over the last dimensions, whose sizes are `normalized_shape`.

    out = xhat * weight + bias;  xhat = (x - mean) / sqrt(var + eps);
    grad_x = (g - mean(g) - xhat * mean(g * xhat)) / sqrt(var + eps);  g = grad_out * weight;
    grad_weight = sum(grad_out * xhat);  grad_bias = sum(grad_out)

    weight and bias have that shape. The variance is biased. Raises ValueError if shapes do not fit.
    """
    shape = _check_rows("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    return _normalize_rows(GroupNorm, input, shape, weight, bias, eps)


def rms_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divide by the root mean square over the last dimensions, of sizes `normalized_shape`.

    out = xhat * weight;  xhat = x / sqrt(mean(x^2) + eps);
    grad_x = (g - xhat * mean(g * xhat)) / sqrt(mean(x^2) + eps);  g = grad_out * weight;
    grad_weight = sum(grad_out * xhat)

    `eps` None is the distance from 1 to the next number of the dtype. Raises ValueError if shapes
    do not fit.
    """
    shape = _check_rows("rms_norm", input, normalized_shape, weight=weight)
    eps = float(np.finfo(input.dtype).eps) if eps is None else eps
    return _normalize_rows(RMSNorm, input, shape, weight, None, eps)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each of `num_groups` groups of channels of each item of (N, C, ...).

    out = xhat * weight + bias;  xhat = (x - mean) / sqrt(var + eps);
    grad_x = (g - mean(g) - xhat * mean(g * xhat)) / sqrt(var + eps);  g = grad_out * weight;
    grad_weight = sum(grad_out * xhat);  grad_bias = sum(grad_out)

    weight and bias are (C,). Raises ValueError if the shapes do not fit, or a batch of one has one
    number in each group.
    """
    if input.ndim < 2 or num_groups < 1 or input.shape[1] % num_groups:
        raise ValueError(
            f"group_norm: needs (N, C, ...) with C a multiple of num_groups={num_groups}, got "
            f"{input.shape}"
        )
    check_vectors("group_norm", input, weight=weight, bias=bias)
    if input.numel() == num_groups:
        raise ValueError(
            f"group_norm: one number in each of {num_groups} groups has no variance (input "
            f"{input.shape})"
        )
    scale, shift = _affine(input, (input.shape[1],), weight, bias)
    out: Tensor = GroupNorm.apply(input, scale, shift, groups=num_groups, eps=eps)[0]
    return out


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each item of (N, C, d1, ...) over d1, ...

    out = xhat * weight + bias;  xhat = (x - mean) / sqrt(var + eps);
    grad_x = (g - mean(g) - xhat * mean(g * xhat)) / sqrt(var + eps);  g = grad_out * weight;
    grad_weight = sum(grad_out * xhat);  grad_bias = sum(grad_out)

    The running statistics are moved in place towards the mean over the batch of the items' means
    and unbiased variances. Without `use_input_stats` they are what x is normalised with, as in
    `batch_norm`. Raises ValueError if the shapes do not fit or a channel has one number only.
    """
    if input.ndim < 3:
        raise ValueError(f"instance_norm: needs (N, C, d1, ...), got shape {input.shape}")
    vectors = {"running_mean": running_mean, "running_var": running_var}
    check_vectors("instance_norm", input, **vectors, weight=weight, bias=bias)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError(
                "instance_norm: use_input_stats=False needs running_mean and running_var"
            )
        return batch_norm(input, running_mean, running_var, weight, bias, eps=eps)
    count = math.prod(input.shape[2:])
    if count == 1:
        raise ValueError(
            f"instance_norm: needs more than one number per channel, got input {input.shape}"
        )
    scale, shift = _affine(input, (input.shape[1],), weight, bias)
    groups = max(input.shape[1], 1)
    out, means, variances = GroupNorm.apply(input, scale, shift, groups=groups, eps=eps)
    with no_grad():
        if running_mean is not None:
            running_mean.mul_(1 - momentum).add_(mean(means, 0).to(input.dtype), alpha=momentum)
        if running_var is not None:
            unbiased = mean(variances, 0).to(input.dtype) * (count / (count - 1))
            running_var.mul_(1 - momentum).add_(unbiased, alpha=momentum)
    return out


def _check_rows(
    op: str, x: Tensor, normalized_shape: int | Sequence[int], **vectors: Tensor | None
) -> tuple[int, ...]:
    shape = (
        (normalized_shape,)
        if isinstance(normalized_shape, int | np.integer)
        else tuple(normalized_shape)
    )
    if x.dtype.kind != "f":
        raise TypeError(f"{op}: needs a floating dtype, not {x.dtype}; convert with .float()")
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(
            f"{op}: normalized_shape {shape} is not how the shape {x.shape} of the input ends"
        )
    for name, vector in vectors.items():
        if vector is not None and vector.shape != shape:
            raise ValueError(
                f"{op}: {name} has shape {vector.shape}, normalized_shape {shape} needs the same"
            )
        if vector is not None and vector.dtype != x.dtype:
            raise TypeError(f"{op}: {name} is {vector.dtype}, input is {x.dtype}")
    return shape


def _normalize_rows(
    op: type[GroupNorm],
    x: Tensor,
    shape: tuple[int, ...],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """x as rows (items, features), normalised, and back."""
    features = math.prod(shape)
    scale, shift = _affine(x, shape, weight, bias)
    out = op.apply(
        reshape(x, (math.prod(x.shape[: -len(shape)]), features)),
        reshape(scale, (features,)),
        reshape(shift, (features,)),
        groups=1,
        eps=eps,
    )[0]
    return reshape(out, x.shape)


def _affine(
    x: Tensor, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """weight and bias, or what stands for an absent one."""
    scale = Tensor._wrap(np.ones(shape, x.dtype)) if weight is None else weight
    return scale, Tensor._wrap(np.zeros(shape, x.dtype)) if bias is None else bias
