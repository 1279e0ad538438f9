"""Batch normalisation and the per-channel affine map, and what often follows: + residual, relu.

    batch_norm_statistics  mean and var per channel; moves the running statistics
    batch_norm_apply       out = (x - mean) / sqrt(var + eps) * weight + bias, then + residual, relu
    batch_norm_forward     the two together, plain
    batch_norm_backward    the gradients, from the saved statistics
    channel_affine         out = x * scale + shift, then + residual, relu
    add_to_channels        out = x + shift
    fold_batch_norm        scale and shift of a batch norm with known statistics

x is (N, C, ...) with any further dimensions; the m = x.size / C values of a channel are one row
apart. Results have channels-last memory. float32 runs on the kernels in norm_loops.py, after a
copy if the input is not channels last; other dtypes are served by the NumPy lines beside them (two
passes, in that dtype).

Memory is m rows of C channels; norm_plan.py says how they are taken, and lays out the launches.

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

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import joining
from kernels.buffers import empty, empty_nhwc
from kernels.joining import Pass, Waiting
from kernels.norm_loops import fold, normalize, tile_affine
from kernels.norm_plan import (
    WIDTH,
    Rows,
    gradient_plan,
    normalize_plan,
    statistics_plan,
    sums_plan,
)
from kernels.parallel import get_num_threads, launch
from kernels.placing import reordered
from kernels.workers import catch_up

Array = NDArray[Any]
FLOAT32 = np.dtype(np.float32)

# ------------------------------------------------------------------------------- layout and checks


@lru_cache(maxsize=1024)
def _is_channels_last(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    expected = itemsize
    for axis in (1, *range(len(shape) - 1, 1, -1), 0):
        if shape[axis] != 1 and strides[axis] != expected:
            return False
        expected *= shape[axis]
    return True


def _channels_last(x: Array) -> Array:
    """x (N, C, ...), copied if its memory is not N, ..., C without gaps."""
    if is_channels_last(x):
        return x
    return reordered(x, (0, *range(2, x.ndim), 1))


def _empty(shape: tuple[int, ...], dtype: Any = np.float32, later: bool = False) -> Array:
    """An array of shape N, C, ... whose memory is N, ..., C."""
    if len(shape) == 4:
        return empty_nhwc(*shape, dtype, later=later)
    n, channels, *others = shape
    memory = empty((n, *others, channels), dtype, later=later)
    return memory.transpose(0, len(shape) - 1, *range(1, len(shape) - 1))


def _as_rows(x: Array) -> Array:
    """N, C, ... as N, ..., C"""
    return x.transpose(0, *range(2, x.ndim), 1)


def _contiguous(*vectors: Array) -> Sequence[Array]:
    """Vectors, copied where their elements do not lie side by side."""
    for vector in vectors:
        if not vector.flags.c_contiguous:
            catch_up()
            return [np.ascontiguousarray(v) for v in vectors]
    return vectors


def _check(op: str, x: Array, **vectors: Array) -> None:
    if x.ndim < 2:
        raise ValueError(f"{op}: x must be (N, C, ...), got shape {x.shape}")
    for name, vector in vectors.items():
        if vector.shape != (x.shape[1],):
            raise ValueError(
                f"{op}: {name} has shape {vector.shape}, x {x.shape} needs ({x.shape[1]},)"
            )


def _is_float32(*arrays: Array) -> bool:
    # two thirds of the time of `all`, and asked for some sixty times in a training step
    return [array.dtype for array in arrays].count(FLOAT32) == len(arrays)


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
    given = [v for v in (running_mean, running_var) if v is not None]
    if x.ndim < 2 or [v.shape for v in given] != [x.shape[1:2]] * len(given):
        running = {"running_mean": running_mean, "running_var": running_var}
        vectors = {name: vector for name, vector in running.items() if vector is not None}
        _check("batch_norm_statistics", x, **vectors)
    channels, m = x.shape[1], x.size // max(x.shape[1], 1)
    mean, var = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    cut_off = np.zeros(channels)
    direct = [v.flags.c_contiguous for v in given] == [True, True]
    if x.size and _is_float32(x, *given):
        arrays = [_channels_last(x), mean, var, cut_off, *(given if direct else ())]
        after = Pass((x.shape, momentum), arrays)
        if not (direct and joining.join(x, "statistics", after)):
            plan = statistics_plan(x.shape, momentum, direct, get_num_threads())
            plan.launch(*arrays)
        if direct:
            return Statistics(mean, var, cut_off)
        catch_up()
    elif x.size:
        catch_up()
        rows = _as_rows(_channels_last(x))
        axes = tuple(range(rows.ndim - 1))
        with np.errstate(all="ignore"):
            rows.mean(axes, out=mean)
            np.square(rows - mean).mean(axes, out=var)
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
    mean, var, cut_off = statistics
    if not weight.shape == bias.shape == mean.shape == var.shape == x.shape[1:2]:
        _check("batch_norm_apply", x, weight=weight, bias=bias, mean=mean, var=var)
    _check_residual("batch_norm_apply", x, residual)
    if x.size == 0 or not _is_float32(x, weight, bias, mean, var):
        catch_up()
        with np.errstate(all="ignore"):
            scale = weight / np.sqrt(var + var.dtype.type(eps))
        vectors = [mean, scale, np.asarray(bias, scale.dtype)]
        return _normalized(x, vectors, residual, relu, keep_mask)
    out = _empty(x.shape, later=True)
    more: list[Array] = [] if residual is None else [_channels_last(residual)]
    passes = _empty(x.shape, np.bool_, later=True) if keep_mask else None
    if passes is not None:
        more.append(passes)
    more += _contiguous(weight, bias, mean, var, cut_off)
    facts = (x.shape, eps, residual is not None, relu, keep_mask)
    waiting = _Normalize(facts, _channels_last(x), out, more)
    if not joining.hold(waiting):
        normalize_plan(*facts, get_num_threads()).launch(*waiting.arrays)
    return out, passes


class _Normalize(Waiting):
    """A `normalize` that the convolution after it may join."""

    def __init__(
        self, facts: tuple[Any, ...], source: Array, out: Array, others: list[Array]
    ) -> None:
        self.facts, self.result = facts, out
        self.arrays = [source, out, *others]

    def publish(self) -> None:
        normalize_plan(*self.facts, get_num_threads()).go(*self.arrays)

    def before(self) -> Pass:
        return Pass(self.facts, self.arrays)


def _check_residual(op: str, x: Array, residual: Array | None) -> None:
    if residual is not None and residual.shape != x.shape:
        raise ValueError(f"{op}: residual has shape {residual.shape}, x has {x.shape}")
    if residual is not None and residual.dtype != x.dtype:
        raise TypeError(f"{op}: residual is {residual.dtype}, x is {x.dtype}")


def _normalized(
    x: Array, vectors: list[Array], residual: Array | None, relu: bool, keep_mask: bool
) -> tuple[Array, Array | None]:
    """(x - vectors[0]) * vectors[1] + vectors[2] and what follows, in NumPy."""
    source = _as_rows(_channels_last(x))
    out = _empty(x.shape, np.result_type(x, *vectors))
    to, passes = _as_rows(out), None
    with np.errstate(all="ignore"):
        np.subtract(source, vectors[0], out=to)
        to *= vectors[1]
        to += vectors[2]
        if residual is not None:
            out += residual
        if keep_mask:
            passes = _empty(x.shape, np.bool_)
            np.logical_not(out < 0, out=passes)
        if relu:
            np.copyto(out, 0, where=out < 0)
    return out, passes


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
        return _backward_in_numpy(grad_out, x, weight, mean, var, eps, relu, passes)
    later, *others = batch_norm_backward_later(grad_out, x, *arguments)
    return later.array(), *others


class NormGradient:
    """grad_x of a batch norm, to be computed: by `array`, or by a convolution that takes it as its
    grad_out and computes it piece by piece (winograd_backward.py).

    grad, x   (N, C, ...) with channels-last memory, float32: what comes in, and the batch norm's
              input
    vectors   what norm_loops.prepare reads
    relu      1 if grad counts only where relu let the batch norm's result pass
    """

    def __init__(
        self, grad: Array, x: Array, vectors: Sequence[Array], eps: float, relu: int
    ) -> None:
        self.grad, self.x, self.vectors, self.eps, self.relu = grad, x, vectors, eps, relu
        self.shape = x.shape

    def array(self) -> Array:
        """(N, C, ...) in channels-last memory."""
        plan = gradient_plan(self.shape, self.eps, self.relu, get_num_threads())
        out = _empty(self.shape, later=True)
        plan.launch(self.grad, self.x, out, *self.vectors)
        return out


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
    if not weight.shape == mean.shape == var.shape == x.shape[1:2]:
        _check("batch_norm_backward", x, weight=weight, mean=mean, var=var)
    _check_grad(grad_out, x)
    grad, source = _channels_last(grad_out), _channels_last(x)
    channels = x.shape[1]
    grad_weight, grad_bias = np.empty(channels, np.float32), np.empty(channels, np.float32)
    slope, offset = np.empty(channels, np.float32), np.empty(channels, np.float32)
    if relu is not None:
        bias, cut_off = relu
    else:
        bias, cut_off = np.zeros_like(mean), np.zeros(mean.shape)
    vectors = [*_contiguous(weight, bias, mean, var, cut_off), slope, offset]
    counts = int(relu is not None)
    kept, masked = [], grad
    if passes is not None:
        kept, counts = [_channels_last(passes)], 2
        if not in_place and grad is grad_out:
            masked = _empty(x.shape, later=True)
    arrays = [grad, source, *kept, *vectors, grad_weight, grad_bias, masked]
    after = Pass((x.shape, eps, counts), arrays)
    if not joining.join(grad, "gradient sums", after):
        sums_plan(x.shape, eps, counts, get_num_threads()).launch(*arrays)
    later = NormGradient(masked, source, vectors, eps, counts % 2)
    grads = (later, grad_weight, grad_bias)
    return (*grads, masked) if kept else grads


def _check_grad(grad_out: Array, x: Array) -> None:
    if grad_out.shape != x.shape:
        raise ValueError(
            f"batch_norm_backward: grad_out has shape {grad_out.shape}, x has {x.shape}"
        )


def _backward_in_numpy(
    grad_out: Array,
    x: Array,
    weight: Array,
    mean: Array,
    var: Array,
    eps: float,
    relu: tuple[Array, Array] | None,
    passes: Array | None,
) -> tuple[Array, ...]:
    """The same for arrays of any dtype."""
    dtype = np.result_type(grad_out, x, weight)
    channels = x.shape[1]
    if x.size == 0:
        zeros = [np.zeros(channels, dtype) for _ in range(2)]
        nothing = np.zeros(x.shape, dtype)
        return (nothing, *zeros) if passes is None else (nothing, *zeros, nothing.copy())
    grad, rows = _as_rows(_channels_last(grad_out)), _as_rows(_channels_last(x))
    axes, m = tuple(range(x.ndim - 1)), x.size // channels
    with np.errstate(all="ignore"):
        inverse_std = 1 / np.sqrt(var + var.dtype.type(eps))
        centred = rows - mean
        if passes is not None:
            grad = np.where(_as_rows(passes), grad, 0)
        elif relu is not None:
            grad = np.where(centred * (weight * inverse_std) + relu[0] < 0, 0, grad)
        xhat = centred * inverse_std
        grad_bias = grad.sum(axes, dtype=dtype)
        grad_weight = (grad * xhat).sum(axes, dtype=dtype)
        out = _empty(x.shape, dtype)
        _as_rows(out)[...] = (grad - grad_bias / m - xhat * (grad_weight / m)) * (
            weight * inverse_std
        )
    grads = (out, grad_weight, grad_bias)
    if passes is None:
        return grads
    residual = _empty(x.shape, grad.dtype)
    _as_rows(residual)[...] = grad
    return (*grads, residual)


def channel_affine(
    x: Array, scale: Array, shift: Array, residual: Array | None = None, relu: bool = False
) -> Array:
    """x * scale[c] + shift[c], c the channel (dimension 1 of x), then + residual, then relu.

    Raises ValueError if the shapes do not fit."""
    _check("channel_affine", x, scale=scale, shift=shift)
    _check_residual("channel_affine", x, residual)
    if x.size == 0 or not _is_float32(x, scale, shift):
        catch_up()
        dtype, factors = np.result_type(scale, shift), [np.zeros_like(scale), scale, shift]
        return _normalized(x, [np.asarray(f, dtype) for f in factors], residual, relu, False)[0]
    return _affine(x, scale, shift, residual, relu)


def _affine(
    x: Array, scale: Array | None, shift: Array, residual: Array | None = None, relu: bool = False
) -> Array:
    """channel_affine in float32; scale None: 1."""
    rows = Rows(x.shape, WIDTH, get_num_threads())
    vectors = np.empty((3, rows.width), np.float32)
    scales = (0, 0) if scale is None else (scale, scale.strides[0])
    places = (*scales, shift, shift.strides[0])
    launch(tile_affine, (vectors, rows.width, x.shape[1], *places), tasks=1, later=True)
    out = _empty(x.shape, later=True)
    launch(
        normalize,
        (
            *(_channels_last(x), vectors, out),
            *(0 if residual is None else _channels_last(residual), 0, int(relu)),
            *(rows.width, rows.rows, rows.rest, 0, 0),
        ),
        tasks=rows.tasks,
        later=True,
    )
    return out


def add_to_channels(x: Array, shift: Array) -> Array:
    """x + shift[c], c the channel (dimension 1 of x), with the bits of that sum. x (N, C, ...),
    shift (C,), both float32, not empty."""
    return _affine(x, None, shift)


def is_channels_last(x: Array) -> bool:
    """Whether x (N, C, ...) lies in memory as N, ..., C without gaps."""
    return _is_channels_last(x.shape, x.strides, x.itemsize)


def fold_batch_norm(
    weight: Array, bias: Array, mean: Array, var: Array, eps: float
) -> tuple[Array, Array]:
    """(scale, shift) of the affine map that a batch norm with known statistics is:
    scale = weight / sqrt(var + eps),  shift = bias - mean * scale.

    All of shape (C,). Without warnings where var + eps is not positive."""
    vectors = (weight, bias, mean, var)
    if not _is_float32(*vectors):
        catch_up()
        with np.errstate(all="ignore"):
            factor = weight / np.sqrt(var + eps)
            return factor, bias - mean * factor
    scale, shift = np.empty_like(weight), np.empty_like(weight)
    launch(fold, (scale, shift, weight.size, *_contiguous(*vectors)), (eps,), tasks=1, later=True)
    return scale, shift
