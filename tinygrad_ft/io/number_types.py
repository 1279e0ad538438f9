"""Number types of weights files: what NumPy lacks, and the one conversion on loading."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_ft.io.errors import BadContentError, shown


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """float32 of the same values; `bits` are bfloat16 as uint16: the upper half of a float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def convert_floats(tensors: Mapping[str, np.ndarray], dtype: DTypeLike) -> dict[str, np.ndarray]:
    """`tensors` with real floats as `dtype`; integers, booleans and complex numbers stay.

    Raises BadContentError when a finite number becomes infinite on the way.
    """
    target = np.dtype(dtype)
    if target.kind != "f":
        raise ValueError(f"load_weights: dtype must be a float type or None, not {target.name}")
    return {
        name: _convert(name, array, target) if array.dtype.kind == "f" else array
        for name, array in tensors.items()
    }


def _convert(name: str, array: np.ndarray, target: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        converted = array.astype(target, copy=False)
    narrower = target.itemsize < array.dtype.itemsize
    if narrower and np.any(np.isinf(converted) & np.isfinite(array)):
        raise BadContentError(
            f"holds numbers in {shown(name)} that are too large for {target.name}; "
            "keep the file's own types with dtype=None"
        )
    return converted
