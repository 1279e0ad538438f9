"""Batch normalisation and the per-channel affine map, and what often follows: + residual, relu.

    batch_norm_statistics  mean and var per channel; moves the running statistics
    batch_norm_apply       out = (x - mean) / sqrt(var + eps) * weight + bias, then + residual, relu
    batch_norm_forward     the two together, plain
    batch_norm_backward    the gradients, from the saved statistics
    channel_affine         out = x * scale + shift, then + residual, relu

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
forward pass works with the rest that rounding cut off (`cut_off`), the backward pass finds it again
as the mean of x - mean.

Relu lets its input pass where it is not negative (also NaN), with derivative 1 at exactly 0. Its
mask is worked out again in the backward pass, from x and by the same instructions; with a residual,
which is not kept, it is kept itself, one byte a value.

Each thread has its own partial sums; whoever is done last merges them, in the order of the threads:
same number of threads, same bits. The passes are written in explicit vectors: left to LLVM's own
vectorisation, relu and the mask made normalising take twice as long.

The gradient of the input may wait (`NormGradient`) for the convolution before it.

`python -m benchmarks layers` compares with PyTorch.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.addresses import address
from kernels.buffers import empty
from kernels.norm_loops import (
    gradient,
    gradient_sums,
    normalize,
    statistics,
)
from kernels.parallel import get_num_threads, launch
from kernels.workers import catch_up

Array = NDArray[Any]

WIDTH = 256
"""Least number of positions in a row: an inner loop of 16 to 64 vectors."""
SUM_WIDTH = 64
"""The same for sums, which are kept in registers: few channels are then read in order."""
BLOCK = 8192
"""Values in a block of rows: at least 8 rows and at most 64."""
ONE_THREAD = 1 << 14
"""Arrays of fewer elements are not split over threads."""


# ------------------------------------------------------------------------------- rows and positions


class _Rows:
    """How m rows of C channels become rows of `width` positions, and over how many threads."""

    def __init__(self, shape: tuple[int, ...], least: int, threads: int) -> None:
        self.channels = shape[1]
        self.count = shape[0] * math.prod(shape[2:])
        self.wide = -(-least // self.channels)
        self.width = self.wide * self.channels
        self.rows, self.left = divmod(self.count, self.wide)
        self.rest = self.left * self.channels
        self.block = min(max(BLOCK // self.width, 8), 64)
        self.tasks = 1 if self.count * self.channels < ONE_THREAD else threads

    def partials(self, sums: int) -> Array:
        """Room for each task's sums at each position."""
        return np.empty((self.tasks, sums, self.width))

    def scratch(self) -> Array:
        return np.empty((self.tasks, 4, self.width), np.float32)

    def vectors(self, n: int) -> Array:
        """Room for n factors at each position, for each task."""
        return np.empty((self.tasks, n, self.width), np.float32)


_known_rows = lru_cache(maxsize=256)(_Rows)


def _rows(x: Array, least: int = WIDTH) -> _Rows:
    return _known_rows(x.shape, least, get_num_threads())


def _channels_last(x: Array) -> Array:
    """x as N, ..., C in contiguous memory; copied only if it is not so already."""
    last = x.transpose(0, *range(2, x.ndim), 1)  # quicker than np.moveaxis
    if last.flags.c_contiguous:
        return last
    catch_up()
    copy = empty(last.shape, x.dtype)
    np.copyto(copy, last)
    return copy


def _channels_second(x: Array) -> Array:
    """N, ..., C as N, C, ..."""
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


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


class Statistics(NamedTuple):
    """Of each channel: mean, biased variance, and the exact mean - the rounded one (float64)."""

    mean: Array
    var: Array
    cut_off: Array


