"""Pooling layers on images (N, C, H, W) or (C, H, W), and on sequences (N, C, L) or (C, L)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn.module import Module
from tinygrad_ft.ops._sizes import Sizes, as_sizes
from tinygrad_ft.tensor import Tensor

SHAPES = {1: "(N, C, L) or (C, L)", 2: "(N, C, H, W) or (C, H, W)"}


class Pooling(Module):
    """What pooling layers share: the check of the input's rank."""

    dims: ClassVar[int]

    def check_input(self, x: Tensor) -> None:
        if x.ndim not in (self.dims + 1, self.dims + 2):
            raise ValueError(
                f"{self!r} got an input of shape {x.shape}: expected {SHAPES[self.dims]}"
            )


class MaxPooling(Pooling):
    """What MaxPool1d and MaxPool2d share."""

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        self.check_input(input)
        pool = F.max_pool1d if self.dims == 1 else F.max_pool2d
        return pool(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(MaxPooling):
    """The largest value of each window of a sequence; see MaxPool2d."""

    dims = 1


class MaxPool2d(MaxPooling):
    """The largest value of each window; padding never wins. `stride` None means `kernel_size`.
    With `return_indices` also where it lies in each flattened image."""

    dims = 2


class AvgPool1d(Pooling):
    """The mean of each window of a sequence; padding counts as zeros, unless `count_include_pad`
    is False. `stride` None means `kernel_size`."""

    dims = 1

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = as_sizes("AvgPool1d", "kernel_size", kernel_size, 1, 1)
        chosen = kernel_size if stride is None else stride
        self.stride = as_sizes("AvgPool1d", "stride", chosen, 1, 1)
        self.padding = as_sizes("AvgPool1d", "padding", padding, 0, 1)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        self.check_input(input)
        sizes = (self.kernel_size, self.stride, self.padding)
        return F.avg_pool1d(input, *sizes, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Pooling):
    """The mean of each window; padding counts as zeros, unless `count_include_pad` is
    False. `stride` None means `kernel_size`."""

    dims = 2

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        self.check_input(input)
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptivePooling(Pooling):
    """What the layers with a given output size share."""

    def __init__(self, output_size: int | Sequence[int | None] | None) -> None:
        super().__init__()
        self.output_size: Any = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(AdaptivePooling):
    """The mean over windows chosen so that the result is (N, C, output_size)."""

    dims = 1

    def forward(self, input: Tensor) -> Tensor:
        self.check_input(input)
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(AdaptivePooling):
    """The mean over windows chosen so that the result is (N, C, *output_size); None keeps a
    size."""

    dims = 2

    def forward(self, input: Tensor) -> Tensor:
        self.check_input(input)
        return F.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveMaxPool2d(AdaptivePooling):
    """The largest value of windows chosen so that the result is (N, C, *output_size); None keeps a
    size. With `return_indices` also where it lies in each flattened image."""

    dims = 2

    def __init__(
        self, output_size: int | Sequence[int | None] | None, return_indices: bool = False
    ) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        self.check_input(input)
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)
