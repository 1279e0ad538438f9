"""Cases of ops that pick elements by an index or a mask, and that put elements there."""

from collections.abc import Callable
from typing import Any

import numpy as np
from op_case import Case, case, exactly, mask, options, real

ROWS, TWICE = exactly([2, 0]), exactly([2, 0, 2])
NONE = exactly(np.zeros(0, np.int64))


def at(*index: Any) -> Callable:
    """Call f(x, index), where {n} in the index stands for the input n places after x."""

    def call(f: Callable, x: Any, *arrays: Any) -> Any:
        return f(x, tuple(arrays[min(i)] if isinstance(i, set) else i for i in index))

    return call


def getitem(note: str, inputs: list, expected: Callable, *index: Any) -> Case:
    return case("__getitem__", inputs, expected, at(*index), note=note)


ALL, EVEN = slice(None), slice(None, None, 2)

GETITEM = [
    getitem("array in the middle", [real(2, 3, 2), TWICE], lambda x, i: x[:, i], ALL, {0}),
    getitem("array and slice", [real(3, 4), TWICE], lambda x, i: x[i, ::2], {0}, EVEN),
    getitem("array after an ellipsis", [real(1, 2, 3), ROWS], lambda x, i: x[..., i], ..., {0}),
    getitem("array and None", [real(3, 2), ROWS], lambda x, i: x[i, None], {0}, None),
    getitem(
        "separated arrays come first",
        [real(3, 2, 3), ROWS, exactly([0, 1])],
        lambda x, i, j: x[i, :, j],
        {0}, ALL, {1},
    ),
    getitem(
        "an integer is taken first",
        [real(2, 4, 3), ROWS],
        lambda x, i: x[0][:, i],
        0, ALL, {0},
    ),
    getitem(
        "arrays that broadcast",
        [real(3, 3), exactly([[0], [2]]), exactly([1, 1, -1])],
        lambda x, i, j: x[i, j],
        {0}, {1},
    ),
    getitem("negative", [real(3, 2), exactly([-1, -3])], lambda x, i: x[i], {0}),
    getitem("no rows", [real(3, 2), NONE], lambda x, i: x[i], {0}),
    getitem("of nothing", [real(0, 2), NONE], lambda x, i: x[i], {0}),
    getitem("number tensor", [real(3, 2), exactly(1)], lambda x, i: x[1], {0}),
    getitem("rows by a mask", [real(3, 2), exactly([True, False, True])], lambda x, m: x[m], {0}),
    getitem(
        "mask among slices",
        [real(3, 2, 2), exactly([True, False])],
        lambda x, m: x[1:, m],
        slice(1, None), {0},
    ),
    getitem(
        "mask beside an array",
        [real(3, 2, 2), exactly([True, False, True]), exactly([1, 0])],
        lambda x, m, i: x[m, i],
        {0}, {1},
    ),
    getitem("mask of all", [real(), exactly(True)], lambda x, m: x[None], {0}),
    getitem("mask of nothing", [real(2), exactly(False)], lambda x, m: x[None][:0], {0}),
    getitem("list", [real(3, 2)], lambda x: x[[0, 2]], [0, 2]),
    getitem("True", [real(2)], lambda x: x[None], True),
    getitem("0-dim", [real()], lambda x: x[None], None),
    case("__getitem__", [real(4)], lambda x: x[::-2], options(slice(None, None, -2)),
         note="negative step", torch=False),
]  # fmt: skip


def scattered(x: np.ndarray, dim: int, index: np.ndarray, src: Any, add: bool) -> np.ndarray:
    """By the definition, one element after the other."""
    out = x.copy()
    for place in np.ndindex(index.shape):
        target = list(place)
        target[dim] = index[place]
        value = src[place] if np.ndim(src) else src
        out[tuple(target)] = out[tuple(target)] + value if add else value
    return out


def gathered(x: np.ndarray, dim: int, index: np.ndarray) -> np.ndarray:
    out = np.empty(index.shape, x.dtype)
    for place in np.ndindex(index.shape):
        source = list(place)
        source[dim] = index[place]
        out[place] = x[tuple(source)]
    return out


def index_added(
    x: np.ndarray, dim: int, index: np.ndarray, source: np.ndarray, alpha: float = 1
) -> np.ndarray:
    out = np.moveaxis(x.copy(), dim, 0)
    for i, row in zip(index, np.moveaxis(source, dim, 0), strict=True):
        out[i] += alpha * row
    return np.moveaxis(out, 0, dim)


def dim_first(dim: int) -> Callable:
    """Call f(x, dim, *others)."""
    return lambda f, x, *others: f(x, dim, *others)


PLACES = exactly([[0, 2], [2, 2]])
DISTINCT = exactly([[0, 2], [2, 1]])
NOWHERE = exactly(np.zeros((2, 0), np.int64))

