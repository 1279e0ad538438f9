"""A constant linear map along one dimension: what border modes, interpolation and uneven averages
are made of. A map and its transpose are one op, closed under differentiation.

A map is a `Recipe`: numbers that say how its matrix is made. The matrix itself is sparse, made when
first needed and kept, and depends on no tensor, so it has no derivative.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

import kernels
from tinygrad_ft.function import Function
from tinygrad_ft.tensor import Tensor

Grads = tuple[Tensor | None, ...]


class AxisMap(Function):
    """out[o] = sum_i M[o, i] * x[i];  grad_x[i] = sum_o M[o, i] * grad_out[o]

    o and i count along dimension `dim`; M is constant, and transposed in the backward.
    """

    def forward(self, x: np.ndarray, *, dim: int, recipe: Recipe, transposed: bool) -> np.ndarray:
        self.dim, self.recipe, self.transposed = dim, recipe, transposed
        return kernels.axis_map(x, dim, *_rows(recipe, transposed))

    def backward(self, grad_out: Tensor) -> Grads:
        other = not self.transposed
        return (AxisMap.apply(grad_out, dim=self.dim, recipe=self.recipe, transposed=other),)


class Recipe(NamedTuple):
    """A matrix (out_size, size) of one of these kinds; o is a row, i = source(o) a real number.

    - "reflect", "replicate", "circular": one 1 in each row, at o - before, folded back into
      0 .. size - 1 at the border
    - "nearest", "nearest-exact": one 1, at floor(o * scale), or at floor((o + 1/2) * scale)
    - "linear": the two neighbours of i, each weighted by 1 - its distance
    - "cubic": the four neighbours of i, weighted by the convolution kernel of Keys 1981 with
      a = -3/4
    - "area": the mean of floor(o * size / out_size) up to ceil((o + 1) * size / out_size)

    For "linear" and "cubic" i = o * scale with `align_corners`, else (o + 1/2) * scale - 1/2.
    """

    kind: str
    size: int
    out_size: int
    before: int = 0
    scale: float = 1.0
    align_corners: bool = False

    def entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """(row, column, weight) of all entries, row by row; weight None stands for ones."""
        o = np.arange(self.out_size)
        if self.kind == "area":
            cells = [
                np.arange(i * self.size // self.out_size, -(-(i + 1) * self.size // self.out_size))
                for i in range(self.out_size)
            ]
            lengths = np.array([len(c) for c in cells])
            return np.repeat(o, lengths), np.concatenate(cells), np.repeat(1 / lengths, lengths)
        if self.kind in ("linear", "cubic"):
            return self._neighbours(o)
        if self.kind.startswith("nearest"):
            # PyTorch counts in float32, and where o * scale is close to an integer it shows
            half = np.float32(0.5 if self.kind == "nearest-exact" else 0)
            i = np.floor((o.astype(np.float32) + half) * np.float32(self.scale)).astype(np.int64)
        else:
            i = o - self.before
            if self.kind == "reflect":
                i = np.abs(i)
                i = np.where(i < self.size, i, 2 * (self.size - 1) - i)
            elif self.kind == "circular":
                i %= self.size
        return o, np.clip(i, 0, self.size - 1), None

    def _neighbours(self, o: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        i = o * self.scale if self.align_corners else (o + 0.5) * self.scale - 0.5
        if self.kind == "linear":
            i = np.clip(i, 0, self.size - 1)
        low = np.floor(i)
        t = i - low
        if self.kind == "linear":
            first, weights = 0, np.stack([1 - t, t], 1)
        else:
            first, weights = -1, np.stack([_far(1 + t), _near(t), _near(1 - t), _far(2 - t)], 1)
        columns = low.astype(np.int64)[:, None] + np.arange(first, first + weights.shape[1])
        columns = np.clip(columns, 0, self.size - 1)
        kept = weights != 0  # 0 * inf would be NaN
        return np.repeat(o, kept.sum(1)), columns[kept], weights[kept]


def _near(t: np.ndarray) -> np.ndarray:
    """The cubic kernel at a distance of at most 1."""
    return (1.25 * t - 2.25) * t * t + 1


def _far(t: np.ndarray) -> np.ndarray:
    """The cubic kernel at a distance from 1 to 2."""
    return ((-0.75 * t + 3.75) * t - 6) * t + 3


@functools.lru_cache(256)
def _rows(recipe: Recipe, transposed: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The matrix as `kernels.axis_map` wants it: starts, indices, weights."""
    row, column, weight = recipe.entries()
    rows = recipe.out_size
    if transposed:
        order = np.argsort(column, kind="stable")
        row, column, rows = column[order], row[order], recipe.size
        weight = None if weight is None else weight[order]
    starts = np.searchsorted(row, np.arange(rows + 1))
    return starts, column, weight


def axis_map(x: Tensor, dim: int, recipe: Recipe) -> Tensor:
    """x with dimension `dim` mapped by the matrix of the recipe."""
    return AxisMap.apply(x, dim=dim, recipe=recipe, transposed=False)
