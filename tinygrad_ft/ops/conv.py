"""Convolution: three ops, closed under differentiation.

With y = conv(x, w) bilinear in x and w, and <a, b> the sum of the products of all elements:

    <conv(x, w), g> = <x, grad_input(g, w)> = <w, grad_weight(g, x)>

Each of the three is bilinear, and the gradient of each is made of the other two. float32 runs on
the kernels in `kernels/conv.py`. One dimension is an image of height 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

import kernels
from tinygrad_ft.function import Function
from tinygrad_ft.grad_mode import is_grad_enabled
from tinygrad_ft.ops._sizes import Pair, Sizes, as_sizes, planar
from tinygrad_ft.ops.pad import pad
from tinygrad_ft.ops.shape import reshape
from tinygrad_ft.tensor import Tensor

Grads = tuple[Tensor | None, ...]


class Geometry(NamedTuple):
    """How the window moves over the image: (vertical, horizontal) pairs, and the channel groups."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


class Conv2d(Function):
    """y[n, o, i, j] = sum_{c, p, q} w[o, c, p, q] * x[n, c, s * i + d * p - b, s * j + d * q - b];
    grad_x = conv2d_grad_input(grad_y, w);  grad_w = conv2d_grad_weight(grad_y, x)

    s is the stride, d the dilation, b the padding; outside of the image x is 0.
    """

    adds_gradient = True
    fresh_gradients = True
    runs_ahead = True

    def forward(self, x: np.ndarray, w: np.ndarray, *, geometry: Geometry) -> np.ndarray:
        self.geometry, self.shapes = geometry, (x.shape, w.shape)
        self.save_input(0, needed_by=1)
        self.save_input(1, needed_by=0)
        return kernels.conv2d_forward(x, w, *geometry)

    def backward(self, grad_y: Tensor) -> Grads:
        grad_x = grad_w = None
        x_shape, w_shape = self.shapes
        if all(self.needs_input_grad):
            from tinygrad_ft.ops.fused_backward import conv_gradients

            inputs = self.input(0), self.input(1)
            together = conv_gradients(grad_y, *inputs, self.geometry, self.gradient_so_far)
            if together is not None:
                return together
        if self.needs_input_grad[0] and self.gradient_so_far is not None:
            grad_x = self.gradient_so_far
            grad_x._version.change()
            w, place = self.input(1)._array, grad_x._array
            kernels.conv2d_grad_input(
                grad_y._array, w, x_shape, *self.geometry[:4], out=place, accumulate=True
            )
        elif self.needs_input_grad[0]:
            grad_x = conv2d_grad_input(grad_y, self.input(1), x_shape, self.geometry)
        if self.needs_input_grad[1]:
            grad_w = conv2d_grad_weight(grad_y, self.input(0), w_shape, self.geometry)
        return grad_x, grad_w


class Conv2dGradInput(Function):
    """out[n, c, k, l] = sum_{o, p, q} w[o, c, p, q]
    * g[n, o, (k + b - d * p) / s, (l + b - d * q) / s];
    grad_g = conv2d(grad_out, w);  grad_w = conv2d_grad_weight(g, grad_out)

    g is 0 at places that are no integers inside of it: each g[n, o, i, j] spreads w[o] over the
    window at i, j. s is the stride, d the dilation, b the padding.
    """

    runs_ahead = True

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
    """out[o, c, p, q] = sum_{n, i, j} g[n, o, i, j]
    * x[n, c, s * i + d * p - b, s * j + d * q - b];
    grad_g = conv2d(x, grad_out);  grad_x = conv2d_grad_input(g, grad_out)

    s is the stride, d the dilation, b the padding; outside of the image x is 0.
    """

    runs_ahead = True

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


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """1-D convolution (cross-correlation): `conv2d` along one dimension.

    out[n, o, i] = bias[o] + sum_{c, p} weight[o, c, p] * x[n, c, s * i + d * p - b];
    grad_x[n, c, k] = sum_{o, p} weight[o, c, p] * grad_out[n, o, (k + b - d * p) / s];
    grad_weight[o, c, p] = sum_{n, i} grad_out[n, o, i] * x[n, c, s * i + d * p - b];
    grad_bias[o] = sum_{n, i} grad_out[n, o, i]

    s is the stride, d the dilation, b the padding. input (N, C, L) or (C, L), weight
    (O, C / groups, K), bias (O) -> (N, O, L'). Padding and errors as in `conv2d`.
    """
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """2-D convolution (cross-correlation, as in every framework).

    out[n, o, i, j] = bias[o]
    + sum_{c, p, q} weight[o, c, p, q] * x[n, c, s * i + d * p - b, s * j + d * q - b];
    grad_x[n, c, k, l] = sum_{o, p, q} weight[o, c, p, q]
    * grad_out[n, o, (k + b - d * p) / s, (l + b - d * q) / s];
    grad_weight[o, c, p, q] = sum_{n, i, j} grad_out[n, o, i, j]
    * x[n, c, s * i + d * p - b, s * j + d * q - b];
    grad_bias[o] = sum_{n, i, j} grad_out[n, o, i, j]

    s is the stride, d the dilation, b the padding; x is 0 outside of the image, and grad_out at
    places that are no integers inside of it.

    input (N, C, H, W) or (C, H, W), weight (O, C / groups, kH, kW), bias (O) -> (N, O, H', W') with
    H' = floor((H + 2 padding - dilation (kH - 1) - 1) / stride) + 1. `padding` may be "valid" (0)
    or, with stride 1, "same": H' = H, an odd pixel of padding on the right and at the bottom.
    Raises ValueError naming the shapes if they do not fit.
    """
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


