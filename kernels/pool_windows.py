"""Where the windows of kernels/pool.py lie: tables of first and last pixels along each axis."""

import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pair = tuple[int, int]


def output_size(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> int:
    """Number of windows along an axis."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return room // stride + 1
    windows = -(-room // stride) + 1
    # the last window must start inside the image or the left padding
    return windows - 1 if (windows - 1) * stride >= size + padding else windows


def windows(
    op: str,
    shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
    count_include_pad: bool = True,
    may_miss: bool = False,
) -> tuple[Array, ...]:
    """A table for the rows and one for the columns, int64 (4, number of windows along the axis):

    the first pixel of each window inside the image, one past the last, how many pixels count in an
    average, and where the window starts, which may be outside. With dilation a window may step over
    the whole image: its first and last are 0. Raises ValueError for impossible arguments, and for
    such windows unless they `may_miss`.
    """
    geometry = (tuple(kernel_size), tuple(stride), tuple(padding), tuple(dilation))
    return _windows(op, tuple(shape), *geometry, ceil_mode, count_include_pad, may_miss)


@lru_cache(maxsize=128)
def _windows(
    op: str,
    shape: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    may_miss: bool,
) -> tuple[Array, ...]:
    if len(shape) != 4:
        raise ValueError(f"{op}: needs images (N, C, H, W), got shape {tuple(shape)}")
    for name, pair, least in (
        ("kernel_size", kernel_size, 1),
        ("stride", stride, 1),
        ("padding", padding, 0),
        ("dilation", dilation, 1),
    ):
        if len(pair) != 2 or min(pair) < least:
            raise ValueError(f"{op}: {name} must be two integers of at least {least}, got {pair}")
    tables = []
    for size, k, s, p, d in zip(shape[2:], kernel_size, stride, padding, dilation, strict=True):
        count = output_size(size, k, s, p, d, ceil_mode)
        start = np.arange(max(count, 0), dtype=np.int64) * s - p
        end = start + d * (k - 1) + 1
        first = np.where(start < 0, start + -(start // d) * d, start)  # the first step inside
        last = np.minimum(end, size)
        missed = first >= last
        if count < 1 or (missed.any() and not may_miss):
            raise ValueError(
                f"{op}: windows of {kernel_size} pixels (stride {stride}, padding {padding}, "
                f"dilation {dilation}) do not fit images of shape {tuple(shape)}"
            )
        number = np.minimum(end, size + p) - start if count_include_pad else last - first
        first, last = np.where(missed, 0, first), np.where(missed, 0, last)
        tables.append(np.stack([first, last, number, start]))
        tables[-1].flags.writeable = False  # remembered, for a network asks again and again
    return tuple(tables)


def cells(op: str, shape: Sequence[int], output_size: Pair) -> list[Array]:
    """The tables of an even partition of images into cells, which may overlap by a pixel.

    Cell i of n covers floor(i size / n) up to ceil((i + 1) size / n). Raises ValueError for
    impossible arguments.
    """
    if len(shape) != 4 or min(shape[2:]) < 1 or min(output_size) < 1:
        raise ValueError(f"{op}: cannot divide images of shape {tuple(shape)} into {output_size}")
    tables = []
    for size, count in zip(shape[2:], output_size, strict=True):
        i = np.arange(count + 1, dtype=np.int64) * size
        first, last = i[:-1] // count, -(-i[1:] // count)
        tables.append(np.stack([first, last, last - first, first]))
    return tables


def taps(tables: Sequence[Array], dilation: Pair) -> Iterator[tuple[list[Array], list[Array]]]:
    """For each pixel of the window, in order: the outputs (rows, columns) that have it inside the
    image, and where it lies there."""
    steps = [
        range(-(int((table[3] - table[1]).min()) // d)) if table.size else range(0)
        for table, d in zip(tables, dilation, strict=True)
    ]
    for tap in itertools.product(*steps):
        outputs, pixels = [], []
        for table, t, d in zip(tables, tap, dilation, strict=True):
            # counted from where the window starts: then no two outputs meet at one pixel
            position = table[3] + t * d
            inside = np.flatnonzero((position >= table[0]) & (position < table[1]))
            outputs.append(inside)
            pixels.append(position[inside])
        yield outputs, pixels
