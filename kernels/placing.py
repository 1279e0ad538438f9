"""Put an array into a larger one: padding, cropping, and the transpose of a slice, in one pass; and
copies in another order of memory.

    place       out = value everywhere, then out[a part] = source
    reordered   a copy whose axes lie in memory as they should

The part is a view of `out` made by slices with positive steps. float32 arrays of four dimensions
that are dense in memory (in any order of their axes) and large are served by the kernel: each
thread fills rows and puts what belongs into them while they are in the cache. Everything else
takes the NumPy lines beside it.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.addresses import address
from kernels.buffers import empty
from kernels.cache import kernel
from kernels.launch_plan import HERE, LaunchPlan
from kernels.packing import copy_floats
from kernels.parallel import get_num_threads, share
from kernels.simd import LANES, float32_at, int64_at, splat, store, store_first
from kernels.workers import catch_up, is_recorded

Array = NDArray[Any]
Shape = tuple[int, ...]
FLOAT32 = np.dtype(np.float32)

LARGE = 1 << 16
"""Elements from which a kernel beats NumPy."""


@kernel()
def _place(ints, floats, task, tasks):
    """The axes come in the order of the memory of out, the last one contiguous. Steps in bytes."""
    out, source, table = ints[0], ints[1], int64_at(ints[2])
    value = np.float32(floats[0])
    vector = splat(value)
    n0, n1 = table[0], table[1]
    row_floats = table[2] * table[3]
    for row in range(share(n0 * n1, task, tasks), share(n0 * n1, task + 1, tasks)):
        i = row // n1
        j = row - i * n1
        at = out + row * row_floats * 4
        whole = row_floats - row_floats % LANES
        for k in range(0, whole, LANES):
            store(at + 4 * k, vector)
        store_first(at + 4 * whole, vector, row_floats - whole)
        # first place, step and count of the part along each axis, and the source's steps
        i -= table[4]
        j -= table[5]
        if i < 0 or j < 0 or i % table[8] != 0 or j % table[9] != 0:
            continue
        i //= table[8]
        j //= table[9]
        if i >= table[12] or j >= table[13]:
            continue
        read = source + i * table[16] + j * table[17]
        to = at + (table[6] * table[3] + table[7]) * 4
        for _ in range(table[14]):
            if table[11] == 1 and table[19] == 4:
                copy_floats(read, to, table[15])
            else:
                for c in range(table[15]):
                    float32_at(to)[c * table[11]] = float32_at(read + c * table[19])[0]
            read += table[18]
            to += table[10] * table[3] * 4


def place(out: Array, part: Array, source: Array, value: float = 0) -> None:
    """Fill `out` with `value`, then `part` with `source`.

    part   a view of `out` by slices with positive steps

    Raises ValueError if the shapes of part and source differ.
    """
    if part.shape != source.shape:
        raise ValueError(f"place: source has shape {source.shape}, its place {part.shape}")
    kinds = {out.dtype, part.dtype, source.dtype}
    worth = out.size >= LARGE or is_recorded()
    if out.ndim == 4 and worth and out.size and kinds == {FLOAT32}:
        layout = (out.shape, out.strides, part.shape, part.strides, address(part) - address(out))
        plan = _plan(*layout, source.strides, float(value), get_num_threads())
        if plan is not None:
            plan.launch(out, source)
            return
    catch_up()
    out[...] = value
    part[...] = source


def reordered(x: Array, order: Sequence[int]) -> Array:
    """A copy of x without gaps, its axes in memory in this order, the last one contiguous."""
    memory = empty([x.shape[axis] for axis in order], x.dtype, later=True)
    copy = memory.transpose(np.argsort(order))
    place(copy, copy, x)
    return copy


@lru_cache(maxsize=512)
def _plan(
    shape: Shape,
    strides: Shape,
    part_shape: Shape,
    part_strides: Shape,
    offset: int,
    source_strides: Shape,
    value: float,
    threads: int,
) -> LaunchPlan | None:
    """The launch for such arrays, to which out and source are to be given; None if out has gaps."""
    order = sorted(range(4), key=lambda axis: (-abs(strides[axis]), axis))
    expected = 4
    for axis in reversed(order):
        if strides[axis] != expected and (shape[axis] != 1 or strides[axis] <= 0):
            return None
        expected *= shape[axis]
    starts, steps = [], []
    for axis in order:
        start, offset = divmod(offset, strides[axis]) if 0 not in part_shape else (0, 0)
        starts.append(start)
        steps.append(part_strides[axis] // strides[axis] if part_shape[axis] > 1 else 1)
    table = [
        *([shape[axis] for axis in order] + starts + steps),
        *([part_shape[axis] for axis in order] + [source_strides[axis] for axis in order]),
    ]
    return LaunchPlan(_place, [HERE, HERE, table], (value,), threads)