def batch_norm_statistics(
    x: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    momentum: float = 0.1,
) -> Statistics:
    """Statistics of x (N, C, ...); without any values (m = 0) NaN.

    Running statistics are changed in place where given: running = (1 - momentum) * running +
    momentum * new, with the unbiased variance. Raises ValueError if the shapes do not fit.
    """
    running = {"running_mean": running_mean, "running_var": running_var}
    given = {name: vector for name, vector in running.items() if vector is not None}
    _check("batch_norm_statistics", x, **given)
    last = _channels_last(x)
    channels, m = x.shape[1], x.size // max(x.shape[1], 1)
    mean, var = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    cut_off = np.zeros(channels)
    both = len(given) == 2
    direct = both and all(v.flags.c_contiguous for v in given.values())
    if x.size and _is_float32(x, *given.values()):
        rows = _rows(x, SUM_WIDTH)
        launch(
            statistics,
            (
                *(last, rows.partials(2), rows.scratch()),
                *(rows.width, rows.rows, rows.rest, rows.block, np.zeros(1, np.int64)),
                *(mean, var, cut_off, rows.channels, rows.wide, rows.left),
                *((1, running_mean, running_var) if direct else (0, 0, 0)),
            ),
            (momentum,),
            tasks=rows.tasks,
            later=True,
        )
        if direct:
            return Statistics(mean, var, cut_off)
        catch_up()
    elif x.size:
        catch_up()
        axes = tuple(range(last.ndim - 1))
        with np.errstate(all="ignore"):
            last.mean(axes, out=mean)
            np.square(last - mean).mean(axes, out=var)
    else:
        mean.fill(np.nan)
        var.fill(np.nan)
    with np.errstate(all="ignore"):
        for target, new in ((running_mean, mean), (running_var, var * (m / max(m - 1, 1)))):
            if target is not None:
                target *= 1 - momentum
                target += momentum * new
    return Statistics(mean, var, cut_off)


def batch_norm_apply(
    x: Array,
    weight: Array,
    bias: Array,
    statistics: Statistics,
    eps: float,
    residual: Array | None = None,
    relu: bool = False,
    keep_mask: bool = False,
) -> tuple[Array, Array | None]:
    """(x - mean) / sqrt(var + eps) * weight + bias, then + residual (shape of x), then relu.

    Returns (out, passes): with `keep_mask`, the boolean array of the values that relu lets through,
    which the backward pass needs after a residual; else None. Raises ValueError if the shapes do
    not fit, TypeError if the residual has another dtype.
    """
    mean, var, _ = statistics
    _check("batch_norm_apply", x, weight=weight, bias=bias, mean=mean, var=var)
    if x.size and _is_float32(x, weight, bias, mean, var):
        of = _Factors(weight, bias, *statistics)
        vectors = _rows(x).vectors(3)
        return _normalized("batch_norm_apply", x, vectors, residual, relu, keep_mask, of, eps)
    catch_up()
    scale = weight / np.sqrt(var + var.dtype.type(eps))
    vectors = np.stack([mean, scale, np.asarray(bias, scale.dtype)])
    return _normalized("batch_norm_apply", x, vectors, residual, relu, keep_mask)


class _Factors:
    """What norm_loops._prepare reads, and the arrays behind the addresses."""

    def __init__(self, *vectors: Array) -> None:
        self.arrays = [v if v.flags.c_contiguous else _copied(v) for v in vectors]
        self.table = np.array([address(v) for v in self.arrays], np.int64)


def _copied(vector: Array) -> Array:
    catch_up()
    return vector.copy()


def _normalized(
    op: str,
    x: Array,
    vectors: Array,
    residual: Array | None,
    relu: bool,
    keep_mask: bool,
    of: _Factors | None = None,
    eps: float = 0.0,
) -> tuple[Array, Array | None]:
    """What `normalize` does, in float32 on the positions, else in NumPy on the channels.

    With `of` the vectors are made by the tasks, else given."""
    if residual is not None and residual.shape != x.shape:
        raise ValueError(f"{op}: residual has shape {residual.shape}, x has {x.shape}")
    if residual is not None and residual.dtype != x.dtype:
        raise TypeError(f"{op}: residual is {residual.dtype}, x is {x.dtype}")
    last = _channels_last(x)
    added = [] if residual is None else [_channels_last(residual)]
    dtype = np.result_type(x, vectors)
    out = empty(last.shape, dtype, later=True)
    passes = empty(last.shape, np.bool_, later=True) if keep_mask else None
    if dtype == np.float32 and x.size:
        rows = _rows(x)
        launch(
            normalize,
            (
                *(last, vectors, out, added[0] if added else 0),
                *(0 if passes is None else passes, int(relu)),
                *(rows.width, rows.rows, rows.rest),
                *((0, 0) if of is None else (rows.channels, of.table)),
            ),
            (eps,),
            tasks=rows.tasks,
            later=True,
            keep=(of,),
        )
    else:
        catch_up()
        with np.errstate(all="ignore"):
            np.subtract(last, vectors[0], out=out)
            out *= vectors[1]
            out += vectors[2]
            for array in added:
                out += array
            if passes is not None:
                np.logical_not(out < 0, out=passes)
            if relu:
                np.copyto(out, 0, where=out < 0)
    return _channels_second(out), None if passes is None else _channels_second(passes)


