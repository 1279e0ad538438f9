"""A linear map along one axis of an array: padding by copies, interpolation, uneven averages.

    axis_map    out[.., o, ..] = sum over k of weights[k] * x[.., indices[k], ..],
                k from starts[o] up to starts[o + 1]: the rows of a sparse matrix

x is (N, C, ...) with any further dimensions, or of fewer dimensions; results of three or more have
channels-last memory. float32 runs on the kernel in axis_map_loops.py, after a copy if the input is
not channels last; other dtypes are served by the NumPy lines beside it, one entry of all rows at a
time. Terms are added in the order of k: the same bits for any number of threads.

A row without entries gives zeros. Entries touch nothing but the numbers they name, so an infinity
or a NaN stays where it belongs, which a product with a full matrix (0 * inf) would spoil.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.axis_map_loops import apply_rows
from kernels.buffers import empty
from kernels.parallel import get_num_threads, launch

Array = NDArray[Any]

ONE_THREAD = 1 << 14
"""Results of fewer elements are not split over threads."""


def axis_map(
    x: Array, axis: int, starts: Array, indices: Array, weights: Array | None = None
) -> Array:
    """x with `axis` mapped by the sparse matrix (starts, indices, weights).

    starts (rows + 1,) and indices (entries,) int64, weights (entries,) or None for ones (which
    keeps integers what they are). Raises ValueError if they do not fit, IndexError if an index is
    outside the axis.
    """
    if not 0 <= axis < x.ndim:
        raise ValueError(f"axis_map: x of shape {x.shape} has no axis {axis}")
    if starts.ndim != 1 or indices.ndim != 1 or not _are_rows(starts, len(indices)):
        raise ValueError(f"axis_map: starts must rise from 0 to {len(indices)} (the entries)")
    if weights is not None and weights.shape != indices.shape:
        raise ValueError(f"axis_map: {len(indices)} indices need as many weights")
    if indices.size and not 0 <= indices.min() <= indices.max() < x.shape[axis]:
        raise IndexError(
            f"axis_map: indices from {indices.min()} to {indices.max()} are outside axis {axis} of "
            f"shape {x.shape}"
        )
    if x.ndim > 2:
        # the same axis, counted in channels-last memory
        place = 0 if axis == 0 else x.ndim - 1 if axis == 1 else axis - 1
        return np.moveaxis(_map(np.moveaxis(x, 1, -1), place, starts, indices, weights), -1, 1)
    return _map(x, axis, starts, indices, weights)


def _are_rows(starts: Array, entries: int) -> bool:
    return bool(
        starts.size and starts[0] == 0 and starts[-1] == entries and (np.diff(starts) >= 0).all()
    )


def _map(x: Array, axis: int, starts: Array, indices: Array, weights: Array | None) -> Array:
    rows = len(starts) - 1
    out = empty((*x.shape[:axis], rows, *x.shape[axis + 1 :]), x.dtype)
    outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    if x.dtype == np.float32:
        ones = np.ones(len(indices)) if weights is None else weights
        tables: list[Array] = [
            np.ascontiguousarray(starts, np.int64),
            np.ascontiguousarray(indices, np.int64),
            np.ascontiguousarray(ones, np.float32),
        ]
        x = np.ascontiguousarray(x)
        tasks = 1 if max(out.size, x.size) < ONE_THREAD else get_num_threads()
        launch(apply_rows, (x, out, *tables, outer, x.shape[axis], rows, inner), tasks=tasks)
        return out
    out.fill(0)
    lead: tuple[Any, ...] = (slice(None),) * axis
    lengths = np.diff(starts)
    for entry in range(lengths.max(initial=0)):
        targets = np.flatnonzero(lengths > entry)
        k = starts[targets] + entry
        terms = x[(*lead, indices[k])]
        if weights is not None:
            terms *= weights[k].astype(x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))
        out[(*lead, targets)] += terms
    return out
