"""Batch normalisation and the per-channel affine map.

    batch_norm_forward   out = (x - mean) / sqrt(var + eps) * weight + bias, mean and var of each channel
    batch_norm_backward  its gradients, from the saved mean and var
    channel_affine       out = x * scale + shift

x is (N, C, ...) with any further dimensions; the m = x.size / C values of a channel are one row apart.
Results have channels-last memory. float32 runs on the kernels below, after a copy if the input is not
channels last; other dtypes are served by the NumPy lines beside them (two passes, in that dtype).

Layout: memory is m rows of C channels. `wide` rows are taken as one row of wide * C values ("positions",
at least WIDTH of them), so that the inner loops are long and vectorise whatever C is; the statistics of
the positions that hold the same channel are merged at the end. The rows left over are one shorter row.

Sums are sound: a block of rows that fits the cache is read twice, first for its mean, then for the squares
of the deviations from it (float32, a few dozen terms), and blocks are merged in float64 by the formulas of
Chan, Golub & LeVeque 1979. Nothing is ever lost as in E[x^2] - mean^2. A float32 mean is off by up to
mean * 6e-8, which matters after division by a small deviation: the forward pass works with the rest that
rounding cut off, the backward pass finds it again as the mean of x - mean.

Each thread has its own partial sums, which are merged in the order of the threads: same number of threads,
same bits. At (128, 16, 32, 32) on two threads: forward FWD of PyTorch's channels-last time, backward BWD.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.buffers import empty
from kernels.cache import kernel
from kernels.parallel import get_num_threads, launch, share
from kernels.simd import float32_at, float64_at

Array = NDArray[Any]

WIDTH = 256
"""Least number of positions in a row: an inner loop of 16 to 64 vectors."""
BLOCK = 8192
"""Values in a block of rows that is read twice: 32 KiB."""
ONE_THREAD = 1 << 14
"""Arrays of fewer elements are not split over threads."""


# ---------------------------------------------------------------------------------------------- kernels


@kernel()
def _statistics(ints, floats, task, tasks):
    """Count-weighted mean and sum of squared deviations of each position, over this task's rows."""
    x, partials, scratch = ints[0], ints[1] + task * ints[3] * 16, ints[2] + task * ints[3] * 12
    width, rows, rest, block = ints[3], ints[4], ints[5], ints[6]
    mean, squares = float64_at(partials), float64_at(partials + width * 8)
    centre, shift, spread = (
        float32_at(scratch),
        float32_at(scratch + width * 4),
        float32_at(scratch + width * 8),
    )
    for j in range(width):
        mean[j] = 0.0
        squares[j] = 0.0
    row, end = share(rows, task, tasks), share(rows, task + 1, tasks)
    seen = 0.0
    rest_is_mine = rest > 0 and task == tasks - 1
    while row < end or rest_is_mine:
        count = min(block, end - row)
        length = width
        if count == 0:
            count, length, rest_is_mine = 1, rest, False
        block_at = x + row * width * 4
        share_of_one = np.float32(1.0 / count)
        for j in range(length):
            centre[j] = np.float32(0)
            shift[j] = np.float32(0)
            spread[j] = np.float32(0)
        for r in range(count):
            line = float32_at(block_at + r * width * 4)
            for j in range(length):
                centre[j] += line[j]
        for j in range(length):
            centre[j] *= share_of_one
        for r in range(count):
            line = float32_at(block_at + r * width * 4)
            for j in range(length):
                deviation = line[j] - centre[j]
                shift[j] += deviation
                spread[j] += deviation * deviation
        part = count / (seen + count)
        for j in range(length):
            off = np.float64(shift[j]) / count  # what rounding left between the centre and the mean
            delta = np.float64(centre[j]) + off - mean[j]
            mean[j] += delta * part
            squares[j] += np.float64(spread[j]) - shift[j] * off + delta * delta * (seen * part)
        seen += count
        row += count


@kernel()
def _merge_statistics(ints, floats, task, tasks):
    """mean and var of each channel, and what `_affine` needs at each position."""
    partials, weight, bias = float64_at(ints[0]), float32_at(ints[1]), float32_at(ints[2])
    mean, var, vectors = float32_at(ints[3]), float32_at(ints[4]), float32_at(ints[5])
    channels, wide, rows, left, pieces = ints[6], ints[7], ints[8], ints[9], ints[10]
    width, m = wide * channels, rows * wide + left
    for c in range(channels):
        exact_mean = 0.0
        for piece in range(pieces):
            part = share(rows, piece + 1, pieces) - share(rows, piece, pieces)
            for k in range(wide):
                count = part + 1 if piece == pieces - 1 and k < left else part
                exact_mean += partials[2 * piece * width + k * channels + c] * count
        exact_mean /= m
        squares = 0.0
        for piece in range(pieces):
            part = share(rows, piece + 1, pieces) - share(rows, piece, pieces)
            for k in range(wide):
                count = part + 1 if piece == pieces - 1 and k < left else part
                place = 2 * piece * width + k * channels + c
                off = partials[place] - exact_mean
                squares += partials[place + width] + off * off * count
        if squares < 0.0:  # equal values, and rounding
            squares = 0.0
        mean[c] = np.float32(exact_mean)
        var[c] = np.float32(squares / m)
        scale = weight[c] / math.sqrt(squares / m + floats[0])
        shift = bias[c] - (exact_mean - mean[c]) * scale
        for k in range(wide):
            place = k * channels + c
            vectors[place] = mean[c]
            vectors[width + place] = np.float32(scale)
            vectors[2 * width + place] = np.float32(shift)


