"""Pooling layers on images (N, C, H, W)."""

from __future__ import annotations

from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn.conv import Pair
from tinygrad_ft.nn.module import Module
from tinygrad_ft.tensor import Tensor


def _check_images(layer: Module, x: Tensor) -> None:
    if x.ndim != 4:
        raise ValueError(f"{layer!r} got an input of shape {x.shape}: expected (N, C, H, W)")


class MaxPool2d(Module):
    """The largest value of each window; padding never wins. ``stride`` None means ``kernel_size``."""

    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        _check_images(self, x)
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window; padding counts as zeros. ``stride`` None means ``kernel_size``."""

    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        _check_images(self, x)
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """The mean of windows chosen so that the result is (N, C, *output_size)."""

    def __init__(self, output_size: Pair) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        _check_images(self, x)
        return F.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
