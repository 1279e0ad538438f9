"""Parameter: a Tensor that a Module finds, trains and saves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_ft.tensor import Tensor


class Parameter(Tensor):
    """A leaf Tensor that registers itself when assigned to an attribute of a Module.

    `data` is a Tensor or anything `tinygrad_ft.tensor` takes; its memory is shared, not copied.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)
        if isinstance(data, Tensor):
            self._version = data._version  # same memory, so in-place changes are counted together

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def clear_grads(tensors: Iterable[Tensor], set_to_none: bool) -> None:
    """Drop the gradients of tensors, or put zeros in the place of those that there are."""
    for tensor in tensors:
        if set_to_none:
            tensor.grad = None
        elif tensor.grad is not None:
            # a new array: one that came from create_graph may belong to a graph still in use
            tensor.grad = Tensor(np.zeros_like(tensor.grad.data))