SHAPES = {
    1: ("(N, C, L) or (C, L)", "(O, C/groups, K)"),
    2: ("(N, C, H, W) or (C, H, W)", "(O, C/groups, kH, kW)"),
}


def _conv(
    op: str,
    dims: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes | str,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    """Convolution over the last one or two dimensions."""
    shape, weight_shape = input.shape, weight.shape
    if len(shape) == dims + 1:
        batch = reshape(input, (1, *shape))
        out = _conv(op, dims, batch, weight, bias, stride, padding, dilation, groups)
        return reshape(out, out.shape[1:])
    if len(shape) != dims + 2 or len(weight_shape) != dims + 2:
        needs = " and weight ".join(SHAPES[dims])
        raise ValueError(f"{op}: needs input {needs}, got {shape} and {weight_shape}")
    check_operands(op, input, weight, bias, weight_shape[0])
    if isinstance(padding, str):
        steps = as_sizes(op, "stride", stride, 1, dims)
        spread = as_sizes(op, "dilation", dilation, 1, dims)
        input, padding = _named_padding(op, padding, input, weight, steps, spread)
        shape = input.shape
    sizes = [tuple(s) if isinstance(s, list) else s for s in (stride, padding, dilation)]
    geometry = _geometry(op, shape, weight_shape, *sizes, groups)
    if dims == 2 and not is_grad_enabled():
        from tinygrad_ft.ops.fused_inference import deferred_conv

        if (later := deferred_conv(input, weight, bias, geometry)) is not None:
            return later
    if dims == 1:
        input, weight = as_image(input), as_image(weight)
    out = Conv2d.apply(input, weight, geometry=geometry)
    return out if dims == 2 and bias is None else add_bias(out, bias, dims)


@lru_cache(maxsize=1024, typed=True)
def _geometry(
    op: str,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Geometry:
    """The settings as pairs, once they are known to fit; remembered, for a network calls the same
    convolution again and again."""
    dims = len(x_shape) - 2
    steps = as_sizes(op, "stride", stride, 1, dims)
    border = as_sizes(op, "padding", padding, 0, dims)
    spread = as_sizes(op, "dilation", dilation, 1, dims)
    if groups < 1 or x_shape[1] != w_shape[1] * groups or w_shape[0] % groups:
        raise ValueError(
            f"{op}: input {x_shape} has {x_shape[1]} channels, but weight {w_shape} with groups="
            f"{groups} expects {w_shape[1] * groups} (and {w_shape[0]} outputs in {groups} groups)"
        )
    for size, k, p, d in zip(x_shape[2:], w_shape[2:], border, spread, strict=True):
        if k < 1 or size + 2 * p < d * (k - 1) + 1:
            raise ValueError(
                f"{op}: the window of {d * (k - 1) + 1} is larger than the padded input's "
                f"{size + 2 * p} (input {x_shape}, weight {w_shape}, padding {border}, dilation "
                f"{spread})"
            )
    return Geometry(planar(steps, 1), planar(border, 0), planar(spread, 1), groups)


def check_operands(
    op: str, input: Tensor, weight: Tensor, bias: Tensor | None, outputs: int
) -> None:
    """One floating dtype, and a bias for each output channel."""
    if input.dtype != weight.dtype:
        raise TypeError(f"{op}: input is {input.dtype} but weight is {weight.dtype}")
    if bias is not None and (bias.shape != (outputs,) or bias.dtype != weight.dtype):
        raise ValueError(
            f"{op}: a bias of shape {bias.shape} and {bias.dtype} does not fit a weight of shape "
            f"{weight.shape} and {weight.dtype}"
        )


def as_image(x: Tensor) -> Tensor:
    """(A, B, L) as (A, B, 1, L); an image as it is."""
    return x if x.ndim == 4 else reshape(x, (*x.shape[:2], 1, x.shape[2]))


def add_bias(out: Tensor, bias: Tensor | None, dims: int) -> Tensor:
    """A convolution's result in `dims` dimensions, with its bias."""
    if dims == 1:
        out = reshape(out, (*out.shape[:2], out.shape[3]))
    return out if bias is None else out + reshape(bias, (1, -1, *(1,) * dims))


def _named_padding(
    op: str,
    name: str,
    x: Tensor,
    w: Tensor,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[Tensor, tuple[int, ...]]:
    """The input, with what cannot be padded evenly, and the padding on both sides."""
    if name == "valid":
        return x, (0,) * len(stride)
    if name != "same" or max(stride) > 1:
        raise ValueError(
            f"{op}: padding {name!r} with stride {stride}; use 'valid', 'same' with stride 1, or "
            "numbers"
        )
    totals = [d * (k - 1) for d, k in zip(dilation, w.shape[2:], strict=True)]
    if any(t % 2 for t in totals):
        x = pad(x, [width for t in reversed(totals) for width in (0, t % 2)])
    return x, tuple(t // 2 for t in totals)
