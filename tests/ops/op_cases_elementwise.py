"""Cases of arithmetic, functions of one number, rounding, limits and selection."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from op_case import Case, Input, case, distinct, exactly, mask, off_zero, options, positive, real

import tinygrad_ft as tg


def inside(*shape: int) -> Input:
    """Where a sine or tangent can be, well inside of -1 to 1."""
    return Input(lambda rng: np.asarray(rng.uniform(-0.8, 0.8, shape)))


def off_steps(*shape: int) -> Input:
    """At least 0.1 away from whole and half numbers, where rounding jumps."""
    return Input(
        lambda rng: np.asarray(rng.integers(-6, 6, shape) / 2 + rng.uniform(0.1, 0.4, shape))
    )


def unary(name: str, expected: Callable, draw: Callable = real, **settings: Any) -> list[Case]:
    """Shapes of any rank are in test_op_shapes.py."""
    return [
        case(name, [draw(2, 3)], expected, **settings),
        case(name, [draw(0, 3)], expected, note="empty", **settings),
    ]


def binary(
    name: str, expected: Callable, left: Callable = real, right: Callable = real, **settings: Any
) -> list[Case]:
    return [
        case(name, [left(2, 3), right(2, 3)], expected, **settings),
        case(name, [left(2, 1, 3), right(4, 1)], expected, note="broadcast", **settings),
        case(name, [left(), right(3)], expected, note="0-dim", **settings),
        case(name, [left(0, 3), right(1, 3)], expected, note="empty", **settings),
    ]


def reversed_operator(
    name: str, number: float, expected: Callable, draw: Callable = real, **settings: Any
) -> Case:
    call = lambda f, x: f(x, number)  # noqa: E731
    return case(name, [draw(2, 3)], lambda x: expected(number, x), call, **settings)


erf = np.vectorize(math.erf, otypes=[float])

ARITHMETIC = [
    *binary("add", np.add),
    *binary("sub", np.subtract),
    *binary("mul", np.multiply),
    *binary("div", np.divide, right=off_zero),
    *binary("pow", np.power, left=positive),
    *binary("maximum", np.maximum, left=distinct),
    *binary("minimum", np.minimum, left=distinct),
    *binary("atan2", np.arctan2, off_zero, off_zero),
    *binary("__add__", np.add),
    *binary("__sub__", np.subtract),
    *binary("__mul__", np.multiply),
    *binary("__truediv__", np.divide, right=off_zero),
    *binary("__pow__", np.power, left=positive),
    reversed_operator("__radd__", 2.0, np.add),
    reversed_operator("__rsub__", 2.0, np.subtract),
    reversed_operator("__rmul__", 2.0, np.multiply),
    reversed_operator("__rtruediv__", 2.0, np.divide, off_zero),
    reversed_operator("__rpow__", 2.0, np.power),
    reversed_operator("__rmod__", 7.0, np.remainder, lambda *s: exactly([1.7, -0.9]), torch=False),
    reversed_operator(
        "__rfloordiv__", 7.0, np.floor_divide, lambda *s: exactly([1.7, -0.9]), order=1, torch=False
    ),
    case("add", [real(2, 3), real(3)], lambda a, b: a - 3 * b, options(alpha=-3), note="alpha"),
    case("sub", [real(3), real(2, 3)], lambda a, b: a - 0.5 * b, options(alpha=0.5), note="alpha"),
    case("mul", [real(2, 3)], lambda x: x * 3, options(3), note="integer"),
    case("pow", [real(2, 3)], lambda x: x**3, options(3), order=4, note="cube"),
    case("pow", [real(2, 3)], lambda x: x**2, options(2), order=3, note="square"),
    case("pow", [real(2, 3)], lambda x: x**0, options(0), note="zeroth"),
    case("pow", [positive(2, 3)], lambda x: x**-1.5, options(-1.5), note="negative"),
    case(
        "pow",
        [exactly([0.0, 0.0]), exactly([2.0, 3.0])],
        np.power,
        order=1,
        note="of zero",
        torch=False,
    ),
    *unary("neg", np.negative),
    *unary("__neg__", np.negative),
    *unary("__abs__", np.abs, off_zero),
    case("lerp", [real(2, 3), real(3), inside(2, 1)], lambda a, b, w: a + w * (b - a), order=3),
    case("lerp", [real(2), real(2)], lambda a, b: a + 0.7 * (b - a), options(0.7), note="number"),
    case("lerp", [real(0, 2), real(2), inside()], lambda a, b, w: a, note="empty"),
]

FUNCTIONS = [
    *unary("abs", np.abs, off_zero),
    *unary("acos", np.arccos, inside),
    *unary("asin", np.arcsin, inside),
    *unary("atan", np.arctan),
    *unary("cos", np.cos, order=3),
    *unary("cosh", np.cosh),
    *unary("erf", erf, order=3),
    *unary("exp", np.exp, order=3),
    *unary("exp2", np.exp2),
    *unary("expm1", np.expm1),
    *unary("log", np.log, positive, order=3),
    *unary("log10", np.log10, positive),
    *unary("log1p", np.log1p, positive),
    *unary("log2", np.log2, positive),
    *unary("reciprocal", lambda x: 1 / x, off_zero),
    *unary("rsqrt", lambda x: x**-0.5, positive),
    *unary("sigmoid", lambda x: 1 / (1 + np.exp(-x)), order=3),
    *unary("sin", np.sin, order=3),
    *unary("sinh", np.sinh),
    *unary("sqrt", np.sqrt, positive, order=3),
    *unary("square", np.square),
    *unary("tan", np.tan, inside),
    *unary("tanh", np.tanh, order=3),
    case("exp", [real()], np.exp, note="0-dim"),
]

# flat: there is no second derivative to compare
ROUNDING = [
    *unary("ceil", np.ceil, off_steps, order=1),
    *unary("floor", np.floor, off_steps, order=1),
    *unary("round", np.round, off_steps, order=1),
    *unary("sign", np.sign, off_zero, order=1),
    *unary("trunc", np.trunc, off_steps, order=1),
    case(
        "round",
        [exactly([1.234, -5.678, 0.449])],
        lambda x: np.round(x, 1),
        options(decimals=1),
        order=1,
        note="decimals",
    ),
    case(
        "round",
        [exactly([1234.5, -56.0, 151.0])],
        lambda x: np.round(x / 100) * 100,
        options(decimals=-2),
        order=1,
        note="hundreds",
    ),
    case(
        "div",
        [exactly([[7.3], [-7.3]]), exactly([2.0, -2.0])],
        lambda a, b: np.floor(a / b),
        options(rounding_mode="floor"),
        order=1,
        note="floor",
    ),
    case(
        "div",
        [exactly([[7.3], [-7.3]]), exactly([2.0, -2.0])],
        lambda a, b: np.trunc(a / b),
        options(rounding_mode="trunc"),
        order=1,
        note="trunc",
    ),
    *[
        case(
            name,
            [exactly([[7.3], [-7.3]]), exactly([2.0, -2.0])],
            lambda a, b: np.floor(a / b),
            order=1,
            torch=False,
        )
        for name in ("floor_divide", "__floordiv__")
    ],
    case(
        "floor_divide", [real(0, 3), real(3)], np.floor_divide, order=1, note="empty", torch=False
    ),
    *[
        case(
            name,
            [exactly([[7.3], [-7.3]]), exactly([2.0, -2.0])],
            lambda a, b: a - b * np.floor(a / b),
        )
        for name in ("remainder", "__mod__")
    ],
    case("remainder", [real(2, 3)], lambda x: x % 0.7, options(0.7), note="number"),
    case("remainder", [real(0, 3), real(3)], np.remainder, note="empty"),
]


def between(x: np.ndarray, low: Any, high: Any) -> np.ndarray:
    return np.minimum(np.maximum(x, low), high)


LIMITS = [
    case("clamp", [real(3, 4)], lambda x: between(x, -0.5, 0.5), options(-0.5, 0.5)),
    case("clamp", [real(3)], lambda x: np.maximum(x, 0.1), options(min=0.1), note="min"),
    case("clamp", [real(3)], lambda x: np.minimum(x, 0.1), options(max=0.1), note="max"),
    case("clamp", [real(0)], lambda x: x, options(max=0.1), note="empty"),
    case("clamp", [distinct(3, 2), real(2), real(3, 1)], between, note="tensors"),
    case(
        "clamp", [real(3), real(3)], np.maximum, lambda f, x, low: f(x, min=low), note="tensor min"
    ),
    case(
        "clamp", [real(2), real()], np.minimum, lambda f, x, high: f(x, max=high), note="tensor max"
    ),
    case("clip", [real(3, 4)], lambda x: between(x, -0.5, 0.5), options(-0.5, 0.5)),
    case("clip", [real(0)], lambda x: x, options(0, 1), note="empty"),
]

SELECTION = [
    case("where", [mask(2, 3), real(2, 3), real(2, 3)], np.where, only=tg),
    case("where", [mask(3), real(2, 1), real()], np.where, only=tg, note="broadcast"),
    case("where", [mask(0, 3), real(0, 3), real(1)], np.where, only=tg, note="empty"),
    case(
        "where",
        [mask(3), real(3)],
        lambda m, x: np.where(m, 2.0, x),
        lambda f, m, x: f(m, 2.0, x),
        only=tg,
        note="number",
    ),
    case(
        "where",
        [mask(3), real(2, 3)],
        lambda m, x: np.where(m, x, -1.0),
        lambda f, m, x: f(x, m, tg.tensor(-1.0, dtype=x.dtype)),
        only=tg.Tensor,
        torch=False,
        note="method",
    ),
    case(
        "masked_fill",
        [mask(2, 3), real(2, 3)],
        lambda m, x: np.where(m, 7, x),
        lambda f, m, x: f(x, m, 7.0),
        note="number",
    ),
    case("clone", [real(2, 3)], np.copy),
]

ELEMENTWISE = [*ARITHMETIC, *FUNCTIONS, *ROUNDING, *LIMITS, *SELECTION]
