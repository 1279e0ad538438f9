"""Pooling over windows of an image. Max pooling gathers at fixed places, the average is linear.

One dimension is an image of height 1. Pooling to a given size is in `adaptive_pool.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import kernels
from kernels.pool_windows import output_size
from tinygrad_ft.function import Function
from tinygrad_ft.grad_mode import is_grad_enabled
from tinygrad_ft.ops._sizes import Pair, Sizes, as_sizes, planar
from tinygrad_ft.ops.selection import where
from tinygrad_ft.ops.shape import reshape
from tinygrad_ft.tensor import Tensor

Grads = tuple[Tensor | None, ...]


class MaxPool2d(Function):
    """out[n, c, i, j] = the maximum of x[n, c] in the window at i, j;
    grad_x = grad_out added at the places of the maxima

    The second output holds the places of the maxima in each flattened image; the first one wins a
    tie.
    """

    differentiable_outputs = 1
    runs_ahead = True

    def forward(self, x: np.ndarray, *, window: Window) -> tuple[np.ndarray, np.ndarray]:
        self.shape = x.shape
        out, places = kernels.max_pool2d_forward(x, *window)
        self.save_constant("places", places)
        return out, places

    def backward(self, grad_out: Tensor) -> Grads:
        return (ScatterPlanes.apply(grad_out, places=self.constant("places"), shape=self.shape),)


class GatherPlanes(Function):
    """out[n, c, i, j] = x[n, c, places[n, c, i, j]];  grad_x = grad_out added at the places

    Places count in the flattened image; they are those of a max-pool.
    """

    runs_ahead = True

    def forward(self, x: np.ndarray, *, places: np.ndarray) -> np.ndarray:
        self.shape = x.shape
        self.save_constant("places", places)
        return kernels.gather_planes(x, places, inside=True)

    def backward(self, grad_out: Tensor) -> Grads:
        return (ScatterPlanes.apply(grad_out, places=self.constant("places"), shape=self.shape),)


class ScatterPlanes(Function):
    """out = x added at the places in an image of zeros;
    grad_x[n, c, i, j] = grad_out[n, c, places[n, c, i, j]]

    Places count in the flattened image; they are those of a max-pool.
    """

    runs_ahead = True

    def forward(self, x: np.ndarray, *, places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        self.save_constant("places", places)
        return kernels.scatter_add_planes(x, places, shape, inside=True)

    def backward(self, grad_out: Tensor) -> Grads:
        return (GatherPlanes.apply(grad_out, places=self.constant("places")),)


class AvgPool2d(Function):
    """out[n, c, i, j] = sum_{p, q} x[n, c, s * i + p - b, s * j + q - b] / divisor;
    grad_x = grad_out / divisor added to all of the window

    s is the stride, b the padding; outside of the image x is 0.
    """

    fresh_gradients = True
    runs_ahead = True

    def forward(self, x: np.ndarray, *, window: AverageWindow) -> np.ndarray:
        self.shape, self.window = x.shape, window
        return kernels.avg_pool2d_forward(x, *window)

    def backward(self, grad_out: Tensor) -> Grads:
        if not is_grad_enabled():
            grad = kernels.avg_pool2d_grad_input(grad_out._array, self.shape, *self.window)
            return (Tensor._wrap(grad),)
        return (AvgPool2dGradInput.apply(grad_out, shape=self.shape, window=self.window),)


class AvgPool2dGradInput(Function):
    """out = x / divisor added to all of the window;  grad_x = avg_pool2d(grad_out)"""

    fresh_gradients = True
    runs_ahead = True

    def forward(
        self, x: np.ndarray, *, shape: tuple[int, ...], window: AverageWindow
    ) -> np.ndarray:
        self.window = window
        return kernels.avg_pool2d_grad_input(x, shape, *window)

    def backward(self, grad_out: Tensor) -> Grads:
        return (AvgPool2d.apply(grad_out, window=self.window),)


class Window(NamedTuple):
    """The window of a max-pool."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil_mode: bool


