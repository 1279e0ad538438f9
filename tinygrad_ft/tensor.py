"""`Tensor`: an ndarray that remembers where it came from.

What a tensor is lies here; the methods that compute are in `tensor_methods.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union
from weakref import ref

import numpy as np

from tinygrad_ft.grad_mode import is_grad_enabled
from tinygrad_ft.tensor_methods import TensorMethods

if TYPE_CHECKING:
    from tinygrad_ft.deferred import Deferred
    from tinygrad_ft.function import Function

Scalar = bool | int | float
TensorLike = Union["Tensor", np.ndarray, Scalar]
Dims = int | Sequence[int] | None

# the methods `bool`, `float`, ... shadow the built-in types in the annotations of the class body
Bool: TypeAlias = bool
Float: TypeAlias = float


class VersionCounter:
    """Counts in-place changes of one piece of memory; shared by all tensors that look at it."""

    __slots__ = ("_readers", "count")

    def __init__(self) -> None:
        self.count = 0
        self._readers: list[ref[Deferred]] = []

    def before_change(self, reader: ref[Deferred]) -> None:
        """Have a tensor computed that still has to read the memory, before the next change."""
        self._readers = [r for r in self._readers if r() is not None]
        self._readers.append(reader)

    def change(self) -> None:
        """To be called before each in-place change."""
        for reference in self._readers:
            reader = reference()
            if reader is not None:
                reader.settle()
        self._readers = []
        self.count += 1


class Tensor(TensorMethods):
    """An n-dimensional array with a gradient.

    `data` is the ndarray, `grad` the accumulated gradient (a Tensor or None), `requires_grad` says
    whether operations on it are recorded. Created by `tinygrad_ft.tensor` and friends.
    """

    __slots__ = ("__weakref__", "_data", "_index", "_node", "_requires_grad", "_version", "grad")
    # NumPy leaves `ndarray + Tensor` to Tensor.__radd__
    __array_ufunc__ = None

    def __init__(self, data: Any, requires_grad: Bool = False) -> None:
        self._data = _as_array(data)
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
        out._data = array if isinstance(array, np.ndarray) else np.asarray(array)
        out._node = None
        out._index = 0
        out._version = VersionCounter()
        out.grad = None
        out._requires_grad = False
        return out

    # ---- what it is ------------------------------------------------------------------------------

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
        return self._data.shape

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    @property
    def ndim(self) -> int:
        return self._data.ndim

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
        return self._data.ndim

    def numel(self) -> int:
        """The number of elements."""
        return int(self._data.size)

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

    def __hash__(self) -> int:
        return id(self)

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
        out = Tensor._wrap(self._data)
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

    # ---- in place --------------------------------------------------------------------------------

    def write(self, op: str = "write", source: TensorLike = 0) -> np.ndarray:
        """The array, to be changed in place by `op`; counted, so that a stale gradient raises.

        Raises RuntimeError if recording is on and the tensor, or the `source` that is written into
        it, requires grad: the change would be missing from the graph.
        """
        if is_grad_enabled():
            for tensor in (self, source):
                if isinstance(tensor, Tensor) and tensor._requires_grad:
                    raise RuntimeError(
                        f"{op}: in-place change of a tensor of shape {self.shape}, in which a "
                        f"tensor that requires grad (shape {tensor.shape}) takes part; use the "
                        "out-of-place operation, or no_grad() if it belongs outside the graph"
                    )
        self._version.change()
        return self._data

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
        source = self._fitting("copy_", other)
        self.write("copy_", other)[...] = source
        return self

    def fill_(self, value: Scalar) -> Tensor:
        self.write("fill_")[...] = value
        return self

    def zero_(self) -> Tensor:
        self.write("zero_")[...] = 0
        return self

    def add_(self, other: TensorLike, *, alpha: Scalar = 1) -> Tensor:
        return self._update("add_", np.add, other if alpha == 1 else other * alpha)

    def sub_(self, other: TensorLike, *, alpha: Scalar = 1) -> Tensor:
        return self._update("sub_", np.subtract, other if alpha == 1 else other * alpha)

    def mul_(self, other: TensorLike) -> Tensor:
        return self._update("mul_", np.multiply, other)

    def div_(self, other: TensorLike) -> Tensor:
        return self._update("div_", np.divide, other)

    # `w -= lr * w.grad` changes w itself
    __iadd__ = add_
    __isub__ = sub_
    __imul__ = mul_
    __itruediv__ = div_

    def __setitem__(self, index: Any, value: TensorLike) -> None:
        self.write("__setitem__", value)[ops.raw_index(index)] = ops.raw(value)

    # ---- dtype and copies ------------------------------------------------------------------------

    def to(self, dtype: Any) -> Tensor:
        """The values as another NumPy dtype."""
        return ops.to(self, dtype)

    def float(self) -> Tensor:
        return ops.to(self, np.float32)

    def double(self) -> Tensor:
        return ops.to(self, np.float64)

    def long(self) -> Tensor:
        return ops.to(self, np.int64)

    def bool(self) -> Tensor:
        return ops.to(self, np.bool_)

    def clone(self) -> Tensor:
        return ops.clone(self)

    def contiguous(self) -> Tensor:
        """Itself if its memory is in C order, else a copy that is."""
        return self if self._data.flags.c_contiguous else ops.clone(self, order="C")

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


from tinygrad_ft import ops, tensor_methods  # noqa: E402

# the ops need Tensor to exist first, and the methods of Tensor need the ops
tensor_methods.ops = ops
