"""Windows of an image as columns, and its transpose, closed under differentiation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._sizes import Pair, Sizes, as_pair
from tinygrad_ft.ops.shape import reshape
from tinygrad_ft.tensor import Tensor

Grads = tuple[Tensor | None, ...]


class Windows(NamedTuple):
    """Windows over images of a size: all pairs are (rows, columns)."""

    size: Pair
    kernel_size: Pair
    dilation: Pair
    padding: Pair
    stride: Pair

    @property
    def counts(self) -> Pair:
        """How many windows there are vertically and horizontally."""
        a, b = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in zip(*self, strict=True))
        return a, b

    def taps(self) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
        """For each place in the window: where all windows have it in the padded image."""
        (rows, columns), (sy, sx), (dy, dx) = self.counts, self.stride, self.dilation
        for i, j in np.ndindex(*self.kernel_size):
            down = slice(i * dy, i * dy + (rows - 1) * sy + 1, sy)
            yield i, j, (down, slice(j * dx, j * dx + (columns - 1) * sx + 1, sx))


class Unfold(Function):
    """out[n, (c, p, q), (i, j)] = x[n, c, s * i + d * p - b, s * j + d * q - b];
    grad_x = fold(grad_out)

    s is the stride, d the dilation, b the padding; outside of the image x is 0.
    """

    def forward(self, x: np.ndarray, *, windows: Windows) -> np.ndarray:
        self.windows = windows
        (n, c), (py, px) = x.shape[:2], windows.padding
        image = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)))
        out = np.empty((n, c, *windows.kernel_size, *windows.counts), x.dtype)
        for i, j, place in windows.taps():
            out[:, :, i, j] = image[(..., *place)]
        rows, columns = c * out.shape[2] * out.shape[3], out.shape[4] * out.shape[5]
        return out.reshape(n, rows, columns)

    def backward(self, grad_out: Tensor) -> Grads:
        return (Fold.apply(grad_out, windows=self.windows),)


class Fold(Function):
    """out = x[n, (c, p, q), (i, j)] added at n, c, s * i + d * p - b, s * j + d * q - b;
    grad_x = unfold(grad_out)

    s is the stride, d the dilation, b the padding.
    """

    def forward(self, x: np.ndarray, *, windows: Windows) -> np.ndarray:
        self.windows = windows
        (height, width), (py, px), (ky, kx) = windows.size, windows.padding, windows.kernel_size
        n, c = x.shape[0], x.shape[1] // (ky * kx)
        parts = x.reshape(n, c, ky, kx, *windows.counts)
        image = np.zeros((n, c, height + 2 * py, width + 2 * px), x.dtype)
        for i, j, place in windows.taps():
            image[(..., *place)] += parts[:, :, i, j]
        return image[:, :, py : py + height, px : px + width]

    def backward(self, grad_out: Tensor) -> Grads:
        return (Unfold.apply(grad_out, windows=self.windows),)


def unfold(
    input: Tensor,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """The windows of images as columns: (N, C, H, W) -> (N, C kH kW, L), or one image.

    L windows, row by row; in a column channel by channel, each row by row. Raises ValueError if
    the window is larger than the padded image.
    """
    if input.ndim not in (3, 4):
        raise ValueError(f"unfold: needs (N, C, H, W) or (C, H, W), got {input.shape}")
    if input.ndim == 3:
        batch = reshape(input, (1, *input.shape))
        out = unfold(batch, kernel_size, dilation, padding, stride)
        return reshape(out, out.shape[1:])
    size = (input.shape[2], input.shape[3])
    windows = _windows("unfold", size, kernel_size, dilation, padding, stride)
    return Unfold.apply(input, windows=windows)


def fold(
    input: Tensor,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """Add up columns as windows of images: (N, C kH kW, L) -> (N, C, H, W).

    The transpose of `unfold`. `output_size` = (H, W); without N for one image. Raises ValueError
    if the columns are not those that `unfold` makes of such images.
    """
    if input.ndim not in (2, 3):
        raise ValueError(f"fold: needs (N, C kH kW, L) or (C kH kW, L), got {input.shape}")
    if input.ndim == 2:
        batch = reshape(input, (1, *input.shape))
        out = fold(batch, output_size, kernel_size, dilation, padding, stride)
        return reshape(out, out.shape[1:])
    size = as_pair("fold", "output_size", output_size, 1)
    windows = _windows("fold", size, kernel_size, dilation, padding, stride)
    (ky, kx), (rows, columns) = windows.kernel_size, windows.counts
    if input.shape[1] % (ky * kx) or input.shape[2] != rows * columns:
        raise ValueError(
            f"fold: windows {windows.kernel_size} over images {size} are {rows * columns} columns "
            f"of a multiple of {ky * kx} numbers, got {input.shape}"
        )
    return Fold.apply(input, windows=windows)


def _windows(
    op: str, size: Pair, kernel_size: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes
) -> Windows:
    windows = Windows(
        size,
        as_pair(op, "kernel_size", kernel_size, 1),
        as_pair(op, "dilation", dilation, 1),
        as_pair(op, "padding", padding, 0),
        as_pair(op, "stride", stride, 1),
    )
    if min(windows.counts) < 1:
        raise ValueError(
            f"{op}: the window {windows.kernel_size} with dilation {windows.dilation} is larger "
            f"than the image {size} with padding {windows.padding}"
        )
    return windows
