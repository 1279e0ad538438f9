"""Conv2d."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn import init
from tinygrad_ft.nn.module import Module
from tinygrad_ft.nn.parameter import Parameter
from tinygrad_ft.tensor import Tensor

Pair = int | tuple[int, int]


def pair(value: Pair, what: str, least: int = 1) -> tuple[int, int]:
    """(height, width) of an option given as one int or two; ValueError below ``least``."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or not all(isinstance(v, int) and v >= least for v in both):
        raise ValueError(f"{what} must be one int or two, each {least} or more, got {value!r}")
    return both


class Conv2d(Module):
    """2-D convolution (cross-correlation): images (N, C_in, H, W) to (N, C_out, H', W'), with
    H' = floor((H + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.

    weight (C_out, C_in / groups, kH, kW), bias (C_out,). Starts as PyTorch's: both from
    U(-1/sqrt(fan_in), 1/sqrt(fan_in)). Padding is with zeros.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if in_channels < 1 or out_channels < 1 or groups < 1:
            raise ValueError(
                f"Conv2d needs 1 or more channels and groups, got in_channels={in_channels}, "
                f"out_channels={out_channels}, groups={groups}"
            )
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d: {in_channels} input and {out_channels} output channels cannot be split into "
                f"{groups} groups"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = pair(kernel_size, "Conv2d: kernel_size")
        self.stride = pair(stride, "Conv2d: stride")
        self.padding = pair(padding, "Conv2d: padding", least=0)
        self.dilation = pair(dilation, "Conv2d: dilation")
        self.groups = groups
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(np.empty(shape, np.float32))
        self.register_parameter(
            "bias", Parameter(np.empty(out_channels, np.float32)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.default_linear_(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            raise ValueError(f"{self!r} got an input of shape {x.shape}: expected (N, C, H, W)")
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f"{self!r} got an input of shape {x.shape}: expected {self.in_channels} channels"
            )
        return F.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text + ("" if self.bias is not None else ", bias=False")
