"""2-D convolution: three ops, closed under differentiation.

With y = conv(x, w) bilinear in x and w, and <a, b> the sum of the products of all elements:

    <conv(x, w), g> = <x, grad_input(g, w)> = <w, grad_weight(g, x)>

Each of the three is bilinear, and the gradient of each is made of the other two. float32 runs on
the kernels in `kernels/conv.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import kernels
from tinygrad_ft.function import Function
from tinygrad_ft.ops.shape import reshape
from tinygrad_ft.tensor import Tensor

Grads = tuple[Tensor | None, ...]
Pair = tuple[int, int]


class Geometry(NamedTuple):
    """How the window moves over the image: (vertical, horizontal) pairs, and the channel groups."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


class Conv2d(Function):
    """y[n,o,i,j] = sum over c,p,q of w[o,c,p,q] * x[n,c, i*stride + p*dilation - padding, ...]

    grad_x = conv2d_grad_input(grad_y, w),  grad_w = conv2d_grad_weight(grad_y, x)
    """

    def forward(self, x: np.ndarray, w: np.ndarray, *, geometry: Geometry) -> np.ndarray:
        self.geometry, self.shapes = geometry, (x.shape, w.shape)
        self.save_input(0, needed_by=1)
        self.save_input(1, needed_by=0)
        return kernels.conv2d_forward(x, w, *geometry)

    def backward(self, grad_y: Tensor) -> Grads:
        grad_x = grad_w = None
        x_shape, w_shape = self.shapes
        if self.needs_input_grad[0]:
            grad_x = conv2d_grad_input(grad_y, self.input(1), x_shape, self.geometry)
        if self.needs_input_grad[1]:
            grad_w = conv2d_grad_weight(grad_y, self.input(0), w_shape, self.geometry)
        return grad_x, grad_w


class Conv2dGradInput(Function):
    """out = the x for which <x, out> = <conv(x, w), g>: g[n,o,i,j] spreads w[o] over its window

    grad_g = conv2d(grad_out, w),  grad_w = conv2d_grad_weight(g, grad_out)
    """

    def forward(
        self, g: np.ndarray, w: np.ndarray, *, shape: tuple[int, ...], geometry: Geometry
    ) -> np.ndarray:
        self.geometry, self.w_shape = geometry, w.shape
        self.save_input(0, needed_by=1)
        self.save_input(1, needed_by=0)
        return kernels.conv2d_grad_input(g, w, shape, *geometry)

    def backward(self, grad_out: Tensor) -> Grads:
        grad_g = grad_w = None
        if self.needs_input_grad[0]:
            grad_g = Conv2d.apply(grad_out, self.input(1), geometry=self.geometry)
        if self.needs_input_grad[1]:
            grad_w = conv2d_grad_weight(self.input(0), grad_out, self.w_shape, self.geometry)
        return grad_g, grad_w


class Conv2dGradWeight(Function):
    """out = the w for which <w, out> = <conv(x, w), g>: each tap correlates g with the shifted x

    grad_g = conv2d(x, grad_out),  grad_x = conv2d_grad_input(g, grad_out)
    """

    def forward(
        self, g: np.ndarray, x: np.ndarray, *, shape: tuple[int, ...], geometry: Geometry
    ) -> np.ndarray:
        self.geometry, self.x_shape = geometry, x.shape
        self.save_input(0, needed_by=1)
        self.save_input(1, needed_by=0)
        return kernels.conv2d_grad_weight(g, x, shape, *geometry)

    def backward(self, grad_out: Tensor) -> Grads:
        grad_g = grad_x = None
        if self.needs_input_grad[0]:
            grad_g = Conv2d.apply(self.input(1), grad_out, geometry=self.geometry)
        if self.needs_input_grad[1]:
            grad_x = conv2d_grad_input(self.input(0), grad_out, self.x_shape, self.geometry)
        return grad_g, grad_x


def conv2d_grad_input(g: Tensor, w: Tensor, shape: tuple[int, ...], geometry: Geometry) -> Tensor:
    """The gradient of a convolution's input (of `shape`) from that of its output."""
    return Conv2dGradInput.apply(g, w, shape=shape, geometry=geometry)