class AverageWindow(NamedTuple):
    """The window of an average pool."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    ceil_mode: bool
    count_include_pad: bool
    divisor_override: int | None


def max_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum over windows: (N, C, L) or (C, L) -> (..., L').

    out[n, c, i] = the maximum of x[n, c] in the window at i;
    grad_x = grad_out added at the places of the maxima

    Options and errors as of `max_pool2d`; indices count along the sequence.
    """
    options = (kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    return _max_pool("max_pool1d", 1, input, *options)


def max_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum over windows: (N, C, H, W) or (C, H, W) -> (..., H', W').

    The border counts as minus infinity; that is also the maximum, without a gradient, of a dilated
    window that steps over the whole image. With `return_indices` also the places of the maxima in
    each flattened image (int64); the first one wins a tie. Raises ValueError if the padding exceeds
    half a window, or the window the padded image; with `ceil_mode` it may reach
    beyond.
    """
    options = (kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    return _max_pool("max_pool2d", 2, input, *options)


def avg_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean over windows: (N, C, L) or (C, L) -> (..., L').

    out[n, c, i] = sum_p x[n, c, s * i + p - b] / divisor;
    grad_x = grad_out / divisor added to all of the window

    Options and errors as of `avg_pool2d`.
    """
    options = (kernel_size, stride, padding, ceil_mode, count_include_pad, None)
    return _avg_pool("avg_pool1d", 1, input, *options)


def avg_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean over windows: (N, C, H, W) or (C, H, W) -> (..., H', W').

    The divisor is the window's size within the padded image, or within the image itself without
    `count_include_pad`, or `divisor_override`. Raises ValueError as `max_pool2d`.
    """
    options = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return _avg_pool("avg_pool2d", 2, input, *options)


def _max_pool(
    op: str,
    dims: int,
    x: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    images = as_images(op, dims, x)
    spread = planar(as_sizes(op, "dilation", dilation, 1, dims), 1)
    kernel, step, border = _window(
        op, dims, images, kernel_size, stride, padding, spread, ceil_mode
    )
    window = Window(kernel, step, border, spread, ceil_mode)
    out, places = MaxPool2d.apply(images, window=window)
    if spread != (1, 1) and border != (0, 0) and out.dtype.kind == "f":
        reached = _reached(images.shape, out.shape, window)
        if not reached.all():
            out = where(reached, out, -np.inf)
    out = from_images(out, x, dims)
    return (out, from_images(places, x, dims)) if return_indices else out


def _avg_pool(
    op: str,
    dims: int,
    x: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    if divisor_override == 0:
        raise ValueError(f"{op}: divisor_override must not be 0")
    images = as_images(op, dims, x)
    sizes = _window(op, dims, images, kernel_size, stride, padding, (1, 1), ceil_mode)
    window = AverageWindow(*sizes, ceil_mode, count_include_pad, divisor_override)
    return from_images(AvgPool2d.apply(images, window=window), x, dims)


def as_images(op: str, dims: int, x: Tensor) -> Tensor:
    """Batched or unbatched input with `dims` dimensions as (N, C, H, W)."""
    if x.ndim not in (dims + 1, dims + 2):
        needs = {1: "(N, C, L) or (C, L)", 2: "(N, C, H, W) or (C, H, W)"}[dims]
        raise ValueError(f"{op}: needs {needs}, got {x.shape}")
    lead = x.shape[:2] if x.ndim == dims + 2 else (1, x.shape[0])
    return reshape(x, (*lead, *planar(x.shape[-dims:], 1)))


def from_images(out: Tensor, x: Tensor, dims: int) -> Tensor:
    """A result (N, C, H', W') in the form of the input x."""
    return reshape(out, (*x.shape[:-dims], *out.shape[4 - dims :]))


def _window(
    op: str,
    dims: int,
    images: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Pair,
    ceil_mode: bool,
) -> tuple[Pair, Pair, Pair]:
    """Size, stride and padding of the window, checked against the images."""
    kernel = planar(as_sizes(op, "kernel_size", kernel_size, 1, dims), 1)
    step = kernel if stride is None else planar(as_sizes(op, "stride", stride, 1, dims), 1)
    border = planar(as_sizes(op, "padding", padding, 0, dims), 0)
    for size, k, s, p, d in zip(images.shape[2:], kernel, step, border, dilation, strict=True):
        if 2 * p > k:
            raise ValueError(
                f"{op}: padding {border[-dims:]} exceeds half of the window {kernel[-dims:]}"
            )
        if output_size(size, k, s, p, d, ceil_mode) < 1:
            shape = (*images.shape[:2], *images.shape[4 - dims :])
            raise ValueError(
                f"{op}: the window {kernel[-dims:]} is larger than the padded input {shape}"
            )
    return kernel, step, border


def _reached(shape: tuple[int, ...], out_shape: tuple[int, ...], window: Window) -> np.ndarray:
    """(H', W') booleans: whether a window has a pixel of the image in it."""
    axes = []
    for size, count, k, s, p, d in zip(shape[2:], out_shape[2:], *window[:4], strict=True):
        start = np.arange(count) * s - p
        first = np.where(start < 0, start + -(start // d) * d, start)
        axes.append(first < np.minimum(start + d * (k - 1) + 1, size))
    return axes[0][:, None] & axes[1]
