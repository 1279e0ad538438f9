"""`Deferred`: a tensor that is computed when somebody asks for what it holds, and not before.

It is how ops that follow each other are computed together (`ops/fusion.py`): an op may give its
result as a subclass of Deferred, and a later op that knows it (`then_add`, `then_relu`) takes
over its work. Everybody else sees a Tensor: reading its values, its place in the graph, or
handing it to an op computes it, under the grad mode of its creation. An in-place change of one of
its inputs computes it first.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_ft.grad_mode import GradMode, is_grad_enabled
from tinygrad_ft.tensor import Tensor

_ARRAY, _NODE, _INDEX, _VERSION = (
    vars(Tensor)[name] for name in ("_array", "_node", "_index", "_version")
)


def _settled(slot: Any) -> Any:
    """What a slot of Tensor holds, after the tensor has been computed."""

    def get(self: Deferred) -> Any:
        self.settle()
        return slot.__get__(self)

    def put(self: Deferred, value: Any) -> None:
        self.settle()
        slot.__set__(self, value)

    return property(get, put)


class Deferred(Tensor):
    """See the head of this file. `inputs` are the tensors that `compute` will read."""

    __slots__ = ("_dtype", "_grad_mode", "_shape", "waiting")

    _array = _settled(_ARRAY)
    _node = _settled(_NODE)
    _index = _settled(_INDEX)
    _version = _settled(_VERSION)

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, inputs: Sequence[Tensor]) -> None:
        self._shape, self._dtype = shape, dtype
        self._grad_mode = is_grad_enabled()
        self.grad = None
        self.waiting = True
        reference, traced = weakref.ref(self), False
        for tensor in inputs:
            traced = traced or tensor._requires_grad
            if not (isinstance(tensor, Deferred) and tensor.waiting):
                tensor._version.before_change(reference)
        self._requires_grad = traced and self._grad_mode

    def compute(self) -> Tensor:
        """The tensor that this one stands for."""
        raise NotImplementedError

    def settle(self) -> None:
        """Compute, once."""
        if self.waiting:
            self.waiting = False
            with GradMode(self._grad_mode):
                result = self.compute()
            for slot in (_ARRAY, _NODE, _INDEX, _VERSION):
                slot.__set__(self, slot.__get__(result))
            self.forget()

    def forget(self) -> None:
        """Drop what `compute` needed."""

    def plain(self) -> Tensor:
        """The same as a Tensor and nothing else."""
        self.settle()
        out = Tensor._wrap(self._array)
        for slot in (_NODE, _INDEX, _VERSION):
            slot.__set__(out, slot.__get__(self))
        out._requires_grad = self._requires_grad
        return out

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.plain().__deepcopy__(memo)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.plain().__reduce__()

    @property
    def can_join(self) -> bool:
        """Whether an op that is called now may take over the work."""
        return self.waiting and self._grad_mode == is_grad_enabled()

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype:
        return self._dtype

    @property
    def ndim(self) -> int:
        return len(self._shape)

    def then_affine(self, scale: Tensor, shift: Tensor) -> Tensor | None:
        """This * scale[c] + shift[c], computed together if that is possible, else None."""
        return None

    def then_add(self, other: Any) -> Tensor | None:
        """This + other, computed together if that is possible, else None."""
        return None

    def then_relu(self) -> Tensor | None:
        """relu of this, computed together if that is possible, else None."""
        return None
