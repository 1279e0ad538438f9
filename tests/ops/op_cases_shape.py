"""Cases of ops that change shapes, order and number of elements, but pick none by an index."""

from typing import Any

import numpy as np
from op_case import Case, Input, case, fixed, options, real


def listed(*args: Any, **kwargs: Any) -> Any:
    """Call with all inputs in one list, and these after it."""
    return lambda f, *tensors: f(list(tensors), *args, **kwargs)


def empty(name: str, inputs: list[Input], expected: Any, *more: Any, **settings: Any) -> Case:
    return case(name, inputs, expected, *more, note="empty", **settings)


def zero_dim(name: str, inputs: list[Input], expected: Any, *more: Any, **settings: Any) -> Case:
    return case(name, inputs, expected, *more, note="0-dim", **settings)


def parts(x: np.ndarray, ends: list[int], axis: int) -> list[np.ndarray]:
    return np.split(x, ends, axis)


JOINING = [
    empty("cat", [real(0, 3), real(0, 3)], lambda *a: np.concatenate(a), listed()),
    case("concat", [real(2, 1), real(2, 3)], lambda *a: np.concatenate(a, 1), listed(-1)),
    empty("concat", [real(0)], lambda a: a, listed()),
    empty("stack", [real(0, 3), real(0, 3)], lambda *a: np.stack(a, 2), listed(-1)),
    case("hstack", [real(2, 1), real(2, 3)], lambda *a: np.hstack(a), listed()),
    zero_dim("hstack", [real(), real(2)], lambda *a: np.hstack(a), listed()),
    empty("hstack", [real(2, 0), real(2, 1)], lambda *a: np.hstack(a), listed()),
    case("vstack", [real(2, 3), real(3)], lambda *a: np.vstack(a), listed()),
    zero_dim("vstack", [real(), real()], lambda *a: np.vstack(a), listed()),
    empty("vstack", [real(0, 3), real(1, 3)], lambda *a: np.vstack(a), listed()),
    case("split", [real(5, 2)], lambda x: parts(x, [2, 4], 0), options(2)),
    case("split", [real(2, 5)], lambda x: parts(x, [1, 1], 1), options([1, 0, 4], -1), note="list"),
    empty("split", [real(0, 2)], lambda x: [x], options(2)),
    case("split_with_sizes", [real(3, 2)], lambda x: parts(x, [1], 0), options([1, 2])),
    empty("split_with_sizes", [real(0)], lambda x: [x, x], options([0, 0])),
    case("chunk", [real(2, 5)], lambda x: parts(x, [2, 4], 1), options(3, dim=1)),
    case("chunk", [real(2)], lambda x: parts(x, [1], 0), options(4), note="too many"),
    empty("chunk", [real(0, 2)], lambda x: [x, x, x], options(3)),
    case("unbind", [real(2, 3)], lambda x: [x[0], x[1]]),
    case("unbind", [real(2, 3)], lambda x: [x[:, 0], x[:, 1], x[:, 2]], options(-1), note="last"),
    case("unbind", [real(2)], lambda x: [x[0], x[1]], note="numbers"),
    empty("unbind", [real(2, 0)], lambda x: [x[0], x[1]]),
]

ORDER = [
    empty("permute", [real(0, 2, 3)], lambda x: x.transpose(2, 0, 1), options((2, 0, 1))),
    zero_dim("permute", [real()], lambda x: x, options(())),
    empty("transpose", [real(0, 3)], np.transpose, options(0, 1)),
    case("swapaxes", [real(2, 3, 1)], lambda x: x.swapaxes(0, 1), options(0, -2)),
    empty("swapaxes", [real(0, 3)], np.transpose, options(0, 1)),
    empty("t", [real(0, 3)], np.transpose),
    case("swapdims", [real(2, 3, 1)], lambda x: x.swapaxes(0, 1), options(0, -2)),
    empty("swapdims", [real(0, 3)], np.transpose, options(0, 1)),
    case("moveaxis", [real(2, 3, 1)], lambda x: np.moveaxis(x, 0, -1), options(0, -1)),
    empty("moveaxis", [real(0, 3)], np.transpose, options(0, 1)),
    case("movedim", [real(2, 3, 1)], lambda x: np.moveaxis(x, 0, -1), options(0, -1)),
    case(
        "movedim",
        [real(2, 3, 1, 2)],
        lambda x: np.moveaxis(x, (3, 0), (0, 1)),
        options((-1, 0), (0, 1)),
        note="several",
    ),
    empty("movedim", [real(0, 3)], np.transpose, options(0, 1)),
    case("flip", [real(2, 3)], lambda x: x[::-1, ::-1], options((0, -1))),
    case("flip", [real(2, 3)], lambda x: x[:, ::-1], options((1,)), note="one"),
    empty("flip", [real(0, 3)], lambda x: x, options((0, 1))),
    zero_dim("flip", [real()], lambda x: x, options(())),
    case("roll", [real(2, 3)], lambda x: np.roll(x, 1, 1), options(1, 1)),
    case("roll", [real(2, 3)], lambda x: np.roll(x, (-1, 4), (0, 1)), options((-1, 4), (0, -1)),
         note="several"),
    case("roll", [real(2, 3)], lambda x: np.roll(x, 2), options(2), note="flat"),
    case("roll", [real(3)], lambda x: np.roll(x, 3), options((1, 2), (0, 0)), note="twice"),
    empty("roll", [real(0, 3)], lambda x: x, options(1, 0)),
]  # fmt: skip

