"""Elementwise functions, reductions and scans on generated shapes, as in NumPy."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from op_property import check, fractions, shapes, values
from scipy import special

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F

few, some = settings(max_examples=8), settings(max_examples=25)


def function(name: str) -> Callable[..., Any]:
    owner = next(o for o in (tg, F, tg.Tensor) if hasattr(o, name))
    return getattr(owner, name)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(x))


OF_ANY_NUMBER: dict[str, Callable] = {
    "abs": np.abs,
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "erf": special.erf,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "floor": np.floor,
    "log1p": np.log1p,
    "neg": np.negative,
    "reciprocal": np.reciprocal,
    "round": np.round,
    "sigmoid": sigmoid,
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "square": np.square,
    "tan": np.tan,
    "tanh": np.tanh,
    "celu": elu,
    "elu": elu,
    "gelu": lambda x: x * special.ndtr(x),
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hardtanh": lambda x: np.clip(x, -1, 1),
    "leaky_relu": lambda x: np.where(x < 0, 0.01 * x, x),
    "logsigmoid": lambda x: np.log(sigmoid(x)),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "relu": lambda x: np.where(x < 0, 0, x),
    "relu6": lambda x: np.clip(x, 0, 6),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "silu": lambda x: x * sigmoid(x),
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "tanhshrink": lambda x: x - np.tanh(x),
}
OF_A_POSITIVE_NUMBER: dict[str, Callable] = {
    "log": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "rsqrt": lambda x: x**-0.5,
    "sqrt": np.sqrt,
}


@pytest.mark.parametrize("name", [*OF_ANY_NUMBER, *OF_A_POSITIVE_NUMBER])
@given(shapes)
@few
def test_functions_of_one_number(name: str, shape: tuple[int, ...]) -> None:
    reference = OF_ANY_NUMBER.get(name) or OF_A_POSITIVE_NUMBER[name]
    check(function(name), reference, [fractions(shape, name in OF_ANY_NUMBER)])


BINARY: dict[str, Callable] = {
    "add": np.add,
    "atan2": np.arctan2,
    "div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mul": np.multiply,
    "pow": np.power,
    "sub": np.subtract,
}


@pytest.mark.parametrize("name", BINARY)
@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0))
@some
def test_binary_ops_broadcast(name: str, drawn: hnp.BroadcastableShapes) -> None:
    arrays = [values(s, seed) for seed, s in enumerate(drawn.input_shapes)]
    check(function(name), BINARY[name], arrays)


@pytest.mark.parametrize("name", ["lerp", "where"])
@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3, min_side=0))
@some
def test_ternary_ops_broadcast(name: str, drawn: hnp.BroadcastableShapes) -> None:
    a, b, c = (values(s, seed) for seed, s in enumerate(drawn.input_shapes))
    if name == "lerp":
        check(tg.lerp, lambda a, b, w: a + w * (b - a), [a, b, c])
    else:
        mask = np.round(c * 10).astype(int) % 2 == 0
        check(
            lambda a, b: tg.where(tg.tensor(mask), a, b), lambda a, b: np.where(mask, a, b), [a, b]
        )


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0))
@few
def test_comparisons_broadcast(name: str, drawn: hnp.BroadcastableShapes) -> None:
    a, b = (np.round(values(s)) for s in drawn.input_shapes)
    ufunc = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal"} | {
        "gt": "greater",
        "ge": "greater_equal",
    }
    out = function(name)(tg.Tensor(a), tg.Tensor(b))
    assert out.dtype == np.bool_
    np.testing.assert_array_equal(out.numpy(), getattr(np, ufunc[name])(a, b))


# ---- reductions and scans ------------------------------------------------------------------------


@st.composite
def shape_and_dims(draw: st.DrawFn, min_side: int = 1) -> tuple[tuple[int, ...], tuple[int, ...]]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=min_side, max_side=3))
    dims = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    return shape, tuple(d - len(shape) if draw(st.booleans()) else d for d in dims)


REDUCTIONS: dict[str, Callable] = {
    "amax": lambda x, d, k: np.max(x, d, keepdims=k),
    "amin": lambda x, d, k: np.min(x, d, keepdims=k),
    "logsumexp": lambda x, d, k: special.logsumexp(x, d, keepdims=k),
    "mean": lambda x, d, k: np.mean(x, d, keepdims=k),
    "sum": lambda x, d, k: np.sum(x, d, keepdims=k),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@given(shape_and_dims(), st.booleans())
@some
def test_reductions_over_any_dims(name: str, drawn: tuple, keepdim: bool) -> None:
    shape, dims = drawn
    check(
        lambda x: function(name)(x, dims, keepdim),
        lambda x: REDUCTIONS[name](x, dims, keepdim),
        [values(shape)],
    )


@given(shape_and_dims(min_side=0), st.booleans())
@some
def test_sum_over_nothing(drawn: tuple, keepdim: bool) -> None:
    shape, dims = drawn
    check(lambda x: x.sum(dims, keepdim), lambda x: x.sum(dims, keepdims=keepdim), [values(shape)])


@pytest.mark.parametrize("name", ["var", "std"])
@given(shape_and_dims(), st.integers(0, 1), st.booleans())
@some
def test_variance_over_any_dims(name: str, drawn: tuple, correction: int, keepdim: bool) -> None:
    shape, dims = drawn
    count = math.prod(shape[d] for d in dims)
    f = lambda x: function(name)(x, dims, correction=correction, keepdim=keepdim)  # noqa: E731
    if count == 1:
        # nothing varies: NaN with correction 1, else 0, where std has no slope
        out = f(tg.Tensor(values(shape))).numpy()
        assert (np.isnan(out) if correction else out == 0).all()
        return
    numpys = getattr(np, name)
    check(f, lambda x: numpys(x, dims, ddof=correction, keepdims=keepdim), [values(shape)])


@pytest.mark.parametrize("p", [1, 2, 3.0, math.inf, -math.inf])
@given(shape_and_dims(), st.booleans())
@few
def test_norm_over_any_dims(p: float, drawn: tuple, keepdim: bool) -> None:
    shape, dims = drawn

    def reference(x: np.ndarray) -> np.ndarray:
        if math.isinf(p):
            return (np.max if p > 0 else np.min)(np.abs(x), dims, keepdims=keepdim)
        return np.sum(np.abs(x) ** p, dims, keepdims=keepdim) ** (1 / p)

    check(lambda x: tg.norm(x, p, dims, keepdim), reference, [values(shape)])


def softmax(x: np.ndarray, d: int) -> np.ndarray:
    e = np.exp(x - x.max(d, keepdims=True))
    return e / e.sum(d, keepdims=True)


ALONG_ONE: dict[str, Callable] = {
    "argmax": lambda x, d: np.argmax(x, d),
    "argmin": lambda x, d: np.argmin(x, d),
    "cumsum": np.cumsum,
    "log_softmax": lambda x, d: np.log(softmax(x, d)),
    "max": lambda x, d: (np.max(x, d), np.argmax(x, d)),
    "min": lambda x, d: (np.min(x, d), np.argmin(x, d)),
    "prod": np.prod,
    "softmax": softmax,
    "softmin": lambda x, d: softmax(-x, d),
    "sort": lambda x, d: (np.sort(x, d), np.argsort(x, d)),
}


@pytest.mark.parametrize("name", ALONG_ONE)
@given(st.data(), hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=3))
@some
def test_along_one_dim(name: str, data: st.DataObject, shape: tuple[int, ...]) -> None:
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    f, reference = function(name), ALONG_ONE[name]
    if name.startswith("arg"):
        found = f(tg.Tensor(values(shape)), dim)
        np.testing.assert_array_equal(found.numpy(), reference(values(shape), dim))
        assert found.dtype == np.int64
        return
    check(lambda x: f(x, dim), lambda x: reference(x, dim), [values(shape)])


@given(st.data(), hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4), st.booleans())
@some
def test_topk(data: st.DataObject, shape: tuple[int, ...], largest: bool) -> None:
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    k = data.draw(st.integers(0, shape[dim]))

    def reference(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(-x if largest else x, dim).take(range(k), dim)
        return np.take_along_axis(x, order, dim), order

    check(lambda x: tuple(tg.topk(x, k, dim, largest)), reference, [values(shape)])


@pytest.mark.parametrize("name", ["all", "any"])
@given(shape_and_dims(min_side=0), st.booleans())
@few
def test_truth_over_any_dims(name: str, drawn: tuple, keepdim: bool) -> None:
    shape, dims = drawn
    array = np.round(values(shape) * 10).astype(int) % 3 > 0
    out = getattr(tg.tensor(array), name)(dims, keepdim)
    assert out.dtype == np.bool_
    np.testing.assert_array_equal(out.numpy(), getattr(np, name)(array, dims, keepdims=keepdim))
