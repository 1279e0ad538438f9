"""Convolution layers in one and two dimensions, and their transposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn import init
from tinygrad_ft.nn.module import Module
from tinygrad_ft.nn.parameter import Parameter
from tinygrad_ft.ops._sizes import Sizes, as_sizes
from tinygrad_ft.tensor import Tensor

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
SHAPES = {1: "(N, C, L) or (C, L)", 2: "(N, C, H, W) or (C, H, W)"}


class Convolution(Module):
    """What all convolution layers share: settings, parameters, how they are shown.

    Weight and bias start as PyTorch's: both from U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
    """

    dims: ClassVar[int]
    transposed: ClassVar[bool] = False

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes,
        padding: Sizes | str,
        dilation: Sizes,
        output_padding: Sizes,
        groups: int,
        bias: bool,
        padding_mode: str,
    ) -> None:
        super().__init__()
        name, dims = type(self).__name__, self.dims
        if in_channels < 1 or out_channels < 1 or groups < 1:
            raise ValueError(
                f"{name} needs 1 or more channels and groups, got in_channels={in_channels}, "
                f"out_channels={out_channels}, groups={groups}"
            )
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: {in_channels} input and {out_channels} output channels cannot be split "
                f"into {groups} groups"
            )
        modes = PADDING_MODES[:1] if self.transposed else PADDING_MODES
        if padding_mode not in modes:
            raise ValueError(f"{name}: padding_mode is {' or '.join(modes)}, got {padding_mode!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = as_sizes(name, "kernel_size", kernel_size, 1, dims)
        self.stride = as_sizes(name, "stride", stride, 1, dims)
        self.dilation = as_sizes(name, "dilation", dilation, 1, dims)
        self.output_padding = as_sizes(name, "output_padding", output_padding, 0, dims)
        self.padding: tuple[int, ...] | str
        if isinstance(padding, str):
            if padding not in ("valid", "same"):
                raise ValueError(f"{name}: padding is 'valid', 'same' or numbers, got {padding!r}")
            if padding == "same" and max(self.stride) > 1:
                raise ValueError(f"{name}: padding 'same' needs stride 1, got {self.stride}")
            self.padding = padding
        else:
            self.padding = as_sizes(name, "padding", padding, 0, dims)
        self.groups = groups
        self.padding_mode = padding_mode
        first, second = in_channels, out_channels
        if not self.transposed:
            first, second = second, first
        shape = (first, second // groups, *self.kernel_size)
        self.weight = Parameter(np.empty(shape, np.float32))
        self.register_parameter(
            "bias", Parameter(np.empty(out_channels, np.float32)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.default_linear_(self.weight, self.bias)

    def check_input(self, x: Tensor) -> None:
        if x.ndim not in (self.dims + 1, self.dims + 2):
            raise ValueError(
                f"{self!r} got an input of shape {x.shape}: expected {SHAPES[self.dims]}"
            )
        if x.shape[-1 - self.dims] != self.in_channels:
            raise ValueError(
                f"{self!r} got an input of shape {x.shape}: expected {self.in_channels} channels"
            )

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        if self.padding != (0,) * self.dims:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.dims:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * self.dims:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class ForwardConvolution(Convolution):
    """What Conv1d and Conv2d share."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        sizes = (kernel_size, stride, padding, dilation, 0)
        super().__init__(in_channels, out_channels, *sizes, groups, bias, padding_mode)

    def forward(self, input: Tensor) -> Tensor:
        self.check_input(input)
        convolve = F.conv1d if self.dims == 1 else F.conv2d
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self.border(), self.padding_mode), 0
        return convolve(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )

    def border(self) -> list[int]:
        """The padding as `nn.functional.pad` wants it: (left, right, top, bottom)."""
        if self.padding == "valid":
            return [0] * 2 * self.dims
        if self.padding == "same":
            spans = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return [width for s in reversed(spans) for width in (s // 2, s - s // 2)]
        assert not isinstance(self.padding, str)
        return [p for p in reversed(self.padding) for _ in range(2)]


class Conv1d(ForwardConvolution):
    """1-D convolution (cross-correlation): (N, C_in, L) to (N, C_out, L'), or without N, with
    L' = floor((L + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.

    weight (C_out, C_in / groups, K), bias (C_out,). `padding` may be "valid" or "same", and
    `padding_mode` zeros, reflect, replicate or circular.
    """

    dims = 1


class Conv2d(ForwardConvolution):
    """2-D convolution (cross-correlation): images (N, C_in, H, W) to (N, C_out, H', W'), or one
    image (C_in, H, W), with H' = floor((H + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.

    weight (C_out, C_in / groups, kH, kW), bias (C_out,). `padding` may be "valid" or "same", and
    `padding_mode` zeros, reflect, replicate or circular.
    """

    dims = 2


class TransposedConvolution(Convolution):
    """What ConvTranspose1d and ConvTranspose2d share."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
    ) -> None:
        sizes = (kernel_size, stride, padding, dilation, output_padding)
        super().__init__(in_channels, out_channels, *sizes, groups, bias, padding_mode)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        self.check_input(input)
        convolve = F.conv_transpose1d if self.dims == 1 else F.conv_transpose2d
        more = self.output_padding if output_size is None else self.missing(input, output_size)
        assert not isinstance(self.padding, str)
        return convolve(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            more,
            self.groups,
            self.dilation,
        )

    def missing(self, x: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output padding that gives `output_size` (its last one or two numbers)."""
        assert not isinstance(self.padding, str)
        geometry = (self.kernel_size, self.stride, self.padding, self.dilation)
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, k, s, p, d in zip(x.shape[-self.dims :], *geometry, strict=True)
        ]
        wanted = tuple(output_size)[-self.dims :]
        more = tuple(w - n for w, n in zip(wanted, least, strict=False))
        if len(more) != self.dims or any(
            not 0 <= m < s for m, s in zip(more, self.stride, strict=True)
        ):
            most = tuple(n + s - 1 for n, s in zip(least, self.stride, strict=True))
            raise ValueError(
                f"{self!r} cannot give output_size {tuple(output_size)} from an input of shape "
                f"{x.shape}: choose from {tuple(least)} to {most}"
            )
        return more


class ConvTranspose1d(TransposedConvolution):
    """1-D transposed convolution: (N, C_in, L) to (N, C_out, L'), or without N, with
    L' = (L - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1.

    weight (C_in, C_out / groups, K), bias (C_out,). `forward(x, output_size)` chooses the
    output padding that gives a size.
    """

    dims = 1


class ConvTranspose2d(TransposedConvolution):
    """2-D transposed convolution: images (N, C_in, H, W) to (N, C_out, H', W'), or one image, with
    H' = (H - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1.

    weight (C_in, C_out / groups, kH, kW), bias (C_out,). `forward(x, output_size)` chooses the
    output padding that gives a size.
    """

    dims = 2