RESHAPING = [
    zero_dim("reshape", [real()], lambda x: x.reshape(1, 1), options((1, -1))),
    empty("view", [real(0, 6)], lambda x: x.reshape(0, 2, 3), options(0, 2, 3)),
    empty("flatten", [real(0, 3, 2)], lambda x: x.reshape(0, 6), options(1)),
    empty("squeeze", [real(1, 0, 1)], lambda x: x.reshape(0)),
    case("squeeze", [real(1, 2)], lambda x: x[0], options(0), note="one dim"),
    empty("unsqueeze", [real(0, 3)], lambda x: x[None], options(0)),
    case("unflatten", [real(2, 6)], lambda x: x.reshape(2, 3, 2), options(-1, (3, -1))),
    empty("unflatten", [real(2, 0)], lambda x: x.reshape(2, 3, 0), options(1, (3, -1))),
    case("view_as", [real(3), fixed(3, 1)], lambda x, o: x.reshape(3, 1)),
    empty("view_as", [real(0), fixed(0, 1)], lambda x, o: x.reshape(0, 1)),
    case("reshape_as", [real(2, 3), fixed(3, 2)], lambda x, o: x.reshape(3, 2)),
    empty("reshape_as", [real(2, 0), fixed(0, 3)], lambda x, o: x.reshape(0, 3)),
    empty("contiguous", [real(0, 3)], lambda x: x),
    empty("clone", [real(0, 3)], lambda x: x),
    zero_dim("clone", [real()], lambda x: x),
]

REPEATING = [
    empty("broadcast_to", [real(0, 1)], lambda x: np.zeros((0, 3)), options((0, 3))),
    empty("expand", [real(0, 1)], lambda x: np.zeros((2, 0, 3)), options(2, -1, 3)),
    case("expand_as", [real(3, 1), fixed(2, 3, 2)], lambda x, o: np.broadcast_to(x, (2, 3, 2))),
    empty("expand_as", [real(1), fixed(0)], lambda x, o: o),
    case("repeat", [real(2, 3)], lambda x: np.tile(x, (2, 1, 3)), options(2, 1, 3)),
    case("repeat", [real(2, 3)], lambda x: x[:0], options((0, 1)), note="never"),
    empty("repeat", [real(0, 3)], lambda x: np.zeros((0, 6)), options(2, 2)),
    zero_dim("repeat", [real()], lambda x: np.tile(x, 3), options(3)),
    case("tile", [real(2, 3)], lambda x: np.tile(x, 2), options((2,))),
    case("tile", [real(2)], lambda x: np.tile(x, (2, 1)), options((2, 1)), note="more dims"),
    empty("tile", [real(0, 3)], lambda x: np.zeros((0, 6)), options((2,))),
    case("repeat_interleave", [real(2, 3)], lambda x: np.repeat(x, 2), options(2)),
    case("repeat_interleave", [real(2, 3)], lambda x: np.repeat(x, 2, 1), options(2, dim=-1),
         note="dim"),
    empty("repeat_interleave", [real(0, 3)], lambda x: x, options(2, 0)),
    zero_dim("repeat_interleave", [real()], lambda x: np.repeat(x, 3), options(3)),
    case(
        "meshgrid",
        [real(2), real(3)],
        lambda a, b: np.meshgrid(a, b, indexing="ij"),
        lambda f, *x: f(*x, indexing="ij"),
    ),
    case(
        "meshgrid",
        [real(2), real(), real(3)],
        lambda a, b, c: np.meshgrid(a, b, c, indexing="xy"),
        listed(indexing="xy"),
        note="xy",
    ),
    empty("meshgrid", [real(0), real(2)], lambda *a: np.meshgrid(*a, indexing="ij"),
          listed(indexing="ij")),
]  # fmt: skip

TRIANGLES = [
    case("tril", [real(2, 3, 4)], np.tril),
    case("tril", [real(3, 3)], lambda x: np.tril(x, -1), options(-1), note="below"),
    empty("tril", [real(0, 3)], lambda x: x),
    case("triu", [real(2, 4, 3)], np.triu),
    case("triu", [real(3, 3)], lambda x: np.triu(x, 1), options(1), note="above"),
    empty("triu", [real(3, 0)], lambda x: x),
    case("diagonal", [real(3, 4)], np.diagonal),
    case("diagonal", [real(2, 3, 2)], lambda x: np.diagonal(x, 1, 0, 2), options(1, 0, -1),
         note="dims"),
    case("diagonal", [real(3, 2)], lambda x: np.diagonal(x, -2), options(-2), note="below"),
    case("diagonal", [real(2, 2)], lambda x: np.zeros(0), options(5), note="outside"),
    empty("diagonal", [real(0, 3, 3)], lambda x: np.zeros((0, 3)), options(0, 1, 2)),
    case("diag", [real(3)], lambda x: np.diag(x, 1), options(1)),
    case("diag", [real(2, 3)], np.diag, note="of a matrix"),
    empty("diag", [real(0)], lambda x: np.zeros((0, 0))),
]  # fmt: skip

SHAPE_CASES = [*JOINING, *ORDER, *RESHAPING, *REPEATING, *TRIANGLES]
