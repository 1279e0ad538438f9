"""Pooling over windows of an image. Max pooling gathers at fixed places, the average is linear."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

import kernels
from tinygrad_ft.function import Function
from tinygrad_ft.ops.conv import Pair, as_pair
from tinygrad_ft.ops.matmul import matmul
from tinygrad_ft.ops.reduce import mean
from tinygrad_ft.ops.shape import reshape, transpose
from tinygrad_ft.tensor import Tensor

Grads = tuple[Tensor | None, ...]


class MaxPool2d(Function):
    """out[n,c,i,j] = max of x[n,c] in the window at (i, j);  grad_x: grad_out added at the maxima

    The second output holds the places of the maxima in each flattened image; the first one wins a
    tie.
    """

    differentiable_outputs = 1

    def forward(self, x: np.ndarray, *, window: Window) -> tuple[np.ndarray, np.ndarray]:
        self.shape = x.shape
        out, places = kernels.max_pool2d_forward(x, *window)
        self.save_constant("places", places)
        return out, places

    def backward(self, grad_out: Tensor) -> Grads:
        return (ScatterPlanes.apply(grad_out, places=self.constant("places"), shape=self.shape),)


class GatherPlanes(Function):
    """out[n,c,i,j] = flattened x[n,c] at places[n,c,i,j];  grad_x: grad_out added there"""

    def forward(self, x: np.ndarray, *, places: np.ndarray) -> np.ndarray:
        self.shape = x.shape
        self.save_constant("places", places)
        return kernels.gather_planes(x, places)

    def backward(self, grad_out: Tensor) -> Grads:
        return (ScatterPlanes.apply(grad_out, places=self.constant("places"), shape=self.shape),)


class ScatterPlanes(Function):
    """out = zeros, x[n,c,i,j] added at places[n,c,i,j];  grad_x = grad_out at those places"""

    def forward(self, x: np.ndarray, *, places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        self.save_constant("places", places)
        return kernels.scatter_add_planes(x, places, shape)

    def backward(self, grad_out: Tensor) -> Grads:
        return (GatherPlanes.apply(grad_out, places=self.constant("places")),)


class AvgPool2d(Function):
    """out[n,c,i,j] = sum of x[n,c] in the window at (i, j) / divisor;  grad_x = its transpose"""

    def forward(self, x: np.ndarray, *, window: AverageWindow) -> np.ndarray:
        self.shape, self.window = x.shape, window
        return kernels.avg_pool2d_forward(x, *window)

    def backward(self, grad_out: Tensor) -> Grads:
        return (AvgPool2dGradInput.apply(grad_out, shape=self.shape, window=self.window),)


class AvgPool2dGradInput(Function):
    """out = each x[n,c,i,j] / divisor spread over its window;  grad_x = avg_pool2d(grad_out)"""

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


def max_pool2d(
    input: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum over windows: (N, C, H, W) or (C, H, W) -> (..., H', W').

    The border counts as minus infinity. With `return_indices` also the places of the maxima in each
    flattened image (int64). Raises ValueError if the padding exceeds half a window or the window
    the image.
    """
    if input.ndim == 3:
        return _batched(
            input, max_pool2d, kernel_size, stride, padding, dilation, ceil_mode, return_indices
        )
    kernel, step, border = _window("max_pool2d", input, kernel_size, stride, padding)
    spread = as_pair("max_pool2d", "dilation", dilation, 1)
    _check_room("max_pool2d", input, kernel, border, spread)
    out, places = MaxPool2d.apply(input, window=Window(kernel, step, border, spread, ceil_mode))
    return (out, places) if return_indices else out


def avg_pool2d(
    input: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean over windows: (N, C, H, W) or (C, H, W) -> (..., H', W').

    The divisor is the window's size within the padded image, or within the image itself without
    `count_include_pad`, or `divisor_override`. Raises ValueError as `max_pool2d`.
    """
    if input.ndim == 3:
        options = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        return _batched(input, avg_pool2d, *options)
    if divisor_override == 0:
        raise ValueError("avg_pool2d: divisor_override must not be 0")
    kernel, step, border = _window("avg_pool2d", input, kernel_size, stride, padding)
    _check_room("avg_pool2d", input, kernel, border, (1, 1))
    window = AverageWindow(kernel, step, border, ceil_mode, count_include_pad, divisor_override)
    return AvgPool2d.apply(input, window=window)


def adaptive_avg_pool2d(input: Tensor, output_size: int | tuple[int | None, int | None]) -> Tensor:
    """The mean over an even partition of the image into `output_size` = (H', W') cells.

    Cell i covers rows floor(i H / H') to ceil((i + 1) H / H'); None keeps a size. Cells may
    overlap.
    """
    if input.ndim not in (3, 4):
        raise ValueError(f"adaptive_avg_pool2d: needs (N, C, H, W) or (C, H, W), got {input.shape}")
    sizes = (output_size, output_size) if isinstance(output_size, int) else output_size
    height, width = input.shape[-2:]
    rows = height if sizes[0] is None else sizes[0]
    columns = width if sizes[1] is None else sizes[1]
    if rows < 1 or columns < 1 or height < 1 or width < 1:
        raise ValueError(f"adaptive_avg_pool2d: {input.shape} cannot be pooled to {output_size}")
    if (rows, columns) == (1, 1):
        return mean(input, (-2, -1), keepdim=True)
    if height % rows == 0 and width % columns == 0:
        return avg_pool2d(input, (height // rows, width // columns))
    # cells of different sizes: two products with matrices of averages, R x C^T
    left = Tensor._wrap(_averages(height, rows, input.dtype))
    right = Tensor._wrap(_averages(width, columns, input.dtype))
    return matmul(matmul(left, input), transpose(right, 0, 1))


def _averages(size: int, cells: int, dtype: np.dtype) -> np.ndarray:
    matrix = np.zeros((cells, size), dtype)
    for i in range(cells):
        start, end = i * size // cells, math.ceil((i + 1) * size / cells)
        matrix[i, start:end] = 1 / (end - start)
    return matrix


def _batched(input: Tensor, pool: Any, *options: Any) -> Any:
    out = pool(reshape(input, (1, *input.shape)), *options)
    if isinstance(out, tuple):
        return tuple(reshape(o, o.shape[1:]) for o in out)
    return reshape(out, out.shape[1:])


def _window(
    op: str, x: Tensor, kernel_size: int | Pair, stride: int | Pair | None, padding: int | Pair
) -> tuple[Pair, Pair, Pair]:
    if x.ndim != 4:
        raise ValueError(f"{op}: needs (N, C, H, W) or (C, H, W), got {x.shape}")
    kernel = as_pair(op, "kernel_size", kernel_size, 1)
    step = kernel if stride is None else as_pair(op, "stride", stride, 1)
    return kernel, step, as_pair(op, "padding", padding, 0)


def _check_room(op: str, x: Tensor, kernel: Pair, padding: Pair, dilation: Pair) -> None:
    for size, k, p, d in zip(x.shape[2:], kernel, padding, dilation, strict=True):
        if 2 * p > k:
            raise ValueError(f"{op}: padding {padding} exceeds half of the window {kernel}")
        if size + 2 * p < d * (k - 1) + 1:
            raise ValueError(f"{op}: the window {kernel} is larger than the padded input {x.shape}")
