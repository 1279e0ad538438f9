"""Rows added into a table, which is the gradient of every look-up, and rows added up.

    scatter_add_rows   out = zeros of (count, width), x[i] added to out[rows[i]] for i = 0, 1, ...
    sum_rows           out = sum over i of x[i]

`scatter_add_rows` of float32 of SMALL elements or more and at least two columns runs on the kernel
below, after a copy if x is not row-major; everything else takes NumPy's `add.at` on flat memory,
which is as fast for one column. Both add in the order of x, so they give the same bits, for any
number of threads.

Time of what else was tried, in times of the kernel's, for n rows -> table of (count, width):

                                 8192 -> (65, 384)   4096 -> (1000, 64)   2048 -> (30000, 256)
    np.add.at on rows                   50                   44                   3.9
    np.add.at on flat memory            12                    9                   2.0
    sorted rows, np.add.reduceat        16                   17                   2.7
    a Python loop over rows             11                   50                   2.6
    torch.index_add_                     0.8                  1.4                 0.9
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.buffers import empty
from kernels.cache import kernel
from kernels.parallel import get_num_threads, launch, share
from kernels.simd import float32_at, int64_at
from kernels.workers import catch_up

Array = NDArray[Any]

SMALL = 1 << 12
"""Elements of x below which NumPy is done before a kernel has started."""

ONE_THREAD = 1 << 18
"""Elements of x below which one thread does it all."""


@kernel()
def _scatter_add(ints, floats, task, tasks):
    """Tasks share the columns, so that no two write to the same number."""
    rows, n, count, width = int64_at(ints[1]), ints[3], ints[4], ints[5]
    begin, end = share(width, task, tasks), share(width, task + 1, tasks)
    for row in range(count):
        out = float32_at(ints[2] + row * width * 4)
        for c in range(begin, end):
            out[c] = np.float32(0)
    for i in range(n):
        x = float32_at(ints[0] + i * width * 4)
        out = float32_at(ints[2] + rows[i] * width * 4)
        for c in range(begin, end):
            out[c] += x[c]


@kernel()
def _sum_rows(ints, floats, task, tasks):
    """Tasks share the columns."""
    n, width = ints[2], ints[3]
    begin, end = share(width, task, tasks), share(width, task + 1, tasks)
    out = float32_at(ints[1])
    for c in range(begin, end):
        out[c] = np.float32(0)
    for i in range(n):
        x = float32_at(ints[0] + i * width * 4)
        for c in range(begin, end):
            out[c] += x[c]


def sum_rows(x: Array) -> Array:
    """out (width,) = sum over i of x[i], for x (n, width), with the bits of `x.sum(0)`.

    float32 in C order with two columns or more runs on a kernel that may be put off."""
    if x.dtype != np.float32 or not x.flags.c_contiguous or x.shape[1] < 2:
        catch_up()
        return np.asarray(np.add.reduce(x, axis=0))
    n, width = x.shape
    out = empty(width, later=True)
    tasks = min(get_num_threads(), width // 16) if x.size >= ONE_THREAD else 1
    launch(_sum_rows, (x, out, n, width), tasks=tasks, later=True)
    return out


def scatter_add_rows(x: Array, rows: Array, count: int) -> Array:
    """out (count, width) = zeros, x[i] added to out[rows[i]].

    x (n, width), rows (n,) of integers. Raises ValueError if the shapes do not fit, TypeError if
    the rows are no integers, IndexError if a row is not one of 0 ... count - 1.
    """
    if x.ndim != 2 or rows.shape != x.shape[:1]:
        raise ValueError(
            f"scatter_add_rows: x {x.shape} must be (n, width) and rows {rows.shape} be (n,)"
        )
    if rows.dtype.kind not in "iu":
        raise TypeError(f"scatter_add_rows: rows must be integers, got {rows.dtype}")
    if rows.size and not 0 <= rows.min() <= rows.max() < count:
        raise IndexError(
            f"scatter_add_rows: rows from {rows.min()} to {rows.max()} are outside a table of "
            f"{count} rows"
        )
    n, width = x.shape
    places = np.ascontiguousarray(rows, np.int64)  # before they are multiplied
    if x.dtype == np.float32 and x.size >= SMALL and width > 1:
        x = np.ascontiguousarray(x)
        out = empty((count, width))
        # at least one cache line of columns for each
        tasks = min(get_num_threads(), max(1, width // 16)) if x.size >= ONE_THREAD else 1
        launch(_scatter_add, (x, places, out, n, count, width), tasks=tasks)
        return out
    flat = np.zeros(count * width, x.dtype)
    if width != 1:
        places = places[:, None] * width + np.arange(width)
    np.add.at(flat, places.reshape(-1), x.reshape(-1))
    return flat.reshape(count, width)
