"""Cases of the activations, each with its options."""

from collections.abc import Callable
from typing import Any

import numpy as np
from op_case import Case, Input, case, off_zero, options, real
from op_cases_elementwise import erf, unary


def off_kinks(*shape: int) -> Input:
    """At least 0.1 away from every whole number, where the piecewise functions have kinks."""
    return Input(lambda rng: np.asarray(rng.integers(-8, 8, shape) + rng.uniform(0.1, 0.9, shape)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softplus(x: np.ndarray, beta: float = 1) -> np.ndarray:
    return np.log(1 + np.exp(beta * x)) / beta


def elu(x: np.ndarray, alpha: float = 1.0, k: float = 1.0) -> np.ndarray:
    return np.where(x > 0, x, alpha * (np.exp(k * x) - 1))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def hardsigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip(x + 3, 0, 6) / 6


def prelu(shape: tuple[int, ...]) -> Callable[..., np.ndarray]:
    return lambda x, w: np.where(x > 0, x, w.reshape(shape) * x)


def glu(x: np.ndarray, dim: int) -> np.ndarray:
    a, b = np.split(x, 2, dim)
    return a * sigmoid(b)


def softmin(x: np.ndarray, dim: int) -> np.ndarray:
    return np.exp(-x) / np.exp(-x).sum(dim, keepdims=True)


def optional(name: str, expected: Callable, draw: Callable, *args: Any, **kwargs: Any) -> Case:
    """A case with options, which are its note."""
    note = ",".join([*map(str, args), *(f"{k}={v}" for k, v in kwargs.items())])
    return case(name, [draw(2, 3)], expected, options(*args, **kwargs), note=note)


ACTIVATIONS = [
    *unary("celu", elu, off_zero),
    optional("celu", lambda x: elu(x, 2.0, 0.5), off_zero, 2.0),
    optional("celu", lambda x: elu(x, -1.5, -1 / 1.5), off_zero, alpha=-1.5),
    *unary("elu", elu, off_zero),
    optional("elu", lambda x: elu(x, 0.3), off_zero, 0.3),
    *unary("gelu", lambda x: x * (1 + erf(x / np.sqrt(2))) / 2, order=3),
    *unary("hardsigmoid", hardsigmoid, off_kinks, torch=False),
    *unary("hardswish", lambda x: x * hardsigmoid(x), off_kinks),
    *unary("hardtanh", lambda x: np.clip(x, -1, 1), off_kinks),
    optional("hardtanh", lambda x: np.clip(x, -3, 2), off_kinks, -3, 2),
    *unary("leaky_relu", lambda x: np.where(x > 0, x, 0.01 * x), off_zero),
    optional("leaky_relu", lambda x: np.where(x > 0, x, -2 * x), off_zero, -2.0),
    *unary("logsigmoid", lambda x: np.log(sigmoid(x)), order=3),
    *unary("mish", lambda x: x * np.tanh(softplus(x)), order=3),
    *unary("relu", lambda x: np.where(x < 0, 0, x), off_zero),
    *unary("relu6", lambda x: np.clip(x, 0, 6), off_kinks),
    *unary("selu", lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772), off_zero),
    *unary("silu", lambda x: x * sigmoid(x), order=3),
    *unary("softplus", softplus, order=3),
    optional("softplus", lambda x: softplus(x, 3.0), real, 3.0),
    optional(
        "softplus", lambda x: np.where(x < 1, softplus(x, 2), x), off_kinks, beta=2, threshold=2
    ),
    *unary("softsign", lambda x: x / (1 + np.abs(x)), off_zero),
    *unary("tanhshrink", lambda x: x - np.tanh(x), order=3),
    case("gelu", [real(2, 3)], gelu_tanh, options(approximate="tanh"), order=3, note="tanh"),
    case("threshold", [off_kinks(2, 3)], lambda x: np.where(x > 1, x, 9), options(1, 9)),
    case("threshold", [real(0, 3)], lambda x: x, options(1, 9), note="empty"),
    case("prelu", [off_zero(2, 3), real(1)], prelu((1,))),
    case("prelu", [off_zero(2, 3), real(3)], prelu((3,)), note="channels"),
    case("prelu", [off_zero(2, 2, 2, 1), real(2)], prelu((2, 1, 1)), note="images"),
    case("prelu", [off_zero(3), real()], prelu(()), note="0-dim weight"),
    case("prelu", [off_zero(), real(1)], prelu(()), note="0-dim"),
    case("prelu", [off_zero(0, 3), real(3)], prelu((3,)), note="empty"),
    case("glu", [real(2, 4)], lambda x: glu(x, 1), order=3),
    case("glu", [real(4, 3)], lambda x: glu(x, 0), options(0), note="dim"),
    case("glu", [real(3, 0)], lambda x: x, note="empty"),
    case("softmin", [real(2, 3)], lambda x: softmin(x, 1), options(1), order=3),
    case("softmin", [real(0, 3)], lambda x: x, options(dim=-1), note="empty"),
]
