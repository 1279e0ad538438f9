"""The methods of Tensor about shape and indexing, each one line that calls the op in `ops`."""

# `self` is a Tensor, which mypy cannot know of a class that Tensor is derived from
# mypy: disable-error-code="arg-type"

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # at run time `tensor.py` puts it here: the ops need Tensor to exist first
    from tinygrad_ft import ops
    from tinygrad_ft.tensor import Dims, Scalar, Tensor, TensorLike


class ShapeMethods:
    """Base of Tensor alone."""

    __slots__ = ()

    # ---- the same elements in another shape ------------------------------------------------------

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix."""
        return ops.t(self)

    @property
    def mT(self) -> Tensor:
        """The matrices in the last two dimensions transposed."""
        return ops.transpose(self, -2, -1)

    def t(self) -> Tensor:
        return ops.t(self)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        return ops.transpose(self, dim0, dim1)

    def swapaxes(self, axis0: int, axis1: int) -> Tensor:
        return ops.swapaxes(self, axis0, axis1)

    def swapdims(self, dim0: int, dim1: int) -> Tensor:
        return ops.swapdims(self, dim0, dim1)

    def permute(self, *args: Any, dims: Any = None) -> Tensor:
        return ops.permute(self, variadic(args, dims))

    def movedim(self, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
        return ops.movedim(self, source, destination)

    def moveaxis(self, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
        return ops.moveaxis(self, source, destination)

    def reshape(self, *args: Any, shape: Any = None) -> Tensor:
        return ops.reshape(self, variadic(args, shape))

    def reshape_as(self, other: Tensor) -> Tensor:
        return ops.reshape_as(self, other)

    def view(self, *args: Any, size: Any = None) -> Tensor:
        """`reshape` that raises if it would have to copy."""
        return ops.view(self, variadic(args, size))

    def view_as(self, other: Tensor) -> Tensor:
        return ops.view_as(self, other)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        return ops.flatten(self, start_dim, end_dim)

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Tensor:
        return ops.unflatten(self, dim, sizes)

    def squeeze(self, dim: Dims = None) -> Tensor:
        return ops.squeeze(self, dim)

    def unsqueeze(self, dim: int) -> Tensor:
        return ops.unsqueeze(self, dim)

    # ---- repeated, turned round, taken apart -----------------------------------------------------

    def expand(self, *args: Any, size: Any = None) -> Tensor:
        return ops.expand(self, variadic(args, size))

    def expand_as(self, other: Tensor) -> Tensor:
        return ops.expand_as(self, other)

    def broadcast_to(self, size: Sequence[int]) -> Tensor:
        return ops.broadcast_to(self, size)

    def repeat(self, *args: Any, repeats: Any = None) -> Tensor:
        return ops.repeat(self, variadic(args, repeats))

    def tile(self, *args: Any, dims: Any = None) -> Tensor:
        return ops.tile(self, variadic(args, dims))

    def repeat_interleave(self, repeats: int | TensorLike, dim: int | None = None) -> Tensor:
        return ops.repeat_interleave(self, repeats, dim)

    def flip(self, *args: Any, dims: Any = None) -> Tensor:
        return ops.flip(self, variadic(args, dims))

    def roll(self, shifts: int | Sequence[int], dims: Dims = None) -> Tensor:
        return ops.roll(self, shifts, dims)

    def split(self, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        return ops.split(self, split_size, dim)

    def split_with_sizes(self, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        return ops.split_with_sizes(self, split_sizes, dim)

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        return ops.chunk(self, chunks, dim)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        return ops.unbind(self, dim)

    # ---- parts -----------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        return ops.narrow(self, dim, start, length)

    def select(self, dim: int, index: int) -> Tensor:
        return ops.select(self, dim, index)

    def index_select(self, dim: int, index: TensorLike) -> Tensor:
        return ops.index_select(self, dim, index)

    def index_add(
        self, dim: int, index: TensorLike, source: Tensor, *, alpha: Scalar = 1
    ) -> Tensor:
        return ops.index_add(self, dim, index, source, alpha=alpha)

    def take_along_dim(self, indices: TensorLike, dim: int | None = None) -> Tensor:
        return ops.take_along_dim(self, indices, dim)

    def gather(self, dim: int, index: TensorLike) -> Tensor:
        return ops.gather(self, dim, index)

    def scatter(
        self,
        dim: int,
        index: TensorLike,
        src: Tensor | Scalar | None = None,
        *,
        value: Scalar | None = None,
    ) -> Tensor:
        return ops.scatter(self, dim, index, src, value=value)

    def scatter_add(self, dim: int, index: TensorLike, src: Tensor) -> Tensor:
        return ops.scatter_add(self, dim, index, src)

    def masked_select(self, mask: TensorLike) -> Tensor:
        return ops.masked_select(self, mask)

    def nonzero(self, *, as_tuple: bool = False) -> Tensor | tuple[Tensor, ...]:
        return ops.nonzero(self, as_tuple)

    # ---- diagonals and triangles -----------------------------------------------------------------

    def diagonal(self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
        return ops.diagonal(self, offset, dim1, dim2)

    def diag(self, diagonal: int = 0) -> Tensor:
        return ops.diag(self, diagonal)

    def tril(self, diagonal: int = 0) -> Tensor:
        return ops.tril(self, diagonal)

    def triu(self, diagonal: int = 0) -> Tensor:
        return ops.triu(self, diagonal)


def variadic(args: tuple[Any, ...], named: Any = None) -> tuple[int, ...]:
    """`f(2, 3)`, `f((2, 3))` and, with a name, `f(shape=(2, 3))` mean the same."""
    if named is not None:
        if args:
            raise TypeError(f"{args} and {named} say the same; give them once")
        args = (named,)
    if len(args) == 1 and isinstance(args[0], tuple | list):
        args = tuple(args[0])
    return tuple(int(a) for a in args)