def conv2d_grad_weight(g: Tensor, x: Tensor, shape: tuple[int, ...], geometry: Geometry) -> Tensor:
    """The gradient of a convolution's weight (of `shape`) from that of its output."""
    return Conv2dGradWeight.apply(g, x, shape=shape, geometry=geometry)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """2-D convolution (cross-correlation, as in every framework).

    input (N, C, H, W) or (C, H, W), weight (O, C / groups, kH, kW), bias (O) -> (N, O, H', W') with
    H' = floor((H + 2 padding - dilation (kH - 1) - 1) / stride) + 1. `padding` may be "valid" or,
    with stride 1 and an odd window, "same". Raises ValueError naming the shapes if they do not fit.
    """
    if input.ndim == 3:
        image = reshape(input, (1, *input.shape))
        out = conv2d(image, weight, bias, stride, padding, dilation, groups)
        return reshape(out, out.shape[1:])
    geometry = _geometry(input, weight, stride, padding, dilation, groups)
    if input.dtype != weight.dtype:
        raise TypeError(f"conv2d: input is {input.dtype} but weight is {weight.dtype}")
    if bias is not None and (bias.shape != weight.shape[:1] or bias.dtype != weight.dtype):
        raise ValueError(
            f"conv2d: a bias of shape {bias.shape} and {bias.dtype} does not fit a weight of shape "
            f"{weight.shape} and {weight.dtype}"
        )
    from tinygrad_ft.ops.fused_inference import deferred_conv

    if (later := deferred_conv(input, weight, bias, geometry)) is not None:
        return later
    out = Conv2d.apply(input, weight, geometry=geometry)
    return out if bias is None else out + reshape(bias, (1, -1, 1, 1))


def as_pair(op: str, name: str, value: int | Pair, least: int) -> Pair:
    """An int or a pair of ints as a pair; ValueError if one is below `least`."""
    try:
        a, b = (value, value) if isinstance(value, int | np.integer) else value
    except (TypeError, ValueError):
        raise ValueError(f"{op}: {name} must be an int or a pair, got {value!r}") from None
    if a < least or b < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {value}")
    return int(a), int(b)


def _geometry(
    x: Tensor,
    w: Tensor,
    stride: int | Pair,
    padding: int | Pair | str,
    dilation: int | Pair,
    groups: int,
) -> Geometry:
    """All settings as pairs, checked against the shapes."""
    if x.ndim != 4 or w.ndim != 4:
        raise ValueError(
            f"conv2d: needs input (N, C, H, W) and weight (O, C/groups, kH, kW), got {x.shape} and "
            f"{w.shape}"
        )
    stride = as_pair("conv2d", "stride", stride, 1)
    dilation = as_pair("conv2d", "dilation", dilation, 1)
    if isinstance(padding, str):
        padding = _named_padding(padding, w.shape, stride, dilation)
    padding = as_pair("conv2d", "padding", padding, 0)
    if groups < 1 or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise ValueError(
            f"conv2d: input {x.shape} has {x.shape[1]} channels, but weight {w.shape} with groups="
            f"{groups} expects {w.shape[1] * groups} (and {w.shape[0]} outputs in {groups} groups)"
        )
    for size, k, p, d, name in zip(
        x.shape[2:], w.shape[2:], padding, dilation, ("height", "width"), strict=True
    ):
        if k < 1 or size + 2 * p < d * (k - 1) + 1:
            raise ValueError(
                f"conv2d: the window of {name} {d * (k - 1) + 1} is larger than the padded input's "
                f"{size + 2 * p} (input {x.shape}, weight {w.shape}, padding {padding}, dilation "
                f"{dilation})"
            )
    return Geometry(stride, padding, dilation, groups)


def _named_padding(name: str, w_shape: tuple[int, ...], stride: Pair, dilation: Pair) -> Pair:
    if name == "valid":
        return 0, 0
    spans = [d * (k - 1) for d, k in zip(dilation, w_shape[2:], strict=True)]
    if name != "same" or stride != (1, 1) or any(s % 2 for s in spans):
        raise ValueError(
            f"conv2d: padding {name!r} with stride {stride} and weight {w_shape}; use 'valid', or "
            "'same' with stride 1 and an odd window, or numbers"
        )
    return spans[0] // 2, spans[1] // 2
