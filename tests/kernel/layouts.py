"""The same numbers in different memory, for tests of kernels that take any strides."""

import numpy as np

LAYOUTS = ("rows", "channels_last", "gaps", "reversed", "offset")


def laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    """A read-only array equal to `array`; `layout` says how it lies in memory."""
    if layout == "rows":
        result = array.copy(order="C")
    elif layout == "channels_last":
        result = np.moveaxis(np.moveaxis(array, 1, -1).copy(order="C"), -1, 1)
    elif layout == "gaps":
        room = np.ones([2 * n for n in array.shape], array.dtype)
        result = room[(slice(None, None, 2),) * array.ndim]
        result[...] = array
    elif layout == "reversed":
        everything = (slice(None, None, -1),) * array.ndim
        result = array[everything].copy(order="C")[everything]
    else:  # not aligned to more than its own size
        room = np.empty(array.size + 1, array.dtype)
        result = room[1:].reshape(array.shape)
        result[...] = array
    result.flags.writeable = False
    return result


def is_channels_last(array: np.ndarray) -> bool:
    return np.moveaxis(array, 1, -1).flags.c_contiguous
