"""Arrays of a compiled module: how they lie in memory, and where a program puts what it makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kernels import buffers
from kernels.addresses import address
from kernels.buffers import SMALLEST
from kernels.recording import Span, root_of
from kernels.workers import catch_up


class Layout(NamedTuple):
    """How an array lies in memory."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, array: np.ndarray) -> Layout:
        return cls(array.shape, array.strides, array.dtype)


class Made:
    """An array that a program makes: where it was when that was recorded."""

    def __init__(self, array: np.ndarray, since: int) -> None:
        self.layout, self.root = Layout.of(array), root_of(array)
        self.offset = address(array) - self.root.begin
        self.span = Span(self.root.begin, self.root.begin + self.root.nbytes, since=since)


class Results:
    """What a program makes: new memory in each run, one piece for all that is small."""

    def __init__(self, made: Sequence[Made]) -> None:
        self.made = made
        self._sizes = [0]
        self._places: list[tuple[int, int]] = []  # of each, which piece, and where in that
        for one in made:
            nbytes = buffers.spread(one.root.nbytes)
            if nbytes < SMALLEST:
                self._places.append((0, self._sizes[0]))
                self._sizes[0] += nbytes
            else:
                self._places.append((len(self._sizes), 0))
                self._sizes.append(one.root.nbytes)
        self._layouts = [
            (one.layout, piece, at + one.offset)
            for one, (piece, at) in zip(made, self._places, strict=True)
        ]

    @property
    def pieces(self) -> int:
        return len(self._sizes)

    def spans(self, first: int) -> list[Span]:
        """Those of the arrays, if the pieces are given as number `first` and so on."""
        return [
            one.span._replace(array=first + piece, at=at)
            for one, (piece, at) in zip(self.made, self._places, strict=True)
        ]

    def new(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The pieces for a run, and the arrays in them."""
        pieces: list[np.ndarray] = [buffers.aligned(n, later=True) for n in self._sizes]
        return pieces, [
            np.ndarray(shape, dtype, pieces[piece], at, strides)
            for (shape, strides, dtype), piece, at in self._layouts
        ]


def dense(array: np.ndarray) -> np.ndarray:
    """The same, copied if one element of it is seen in several places."""
    if 0 not in array.strides:
        return array
    return laid_out(array, Layout.of(np.empty(array.shape, array.dtype)))


def laid_out(array: np.ndarray, layout: Layout) -> np.ndarray:
    """A copy that lies in memory as it should."""
    catch_up()
    out = np.ndarray(layout.shape, layout.dtype, buffers.aligned(array.nbytes), 0, layout.strides)
    np.copyto(out, array)
    return out
