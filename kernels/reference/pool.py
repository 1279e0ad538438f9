"""Pooling, straight from the definition: every window is visited pixel by pixel."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pair = tuple[int, int]


def _starts(size: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> list[int]:
    """Where the windows along an axis start, the first at -p."""
    starts = []
    start = -p
    while start + d * (k - 1) < size + p:
        starts.append(start)
        start += s
    reaches_border = starts and starts[-1] + d * (k - 1) == size + p - 1
    if ceil_mode and starts and not reaches_border and start < size:
        starts.append(start)  # a window that sticks out, but starts inside
    return starts


def _windows(
    shape: Sequence[int], kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[int, int, Iterator[tuple[int, int, list[tuple[int, int]]]]]:
    """H', W', and for each window (i, j, its pixels, those of the padding included)."""
    rows, columns = (
        _starts(size, k, s, p, d, ceil_mode)
        for size, k, s, p, d in zip(shape[2:], kernel, stride, padding, dilation, strict=True)
    )

    def visit() -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
        for i, top in enumerate(rows):
            for j, left in enumerate(columns):
                pixels = [
                    (top + dilation[0] * a, left + dilation[1] * b)
                    for a in range(kernel[0])
                    for b in range(kernel[1])
                ]
                yield i, j, pixels

    return len(rows), len(columns), visit()


def _inside(pixel: tuple[int, int], shape: Sequence[int], border: Pair = (0, 0)) -> bool:
    """True if a pixel is inside the image, or inside a border around it."""
    return all(-b <= at < size + b for at, size, b in zip(pixel, shape[2:], border, strict=True))


def max_pool2d_forward(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> tuple[Array, Array]:
    """The maximum of each window; the first one, but the last NaN if there is any."""
    height, width, windows = _windows(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    out = np.zeros((*x.shape[:2], height, width), x.dtype)
    if np.issubdtype(x.dtype, np.floating):
        out.fill(-np.inf)
    places = np.zeros(out.shape, np.int64)
    for i, j, pixels in windows:
        _maximum(x, [p for p in pixels if _inside(p, x.shape)], out[..., i, j], places[..., i, j])
    return out, places


def adaptive_max_pool2d_forward(x: Array, output_size: Pair) -> tuple[Array, Array]:
    """The maximum of each cell of an even partition, as of each window."""
    out = np.empty((*x.shape[:2], *output_size), x.dtype)
    places = np.empty(out.shape, np.int64)
    (height, width), (rows, columns) = x.shape[2:], output_size
    for i, j in np.ndindex(*output_size):
        down = range(math.floor(i * height / rows), math.ceil((i + 1) * height / rows))
        right = range(math.floor(j * width / columns), math.ceil((j + 1) * width / columns))
        pixels = [(row, column) for row in down for column in right]
        _maximum(x, pixels, out[..., i, j], places[..., i, j])
    return out, places


def _maximum(x: Array, inside: list[tuple[int, int]], out: Array, places: Array) -> None:
    """One window of all images; without a pixel nothing is written."""
    if inside:
        for n, c in np.ndindex(x.shape[:2]):
            best = inside[0]
            for pixel in inside[1:]:
                value = x[n, c, pixel[0], pixel[1]]
                if np.isnan(value) or value > x[n, c, best[0], best[1]]:
                    best = pixel
            out[n, c] = x[n, c, best[0], best[1]]
            places[n, c] = best[0] * x.shape[3] + best[1]


def gather_planes(x: Array, places: Array) -> Array:
    """out[n, c, i, j] = x[n, c] at places[n, c, i, j] of the flattened image."""
    out = np.empty(places.shape, x.dtype)
    for n, c, i, j in np.ndindex(places.shape):
        row, column = divmod(places[n, c, i, j], x.shape[3])
        out[n, c, i, j] = x[n, c, row, column]
    return out


def scatter_add_planes(x: Array, places: Array, shape: Sequence[int]) -> Array:
    """Zeros of the shape, x[n, c, i, j] added at places[n, c, i, j]."""
    out = np.zeros(shape, x.dtype)
    for n, c, i, j in np.ndindex(places.shape):
        row, column = divmod(places[n, c, i, j], shape[3])
        out[n, c, row, column] += x[n, c, i, j]
    return out


def _divisor(
    pixels: list[tuple[int, int]],
    shape: Sequence[int],
    padding: Pair,
    count_include_pad: bool,
    divisor_override: int | None,
) -> int:
    if divisor_override is not None:
        return divisor_override
    return sum(_inside(p, shape, padding if count_include_pad else (0, 0)) for p in pixels)


def avg_pool2d_forward(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """The sum of each window divided by the number of its pixels that count."""
    height, width, windows = _windows(x.shape, kernel_size, stride, padding, (1, 1), ceil_mode)
    out = np.zeros((*x.shape[:2], height, width), x.dtype)
    for i, j, pixels in windows:
        for pixel in pixels:
            if _inside(pixel, x.shape):
                out[:, :, i, j] += x[:, :, pixel[0], pixel[1]]
        out[:, :, i, j] /= _divisor(pixels, x.shape, padding, count_include_pad, divisor_override)
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
    """Every window hands its share back to its pixels."""
    _, _, windows = _windows(input_shape, kernel_size, stride, padding, (1, 1), ceil_mode)
    grad_x = np.zeros(input_shape, grad_out.dtype)
    for i, j, pixels in windows:
        divisor = _divisor(pixels, input_shape, padding, count_include_pad, divisor_override)
        for pixel in pixels:
            if _inside(pixel, input_shape):
                grad_x[:, :, pixel[0], pixel[1]] += grad_out[:, :, i, j] / divisor
    return grad_x
