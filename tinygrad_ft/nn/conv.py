"""Conv2d."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn import init
from tinygrad_ft.nn.module import Module
from tinygrad_ft.nn.parameter import Parameter
from tinygrad_ft.ops.conv import Pair, as_pair
from tinygrad_ft.tensor import Tensor


class Conv2d(Module):
    """2-D convolution (cross-correlation): images (N, C_in, H, W) to (N, C_out, H', W'), or one
    image (C_in, H, W), with H' = floor((H + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.

    weight (C_out, C_in / groups, kH, kW), bias (C_out,). Starts as PyTorch's: both from
    U(-1/sqrt(fan_in), 1/sqrt(fan_in)). Padding is with zeros; it may be "valid" or "same" as well
    (see `nn.functional.conv2d`).
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
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
                f"Conv2d: {in_channels} input and {out_channels} output channels cannot be split "
                f"into {groups} groups"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = as_pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = as_pair("Conv2d", "stride", stride, 1)
        self.dilation = as_pair("Conv2d", "dilation", dilation, 1)
        self.padding: Pair | str
        if isinstance(padding, str):
            if padding not in ("valid", "same"):
                raise ValueError(f"Conv2d: padding is 'valid', 'same' or numbers, got {padding!r}")
            self.padding = padding
        else:
            self.padding = as_pair("Conv2d", "padding", padding, 0)
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
        if x.ndim not in (3, 4):
            raise ValueError(
                f"{self!r} got an input of shape {x.shape}: expected (N, C, H, W) or (C, H, W)"
            )
        if x.shape[-3] != self.in_channels:
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