def batch_norm_forward(
    x: Array, weight: Array, bias: Array, eps: float
) -> tuple[Array, Array, Array]:
    """(out, mean, var) of x (N, C, ...), weight and bias (C,); var is biased.

    Without any values (m = 0) mean and var are NaN. Raises ValueError if the shapes do not fit.
    """
    _check("batch_norm_forward", x, weight=weight, bias=bias)
    statistics = batch_norm_statistics(x)
    out, _ = batch_norm_apply(x, weight, bias, statistics, eps)
    return out, statistics.mean, statistics.var


def batch_norm_backward(
    grad_out: Array,
    x: Array,
    weight: Array,
    mean: Array,
    var: Array,
    eps: float,
    relu: tuple[Array, Array] | None = None,
    passes: Array | None = None,
) -> tuple[Array, ...]:
    """(grad_x, grad_weight, grad_bias), with xhat = (x - mean) / sqrt(var + eps):

    grad_bias = sum grad_out,  grad_weight = sum grad_out * xhat,
    grad_x = weight / sqrt(var + eps) * (grad_out - grad_bias / m - xhat * grad_weight / m)

    mean and var are those of the forward call. If relu followed, grad_out first becomes 0 where it
    let nothing through: give `relu`, the bias and the cut_off of the forward call, from which that
    is worked out again; or, if a residual was added, `passes`, and get grad_residual as the fourth.
    Raises ValueError if the shapes do not fit. Source: Ioffe & Szegedy 2015, arXiv:1502.03167.
    """
    arguments = (weight, mean, var, eps, relu, passes)
    if not can_wait(grad_out, x, weight, mean, var):
        _check("batch_norm_backward", x, weight=weight, mean=mean, var=var)
        _check_grad(grad_out, x)
        catch_up()
        kept = None if passes is None else _channels_last(passes)
        pair = _channels_last(grad_out), _channels_last(x)
        return _backward_in_numpy(*pair, weight, mean, var, eps, relu, kept)
    later, *others = batch_norm_backward_later(grad_out, x, *arguments)
    return later.array(), *others


class NormGradient:
    """grad_x of a batch norm, to be computed: by `array`, or by a convolution that takes it as its
    grad_out and computes it piece by piece (winograd_backward.py).

    grad, x   N, ..., C in contiguous memory, float32: what comes in, and the batch norm's input
    factors   address of what norm_loops.prepare reads
    of        what is behind factors, and must live as long
    relu      1 if grad counts only where relu let the batch norm's result pass
    """

    def __init__(self, grad: Array, x: Array, of: "_Factors", eps: float, relu: int) -> None:
        self.grad, self.x, self.eps, self.relu = grad, x, eps, relu
        self.of = of

    @property
    def shape(self) -> tuple[int, ...]:
        return _channels_second(self.x).shape

    @property
    def factors(self) -> Array:
        return self.of.table

    def array(self) -> Array:
        """(N, C, ...) in channels-last memory."""
        out = empty(self.x.shape, np.float32, later=True)
        rows = _rows(_channels_second(self.x))
        launch(
            gradient,
            (
                *(self.grad, self.x, rows.vectors(5), out),
                *(rows.width, rows.rows, rows.rest, self.relu),
                *(rows.channels, self.factors),
            ),
            (self.eps,),
            tasks=rows.tasks,
            later=True,
            keep=(self.of,),
        )
        return _channels_second(out)


def can_wait(*arrays: Array) -> bool:
    """Whether `batch_norm_backward_later` takes these: grad_out, x and the vectors."""
    return arrays[1].size > 0 and _is_float32(*arrays)


