"""Padding layers. `padding` is one width for all sides, or (left, right) or (left, right, top,
bottom); negative widths crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn.module import Module
from tinygrad_ft.tensor import Scalar, Tensor


class Padding(Module):
    """What padding layers share."""

    dims: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        sides = 2 * self.dims
        widths = (padding,) * sides if isinstance(padding, int) else tuple(padding)
        if len(widths) != sides:
            raise ValueError(
                f"{type(self).__name__}: padding is an int or {sides} of them, got {padding}"
            )
        self.padding = widths

    def forward(self, input: Tensor) -> Tensor:
        self.check_input(input)
        return F.pad(input, self.padding, self.mode)

    def check_input(self, x: Tensor) -> None:
        if x.ndim not in (self.dims + 1, self.dims + 2):
            shapes = {1: "(N, C, L) or (C, L)", 2: "(N, C, H, W) or (C, H, W)"}[self.dims]
            raise ValueError(f"{self!r} got an input of shape {x.shape}: expected {shapes}")

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ConstantPadding(Padding):
    """What ConstantPad1d and ConstantPad2d share."""

    mode = "constant"

    def __init__(self, padding: int | Sequence[int], value: Scalar) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        self.check_input(input)
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(ConstantPadding):
    """A border of `value` around sequences."""

    dims = 1


class ConstantPad2d(ConstantPadding):
    """A border of `value` around images."""

    dims = 2


class ZeroPad1d(Padding):
    """A border of zeros around sequences."""

    dims, mode = 1, "constant"


class ZeroPad2d(Padding):
    """A border of zeros around images."""

    dims, mode = 2, "constant"


class ReflectionPad1d(Padding):
    """Sequences mirrored at their first and last element."""

    dims, mode = 1, "reflect"


class ReflectionPad2d(Padding):
    """Images mirrored at their outermost rows and columns."""

    dims, mode = 2, "reflect"


class ReplicationPad1d(Padding):
    """Sequences whose first and last element are repeated."""

    dims, mode = 1, "replicate"


class ReplicationPad2d(Padding):
    """Images whose outermost rows and columns are repeated."""

    dims, mode = 2, "replicate"


class CircularPad1d(Padding):
    """Sequences that go on at their other end."""

    dims, mode = 1, "circular"


class CircularPad2d(Padding):
    """Images that go on at their other side."""

    dims, mode = 2, "circular"
