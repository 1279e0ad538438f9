"""Activations and elementwise functions far out, at infinities, at kinks, and near 0 in float32."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F

INF, NAN = np.inf, np.nan
FAR = [1e4, 800.0, 60.0, 3e38]


def derivatives(f: Callable, x: np.ndarray, order: int = 2) -> list[np.ndarray]:
    """Value and derivatives of an elementwise function, one element a time (in one batch)."""
    t = tg.Tensor(x, requires_grad=True)
    out = f(t)
    found = [out.numpy()]
    for _ in range(order):
        (out,) = tg.autograd.grad(out, t, np.ones(x.shape, x.dtype), create_graph=True)
        found.append(out.numpy())
        if not out.requires_grad:
            break
    found += [np.zeros_like(x)] * (order + 1 - len(found))
    return found


# limits of the value at -inf and inf, then of the first derivative; the second one is 0
LIMITS: dict[str, tuple[Callable, tuple[float, float], tuple[float, float]]] = {
    "celu": (F.celu, (-1, INF), (0, 1)),
    "elu": (lambda x: F.elu(x, 0.5), (-0.5, INF), (0, 1)),
    "gelu": (F.gelu, (0, INF), (0, 1)),
    "gelu tanh": (lambda x: F.gelu(x, "tanh"), (0, INF), (0, 1)),
    "hardsigmoid": (F.hardsigmoid, (0, 1), (0, 0)),
    "hardswish": (F.hardswish, (0, INF), (0, 1)),
    "hardtanh": (F.hardtanh, (-1, 1), (0, 0)),
    "leaky_relu": (F.leaky_relu, (-INF, INF), (0.01, 1)),
    "logsigmoid": (F.logsigmoid, (-INF, 0), (1, 0)),
    "mish": (F.mish, (0, INF), (0, 1)),
    "relu": (F.relu, (0, INF), (0, 1)),
    "relu6": (F.relu6, (0, 6), (0, 0)),
    "selu": (F.selu, (-1.7580993408473766, INF), (0, 1.0507009873554805)),
    "sigmoid": (F.sigmoid, (0, 1), (0, 0)),
    "silu": (F.silu, (0, INF), (0, 1)),
    "softplus": (F.softplus, (0, INF), (0, 1)),
    "softplus unlimited": (lambda x: F.softplus(x, 0.5, INF), (0, INF), (0, 1)),
    "softsign": (F.softsign, (-1, 1), (0, 0)),
    "tanh": (F.tanh, (-1, 1), (0, 0)),
    "tanhshrink": (F.tanhshrink, (-INF, INF), (1, 1)),
    "erf": (tg.erf, (-1, 1), (0, 0)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LIMITS)
def test_limits_of_value_and_two_derivatives(name: str, dtype: type) -> None:
    f, values, slopes = LIMITS[name]
    for sign, value, slope in zip((-1, 1), values, slopes, strict=True):
        x = np.array([sign * d for d in [*FAR, INF]], dtype)
        expected = np.full(x.shape, value) if math.isfinite(value) else f_asymptote(name, x)
        tolerance = 2e-2 if name == "softsign" else 1e-6
        found = derivatives(f, x)
        assert all(d.dtype == dtype for d in found)
        np.testing.assert_allclose(found[0], expected, rtol=1e-6, atol=tolerance)
        np.testing.assert_allclose(found[1], slope, rtol=1e-6, atol=tolerance)
        np.testing.assert_allclose(found[2], 0, atol=tolerance)


def f_asymptote(name: str, x: np.ndarray) -> np.ndarray:
    """The straight line that the function comes near, where it has no finite limit."""
    if name == "leaky_relu":
        return np.where(x > 0, x, 0.01 * x)
    if name == "selu":
        return 1.0507009873554805 * x
    return x - np.sign(x) if name == "tanhshrink" else x


@pytest.mark.parametrize("name", LIMITS)
def test_nan_stays_nan(name: str) -> None:
    assert np.isnan(derivatives(LIMITS[name][0], np.array([NAN]), 0)[0]).all()


def from_torch(f: Callable, *arrays: np.ndarray) -> list[np.ndarray]:
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    out = f(*tensors)
    return [out.detach().numpy()] + [
        g.numpy() for g in torch.autograd.grad(out, tensors, torch.ones_like(out))
    ]


def value_and_slopes(f: Callable, *arrays: np.ndarray) -> list[np.ndarray]:
    tensors = [tg.Tensor(a, requires_grad=True) for a in arrays]
    out = f(*tensors)
    return [out.numpy()] + [g.numpy() for g in tg.autograd.grad(out, tensors, np.ones(out.shape))]


KINKS: dict[str, tuple[Any, ...]] = {
    "celu": (2.0,),
    "elu": (0.5,),
    "hardsigmoid": (),
    "hardswish": (),
    "hardtanh": (-3.0, 1.0),
    "leaky_relu": (0.2,),
    "relu6": (),
    "selu": (),
    "threshold": (1.0, -7.0),
    "softplus": (1.0, 3.0),
}


@pytest.mark.parametrize("name", KINKS)
def test_the_derivative_at_a_kink_is_that_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    x = np.array([-3.0, -1.0, -0.0, 0.0, 1.0, 3.0, 6.0])
    arguments = KINKS[name]
    ours = value_and_slopes(lambda t: getattr(F, name)(t, *arguments), x)
    theirs = from_torch(lambda t: getattr(torch.nn.functional, name)(t, *arguments), x)
    for f, e in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-7)
    prelu = value_and_slopes(F.prelu, x, np.array([0.3]))
    expected = from_torch(torch.nn.functional.prelu, x, np.array([0.3]))
    for f, e in zip(prelu, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-7)


def test_an_infinity_above_0_does_not_spoil_the_slope_of_prelu() -> None:
    _, grad_x, grad_w = value_and_slopes(F.prelu, np.array([INF, -2.0, 0.0]), np.array([0.3]))
    np.testing.assert_allclose(grad_x, [1, 0.3, 0.3])
    np.testing.assert_allclose(grad_w, [-2])


@pytest.mark.parametrize("name", ["acos", "asin", "atan", "cosh", "erf", "exp2", "expm1", "log10",
    "log1p", "log2", "reciprocal", "rsqrt", "sign", "sinh", "tan", "floor", "ceil", "trunc",
    "round"])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_special_numbers_as_in_torch(name: str, dtype: type) -> None:
    torch = pytest.importorskip("torch")
    x = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -2.5, INF, -INF, NAN, 1e4, -1e4], dtype)
    ours = value_and_slopes(getattr(tg, name), x)
    theirs = from_torch(getattr(torch, name), x)
    for f, e in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("x", [1e-7, -3e-5, 1e-3, -1e-30])
def test_float32_near_0_has_all_its_digits(x: float) -> None:
    single = np.float32(x)
    exact = float(single)
    for f, expected in (
        (tg.expm1, math.expm1(exact)),
        (tg.log1p, math.log1p(exact)),
        (F.elu, math.expm1(exact) if exact < 0 else exact),
        (tg.sinh, math.sinh(exact)),
        (lambda t: F.softplus(t - 80.0), math.exp(float(single - np.float32(80)))),
        (lambda t: F.logsigmoid(t + 80.0), -math.exp(-float(single + np.float32(80)))),
        (lambda t: F.softplus(t), math.log1p(math.exp(exact))),
    ):
        out = f(tg.tensor(single))
        assert out.dtype == np.float32
        np.testing.assert_allclose(out.item(), expected, rtol=4e-7)


def test_the_tail_of_gelu_keeps_its_digits() -> None:
    x = np.array([-3.0, -5.0, -8.0])
    exact = [v * math.erfc(-v / math.sqrt(2)) / 2 for v in x]
    np.testing.assert_allclose(F.gelu(tg.Tensor(x)).numpy(), exact, rtol=1e-13)
    single = F.gelu(tg.Tensor(x.astype(np.float32))).numpy()
    np.testing.assert_allclose(single, exact, rtol=1e-5)


# ---- limits that are tensors ---------------------------------------------------------------------


def test_clamp_by_tensors_gives_the_gradient_to_what_was_chosen() -> None:
    torch = pytest.importorskip("torch")
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 2.0, 3.0, 0.0, NAN])
    low = np.array([2.0, 2.0, 2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 1.0])
    high = np.array([4.0, 4.0, 4.0, 4.0, 4.0, 2.0, 2.0, 2.0, 2.0])
    for ours, theirs, arrays in (
        (tg.clamp, torch.clamp, (x, low, high)),
        (lambda a, b: tg.clamp(a, min=b), lambda a, b: torch.clamp(a, min=b), (x, low)),
        (lambda a, b: a.clamp(max=b), lambda a, b: a.clamp(max=b), (x, high)),
    ):
        for f, e in zip(value_and_slopes(ours, *arrays), from_torch(theirs, *arrays), strict=True):
            np.testing.assert_array_equal(f, e)


def test_clamp_skips_what_nobody_asks_for() -> None:
    x, low = tg.ones(2), tg.tensor([0.0, 2.0], requires_grad=True)
    out = tg.clamp(x, low)
    (gradient,) = tg.autograd.grad(out.sum(), low)
    assert gradient.tolist() == [0, 1]


# ---- division that rounds ------------------------------------------------------------------------


def test_rounded_division_as_in_torch() -> None:
    torch = pytest.importorskip("torch")
    a, b = (v.ravel() for v in np.meshgrid([7, -7, 6, 0, 1], [2, -2, 3, -5]))
    for dtype in (np.int64, np.int32, np.float32, np.float64):
        x, y = a.astype(dtype), b.astype(dtype)
        for mode in ("floor", "trunc"):
            found = tg.div(tg.Tensor(x), tg.Tensor(y), rounding_mode=mode)
            expected = torch.div(torch.from_numpy(x), torch.from_numpy(y), rounding_mode=mode)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found.numpy(), expected.numpy())
        pairs = ((tg.floor_divide, torch.floor_divide), (tg.remainder, torch.remainder))
        for ours, theirs in pairs:
            found = ours(tg.Tensor(x), tg.Tensor(y))
            assert found.dtype == dtype
            expected = theirs(torch.from_numpy(x), torch.from_numpy(y))
            np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert tg.div(tg.tensor([1.0]), 0.1, rounding_mode="floor").item() == 9
    assert (7 // tg.tensor([2])).tolist() == [3]
    assert (-7 % tg.tensor([2.0])).tolist() == [1.0]


def test_round_keeps_integers_and_what_is_too_large_to_have_places() -> None:
    assert tg.round(tg.tensor([7]), decimals=2).tolist() == [7]
    assert tg.round(tg.tensor([1251]), decimals=-2).tolist() == [1300]
    assert tg.tensor([0.5, 1.5, 2.5]).round().tolist() == [0, 2, 2]
    large = np.float32(3e38)
    assert tg.round(tg.tensor([large]), decimals=3).item() == large
    for name in ("ceil", "floor", "trunc", "round"):
        x = tg.tensor([1, -2])
        out = getattr(tg, name)(x)
        assert out.dtype == np.int64
        assert not np.shares_memory(out.numpy(), x.numpy())


def test_lerp_meets_its_ends_exactly() -> None:
    a, b = np.array([0.1, 1e8, -3.0]), np.array([0.7, 1.0, 1e-9])
    assert tg.lerp(tg.Tensor(a), tg.Tensor(b), 0.0).tolist() == a.tolist()
    assert tg.lerp(tg.Tensor(a), tg.Tensor(b), 1.0).tolist() == b.tolist()


def test_atan2_at_the_origin_has_gradient_0() -> None:
    _, *gradients = value_and_slopes(tg.atan2, np.zeros(2), np.zeros(2))
    np.testing.assert_array_equal(gradients, np.zeros((2, 2)))