def batch_norm_backward_later(
    grad_out: Array,
    x: Array,
    weight: Array,
    mean: Array,
    var: Array,
    eps: float,
    relu: tuple[Array, Array] | None = None,
    passes: Array | None = None,
    in_place: bool = False,
) -> tuple[Any, ...]:
    """batch_norm_backward in float32, with a NormGradient in place of grad_x.

    in_place   grad_out's memory may become grad_residual
    """
    _check("batch_norm_backward", x, weight=weight, mean=mean, var=var)
    _check_grad(grad_out, x)
    grad, last = _channels_last(grad_out), _channels_last(x)
    grad_weight, grad_bias, slope, offset = np.empty((4, x.shape[1]), np.float32)
    if relu is not None:
        bias, cut_off = relu
    else:
        bias, cut_off = np.zeros_like(mean), np.zeros(mean.shape)
    of = _Factors(weight, bias, mean, var, cut_off, slope, offset)
    counts = int(relu is not None)
    kept, masked = None, grad
    if passes is not None:
        kept, counts = _channels_last(passes), 2
        if not in_place and np.may_share_memory(grad, grad_out):
            masked = empty(last.shape, np.float32, later=True)
    sums = _rows(x, SUM_WIDTH)
    launch(
        gradient_sums,
        (
            *(grad, last, sums.vectors(3), sums.partials(3), sums.scratch()),
            *(sums.width, sums.rows, sums.rest, sums.block),
            *(counts, 0 if kept is None else kept, np.zeros(1, np.int64)),
            *(sums.channels, of.table, sums.count, grad_weight, grad_bias, masked),
        ),
        (eps,),
        tasks=sums.tasks,
        later=True,
        keep=(of,),
    )
    later = NormGradient(masked, last, of, eps, counts % 2)
    grads = (later, grad_weight, grad_bias)
    return grads if kept is None else (*grads, _channels_second(masked))


def _check_grad(grad_out: Array, x: Array) -> None:
    if grad_out.shape != x.shape:
        raise ValueError(
            f"batch_norm_backward: grad_out has shape {grad_out.shape}, x has {x.shape}"
        )


def _backward_in_numpy(
    grad: Array,
    x: Array,
    weight: Array,
    mean: Array,
    var: Array,
    eps: float,
    relu: tuple[Array, Array] | None,
    passes: Array | None,
) -> tuple[Array, ...]:
    """The same for arrays N, ..., C of any dtype."""
    dtype = np.result_type(grad, x, weight)
    channels = x.shape[-1]
    if x.size == 0:
        zeros = [np.zeros(channels, dtype) for _ in range(2)]
        nothing = _channels_second(np.zeros(x.shape, dtype))
        return (nothing, *zeros) if passes is None else (nothing, *zeros, nothing.copy())
    axes, m = tuple(range(x.ndim - 1)), x.size // channels
    with np.errstate(all="ignore"):
        inverse_std = 1 / np.sqrt(var + var.dtype.type(eps))
        centred = x - mean
        if passes is not None:
            grad = np.where(passes, grad, 0)
        elif relu is not None:
            grad = np.where(centred * (weight * inverse_std) + relu[0] < 0, 0, grad)
        xhat = centred * inverse_std
        grad_bias = grad.sum(axes, dtype=dtype)
        grad_weight = (grad * xhat).sum(axes, dtype=dtype)
        out = (grad - grad_bias / m - xhat * (grad_weight / m)) * (weight * inverse_std)
    grads = (_channels_second(out.astype(dtype, copy=False)), grad_weight, grad_bias)
    return grads if passes is None else (*grads, _channels_second(grad))


def channel_affine(
    x: Array, scale: Array, shift: Array, residual: Array | None = None, relu: bool = False
) -> Array:
    """x * scale[c] + shift[c], c the channel (dimension 1 of x), then + residual, then relu.

    Raises ValueError if the shapes do not fit."""
    _check("channel_affine", x, scale=scale, shift=shift)
    factors = (np.zeros_like(scale), scale, shift)
    if x.size and _is_float32(x, scale, shift):
        rows = _rows(x)
        vectors = rows.vectors(3)
        for row, vector in zip(vectors[0], factors, strict=True):
            row.reshape(rows.wide, rows.channels)[:] = vector
    else:
        vectors = np.stack([np.asarray(f, np.result_type(scale, shift)) for f in factors])
    return _normalized("channel_affine", x, vectors, residual, relu, False)[0]