@kernel()
def _affine(ints, floats, task, tasks):
    """out = (x - centre) * scale + shift"""
    width, rows, rest = ints[3], ints[4], ints[5]
    centre = float32_at(ints[1])
    scale, shift = float32_at(ints[1] + width * 4), float32_at(ints[1] + width * 8)
    end = share(rows, task + 1, tasks)
    if rest > 0 and task == tasks - 1:
        end += 1
    for row in range(share(rows, task, tasks), end):
        x, out = float32_at(ints[0] + row * width * 4), float32_at(ints[2] + row * width * 4)
        for j in range(width if row < rows else rest):
            out[j] = (x[j] - centre[j]) * scale[j] + shift[j]


@kernel()
def _gradient_sums(ints, floats, task, tasks):
    """Sums of grad, of grad * (x - centre) and of x - centre at each position, over this task's rows."""
    partials, scratch = ints[3] + task * ints[5] * 24, ints[4] + task * ints[5] * 12
    centre, width, rows, rest, block = float32_at(ints[2]), ints[5], ints[6], ints[7], ints[8]
    totals, sums = float64_at(partials), float32_at(scratch)
    grads, products, deviations = (
        float32_at(scratch),
        float32_at(scratch + width * 4),
        float32_at(scratch + width * 8),
    )
    for j in range(3 * width):
        totals[j] = 0.0
    row, end = share(rows, task, tasks), share(rows, task + 1, tasks)
    rest_is_mine = rest > 0 and task == tasks - 1
    while row < end or rest_is_mine:
        count = min(block, end - row)
        length = width
        if count == 0:
            count, length, rest_is_mine = 1, rest, False
        for j in range(3 * width):
            sums[j] = np.float32(0)
        for r in range(row, row + count):
            grad, x = float32_at(ints[0] + r * width * 4), float32_at(ints[1] + r * width * 4)
            for j in range(length):
                deviation = x[j] - centre[j]
                grads[j] += grad[j]
                products[j] += grad[j] * deviation
                deviations[j] += deviation
        for j in range(3 * width):
            totals[j] += sums[j]
        row += count


@kernel()
def _merge_gradient_sums(ints, floats, task, tasks):
    """grad_weight and grad_bias, and what `_gradient` needs at each position."""
    partials, weight, var = float64_at(ints[0]), float32_at(ints[1]), float32_at(ints[2])
    grad_weight, grad_bias, vectors = float32_at(ints[3]), float32_at(ints[4]), float32_at(ints[5])
    channels, wide, m, pieces = ints[6], ints[7], ints[8], ints[9]
    width = wide * channels
    for c in range(channels):
        grads, products, deviations = 0.0, 0.0, 0.0
        for piece in range(pieces):
            for k in range(wide):
                place = 3 * piece * width + k * channels + c
                grads += partials[place]
                products += partials[place + width]
                deviations += partials[place + 2 * width]
        cut_off = deviations / m  # the exact mean - the float32 mean
        inverse_std = 1.0 / math.sqrt(var[c] + floats[0])
        of_weight = (products - cut_off * grads) * inverse_std
        grad_weight[c] = np.float32(of_weight)
        grad_bias[c] = np.float32(grads)
        scale = weight[c] * inverse_std
        slope = scale * inverse_std * of_weight / m
        for k in range(wide):
            place = width + k * channels + c
            vectors[place] = np.float32(scale)
            vectors[width + place] = np.float32(slope)
            vectors[2 * width + place] = np.float32(cut_off * slope - scale * grads / m)


@kernel()
def _gradient(ints, floats, task, tasks):
    """grad_x = grad * scale - (x - centre) * slope + shift"""
    width, rows, rest = ints[4], ints[5], ints[6]
    centre, scale = float32_at(ints[2]), float32_at(ints[2] + width * 4)
    slope, shift = float32_at(ints[2] + width * 8), float32_at(ints[2] + width * 12)
    end = share(rows, task + 1, tasks)
    if rest > 0 and task == tasks - 1:
        end += 1
    for row in range(share(rows, task, tasks), end):
        at = row * width * 4
        grad, x, out = float32_at(ints[0] + at), float32_at(ints[1] + at), float32_at(ints[3] + at)
        for j in range(width if row < rows else rest):
            out[j] = grad[j] * scale[j] - (x[j] - centre[j]) * slope[j] + shift[j]


# --------------------------------------------------------------------------------- rows and positions


class _Rows:
    """How m rows of C channels are cut into rows of `width` positions, and over how many threads."""

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


# -------------------------------------------------------------------------------------------- functions


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
        _statistics,
        (last, partials, rows.scratch(), rows.width, rows.rows, rows.rest, rows.block),
        tasks=rows.tasks,
    )
    cut = (rows.channels, rows.wide, rows.rows, rows.left, rows.tasks)
    launch(_merge_statistics, (partials, weight, bias, mean, var, vectors, *cut), (eps,), tasks=1)
    launch(_affine, (last, vectors, out, rows.width, rows.rows, rows.rest), tasks=rows.tasks)
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
        _gradient_sums,
        (grad, last, vectors, partials, rows.scratch(), rows.width, rows.rows, rows.rest, rows.block),
        tasks=rows.tasks,
    )
    cut = (rows.channels, rows.wide, rows.count, rows.tasks)
    launch(
        _merge_gradient_sums,
        (partials, weight, var, grad_weight, grad_bias, vectors, *cut),
        (eps,),
        tasks=1,
    )
    launch(
        _gradient,
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
        launch(_affine, (last, vectors, out, rows.width, rows.rows, rows.rest), tasks=rows.tasks)
    return np.moveaxis(out, -1, 1)
