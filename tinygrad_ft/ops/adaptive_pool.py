"""Pooling to a given size, whatever the size of the image: an even partition into cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import kernels
from tinygrad_ft.function import Function
from tinygrad_ft.ops._sizes import Pair, Sizes, as_sizes
from tinygrad_ft.ops.axis_map import Recipe, axis_map
from tinygrad_ft.ops.pool import ScatterPlanes, as_images, avg_pool2d, from_images
from tinygrad_ft.tensor import Tensor

Grads = tuple[Tensor | None, ...]
Cells = int | Sequence[int | None] | None
"""A number of cells for both dimensions or one for each; None keeps a size."""


class AdaptiveMaxPool2d(Function):
    """out[n, c, i, j] = the maximum of x[n, c] in the cell at i, j;
    grad_x = grad_out added at the places of the maxima

    The second output holds the places of the maxima in each flattened image; the first one wins a
    tie.
    """

    differentiable_outputs = 1
    runs_ahead = True

    def forward(self, x: np.ndarray, *, cells: Pair) -> tuple[np.ndarray, np.ndarray]:
        self.shape = x.shape
        out, places = kernels.adaptive_max_pool2d_forward(x, cells)
        self.save_constant("places", places)
        return out, places

    def backward(self, grad_out: Tensor) -> Grads:
        return (ScatterPlanes.apply(grad_out, places=self.constant("places"), shape=self.shape),)


def adaptive_avg_pool1d(input: Tensor, output_size: Sizes) -> Tensor:
    """The mean over an even partition of (N, C, L) or (C, L) into `output_size` cells.

    out[n, c, i] = the mean of x[n, c] in the cell at i;
    grad_x = grad_out / size added to all of the cell

    Cell i covers floor(i L / L') up to ceil((i + 1) L / L').
    """
    images = as_images("adaptive_avg_pool1d", 1, input)
    (width,) = as_sizes("adaptive_avg_pool1d", "output_size", output_size, 1, 1)
    return from_images(_average("adaptive_avg_pool1d", images, (1, width)), input, 1)


def adaptive_avg_pool2d(input: Tensor, output_size: Cells) -> Tensor:
    """The mean over an even partition of the image into `output_size` = (H', W') cells.

    out[n, c, i, j] = the mean of x[n, c] in the cell at i, j;
    grad_x = grad_out / size added to all of the cell

    (N, C, H, W) or (C, H, W). Cell i covers rows floor(i H / H') to ceil((i + 1) H / H'); None
    keeps a size. Cells may overlap.
    """
    images = as_images("adaptive_avg_pool2d", 2, input)
    cells = _cells("adaptive_avg_pool2d", images, output_size)
    return from_images(_average("adaptive_avg_pool2d", images, cells), input, 2)


def adaptive_max_pool2d(input: Tensor, output_size: Cells, return_indices: bool = False) -> Any:
    """The maximum over an even partition of the image into `output_size` = (H', W') cells.

    Cells as of `adaptive_avg_pool2d`. With `return_indices` also the places of the maxima in each
    flattened image (int64).
    """
    images = as_images("adaptive_max_pool2d", 2, input)
    cells = _cells("adaptive_max_pool2d", images, output_size)
    _check_cells("adaptive_max_pool2d", images, cells)
    out, places = AdaptiveMaxPool2d.apply(images, cells=cells)
    out = from_images(out, input, 2)
    return (out, from_images(places, input, 2)) if return_indices else out


def _cells(op: str, images: Tensor, output_size: Cells) -> Pair:
    sizes = [output_size] * 2 if not isinstance(output_size, Sequence) else list(output_size)
    if len(sizes) != 2:
        raise ValueError(f"{op}: output_size must be an int or a pair, got {output_size}")
    rows, columns = (
        n if s is None else int(s) for s, n in zip(sizes, images.shape[2:], strict=True)
    )
    return rows, columns


def _check_cells(op: str, images: Tensor, cells: Pair) -> None:
    if min(cells) < 1 or min(images.shape[2:]) < 1:
        raise ValueError(f"{op}: {images.shape} cannot be pooled to {cells}")


def _average(op: str, images: Tensor, cells: Pair) -> Tensor:
    _check_cells(op, images, cells)
    sizes = images.shape[2:]
    if all(n % count == 0 for n, count in zip(sizes, cells, strict=True)):
        return avg_pool2d(images, [n // count for n, count in zip(sizes, cells, strict=True)])
    for dim, (n, count) in enumerate(zip(sizes, cells, strict=True), 2):
        if count != n:
            images = axis_map(images, dim, Recipe("area", n, count))
    return images
