"""Batch normalisation, and the per-channel affine map that it is in evaluation mode."""

from __future__ import annotations

import math

import numpy as np

import kernels
from kernels.norm import Statistics
from kernels.workers import allowing
from tinygrad_ft import observe
from tinygrad_ft.deferred import Deferred
from tinygrad_ft.function import Function
from tinygrad_ft.grad_mode import is_grad_enabled
from tinygrad_ft.ops.reduce import mean, sum
from tinygrad_ft.ops.shape import reshape
from tinygrad_ft.ops.unary import sqrt
from tinygrad_ft.tensor import Tensor

Grads = tuple[Tensor | None, ...]


class BatchNorm(Function):
    """xhat = (x - mean) / sqrt(var + eps),  out = xhat * weight + bias

    mean and var over all dimensions but the channels (dimension 1), m elements each; var is biased.

    grad_bias = sum grad_out,  grad_weight = sum grad_out * xhat,
    grad_x = weight / sqrt(var + eps) * (grad_out - grad_bias / m - xhat * grad_weight / m)

    Unrecorded, the backward is one fused kernel with the saved statistics. Recorded, it is the same
    formula in Tensor ops, in which mean and var are computed from x again so that they are
    differentiated. Source: Ioffe & Szegedy 2015, arXiv:1502.03167.
    """

    runs_ahead = True

    def forward(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray,
        *,
        statistics: Statistics,
        eps: float,
    ) -> np.ndarray:
        self.eps = eps
        self.save_input(0)
        self.save_input(1)
        self.save_statistics("mean", statistics.mean)
        self.save_statistics("var", statistics.var)
        out, _ = kernels.batch_norm_apply(x, weight, bias, statistics, eps)
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        x, weight = self.input(0), self.input(1)
        if is_grad_enabled():
            return batch_norm_gradients(grad_out, x, weight, self.eps)
        mean, var = self.statistics("mean"), self.statistics("var")
        grads = kernels.batch_norm_backward(
            grad_out._array, x._array, weight._array, mean, var, self.eps
        )
        return tuple(
            Tensor._wrap(g) if needed else None
            for g, needed in zip(grads, self.needs_input_grad, strict=True)
        )


