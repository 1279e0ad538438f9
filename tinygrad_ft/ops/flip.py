"""The order of entries along dimensions: reversed, and turned round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import normalize_dim, normalize_dims
from tinygrad_ft.ops.shape import reshape
from tinygrad_ft.tensor import Tensor

Grads = tuple[Tensor | None, ...]


class Flip(Function):
    """out[i] = x[n - 1 - i];  grad_x[i] = grad_out[n - 1 - i]"""

    def forward(self, x: np.ndarray, *, dims: tuple[int, ...]) -> np.ndarray:
        self.dims = dims
        return np.flip(x, dims).copy(order="K")

    def backward(self, grad_out: Tensor) -> Grads:
        return (Flip.apply(grad_out, dims=self.dims),)


class Roll(Function):
    """out[i] = x[(i - shift) mod n];  grad_x[i] = grad_out[(i + shift) mod n]"""

    def forward(
        self, x: np.ndarray, *, shifts: tuple[int, ...], dims: tuple[int, ...]
    ) -> np.ndarray:
        self.shifts, self.dims = shifts, dims
        return np.roll(x, shifts, dims)

    def backward(self, grad_out: Tensor) -> Grads:
        back = tuple(-s for s in self.shifts)
        return (Roll.apply(grad_out, shifts=back, dims=self.dims),)


def flip(input: Tensor, dims: int | Sequence[int]) -> Tensor:
    """The entries of the dimensions in reversed order; a copy, where x[::-1] is a view."""
    return Flip.apply(input, dims=normalize_dims("flip", dims, input.ndim))


def roll(
    input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None
) -> Tensor:
    """Entries moved on by `shifts` along `dims`; those pushed out at the end come in at the front.

    Without `dims`, of the flattened input.
    """
    steps = (shifts,) if isinstance(shifts, int | np.integer) else tuple(shifts)
    if dims is None:
        if len(steps) != 1:
            raise ValueError(f"roll: shifts {steps} need dims")
        return reshape(roll(reshape(input, (-1,)), steps, 0), input.shape)
    named = (dims,) if isinstance(dims, int | np.integer) else tuple(dims)
    if len(steps) != len(named):
        raise ValueError(f"roll: shifts {steps} and dims {named} must be as many")
    axes = tuple(normalize_dim("roll", d, input.ndim) for d in named)
    if input.ndim == 0:
        return input
    return Roll.apply(input, shifts=tuple(int(s) for s in steps), dims=axes)
