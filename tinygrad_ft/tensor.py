"""`Tensor`: an ndarray that remembers where it came from.

What a tensor is lies here. The methods that compute are in `tensor_elementwise.py`,
`tensor_methods.py` and, for shapes and indexing, `tensor_shape.py`; changes in place in
`tensor_in_place.py`; dtypes in `tensor_dtype.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union
from weakref import ref

import numpy as np

from kernels.workers import ahead, cannot_repeat, catch_up
from tinygrad_ft.tensor_dtype import DtypeMethods
from tinygrad_ft.tensor_elementwise import ElementwiseMethods
from tinygrad_ft.tensor_in_place import InPlaceMethods
from tinygrad_ft.tensor_methods import TensorMethods
from tinygrad_ft.tensor_shape import ShapeMethods

if TYPE_CHECKING:
    from tinygrad_ft.deferred import Deferred
    from tinygrad_ft.function import Function
    from tinygrad_ft.hooks import Handle, Hook, Watched

Scalar = bool | int | float
TensorLike = Union["Tensor", np.ndarray, Scalar]
Dims = int | Sequence[int] | None

# the methods `bool`, `float`, ... shadow the built-in types in the annotations of the class body
Bool: TypeAlias = bool
Float: TypeAlias = float


class VersionCounter:
    """Counts in-place changes of one piece of memory; shared by all tensors that look at it."""

    # of the class until the first change: most counters never see one
    count = 0
    _readers: tuple[ref[Deferred], ...] = ()

    def before_change(self, reader: ref[Deferred]) -> None:
        """Have a tensor computed that still has to read the memory, before the next change."""
        others = [r for r in self._readers if r() is not None] if self._readers else ()
        self._readers = (*others, reader)

    def change(self) -> None:
        """To be called before each in-place change."""
        if self._readers:
            for reference in self._readers:
                reader = reference()
                if reader is not None:
                    reader.settle()
            self._readers = ()
        self.count += 1


class Tensor(TensorMethods, ElementwiseMethods, ShapeMethods, InPlaceMethods, DtypeMethods):
    """An n-dimensional array with a gradient.

    `data` is the ndarray, `grad` the accumulated gradient (a Tensor or None), `requires_grad` says
    whether operations on it are recorded. Created by `tinygrad_ft.tensor` and friends.
    """

    __slots__ = (
        "__weakref__",
        "_array",
        "_index",
        "_node",
        "_requires_grad",
        "_version",
        "_watched",
        "grad",
    )
    # set by the first hook of a leaf, not before: tensors are made often, hooks seldom
    _watched: Watched

    # NumPy leaves `ndarray + Tensor` to Tensor.__radd__
    __array_ufunc__ = None

    def __init__(self, data: Any, requires_grad: Bool = False) -> None:
        cannot_repeat("a tensor is made of given numbers")
        self._array = _as_array(data)
        self._node: Function | None = None
        self._index = 0
        shared = data._version if isinstance(data, Tensor) else None
        self._version: VersionCounter = shared or VersionCounter()
        self.grad: Tensor | None = None
        self._requires_grad = False
        if requires_grad:
            self.requires_grad_()

    @classmethod
    def _wrap(cls, array: np.ndarray | np.generic) -> Tensor:
        """A tensor around an array that is known to be good; no copy, no checks."""
        out = Tensor.__new__(Tensor)
        out._array = array if isinstance(array, np.ndarray) else np.asarray(array)
        out._node = None
        out._index = 0
        out._version = VersionCounter()
        out.grad = None
        out._requires_grad = False
        return out

    # ---- what it is ------------------------------------------------------------------------------

    @property
    def _data(self) -> np.ndarray:
        """The array, to be read or written. `_array` is the same while kernels may still write it:
        for ops that hand it to kernels and look at nothing but its shape (`Function.runs_ahead`).
        """
        array = self._array  # a deferred tensor is computed now, by kernels that may be put off
        if ahead.pending:
            catch_up()
        return array

    @_data.setter
    def _data(self, array: np.ndarray) -> None:
        self._array = array

    @property
    def data(self) -> np.ndarray:
        """The ndarray. Writing into it is not seen by the in-place check; `write()` is."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        array = _as_array(value)
        if array.shape != self._data.shape:
            raise ValueError(
                f"data: shape {array.shape} cannot replace shape {self._data.shape} of this tensor"
            )
        self._version.change()
        self._data = array.astype(self._data.dtype, copy=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> np.dtype:
        return self._array.dtype

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def requires_grad(self) -> Bool:
        """Whether operations on it are recorded; may be set as with `requires_grad_`."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: Bool) -> None:
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> Bool:
        """True for a tensor that no recorded op made."""
        return self._node is None

    @property
    def grad_fn(self) -> Function | None:
        """The recorded op that made this tensor, None for a leaf."""
        return self._node

    def size(self, dim: int | None = None) -> Any:
        """The shape, or its entry `dim`."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return self._array.ndim

    def ndimension(self) -> int:
        return self._array.ndim

    def numel(self) -> int:
        """The number of elements."""
        return int(self._array.size)

    def nelement(self) -> int:
        """Another name of `numel`."""
        return self.numel()

    def is_contiguous(self) -> Bool:
        """Whether the elements lie in memory in row-major order."""
        return self._array.flags.c_contiguous

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a tensor without dimensions")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> Bool:
        if self.numel() != 1:
            raise ValueError(f"the truth of a tensor of shape {self.shape} is ambiguous")
        return bool(self._data.reshape(())[()])

    def __float__(self) -> Float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu" or self.ndim:
            raise TypeError("only an integer tensor without dimensions can be an index")
        return int(self.item())

    # two tensors are the same key only if they are the same object, whatever == says
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        body = np.array2string(self._data, separator=", ", prefix="tensor(", precision=4)
        notes = f", size={self.shape}" if self.numel() == 0 and self.ndim > 1 else ""
        if self.dtype not in (np.float32, np.int64, np.bool_):
            notes += f", dtype={self.dtype}"
        if self._node is not None:
            notes += f", grad_fn={self._node!r}"
        elif self._requires_grad:
            notes += ", requires_grad=True"
        return f"tensor({body}{notes})"

    def __format__(self, format_spec: str) -> str:
        """As a number if it has no dimensions: f"{loss:.3f}"."""
        return super().__format__(format_spec) if self.ndim else format(self.item(), format_spec)

    # ---- to and from NumPy -----------------------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """The values as an ndarray that shares memory; read-only if this tensor requires grad."""
        view = self._data.view()
        if self._requires_grad:
            view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: Bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def item(self) -> Any:
        """The value of a tensor with one element, as a Python number."""
        if self.numel() != 1:
            raise ValueError(f"item: a tensor of shape {self.shape} has {self.numel()} elements")
        return self._data.item()

    def tolist(self) -> Any:
        return self._data.tolist()

    # ---- the graph -------------------------------------------------------------------------------

    def requires_grad_(self, requires_grad: Bool = True) -> Tensor:
        """Ask for a gradient (or not). Raises for integers and for a result of a recorded op."""
        if requires_grad and self.dtype.kind != "f":
            raise TypeError(f"requires_grad: only floating dtypes have gradients, not {self.dtype}")
        if not requires_grad and self._node is not None:
            raise RuntimeError("requires_grad_(False) on the result of an op; use detach()")
        self._requires_grad = bool(requires_grad)
        return self

    def detach(self) -> Tensor:
        """The same memory without history."""
        out = Tensor._wrap(self._array)
        out._version = self._version
        return out

    def backward(
        self,
        gradient: TensorLike | None = None,
        retain_graph: Bool | None = None,
        create_graph: Bool = False,
    ) -> None:
        """Add d self / d leaf to `.grad` of every leaf, weighted by `gradient` (1 for a scalar)."""
        from tinygrad_ft.engine import backward

        backward(self, gradient, retain_graph=retain_graph, create_graph=create_graph)

    def retain_grad(self) -> None:
        """Let `backward()` add to `.grad` of this result of an op as it does for a leaf."""
        from tinygrad_ft.hooks import retain_grad

        retain_grad(self)

    @property
    def retains_grad(self) -> Bool:
        """Whether `retain_grad` was called on this result of an op."""
        from tinygrad_ft.hooks import retains_grad

        return retains_grad(self)

    def register_hook(self, hook: Hook) -> Handle:
        """Call `hook(gradient)` each time a backward has this tensor's whole gradient.

        What it returns replaces the gradient, unless it is None. The gradient itself must not be
        changed in place. `remove()` of the handle ends it. Copies and pickles have no hooks.
        """
        from tinygrad_ft.hooks import register_hook

        return register_hook(self, hook)

    # ---- copies --------------------------------------------------------------------------------

    def clone(self) -> Tensor:
        return ops.clone(self)

    def contiguous(self) -> Tensor:
        """Itself if its memory is in C order, else a copy that is."""
        return self if self._array.flags.c_contiguous else ops.clone(self, order="C")

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._node is not None:
            raise RuntimeError("deepcopy: only leaves can be copied; detach() first")
        out = type(self).__new__(type(self))
        out._data = self._data.copy(order="K")
        out._node, out._index, out._version = None, 0, VersionCounter()
        out._requires_grad = self._requires_grad
        out.grad = None if self.grad is None else Tensor._wrap(self.grad._data.copy(order="K"))
        memo[id(self)] = out
        return out

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle: the values and whether a gradient is asked for, not the gradient."""
        if self._node is not None:
            raise RuntimeError("pickle: only leaves can be pickled; detach() first")
        return type(self), (self._data, self._requires_grad)


def _as_array(data: Any, dtype: Any = None) -> np.ndarray:
    """Any array-like as an ndarray of `dtype`.

    Without a `dtype`, arrays keep theirs and Python floats become float32.
    """
    if isinstance(data, Tensor):
        data = data._data
    try:
        array = np.asarray(data, dtype)
    except ValueError as error:
        raise ValueError(f"tensor: the data does not form an array: {error}") from None
    if (
        dtype is None
        and array.dtype == np.float64
        and not isinstance(data, np.ndarray | np.generic)
    ):
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"tensor: dtype {array.dtype} is not supported; use bool, integer or float")
    return array


from tinygrad_ft import (  # noqa: E402
    ops,
    tensor_dtype,
    tensor_elementwise,
    tensor_in_place,
    tensor_methods,
    tensor_shape,
)

# the ops need Tensor to exist first, and the methods of Tensor need the ops
tensor_methods.ops = tensor_elementwise.ops = tensor_shape.ops = ops
tensor_in_place.ops = tensor_dtype.ops = ops
