"""Batch normalisation and the per-channel affine map.

    batch_norm_forward   out = (x - mean) / sqrt(var + eps) * weight + bias; mean, var per channel
    batch_norm_backward  its gradients, from the saved mean and var
    channel_affine       out = x * scale + shift

x is (N, C, ...) with any further dimensions; the m = x.size / C values of a channel are one row
apart. Results have channels-last memory. float32 runs on the kernels in norm_loops.py, after a
copy if the input is not channels last; other dtypes are served by the NumPy lines beside them (two
passes, in that dtype).

Layout: memory is m rows of C channels. `wide` rows are taken as one row of wide * C values
("positions", at least WIDTH of them), so that the inner loops are long and vectorise whatever C
is; the statistics of the positions that hold the same channel are merged at the end. The rows left
over are one shorter row.

Sums are sound: in a block of rows, deviations from a centre and their squares are summed in
float32 (a few dozen terms), and blocks are merged in float64 by the formulas of Chan, Golub &
LeVeque 1979. The centre is the mean of the blocks before (of the first block: its first row). What
the shift from centre to mean can lose is then a few float32 roundings of what that very difference
adds to the variance, so nothing is lost as in E[x^2] - mean^2, whatever the order of the values.
Reading each block twice, for its own mean first, took 1.5 times as long (largest relative error of
var in the tests' hard cases 6e-8, now 1.5e-7).

A float32 mean is off by up to mean * 6e-8, which matters after division by a small deviation: the
forward pass works with the rest that rounding cut off, the backward pass finds it again as the
mean of x - mean.

Each thread has its own partial sums, which are merged in the order of the threads: same number of
threads, same bits. `python -m benchmarks layers` compares. Share of PyTorch's channels-last time:
at (128, 16, 32, 32), which fits the cache, on two threads, forward 0.5 and backward 0.75; at (32,
64, 56, 56), limited by memory, on one thread, both 1.1.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.buffers import empty
from kernels.norm_loops import (
    affine,
    gradient,
    gradient_sums,
    merge_gradient_sums,
    merge_statistics,
    statistics,
)
from kernels.parallel import get_num_threads, launch

Array = NDArray[Any]

WIDTH = 256
"""Least number of positions in a row: an inner loop of 16 to 64 vectors."""
BLOCK = 8192
"""Values in a block of rows: at least 8 rows and at most 64."""
ONE_THREAD = 1 << 14
"""Arrays of fewer elements are not split over threads."""


# ------------------------------------------------------------------------------- rows and positions


class _Rows:
    """How m rows of C channels become rows of `width` positions, and over how many threads."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.channels = shape[1]
        self.count = shape[0] * math.prod(shape[2:])
        self.wide = -(-WIDTH // self.channels)
        self.width = self.wide * self.channels
        self.rows, self.left = divmod(self.count, self.wide)
        self.rest = self.left * self.channels
        self.block = min(max(BLOCK // self.width, 8), 64)
        self.tasks = 1 if self.count * self.channels < ONE_THREAD else get_num_threads()

    def partials(self, sums: int) -> Array:
        """Room for each task's sums at each position."""
        return np.empty((self.tasks, sums, self.width))

    def scratch(self) -> Array:
        return np.empty((self.tasks, 3, self.width), np.float32)

    def vectors(self, n: int) -> Array:
        """Room for n factors at each position."""
        return np.empty((n, self.width), np.float32)


def _channels_last(x: Array) -> Array:
    """x as N, ..., C in contiguous memory; copied only if it is not so already."""
    last = np.moveaxis(x, 1, -1)
    if last.flags.c_contiguous:
        return last
    copy = empty(last.shape, x.dtype)
    np.copyto(copy, last)
    return copy


def _check(op: str, x: Array, **vectors: Array) -> None:
    if x.ndim < 2:
        raise ValueError(f"{op}: x must be (N, C, ...), got shape {x.shape}")
    for name, vector in vectors.items():
        if vector.shape != (x.shape[1],):
            raise ValueError(
                f"{op}: {name} has shape {vector.shape}, x {x.shape} needs ({x.shape[1]},)"
            )


def _is_float32(*arrays: Array) -> bool:
    return all(array.dtype == np.float32 for array in arrays)


# ---------------------------------------------------------------------------------------- functions


def batch_norm_forward(
    x: Array, weight: Array, bias: Array, eps: float
) -> tuple[Array, Array, Array]:
    """(out, mean, var) of x (N, C, ...), weight and bias (C,); var is biased.

    Without any values (m = 0) mean and var are NaN. Raises ValueError if the shapes do not fit.
    """
    _check("batch_norm_forward", x, weight=weight, bias=bias)
    last = _channels_last(x)
    out = empty(last.shape, np.result_type(x, weight, bias))
    mean, var = (np.full(x.shape[1], np.nan, out.dtype) for _ in range(2))
    if x.size == 0:
        return np.moveaxis(out, -1, 1), mean, var
    if not _is_float32(x, weight, bias):
        axes = tuple(range(last.ndim - 1))
        with np.errstate(all="ignore"):
            last.mean(axes, out=mean)
            np.subtract(last, mean, out=out)
            np.square(out).mean(axes, out=var)
            out *= weight / np.sqrt(var + out.dtype.type(eps))
            out += bias
        return np.moveaxis(out, -1, 1), mean, var

    rows = _Rows(x.shape)
    partials, vectors = rows.partials(2), rows.vectors(3)
    weight, bias = np.ascontiguousarray(weight), np.ascontiguousarray(bias)
    launch(
        statistics,
        (last, partials, rows.scratch(), rows.width, rows.rows, rows.rest, rows.block),
        tasks=rows.tasks,
    )
    cut = (rows.channels, rows.wide, rows.rows, rows.left, rows.tasks)
    launch(merge_statistics, (partials, weight, bias, mean, var, vectors, *cut), (eps,), tasks=1)
    launch(affine, (last, vectors, out, rows.width, rows.rows, rows.rest), tasks=rows.tasks)
    return np.moveaxis(out, -1, 1), mean, var


def batch_norm_backward(
    grad_out: Array, x: Array, weight: Array, mean: Array, var: Array, eps: float
) -> tuple[Array, Array, Array]:
    """(grad_x, grad_weight, grad_bias), with xhat = (x - mean) / sqrt(var + eps):

    grad_bias = sum grad_out,  grad_weight = sum grad_out * xhat,
    grad_x = weight / sqrt(var + eps) * (grad_out - grad_bias / m - xhat * grad_weight / m)

    mean and var are those of the forward call. Raises ValueError if the shapes do not fit.
    Source: Ioffe & Szegedy 2015, arXiv:1502.03167.
    """
    _check("batch_norm_backward", x, weight=weight, mean=mean, var=var)
    if grad_out.shape != x.shape:
        raise ValueError(
            f"batch_norm_backward: grad_out has shape {grad_out.shape}, x has {x.shape}"
        )
    grad, last = _channels_last(grad_out), _channels_last(x)
    out = empty(last.shape, np.result_type(grad_out, x, weight))
    grad_weight, grad_bias = (np.zeros(x.shape[1], out.dtype) for _ in range(2))
    if x.size == 0:
        return np.moveaxis(out, -1, 1), grad_weight, grad_bias
    if not _is_float32(grad_out, x, weight, mean, var):
        axes, m = tuple(range(last.ndim - 1)), x.size // x.shape[1]
        with np.errstate(all="ignore"):
            inverse_std = 1 / np.sqrt(var + out.dtype.type(eps))
            xhat = (last - mean) * inverse_std
            grad.sum(axes, out=grad_bias)
            (grad * xhat).sum(axes, out=grad_weight)
            np.subtract(grad, grad_bias / m, out=out)
            out -= xhat * (grad_weight / m)
            out *= weight * inverse_std
        return np.moveaxis(out, -1, 1), grad_weight, grad_bias

    rows = _Rows(x.shape)
    partials, vectors = rows.partials(3), rows.vectors(4)
    weight, var = np.ascontiguousarray(weight), np.ascontiguousarray(var)
    vectors[0].reshape(rows.wide, rows.channels)[:] = mean
    launch(
        gradient_sums,
        (
            grad,
            last,
            vectors,
            partials,
            rows.scratch(),
            rows.width,
            rows.rows,
            rows.rest,
            rows.block,
        ),
        tasks=rows.tasks,
    )
    cut = (rows.channels, rows.wide, rows.count, rows.tasks)
    launch(
        merge_gradient_sums,
        (partials, weight, var, grad_weight, grad_bias, vectors, *cut),
        (eps,),
        tasks=1,
    )
    launch(
        gradient,
        (grad, last, vectors, out, rows.width, rows.rows, rows.rest),
        tasks=rows.tasks,
    )
    return np.moveaxis(out, -1, 1), grad_weight, grad_bias


def channel_affine(x: Array, scale: Array, shift: Array) -> Array:
    """x * scale[c] + shift[c], c the channel (dimension 1 of x).

    Raises ValueError if the shapes do not fit."""
    _check("channel_affine", x, scale=scale, shift=shift)
    last = _channels_last(x)
    out = empty(last.shape, np.result_type(x, scale, shift))
    if not _is_float32(x, scale, shift):
        with np.errstate(all="ignore"):
            np.multiply(last, scale, out=out)
            out += shift
    elif x.size:
        rows = _Rows(x.shape)
        vectors = rows.vectors(3)
        for row, vector in zip(vectors, (0, scale, shift), strict=True):
            row.reshape(rows.wide, rows.channels)[:] = vector
        launch(affine, (last, vectors, out, rows.width, rows.rows, rows.rest), tasks=rows.tasks)
    return np.moveaxis(out, -1, 1)