def batch_norm_gradients(grad_out: Tensor, x: Tensor, weight: Tensor, eps: float) -> Grads:
    """The formula of BatchNorm's backward in ops that can be differentiated in turn."""
    dims = (0, *range(2, x.ndim))
    per_channel = (1, -1) + (1,) * (x.ndim - 2)
    centred = x - mean(x, dims, keepdim=True)
    inverse_std = 1.0 / sqrt(mean(centred * centred, dims, keepdim=True) + eps)
    xhat = centred * inverse_std
    grad_bias = sum(grad_out, dims)
    grad_weight = sum(grad_out * xhat, dims)
    share = 1.0 / (x.numel() // x.shape[1])
    grad_x = (reshape(weight, per_channel) * inverse_std) * (
        grad_out
        - reshape(grad_bias, per_channel) * share
        - xhat * (reshape(grad_weight, per_channel) * share)
    )
    return grad_x, grad_weight, grad_bias


class ChannelAffine(Function):
    """out = x * scale[c] + shift[c];  grad_x = grad_out * scale[c],
    grad_scale[c] = sum_{n, i} grad_out[n, c, i] * x[n, c, i];
    grad_shift[c] = sum_{n, i} grad_out[n, c, i]

    c is the channel (dimension 1).
    """

    runs_ahead = True

    def forward(self, x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
        self.save_input(0, needed_by=1)
        self.save_input(1, needed_by=0)
        return kernels.channel_affine(x, scale, shift)

    def backward(self, grad_out: Tensor) -> Grads:
        dims = (0, *range(2, grad_out.ndim))
        grad_x = grad_scale = grad_shift = None
        if self.needs_input_grad[0]:
            scale = self.input(1)
            per_channel = (1, -1) + (1,) * (grad_out.ndim - 2)
            grad_x = grad_out * reshape(scale, per_channel)
        if self.needs_input_grad[1]:
            grad_scale = sum(grad_out * self.input(0), dims)
        if self.needs_input_grad[2]:
            grad_shift = sum(grad_out, dims)
        return grad_x, grad_scale, grad_shift


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel (dimension 1) of input (N, C, ...).

    out = xhat * weight + bias,  xhat = (x - mean) / sqrt(var + eps)
    grad_x = weight / sqrt(var + eps) * (grad_out - mean(grad_out) - xhat * mean(grad_out * xhat))
    grad_weight = sum(grad_out * xhat),  grad_bias = sum(grad_out)

    In training with the batch's own mean and variance, and the running statistics are moved in
    place: running = (1 - momentum) * running + momentum * batch, with the unbiased variance.
    Otherwise with the running statistics. Raises ValueError if the shapes do not fit or training
    has one value per channel.
    """
    if input.ndim < 2:
        raise ValueError(f"batch_norm: needs (N, C, ...), got shape {input.shape}")
    channels = input.shape[1]
    check_vectors(
        "batch_norm",
        input,
        running_mean=running_mean,
        running_var=running_var,
        weight=weight,
        bias=bias,
    )
    scale = Tensor._wrap(np.ones(channels, input.dtype)) if weight is None else weight
    shift = Tensor._wrap(np.zeros(channels, input.dtype)) if bias is None else bias
    if training:
        return _train(input, running_mean, running_var, scale, shift, momentum, eps)
    if running_mean is None or running_var is None:
        raise ValueError("batch_norm: evaluation needs running_mean and running_var")
    scale, shift = _folded(scale, shift, running_mean, running_var, eps)
    if isinstance(input, Deferred) and (later := input.then_affine(scale, shift)) is not None:
        return later
    return ChannelAffine.apply(input, scale, shift)


def _folded(
    weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """scale = weight / sqrt(var + eps) and shift = bias - mean * scale."""
    recorded = is_grad_enabled() and any(t.requires_grad for t in (weight, bias, mean, var))
    if recorded or observe.current is not None:
        scale = weight / sqrt(var + eps)
        return scale, bias - mean * scale
    # the same without five ops, which for a whole network are a twentieth of an inference
    with allowing(True):
        vectors = (weight._array, bias._array, mean._array, var._array)
        folded = kernels.fold_batch_norm(*vectors, eps)
    return Tensor._wrap(folded[0]), Tensor._wrap(folded[1])


def check_vectors(op: str, x: Tensor, **vectors: Tensor | None) -> None:
    """One number per channel (dimension 1) of x, and the dtype of x."""
    dtype, shape = x.dtype, x.shape[1:2]
    if dtype.kind != "f":
        raise TypeError(f"{op}: needs a floating dtype, not {dtype}; convert with .float()")
    for name, vector in vectors.items():
        if vector is None:
            continue
        array = vector._array
        if array.shape != shape:
            raise ValueError(f"{op}: {name} has shape {array.shape}, input {x.shape} needs {shape}")
        if array.dtype != dtype:
            raise TypeError(f"{op}: {name} is {array.dtype}, input is {dtype}")


def _train(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    momentum: float,
    eps: float,
) -> Tensor:
    count = math.prod(x.shape) // max(x.shape[1], 1)
    if count < 2:
        raise ValueError(
            f"batch_norm: training needs more than one value per channel, got input {x.shape}"
        )
    with allowing(True):
        statistics = kernels.batch_norm_statistics(
            x._array,
            None if running_mean is None else running_mean._place("batch_norm"),
            None if running_var is None else running_var._place("batch_norm"),
            momentum,
        )
    from tinygrad_ft.ops.fusion import DeferredNorm, fusion_enabled

    if fusion_enabled():
        return DeferredNorm(x, weight, bias, statistics, eps)
    out: Tensor = BatchNorm.apply(x, weight, bias, statistics=statistics, eps=eps)
    return out
