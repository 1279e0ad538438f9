"""The methods of Tensor that change it in place.

There is no autograd for them: while recording is on they raise wherever a gradient would be lost.
Everything is checked before the first element changes, and a refused change is not counted.
"""

# `self` is a Tensor, which mypy cannot know of a class that Tensor is derived from
# mypy: disable-error-code="return-value, arg-type"

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_ft.grad_mode import is_grad_enabled, no_grad

if TYPE_CHECKING:
    # at run time `tensor.py` puts it here: the ops need Tensor to exist first
    from tinygrad_ft import ops
    from tinygrad_ft.tensor import Scalar, Tensor, TensorLike, VersionCounter


class InPlaceMethods:
    """Base of Tensor alone."""

    __slots__ = ()

    if TYPE_CHECKING:
        _array: np.ndarray
        _data: np.ndarray
        _requires_grad: bool
        _version: VersionCounter

        @property
        def shape(self) -> tuple[int, ...]: ...
        @property
        def dtype(self) -> np.dtype: ...

    def write(self, op: str = "write", source: TensorLike = 0) -> np.ndarray:
        """The array, to be changed in place by `op`; counted, so that a stale gradient raises.

        Raises RuntimeError if recording is on and the tensor, or the `source` that is written into
        it, requires grad: the change would be missing from the graph. Likewise if the memory is
        read-only, as that of an expanded tensor.
        """
        self._place(op, source)
        return self._data

    def _place(self, op: str, source: TensorLike = 0) -> np.ndarray:
        """`write` for a kernel: the array as it is while others may still be at work on it."""
        traced = self if self._requires_grad else source
        if isinstance(traced, InPlaceMethods) and traced._requires_grad and is_grad_enabled():
            raise RuntimeError(
                f"{op}: in-place change of a tensor of shape {self.shape}, in which a "
                f"tensor that requires grad (shape {traced.shape}) takes part; use the "
                "out-of-place operation, or no_grad() if it belongs outside the graph"
            )
        if not self._array.flags.writeable:
            raise RuntimeError(
                f"{op}: the memory of this tensor of shape {self.shape} is read-only, or one "
                "element is seen in several places (expand, broadcast_to); change a clone()"
            )
        self._version.change()
        return self._array

    def _update(self, op: str, ufunc: Callable[..., Any], other: TensorLike) -> Tensor:
        """self = ufunc(self, other) in the memory of self."""
        # a Python number stays one: it takes the dtype of the array
        source = other if isinstance(other, bool | int | float) else self._fitting(op, other)
        array = self.write(op, other)
        try:
            with np.errstate(all="ignore"):
                ufunc(array, source, out=array, casting="same_kind")
        except TypeError:
            kind = getattr(source, "dtype", type(source).__name__)
            raise TypeError(
                f"{op}: a tensor of {self.dtype} cannot hold the result of {kind}"
            ) from None
        return self

    def _times(self, other: TensorLike, alpha: Scalar) -> TensorLike:
        """other * alpha, where self is floating without rounding to fewer digits on the way."""
        if alpha == 1:
            return other
        if isinstance(other, InPlaceMethods) and self.dtype.kind == "f" and other.dtype.kind != "f":
            other = ops.to(other, self.dtype)
        return other * alpha

    def _fitting(self, op: str, source: TensorLike) -> np.ndarray:
        """The array behind `source`, if it broadcasts to the shape of self."""
        array = ops.raw(source)
        try:
            fits = np.broadcast_shapes(self.shape, array.shape) == self.shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"{op}: shape {array.shape} does not fit into shape {self.shape}")
        return array

    def copy_(self, other: TensorLike) -> Tensor:
        """The values of `other`, broadcast and converted to this dtype."""
        source = self._fitting("copy_", other)
        array = self.write("copy_", other)
        with np.errstate(all="ignore"):
            array[...] = source
        return self

    def fill_(self, value: Scalar) -> Tensor:
        number = ops.number_as("fill_", value, self.dtype)
        self.write("fill_")[...] = number
        return self

    def zero_(self) -> Tensor:
        self.write("zero_")[...] = 0
        return self

    def add_(self, other: TensorLike, *, alpha: Scalar = 1) -> Tensor:
        return self._update("add_", np.add, self._times(other, alpha))

    def sub_(self, other: TensorLike, *, alpha: Scalar = 1) -> Tensor:
        return self._update("sub_", np.subtract, self._times(other, alpha))

    def mul_(self, other: TensorLike) -> Tensor:
        return self._update("mul_", np.multiply, other)

    def div_(self, other: TensorLike) -> Tensor:
        return self._update("div_", np.divide, other)

    def clamp_(self, min: TensorLike | None = None, max: TensorLike | None = None) -> Tensor:
        """Limited to [min, max], numbers or tensors, as by `clamp`."""
        with no_grad():
            limited = ops.clamp(self, min, max)
        if limited.dtype != self.dtype:
            raise TypeError(
                f"clamp_: a tensor of {self.dtype} cannot hold the result of {limited.dtype}"
            )
        source = self._fitting("clamp_", limited)
        tensors = [t for t in (min, max) if isinstance(t, InPlaceMethods) and t._requires_grad]
        self.write("clamp_", *tensors[:1])[...] = source
        return self

    # `w -= lr * w.grad` changes w itself
    __iadd__ = add_
    __isub__ = sub_
    __imul__ = mul_
    __itruediv__ = div_

    def __setitem__(self, index: Any, value: TensorLike) -> None:
        """self[index] = value, broadcast and converted to this dtype; an index as in `getitem`."""
        view, parts, shape = ops.place("__setitem__", self._data, index)
        source = (
            ops.number_as("__setitem__", value, self.dtype)
            if isinstance(value, bool | int | float)
            else ops.raw(value)
        )
        if source.dtype.kind not in "biuf":
            raise TypeError(
                f"__setitem__: a tensor of {self.dtype} cannot hold {type(value).__name__}"
            )
        while source.ndim > len(shape) and source.shape[0] == 1:
            source = source[0]
        try:
            fits = np.broadcast_shapes(shape, source.shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"__setitem__: shape {source.shape} does not fit into shape {shape}, which the "
                f"index names in a tensor of shape {self.shape}"
            )
        self.write("__setitem__", value)
        with np.errstate(all="ignore"):
            view[... if parts is None else parts] = source
