"""Elements that a boolean mask names: filled, picked, listed."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.ops._operands import as_tensor, check_broadcast
from tinygrad_ft.ops.cast import number_as
from tinygrad_ft.ops.index import Gather
from tinygrad_ft.ops.selection import where
from tinygrad_ft.ops.shape import broadcast_to
from tinygrad_ft.tensor import Scalar, Tensor, TensorLike


def masked_fill(input: Tensor, mask: TensorLike, value: Scalar | Tensor) -> Tensor:
    """One value where the mask holds: a number, or a tensor without dimensions. Broadcasts.

    out = value where mask, else x
    grad_x = 0 where mask, else grad_out;  grad_value = sum_i grad_out[i] where mask[i]
    """
    chosen = _mask("masked_fill", mask)
    check_broadcast("masked_fill", input.shape, chosen.shape)
    if isinstance(value, Tensor):
        if value.ndim:
            raise ValueError(f"masked_fill: the value must be one number, got shape {value.shape}")
        return where(chosen, value.to(input.dtype), input)
    return where(chosen, Tensor._wrap(number_as("masked_fill", value, input.dtype)), input)


def masked_select(input: Tensor, mask: TensorLike) -> Tensor:
    """The elements where the mask holds, in row-major order, as a vector. Both broadcast.

    out = x[mask]
    grad_x = zeros with grad_out at mask
    """
    chosen = _mask("masked_select", mask)
    shape = check_broadcast("masked_select", input.shape, chosen.shape)
    x = broadcast_to(input, shape)
    if not shape:
        x, shape = x.reshape(1), (1,)
    return Gather.apply(x, index=np.broadcast_to(chosen._data, shape).nonzero())


def nonzero(input: Tensor, as_tuple: bool = False) -> Tensor | tuple[Tensor, ...]:
    """The places of the elements that are not 0, in row-major order, without a gradient.

    out = the indices i at which x[i] != 0

    One int64 tensor (number of elements, dimensions); with `as_tuple` a vector for each dimension,
    which is an index of the input.
    """
    array = input._data
    if as_tuple:
        return tuple(Tensor._wrap(i.astype(np.int64)) for i in np.atleast_1d(array).nonzero())
    return Tensor._wrap(np.argwhere(array).astype(np.int64))


def _mask(op: str, mask: TensorLike) -> Tensor:
    tensor = as_tensor(mask)
    if tensor.dtype != np.bool_:
        raise TypeError(f"{op}: the mask must be boolean, not {tensor.dtype}")
    return tensor
