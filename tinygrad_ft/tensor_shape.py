"""The methods of Tensor about shape and indexing, each one line that calls the op in `ops`."""

# `self` is a Tensor, which mypy cannot know of a class that Tensor is derived from
# mypy: disable-error-code="arg-type"

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_ft.tensor_methods import variadic

if TYPE_CHECKING:
    # at run time `tensor.py` puts it here: the ops need Tensor to exist first
    from tinygrad_ft import ops
    from tinygrad_ft.tensor import Dims, Scalar, Tensor, TensorLike


class ShapeMethods:
    """Base of Tensor alone."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

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

    def reshape(self, *shape: Any) -> Tensor:
        return ops.reshape(self, variadic(shape))

    def view(self, *shape: Any) -> Tensor:
        """`reshape` that raises if it would have to copy."""
        return ops.view(self, variadic(shape))

    def view_as(self, other: Tensor) -> Tensor:
        return ops.view_as(self, other)

    def reshape_as(self, other: Tensor) -> Tensor:
        return ops.reshape_as(self, other)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        return ops.flatten(self, start_dim, end_dim)

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Tensor:
        return ops.unflatten(self, dim, sizes)

    def permute(self, *dims: Any) -> Tensor:
        return ops.permute(self, variadic(dims))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        return ops.transpose(self, dim0, dim1)

    def swapaxes(self, axis0: int, axis1: int) -> Tensor:
        return ops.swapaxes(self, axis0, axis1)

    def movedim(self, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
        return ops.movedim(self, source, destination)

    def expand(self, *sizes: Any) -> Tensor:
        return ops.expand(self, variadic(sizes))

    def expand_as(self, other: Tensor) -> Tensor:
        return ops.expand_as(self, other)

    def broadcast_to(self, size: Sequence[int]) -> Tensor:
        return ops.broadcast_to(self, size)

    def squeeze(self, dim: Dims = None) -> Tensor:
        return ops.squeeze(self, dim)

    def unsqueeze(self, dim: int) -> Tensor:
        return ops.unsqueeze(self, dim)

    def repeat(self, *repeats: Any) -> Tensor:
        return ops.repeat(self, variadic(repeats))

    def tile(self, *dims: Any) -> Tensor:
        return ops.tile(self, variadic(dims))

    def repeat_interleave(self, repeats: int | TensorLike, dim: int | None = None) -> Tensor:
        return ops.repeat_interleave(self, repeats, dim)

    def flip(self, *dims: Any) -> Tensor:
        return ops.flip(self, variadic(dims))

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

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        return ops.narrow(self, dim, start, length)

    def select(self, dim: int, index: int) -> Tensor:
        return ops.select(self, dim, index)

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

    def index_select(self, dim: int, index: TensorLike) -> Tensor:
        return ops.index_select(self, dim, index)

    def index_add(
        self, dim: int, index: TensorLike, source: Tensor, *, alpha: Scalar = 1
    ) -> Tensor:
        return ops.index_add(self, dim, index, source, alpha=alpha)

    def masked_select(self, mask: TensorLike) -> Tensor:
        return ops.masked_select(self, mask)

    def nonzero(self, *, as_tuple: bool = False) -> Tensor | tuple[Tensor, ...]:
        return ops.nonzero(self, as_tuple)

    def diagonal(self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
        return ops.diagonal(self, offset, dim1, dim2)

    def diag(self, diagonal: int = 0) -> Tensor:
        return ops.diag(self, diagonal)

    def tril(self, diagonal: int = 0) -> Tensor:
        return ops.tril(self, diagonal)

    def triu(self, diagonal: int = 0) -> Tensor:
        return ops.triu(self, diagonal)
