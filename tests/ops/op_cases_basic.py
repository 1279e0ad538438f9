"""Cases of reductions, shapes and indexing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import op_reference as ref
from op_case import Case, case, distinct, exactly, mask, options, real


def over(function: Callable) -> Callable[..., Callable]:
    return lambda *args, **kwargs: lambda x: function(x, *args, **kwargs)


def reductions(
    name: str, function: Callable, draw: Callable = real, empty: bool = True
) -> list[Case]:
    f = over(function)
    return [
        case(name, [draw(2, 3, 2)], f(axis=None)),
        case(name, [draw(2, 3, 2)], f(axis=1), options(1), note="dim"),
        case(name, [draw(2, 3, 2)], f(axis=(0, 2)), options((0, -1)), note="dims"),
        case(
            name,
            [draw(2, 3, 2)],
            f(axis=(0, 1), keepdims=True),
            options((0, 1), keepdim=True),
            note="keepdim",
        ),
        case(name, [draw()], f(axis=None), note="0-dim"),
        *([case(name, [draw(0, 3)], f(axis=0), options(0), note="empty")] if empty else []),
    ]


def variance(name: str, function: Callable) -> list[Case]:
    return [
        case(name, [real(2, 3)], lambda x: function(x, ddof=1), order=3),
        case(
            name,
            [real(2, 3, 2)],
            lambda x: function(x, axis=(0, 2), ddof=0, keepdims=True),
            options((0, 2), correction=0, keepdim=True),
            note="biased",
        ),
    ]


def extreme(name: str, value: Callable, index: Callable) -> list[Case]:
    def pair(keepdims: bool) -> Callable:
        return lambda x: (value(x, 1, keepdims=keepdims), index(x, 1, keepdims=keepdims))

    return [
        case(name, [distinct(2, 3)], value),
        case(name, [distinct(2, 3, 2)], pair(False), options(1), note="dim"),
        case(name, [distinct(2, 3, 2)], pair(True), options(1, keepdim=True), note="keepdim"),
    ]


def logsumexp(x: np.ndarray, dim: Any, keepdims: bool = False) -> np.ndarray:
    return np.log(np.exp(x).sum(dim, keepdims=keepdims))


REDUCTIONS = [
    *reductions("sum", np.sum),
    *reductions("mean", np.mean, empty=False),
    *reductions("amax", np.max, distinct, empty=False),
    *reductions("amin", np.min, distinct, empty=False),
    *variance("var", np.var),
    *variance("std", np.std),
    *extreme("max", np.max, np.argmax),
    *extreme("min", np.min, np.argmin),
    case("logsumexp", [real(2, 3)], lambda x: logsumexp(x, 1), options(1), order=3),
    case(
        "logsumexp", [real(2, 3, 2)], lambda x: logsumexp(x, (0, 2)), options((0, 2)), note="dims"
    ),
    case(
        "logsumexp",
        [real(2, 3)],
        lambda x: logsumexp(x, 0, True),
        options(0, keepdim=True),
        note="keepdim",
    ),
    case("softmax", [real(2, 3)], lambda x: ref.softmax(x, 1), options(1), order=3),
    case("softmax", [real(2, 3, 2)], lambda x: ref.softmax(x, 0), options(-3), note="first dim"),
    case("softmax", [real()], np.ones_like, options(0), note="0-dim"),
    case("softmax", [real(0, 3)], lambda x: x, options(1), note="empty"),
    case("log_softmax", [real(2, 3)], lambda x: np.log(ref.softmax(x, 1)), options(1), order=3),
    case(
        "log_softmax", [real(2, 3)], lambda x: np.log(ref.softmax(x, 0)), options(0), note="first"
    ),
    case("log_softmax", [real(3, 0)], lambda x: x, options(1), note="empty"),
]

STEPS = (slice(1, None), slice(None, None, 2))
LAST = (..., None, 0)

SHAPES = [
    case("reshape", [real(2, 6)], lambda x: x.reshape(3, 4), options((3, -1))),
    case("reshape", [real(2, 0)], lambda x: x.reshape(0, 5), options((0, 5)), note="empty"),
    case("reshape", [real(1)], lambda x: x.reshape(()), options(()), note="to 0-dim"),
    case("view", [real(2, 6)], lambda x: x.reshape(3, 4), options(3, 4)),
    case("flatten", [real(2, 3, 2)], lambda x: x.reshape(2, 6), options(1)),
    case("flatten", [real()], lambda x: x.reshape(1), note="0-dim"),
    case("permute", [real(2, 3, 4)], lambda x: x.transpose(2, 0, 1), options((2, 0, -2))),
    case("transpose", [real(2, 3, 4)], lambda x: x.swapaxes(0, 2), options(0, -1)),
    case("t", [real(2, 3)], np.transpose),
    case("t", [real(3)], lambda x: x, note="vector"),
    case("expand", [real(3, 1)], lambda x: x * np.ones((2, 3, 4)), options(2, -1, 4)),
    case("broadcast_to", [real(3, 1)], lambda x: x * np.ones((2, 3, 4)), options((2, 3, 4))),
    case("broadcast_to", [real(1)], lambda x: np.zeros((0,)), options((0,)), note="to nothing"),
    case("squeeze", [real(1, 3, 1)], np.squeeze),
    case("squeeze", [real(1, 3, 1)], lambda x: x[:, :, 0], options((1, 2)), note="dims"),
    case("unsqueeze", [real(2, 3)], lambda x: x[:, :, None], options(-1)),
    case("unsqueeze", [real()], lambda x: x[None], options(0), note="0-dim"),
    case("contiguous", [real(2, 3)], lambda x: x),
    case(
        "cat",
        [real(2, 1), real(2, 3), real(2, 0)],
        lambda *a: np.concatenate(a, 1),
        lambda f, *x: f(x, 1),
    ),
    case("cat", [real(2)], lambda x: np.tile(x, 2), lambda f, x: f([x, x]), note="same twice"),
    case("stack", [real(2, 3), real(2, 3)], lambda *a: np.stack(a, 1), lambda f, *x: f(x, dim=1)),
    case("stack", [real(), real()], lambda *a: np.stack(a), lambda f, *x: f(x), note="0-dim"),
    case("__getitem__", [real(3, 4)], lambda x: x[1], options(1), note="integer"),
    case("__getitem__", [real(3)], lambda x: x[-1], options(-1), note="element"),
    case("__getitem__", [real(3, 4)], lambda x: x[1:, ::2], options(STEPS), note="steps"),
    case("__getitem__", [real(3, 4)], lambda x: x[..., None, 0], options(LAST), note="new"),
    case("__getitem__", [real(3, 4)], lambda x: x[3:], options(slice(3, None)), note="empty"),
    case("__getitem__", [real(3, 4), exactly([2, 0, 2])], lambda x, i: x[i], note="rows twice"),
    case(
        "__getitem__",
        [real(3, 4), exactly([2, 0, 2]), exactly([1, 1, 1])],
        lambda x, i, j: x[i, j],
        lambda f, x, i, j: f(x, (i, j)),
        note="pairs",
    ),
    case("__getitem__", [real(3, 4), mask(3, 4)], lambda x, m: x[m], note="mask"),
    case(
        "take_along_dim",
        [real(2, 3), exactly([[2, 2], [0, 1]])],
        lambda x, i: np.take_along_axis(x, i, 1),
        options(1),
    ),
]  # fmt: skip