PICKING = [
    case("select", [real(2, 3)], lambda x: x[:, -1], options(1, -1)),
    case("select", [real(0, 3)], lambda x: x[:, 1], options(-1, 1), note="empty"),
    case("narrow", [real(2, 4)], lambda x: x[:, 1:3], options(1, 1, 2)),
    case("narrow", [real(4)], lambda x: x[2:3], options(0, -2, 1), note="negative"),
    case("narrow", [real(3)], lambda x: x[3:], options(0, 3, 0), note="nothing"),
    case("narrow", [real(0, 3)], lambda x: x[:, 1:], options(1, 1, 2), note="empty"),
    case("index_select", [real(3, 2), TWICE], lambda x, i: x[i], dim_first(0)),
    case("index_select", [real(2, 3), TWICE], lambda x, i: x[:, i], dim_first(-1), note="last"),
    case("index_select", [real(3), exactly(1)], lambda x, i: x[1:2], dim_first(0), note="number"),
    case("index_select", [real(), exactly([0])], lambda x, i: x, dim_first(0), note="0-dim"),
    case("index_select", [real(3, 2), NONE], lambda x, i: x[:0], dim_first(0), note="empty"),
    case("repeat_interleave", [real(3, 2), exactly([2, 0, 1])],
         lambda x, r: np.repeat(x, r, 0), options(0), note="each"),
    case("gather", [real(2, 3), PLACES], lambda x, i: gathered(x, 1, i), dim_first(1)),
    case("gather", [real(3, 3), exactly([[2, 0]])], lambda x, i: gathered(x, 0, i), dim_first(0),
         note="smaller"),
    case("gather", [real(), exactly([0, 0])], lambda x, i: x[None][[0, 0]], dim_first(0),
         note="0-dim"),
    case("gather", [real(2, 3), NOWHERE], lambda x, i: x[:, :0], dim_first(1), note="empty"),
    case("take_along_dim", [real(2, 3), exactly([[2], [-1]])],
         lambda x, i: np.take_along_axis(x, i, 1), options(1), note="negative"),
    case("take_along_dim", [real(2, 3), exactly([[2, 0, 1, 1]])],
         lambda x, i: np.take_along_axis(x, i.repeat(2, 0), 1), options(-1), note="broadcast"),
    case("take_along_dim", [real(1, 3), exactly([[2], [0]])],
         lambda x, i: np.take_along_axis(x.repeat(2, 0), i, 1), options(1), note="wider"),
    case("take_along_dim", [real(2, 3), exactly([[5, 0], [0, 1]])],
         lambda x, i: x.ravel()[i.ravel()], note="flat"),
    case("take_along_dim", [real(), exactly(0)], lambda x, i: x, options(0),
         note="0-dim", torch=False),
    case("take_along_dim", [real(2, 3), NOWHERE], lambda x, i: x[:, :0], options(1), note="empty"),
    case("masked_select", [real(2, 3), mask(2, 3)], lambda x, m: x[m]),
    case("masked_select", [real(2, 1), mask(3)],
         lambda x, m: np.broadcast_to(x, (2, 3))[np.broadcast_to(m, (2, 3))], note="broadcast"),
    case("masked_select", [real(), exactly(True)], lambda x, m: x[None], note="0-dim"),
    case("masked_select", [real(0, 3), mask(3)], lambda x, m: x.ravel(), note="empty"),
]  # fmt: skip

# PyTorch has no gradient for a `src` that is larger than the index
PUTTING = [
    case("scatter", [real(2, 3), DISTINCT, real(2, 2)],
         lambda x, i, s: scattered(x, 1, i, s, False), dim_first(1)),
    case("scatter", [real(3, 3), exactly([[2, 0]]), real(2, 3)],
         lambda x, i, s: scattered(x, 0, i, s, False), dim_first(-2),
         note="larger src", torch=False),
    case("scatter", [real(2, 3), PLACES], lambda x, i: scattered(x, 1, i, 7.0, False),
         lambda f, x, i: f(x, 1, i, 7.0), note="number"),
    case("scatter", [real(2, 3), PLACES], lambda x, i: scattered(x, 1, i, 7.0, False),
         lambda f, x, i: f(x, 1, i, value=7.0), note="value"),
    case("scatter", [real(), exactly(0), real()], lambda x, i, s: s, dim_first(0), note="0-dim"),
    case("scatter", [real(2, 3), NOWHERE, real(2, 0)], lambda x, i, s: x, dim_first(1),
         note="empty"),
    case("scatter_add", [real(2, 3), PLACES, real(2, 2)],
         lambda x, i, s: scattered(x, 1, i, s, True), dim_first(1)),
    case("scatter_add", [real(3, 3), exactly([[2, 0], [2, 1]]), real(3, 2)],
         lambda x, i, s: scattered(x, 0, i, s, True), dim_first(0), note="larger src", torch=False),
    case("scatter_add", [real(), exactly([0, 0]), real(2)], lambda x, i, s: x + s.sum(),
         dim_first(0), note="0-dim"),
    case("scatter_add", [real(2, 3), NOWHERE, real(2, 0)], lambda x, i, s: x, dim_first(1),
         note="empty"),
    case("index_add", [real(3, 2), TWICE, real(3, 2)],
         lambda x, i, s: index_added(x, 0, i, s), dim_first(0)),
    case("index_add", [real(2, 3), TWICE, real(2, 3)],
         lambda x, i, s: index_added(x, 1, i, s, 0.5), lambda f, x, i, s: f(x, 1, i, s, alpha=0.5),
         note="alpha"),
    case("index_add", [real(3, 2), NONE, real(0, 2)], lambda x, i, s: x, dim_first(0),
         note="empty"),
    case("masked_fill", [mask(4, 1), real(3)],
         lambda m, x: np.where(m, -2.0, np.broadcast_to(x, (4, 3))),
         lambda f, m, x: f(x, m, -2.0), note="broadcast"),
    case("masked_fill", [mask(2, 3), real(2, 3), real()],
         lambda m, x, v: np.where(m, v, x), lambda f, m, x, v: f(x, m, v), note="tensor value"),
    case("masked_fill", [mask(0, 3), real(0, 3)], lambda m, x: x,
         lambda f, m, x: f(x, m, 1.0), note="empty"),
]  # fmt: skip

INDEX_CASES = [*GETITEM, *PICKING, *PUTTING]
