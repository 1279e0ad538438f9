"""Weights in the form that the kernels read, kept by whoever knows that they do not change."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Prepared:
    """The packed or transformed weights of one convolution: an argument of `conv2d_forward`.

    Give the same object with the same weights again, and they need not be packed again. Nothing
    checks that they are the same.
    """

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def get(self, key: Any) -> Any:
        """What was kept under the key, or None."""
        return self._kept.get(key)

    def keep(self, key: Any, value: Any) -> Any:
        """Keep something, and return it."""
        self._kept[key] = value
        return value

    @property
    def nbytes(self) -> int:
        """Memory that is kept."""
        parts = [v if isinstance(v, tuple) else (v,) for v in self._kept.values()]
        arrays: list[NDArray[Any]] = [a for p in parts for a in p if isinstance(a, np.ndarray)]
        return sum(a.nbytes for a in arrays)
