"""Base of the elementwise ops of several operands: their gradients are summed back to shape."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import unbroadcast
from tinygrad_ft.tensor import Tensor


class Broadcasting(Function):
    """An op whose operands are broadcast; `fit` undoes that for the gradient of one of them."""

    def remember_shapes(self, *arrays: np.ndarray | None) -> None:
        self.shapes = tuple([() if a is None else a.shape for a in arrays])

    def fit(self, index: int, gradient: Tensor) -> Tensor:
        return unbroadcast(gradient, self.shapes[index])
