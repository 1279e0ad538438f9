"""Normalisation of groups of channels, each image on its own.

    group_norm_forward    out = (x - mean) / sqrt(var + eps) * weight + bias
    group_norm_backward   its gradients, from the saved mean and var

x is (N, C, ...) with any further dimensions; mean and var are over a group of C / groups channels
and all further dimensions. So one pair of functions serves group norm, instance norm (as many
groups as channels), layer norm (x (rows, features), one group) and, with `centred=False`, which
takes the mean to be 0, RMS norm.

Results have channels-last memory. float32 runs on the kernels in group_norm_loops.py, those of a
layer norm in layer_norm_loops.py, after a copy if the input is not channels last; other dtypes are
served by the NumPy lines beside them.

Sums are sound: numbers are added in float64; the variance is that of the deviations from the mean
(a second pass, over memory that is in the cache by then), so nothing is lost as in
E[x^2] - mean^2. What rounding the mean to float32 cuts off is put back afterwards.

Threads share the images; few images are cut into groups of channels. The sums for weight and bias
are merged in the order of the threads: same number of threads, same bits.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.buffers import empty
from kernels.group_norm_loops import group_gradient, group_statistics
from kernels.layer_norm_loops import row_gradient, row_statistics
from kernels.parallel import get_num_threads, launch

Array = NDArray[Any]

ONE_THREAD = 1 << 14
"""Arrays of fewer elements are not split over threads."""


def group_norm_forward(
    x: Array, weight: Array, bias: Array, groups: int, eps: float, centred: bool = True
) -> tuple[Array, Array, Array]:
    """(out, mean, var) of x (N, C, ...), weight and bias (C,); mean and var are (N, groups).

    var is biased. mean and var of float32 are float64; of groups without values they are NaN.
    Raises ValueError if the shapes do not fit.
    """
    _check("group_norm_forward", x, groups, weight=weight, bias=bias)
    last = _channels_last(x)
    images, channels, pixels = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    out = empty(last.shape, np.result_type(x, weight, bias))
    if x.size == 0:
        nothing = np.full((2, images, groups), np.nan)
        return np.moveaxis(out, -1, 1), nothing[0], nothing[1]
    if any(a.dtype != np.float32 for a in (x, weight, bias)):
        rows = last.reshape(images, pixels, groups, channels // groups)
        with np.errstate(all="ignore"):
            shift = (
                rows.mean((1, 3), keepdims=True) if centred else np.zeros((images, 1, groups, 1))
            )
            deviations = rows - shift.astype(out.dtype)
            spread = np.square(deviations).mean((1, 3), keepdims=True)
            xhat = deviations / np.sqrt(spread + out.dtype.type(eps))
            np.multiply(xhat.reshape(last.shape), weight, out=out)
            out += bias
        return np.moveaxis(out, -1, 1), shift.reshape(images, -1), spread.reshape(images, -1)

    mean, var = np.empty((images, groups)), np.empty((images, groups))
    tasks, splits = _division(x.size, images, groups)
    if pixels == groups == 1:
        arrays = (last, out, np.ascontiguousarray(weight), np.ascontiguousarray(bias), mean, var)
        sizes: tuple[int, ...] = (images, channels, int(centred))
        scratch = np.empty((tasks, 64), np.uint8)
        launch(row_statistics, (*arrays, scratch, *sizes), (eps,), tasks=tasks)
        return np.moveaxis(out, -1, 1), mean, var
    sizes = (images, pixels, channels, groups, splits, int(centred))
    scratch = np.empty((tasks, channels * 20), np.uint8)
    vectors = (np.ascontiguousarray(weight), np.ascontiguousarray(bias))
    launch(group_statistics, (last, out, *vectors, mean, var, scratch, *sizes), (eps,), tasks=tasks)
    return np.moveaxis(out, -1, 1), mean, var


def group_norm_backward(
    grad_out: Array,
    x: Array,
    weight: Array,
    mean: Array,
    var: Array,
    eps: float,
    centred: bool = True,
    need_grad_x: bool = True,
) -> tuple[Array | None, Array, Array]:
    """(grad_x, grad_weight, grad_bias), with xhat = (x - mean) / sqrt(var + eps), the sums for
    weight and bias over all but the channels, and the means over a group of an image:

    grad_bias = sum grad_out,  grad_weight = sum grad_out * xhat,  g = grad_out * weight,
    grad_x = (g - mean(g) - xhat * mean(g * xhat)) / sqrt(var + eps)

    without mean(g) unless `centred`. mean and var are those of the forward call. grad_x is None
    unless `need_grad_x`. Raises ValueError if the shapes do not fit.
    """
    groups = mean.shape[1] if mean.ndim == 2 else 0
    _check("group_norm_backward", x, groups, weight=weight)
    if grad_out.shape != x.shape or not mean.shape == var.shape == (x.shape[0], groups):
        raise ValueError(
            f"group_norm_backward: grad_out {grad_out.shape}, mean {mean.shape} and var "
            f"{var.shape} do not fit x {x.shape}"
        )
    grad, last = _channels_last(grad_out), _channels_last(x)
    images, channels, pixels = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    dtype = np.result_type(grad_out, x, weight)
    out = empty(last.shape, dtype) if need_grad_x else None
    if x.size == 0:
        zeros = np.zeros((2, channels), dtype)
        return None if out is None else np.moveaxis(out, -1, 1), zeros[0], zeros[1]
    if any(a.dtype != np.float32 for a in (grad_out, x, weight)):
        shape = (images, pixels, groups, channels // groups)
        with np.errstate(all="ignore"):
            inverse_std = 1 / np.sqrt(var.astype(dtype) + dtype.type(eps))[:, None, :, None]
            xhat = (last.reshape(shape) - mean.astype(dtype)[:, None, :, None]) * inverse_std
            grads = grad.reshape(images * pixels, channels)
            grad_weight = (grads * xhat.reshape(grads.shape)).sum(0)
            if out is not None:
                g = (grads * weight).reshape(shape)
                slope = (g * xhat).mean((1, 3), keepdims=True)
                g -= g.mean((1, 3), keepdims=True) if centred else 0
                np.multiply(g - xhat * slope, inverse_std, out=out.reshape(shape))
        return None if out is None else np.moveaxis(out, -1, 1), grad_weight, grads.sum(0)

    tasks, splits = _division(x.size, images, groups)
    flags = (int(centred), int(need_grad_x))
    partials = np.empty((tasks, 2, channels))
    scratch = np.empty((tasks, channels * 28 + 64), np.uint8)
    statistics = (np.ascontiguousarray(mean, np.float64), np.ascontiguousarray(var, np.float64))
    arrays = (grad, last, np.ascontiguousarray(weight), *statistics, 0 if out is None else out)
    if pixels == groups == 1:
        sizes: tuple[int, ...] = (images, channels, *flags)
        launch(row_gradient, (*arrays, partials, scratch, *sizes), (eps,), tasks=tasks)
    else:
        sizes = (images, pixels, channels, groups, splits, *flags)
        launch(group_gradient, (*arrays, partials, scratch, *sizes), (eps,), tasks=tasks)
    grad_weight, grad_bias = partials.sum(0).astype(np.float32)
    return None if out is None else np.moveaxis(out, -1, 1), grad_weight, grad_bias


def _division(size: int, images: int, groups: int) -> tuple[int, int]:
    """Number of tasks, and of pieces that each image is cut into."""
    tasks = 1 if size < ONE_THREAD else get_num_threads()
    splits = 1 if images >= tasks else min(groups, -(-tasks // images))
    return min(tasks, images * splits), splits


def _channels_last(x: Array) -> Array:
    """x as N, ..., C in contiguous memory; copied only if it is not so already."""
    last = np.moveaxis(x, 1, -1)
    if last.flags.c_contiguous:
        return last
    copy = empty(last.shape, x.dtype)
    np.copyto(copy, last)
    return copy


def _check(op: str, x: Array, groups: int, **vectors: Array) -> None:
    if x.ndim < 2 or groups < 1 or x.shape[1] % groups:
        raise ValueError(
            f"{op}: x must be (N, C, ...) with a multiple of {groups} channels, got {x.shape}"
        )
    for name, vector in vectors.items():
        if vector.shape != (x.shape[1],):
            raise ValueError(
                f"{op}: {name} has shape {vector.shape}, x {x.shape} needs ({x.shape[1]},)"
            )
