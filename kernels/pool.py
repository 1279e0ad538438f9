"""Pooling over windows of images (N, C, H, W).

    max_pool2d_forward      out = the maximum of each window, and its place in the flattened image
    adaptive_max_pool2d_forward     the same for an even partition of the image into cells
    gather_planes           out[n, c, i, j] = x[n, c] at places[n, c, i, j] of the flattened image
    scatter_add_planes      its transpose: zeros, x[n, c, i, j] added at places[n, c, i, j]
    avg_pool2d_forward      out = the sum of each window / its divisor
    avg_pool2d_grad_input   its transpose: x / divisor added to each pixel of the window

Argument pairs are (rows, columns). Results have channels-last memory. float32 runs on the kernels
in pool_loops.py, after a copy if an input is not channels last; other dtypes are served by the
NumPy lines beside them, which take one pixel of all windows at a time.

Sizes as in PyTorch: H' = floor((H + 2 p - d (k - 1) - 1) / s) + 1; with ceil_mode rounded up, but
the last window must start inside the image or its left padding.

Ties: the first maximum wins, row by row. NaN beats every number, and of several NaN the last wins,
as in PyTorch. Sums are taken in the order of the output pixels: the same bits for any number of
threads.

Vectors run over the channels, so 16 or more are fast and 1 to 3 are not. `python -m benchmarks
layers` compares. Share of PyTorch's channels-last time at (128, 16, 32, 32) / (32, 64, 56, 56) on
one thread: max 1.3 / 1.1, scatter_add 1.3 / 0.9, average 0.8 / 1.0, its transpose 0.7 / 0.6.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.buffers import empty_nhwc
from kernels.parallel import get_num_threads, launch
from kernels.placing import reordered
from kernels.pool_loops import (
    average_forward,
    average_grad_input,
    gather,
    max_forward,
    scatter_add,
)
from kernels.pool_windows import Pair, cells, taps, windows
from kernels.workers import catch_up

Array = NDArray[Any]

ONE_THREAD = 1 << 14
"""Arrays of fewer elements are not split over threads."""


def _part(array: Array, place: Sequence[Array]) -> tuple[Any, ...]:
    """Index of some rows and columns of all images."""
    rows, columns = place
    return (slice(None), slice(None), rows[:, None], columns)


def _channels_last(x: Array, dtype: Any) -> Array:
    """x, or a copy of it, as a channels-last array of the dtype."""
    if x.dtype == dtype and x.transpose(0, 2, 3, 1).flags.c_contiguous:
        return x
    if x.dtype == dtype:
        return reordered(x, (0, 2, 3, 1))
    catch_up()
    n, c, height, width = x.shape
    copy = empty_nhwc(n, c, height, width, dtype)
    np.copyto(copy, x)
    return copy


def _tasks(elements: int) -> int:
    return 1 if elements < ONE_THREAD else get_num_threads()


# -------------------------------------------------------------------------------------- max pooling


def max_pool2d_forward(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> tuple[Array, Array]:
    """(out, places), both (N, C, H', W'); places (int64) index the flattened H * W image.

    Padding counts as minus infinity, and so does a window that steps over the whole image (its
    place is one of the first row or column). Raises ValueError if the windows do not fit the
    images.
    """
    geometry = (kernel_size, stride, padding, dilation)
    tables = windows("max_pool2d_forward", x.shape, *geometry, ceil_mode, may_miss=True)
    return _maxima(x, tables, dilation)


def adaptive_max_pool2d_forward(x: Array, output_size: Pair) -> tuple[Array, Array]:
    """(out, places) of the maxima of `output_size` = (H', W') cells of each image, see `cells`.

    Places as of `max_pool2d_forward`. Raises ValueError if there is nothing to divide.
    """
    return _maxima(x, cells("adaptive_max_pool2d_forward", x.shape, output_size), (1, 1))


def _maxima(x: Array, tables: Sequence[Array], dilation: Pair) -> tuple[Array, Array]:
    rows, columns = tables
    n, c, height, width = x.shape
    out_size = (rows.shape[1], columns.shape[1])
    out = empty_nhwc(n, c, *out_size, x.dtype, later=True)
    places = empty_nhwc(n, c, *out_size, np.int64, later=True)
    if x.dtype == np.float32:
        sizes = (n, c, height, width, *out_size, *dilation)
        x = _channels_last(x, np.float32)
        ints = (x, out, places, rows, columns, *sizes)
        launch(max_forward, ints, tasks=_tasks(x.size), later=True)
        return out, places
    catch_up()
    floating = np.issubdtype(x.dtype, np.floating)
    out.fill(-np.inf if floating else np.iinfo(x.dtype).min)
    places[...] = rows[0][:, None] * width + columns[0]
    for outputs, pixels in taps(tables, dilation):
        values, part = x[_part(x, pixels)], _part(out, outputs)
        wins = (values > out[part]) | (values != values)
        here = pixels[0][:, None] * width + pixels[1]
        out[part] = np.where(wins, values, out[part])
        places[part] = np.where(wins, here, places[part])
    return out, places


def gather_planes(x: Array, places: Array, *, inside: bool = False) -> Array:
    """out[n, c, i, j] = x[n, c] at places[n, c, i, j] of the flattened image.

    x (N, C, H, W), places (N, C, H', W'), integers. Raises ValueError if the shapes do not fit and
    IndexError if a place is outside the image; `inside` says that none is, as in those of a
    max-pool.
    """
    places = _check_places("gather_planes", places, x.shape, inside)
    n, c, height, width = x.shape
    out = empty_nhwc(n, c, places.shape[2], places.shape[3], x.dtype, later=True)
    if x.dtype == np.float32:
        sizes = (n, c, height * width, places.shape[2] * places.shape[3])
        x = _channels_last(x, np.float32)
        launch(gather, (x, places, out, *sizes), tasks=_tasks(out.size), later=True)
    else:
        catch_up()
        flat = places.reshape(n, c, places.shape[2] * places.shape[3])
        planes = x.reshape(n, c, height * width)
        out[...] = np.take_along_axis(planes, flat, 2).reshape(places.shape)
    return out


def scatter_add_planes(
    x: Array, places: Array, shape: Sequence[int], *, inside: bool = False
) -> Array:
    """out = zeros of `shape` (N, C, H, W), x[n, c, i, j] added at places[n, c, i, j].

    x and places (N, C, H', W'). Raises ValueError if the shapes do not fit, IndexError if a place
    is outside the image; `inside` as in `gather_planes`.
    """
    if places.shape != x.shape:
        raise ValueError(
            f"scatter_add_planes: x {x.shape} and places {places.shape} must have the same shape"
        )
    places = _check_places("scatter_add_planes", places, shape, inside)
    n, c, height, width = shape
    out = empty_nhwc(n, c, height, width, x.dtype, later=True)
    if x.dtype == np.float32:
        tasks = _tasks(max(x.size, out.size))
        groups = 1 if n >= tasks else max(1, min(tasks, c // 16))
        sizes = (n, c, height * width, x.shape[2] * x.shape[3], groups)
        x = _channels_last(x, np.float32)
        launch(scatter_add, (x, places, out, *sizes), tasks=tasks, later=True)
    else:
        catch_up()
        flat = (n * c, x.shape[2] * x.shape[3])
        planes = np.zeros((n * c, height * width), x.dtype)
        np.add.at(planes, (np.arange(n * c)[:, None], places.reshape(flat)), x.reshape(flat))
        out[...] = planes.reshape(shape)
    return out


def _check_places(op: str, places: Array, shape: Sequence[int], inside: bool) -> Array:
    """places as int64 in channels-last memory, all inside images of the shape."""
    if len(shape) != 4 or places.ndim != 4 or places.shape[:2] != tuple(shape[:2]):
        raise ValueError(
            f"{op}: places {places.shape} do not belong to images (N, C, H, W) of {tuple(shape)}"
        )
    if not np.issubdtype(places.dtype, np.integer):
        raise TypeError(f"{op}: places must be integers, got {places.dtype}")
    places = _channels_last(places, np.int64)
    if inside:
        return places
    catch_up()
    if places.size and not 0 <= places.min() <= places.max() < shape[2] * shape[3]:
        raise IndexError(
            f"{op}: places from {places.min()} to {places.max()} are outside images of "
            f"{shape[2]} x {shape[3]} pixels"
        )
    return places


# ---------------------------------------------------------------------------------- average pooling


def avg_pool2d_forward(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """The mean of each window, (N, C, H', W').

    The divisor is `divisor_override`, or the number of pixels in the window: those in the padded
    image with count_include_pad, else those of the image alone. Raises ValueError if the windows do
    not fit the images or divisor_override is 0, TypeError for integers.
    """
    op = "avg_pool2d_forward"
    geometry = (kernel_size, stride, padding, (1, 1))
    rows, columns = windows(op, x.shape, *geometry, ceil_mode, count_include_pad)
    divisor = _divisor(op, divisor_override, x.dtype)
    n, c, height, width = x.shape
    out_size = (rows.shape[1], columns.shape[1])
    out = empty_nhwc(n, c, *out_size, x.dtype, later=True)
    if x.dtype == np.float32:
        sizes = (n, c, height, width, *out_size, divisor)
        x = _channels_last(x, np.float32)
        tables = (x, out, rows, columns, *sizes)
        launch(average_forward, tables, tasks=_tasks(x.size), later=True)
        return out
    catch_up()
    out.fill(0)
    for outputs, pixels in taps((rows, columns), (1, 1)):
        out[_part(out, outputs)] += x[_part(x, pixels)]
    out /= _divisors(rows, columns, divisor, x.dtype)
    return out


def avg_pool2d_grad_input(
    grad_out: Array,
    input_shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """The transpose of `avg_pool2d_forward`: grad_out (N, C, H', W') / divisor, spread over the
    windows of images of `input_shape`. Raises as that does, and ValueError for a wrong grad_out."""
    op = "avg_pool2d_grad_input"
    geometry = (kernel_size, stride, padding, (1, 1))
    rows, columns = windows(op, input_shape, *geometry, ceil_mode, count_include_pad)
    divisor = _divisor(op, divisor_override, grad_out.dtype)
    n, c, height, width = input_shape
    out_size = (rows.shape[1], columns.shape[1])
    if grad_out.shape != (n, c, *out_size):
        raise ValueError(
            f"{op}: grad_out has shape {grad_out.shape}, images of shape {tuple(input_shape)} "
            f"give {(n, c, *out_size)}"
        )
    out = empty_nhwc(n, c, height, width, grad_out.dtype, later=True)
    if grad_out.dtype == np.float32:
        sizes = (n, c, height, width, *out_size, divisor)
        grad = _channels_last(grad_out, np.float32)
        tables = (grad, out, rows, columns, *sizes)
        launch(average_grad_input, tables, tasks=_tasks(out.size), later=True)
        return out
    catch_up()
    out.fill(0)
    shares = grad_out / _divisors(rows, columns, divisor, grad_out.dtype)
    for outputs, pixels in taps((rows, columns), (1, 1)):
        out[_part(out, pixels)] += shares[_part(shares, outputs)]
    return out


def _divisor(op: str, divisor_override: int | None, dtype: Any) -> int:
    """The divisor of all windows, or 0 for each its own."""
    if not np.issubdtype(dtype, np.floating):
        raise TypeError(f"{op}: needs floating-point numbers, got {dtype}")
    if divisor_override == 0:
        raise ValueError(f"{op}: divisor_override must not be 0")
    return 0 if divisor_override is None else int(divisor_override)


def _divisors(rows: Array, columns: Array, divisor: int, dtype: Any) -> Array:
    counts = rows[2][:, None] * columns[2]
    return np.full_like(counts, divisor, dtype) if divisor else counts.astype(dtype)
