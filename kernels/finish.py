"""What may follow a convolution, done while its results are still in the cache.

    out = relu(out * scale + shift + residual), each part if wanted

scale and shift are one number a channel: a bias, or a batch norm in evaluation. The kernels that
compute a convolution (a matrix product, for 1x1) call `finish_pixels` for each piece of the
result they have completed; those that complete some channels of it at a time leave it to
`finish_result`. Results, and the residual, are dense and channels last.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.addresses import address
from kernels.cache import kernel
from kernels.language import njit
from kernels.parallel import launch, share
from kernels.placing import reordered
from kernels.simd import (
    LANES,
    PANEL,
    add,
    float32_at,
    fma,
    int64_at,
    load,
    load_first,
    maximum,
    splat,
    store,
    store_first,
)

Array = NDArray[Any]


@njit(nogil=True)
def finish_pixels(pixels, at, channels, finish, offset):
    """Finish some pixels that lie one after the other in memory, the first at `at`.

    finish   addresses of scale, shift and residual (0: none), and whether to relu
    offset   bytes from the beginning of the result to `at`
    """
    scale, shift, residual, relu = finish[0], finish[1], finish[2], finish[3]
    if scale == 0 and residual == 0 and relu == 0:
        return
    zero = splat(np.float32(0))
    step = 4 * channels
    whole = channels - channels % LANES
    for i in range(pixels):
        to = at + i * step
        other = residual + offset + i * step
        for c in range(0, whole, LANES):
            value = load(to + 4 * c)
            if scale != 0:
                value = fma(value, load(scale + 4 * c), load(shift + 4 * c))
            if residual != 0:
                value = add(value, load(other + 4 * c))
            if relu != 0:
                value = maximum(zero, value)
            store(to + 4 * c, value)
        if whole < channels:
            rest = channels - whole
            value = load_first(to + 4 * whole, rest)
            if scale != 0:
                value = fma(value, load(scale + 4 * whole), load(shift + 4 * whole))
            if residual != 0:
                value = add(value, load_first(other + 4 * whole, rest))
            if relu != 0:
                value = maximum(zero, value)
            store_first(to + 4 * whole, value, rest)


@kernel()
def finish_all(ints, floats, task, tasks):
    """A task's share of the pixels of a result: address, pixels, channels, finish."""
    pixels, step = ints[1], 4 * ints[2]
    begin, end = share(pixels, task, tasks), share(pixels, task + 1, tasks)
    offset = begin * step
    finish_pixels(end - begin, ints[0] + offset, ints[2], int64_at(ints[3]), offset)


@kernel()
def pad_vectors(ints, floats, task, tasks):
    """scale (1 without one) and shift (0), each followed by zeros up to a whole panel.

    ints   out, its floats a row; channels; for both their address (0: none) and step in bytes"""
    width, channels = ints[1], ints[2]
    for row in range(2):
        out = float32_at(ints[0] + 4 * row * width)
        source, step = ints[3 + 2 * row], ints[4 + 2 * row]
        for c in range(channels):
            out[c] = float32_at(source + c * step)[0] if source != 0 else np.float32(1 - row)
        for c in range(channels, width):
            out[c] = np.float32(0)


class Finish(NamedTuple):
    """scale, shift (C,), residual (shape of the result): arrays or None; relu."""

    scale: Array | None = None
    shift: Array | None = None
    residual: Array | None = None
    relu: bool = False

    def check(self, op: str, result: Array) -> None:
        """ValueError if a shape does not fit the result, TypeError if a dtype is another one."""
        channels = (result.shape[1],)
        wanted = {"scale": channels, "shift": channels, "residual": result.shape}
        for name, shape in wanted.items():
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise ValueError(
                    f"{op}: {name} has shape {array.shape}, a result of shape {result.shape} needs "
                    f"{shape}"
                )
            if array is not None and array.dtype != result.dtype:
                raise TypeError(f"{op}: {name} is {array.dtype}, the result {result.dtype}")

    def in_numpy(self, result: Array) -> None:
        """The same in place, for any dtype and layout."""
        per_channel = (1, -1, 1, 1)
        if self.scale is not None:
            result *= self.scale.reshape(per_channel)
        if self.shift is not None:
            result += self.shift.reshape(per_channel)
        if self.residual is not None:
            result += self.residual
        if self.relu:
            np.copyto(result, 0, where=result < 0)


SMALL = 1 << 16
"""Results of fewer numbers are finished by one thread."""
NO_FINISH = [0, 0, 0, 0]
"""The table that changes nothing."""


class FinishTable:
    """What `finish_pixels` reads, and the arrays behind the addresses."""

    def __init__(self, finish: Finish | None, channels: int) -> None:
        self.numbers = np.zeros(4, np.int64)
        self.arrays: list[Array] = []
        if finish is None:
            return
        if finish.scale is not None or finish.shift is not None:
            padded = np.empty((2, -(-channels // PANEL) * PANEL), np.float32)
            ints: list[Any] = [padded, padded.shape[1], channels]
            for vector in (finish.scale, finish.shift):
                ints += (0, 0) if vector is None else (vector, vector.strides[0])
            launch(pad_vectors, ints, tasks=1, later=True)
            self.arrays += [padded[0], padded[1]]
            self.numbers[:2] = [address(a) for a in self.arrays]
        if finish.residual is not None:
            self.arrays.append(dense(finish.residual))
            self.numbers[2] = address(self.arrays[-1])
        self.numbers[3] = finish.relu


def finish_result(result: Array, finish: Finish) -> None:
    """Finish a whole result, float32 (N, C, H, W)."""
    n, channels, height, width = result.shape
    _finish(result, n * height * width, channels, finish)


def finish_rows(result: Array, finish: Finish) -> None:
    """The same for float32 (N, C) in C order."""
    rows, channels = result.shape
    _finish(result, rows, channels, finish)


def _finish(result: Array, pixels: int, channels: int, finish: Finish) -> None:
    table = FinishTable(finish, channels)
    launch(
        finish_all,
        (result, pixels, channels, table.numbers),
        tasks=None if result.size >= SMALL else 1,
        later=True,
        keep=(table,),
    )


def dense(image: Array) -> Array:
    """A 4-D array as N, H, W, C in contiguous memory, copied if need be."""
    last = image.transpose(0, 2, 3, 1)
    if last.flags.c_contiguous:
        return last
    return reordered(image, (0, 2, 3, 1)).transpose(0, 2, 3, 1)
