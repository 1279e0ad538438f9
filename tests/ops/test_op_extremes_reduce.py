"""Reductions, scans and sorting at zeros, ties, infinities, NaN and numbers that overflow."""

from typing import Any

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import autograd

INF, NAN = np.inf, np.nan
NORMS = [2, 1, 0, INF, -INF, 3, 4, 2.5, 1.5, 0.5, -1, -2]


def value_and_gradient(f: Any, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = tg.Tensor(array, requires_grad=True)
    out = f(x)
    out.backward(np.ones(out.shape, out.dtype))
    return out.numpy(), x.grad.numpy()


def from_torch(f: Any, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(array.copy()).requires_grad_()
    out = f(x)
    out.backward(torch.ones_like(out))
    return out.detach().numpy(), x.grad.numpy()


def same_as_torch(f: Any, array: np.ndarray, tolerance: float = 1e-7) -> None:
    for ours, theirs in zip(value_and_gradient(f, array), from_torch(f, array), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=1e-12)


def second_derivative(f: Any, array: np.ndarray) -> np.ndarray:
    x = tg.Tensor(array, requires_grad=True)
    (first,) = autograd.grad(f(x).sum(), x, create_graph=True)
    if not first.requires_grad:
        return np.zeros(1)
    (second,) = autograd.grad((first * np.arange(1.0, x.numel() + 1).reshape(x.shape)).sum(), x)
    return second.numpy()


# ---- norms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", NORMS)
def test_norm_where_elements_or_all_are_zero(p: float) -> None:
    x = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, -4.0], [1.0, 2.0, 2.0]])
    if p:
        # PyTorch gives no gradient for p = 0
        same_as_torch(lambda t: t.norm(p, 1), x)
    assert np.isfinite(second_derivative(lambda t: t.norm(p, 1), x)).all()


def test_norm_of_zeros_is_flat() -> None:
    for p in NORMS:
        value, gradient = value_and_gradient(lambda t, p=p: t.norm(p), np.zeros(3))
        assert value == 0
        assert not gradient.any()
        assert not second_derivative(lambda t, p=p: t.norm(p), np.zeros(3)).any()


@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e-37, 3e38])
@pytest.mark.parametrize("p", [2, 3, 4, 1.5, -1, 30])
def test_norm_neither_overflows_nor_underflows(p: float, scale: float) -> None:
    x = (np.array([0.3, -0.4, 0.2]) * scale).astype(np.float32)
    value, gradient = value_and_gradient(lambda t: t.norm(p), x)
    wide = np.abs(x.astype(np.float64)) / scale
    expected = (wide**p).sum() ** (1 / p)
    np.testing.assert_allclose(value, expected * scale, rtol=1e-5)
    slope = np.sign(x) * (wide / expected) ** (p - 1)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-5)


def test_norm_is_exact_where_it_can_be() -> None:
    for scale in (1.0, 2.0**100, 2.0**-100):
        x = tg.tensor([3.0, 4.0]) * scale
        assert x.norm().item() == 5 * scale


def test_norm_of_infinity_and_nan() -> None:
    assert tg.tensor([INF, 1.0]).norm().item() == INF
    assert tg.tensor([INF, 1.0]).norm(3).item() == INF
    assert np.isnan(tg.tensor([NAN, 1.0]).norm().item())
    rows = tg.tensor([[INF, 1.0], [3.0, 4.0]]).norm(dim=1)
    assert rows.tolist() == [INF, 5.0]


# ---- products ------------------------------------------------------------------------------------


def test_products_of_special_numbers() -> None:
    for row in ([2.0, INF, 3.0], [0.0, INF, 1.0], [NAN, 0.0, 1.0], [-INF, -INF, 2.0]):
        value, gradient = value_and_gradient(lambda t: t.prod(), np.array(row))
        # nothing is divided, so the factor 6 of an infinity is 6 and not inf / inf
        with np.errstate(invalid="ignore"):
            others = [np.prod(np.delete(row, i)) for i in range(3)]
            np.testing.assert_array_equal(value, np.prod(row))
        np.testing.assert_array_equal(gradient, others)
        with np.errstate(invalid="ignore"):
            expected = np.cumprod(row)
        np.testing.assert_array_equal(tg.tensor(row).cumprod(0).numpy(), expected)


def test_prod_of_many_zeros_has_gradient_zero() -> None:
    same_as_torch(lambda t: t.prod(1), np.array([[0.0, 0, 3, 2], [0, 5, 2, 1], [0, 0, 0, 0]]))
    same_as_torch(lambda t: t.cumprod(1), np.array([[1.0, 0, 3, 2], [0, 5, 0, 1], [0, 0, 0, 0]]))


# ---- moments -------------------------------------------------------------------------------------


def test_std_of_equal_numbers_to_second_order() -> None:
    x = np.array([[4.0, 4.0, 4.0], [1.0, 2.0, 4.0]])
    same_as_torch(lambda t: t.std(1), x)
    assert np.isfinite(second_derivative(lambda t: t.std(1), x)).all()


def test_too_few_degrees_of_freedom() -> None:
    assert np.isnan(tg.tensor([3.0]).var().item())
    assert np.isnan(tg.tensor([3.0]).std().item())
    assert tg.tensor([3.0]).var(correction=0).item() == 0
    assert tg.tensor([1.0, 2.0]).var(correction=2).item() == INF


def test_variance_of_large_numbers_keeps_its_digits() -> None:
    x = np.array([1e4, 1e4 + 1, 1e4 + 2], np.float32)
    assert tg.Tensor(x).var().item() == 1


@pytest.mark.parametrize("row", [[1e4, -1e4, 1e4], [-INF, 0.0, 1.0], [5e3] * 3])
@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax"])
def test_softmax_family_to_second_order(name: str, row: list) -> None:
    f = lambda t: getattr(t, name)(0)  # noqa: E731
    x = np.array(row)
    if name == "log_softmax":
        # of log 0 itself there is no derivative
        x = x[np.isfinite(x)]
    assert np.isfinite(value_and_gradient(f, x)[1]).all()
    assert np.isfinite(second_derivative(f, x)).all()


# ---- order ---------------------------------------------------------------------------------------

TIES = np.array([[1.0, 3.0, NAN, 3.0, -INF, 1.0, NAN, INF], [2.0, 2, 2, 2, 2, 2, 2, 0]])


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dim", [0, 1])
def test_sort_is_stable_and_puts_nan_above(descending: bool, dim: int) -> None:
    torch = pytest.importorskip("torch")
    values, indices = tg.Tensor(TIES).sort(dim, descending)
    expected = torch.sort(torch.from_numpy(TIES), dim=dim, descending=descending, stable=True)
    np.testing.assert_array_equal(values.numpy(), expected.values.numpy())
    np.testing.assert_array_equal(indices.numpy(), expected.indices.numpy())
    order = tg.argsort(tg.Tensor(TIES), dim, descending)
    np.testing.assert_array_equal(order.numpy(), indices.numpy())


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64])
def test_integers_are_sorted_in_both_directions(dtype: type) -> None:
    x = np.array([3, 0, 1, 3, 0]).astype(dtype)
    for descending in (False, True):
        values, indices = tg.sort(tg.Tensor(x), descending=descending)
        assert values.dtype == dtype
        np.testing.assert_array_equal(values.numpy(), np.sort(x)[:: -1 if descending else 1])
        np.testing.assert_array_equal(x[indices.numpy()], values.numpy())


@pytest.mark.parametrize("largest", [False, True])
def test_topk_at_nan_and_ties(largest: bool) -> None:
    torch = pytest.importorskip("torch")
    values, indices = tg.Tensor(TIES).topk(3, 1, largest)
    expected = torch.topk(torch.from_numpy(TIES), 3, 1, largest).values
    np.testing.assert_array_equal(values.numpy(), expected.numpy())
    np.testing.assert_array_equal(np.take_along_axis(TIES, indices.numpy(), 1), values.numpy())
    # of equal elements the first are taken
    assert indices[1].tolist() == ([0, 1, 2] if largest else [7, 0, 1])


@pytest.mark.parametrize("name", ["max", "min", "median"])
def test_nan_wins(name: str) -> None:
    for whole in (getattr(tg, name)(tg.Tensor(TIES)), getattr(tg.Tensor(TIES), name)(1).values[0]):
        assert np.isnan(whole.item())
    named = getattr(tg.Tensor(TIES), name)(dim=1)
    assert named.indices[0].item() == 2
    assert isinstance(named, tuple)


@pytest.mark.parametrize("name", ["max", "min", "median", "amax", "amin"])
def test_of_all_equal_elements_share_the_gradient(name: str) -> None:
    x = np.array([[1.0, 3.0, 3.0], [1.0, 2.0, 2.0]])
    same_as_torch(lambda t: getattr(t, name)(), x)


@pytest.mark.parametrize("name", ["max", "min", "median", "sort"])
def test_along_a_dim_the_chosen_element_has_the_gradient(name: str) -> None:
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    t = tg.Tensor(x, requires_grad=True)
    values, indices = getattr(t, name)(1)
    values.backward(np.ones(values.shape))
    expected = np.zeros_like(x)
    chosen = indices.numpy().reshape(2, -1)
    np.put_along_axis(expected, chosen, 1.0, 1)
    np.testing.assert_array_equal(t.grad.numpy(), expected)


# ---- scans and dtypes ----------------------------------------------------------------------------


def test_running_sums_of_float32_keep_their_digits() -> None:
    x = np.full(200_000, 0.1, np.float32)
    exact = np.cumsum(x.astype(np.float64))
    np.testing.assert_allclose(tg.Tensor(x).cumsum(0).numpy(), exact, rtol=1e-7)
    _, gradient = value_and_gradient(lambda t: t.cumsum(0), x)
    np.testing.assert_array_equal(gradient, np.arange(200_000, 0, -1))


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int32, np.int64, np.float32, np.float64])
def test_dtypes_as_in_torch(dtype: type) -> None:
    torch = pytest.importorskip("torch")
    array = np.array([[1, 0, 3], [2, 5, 1]]).astype(dtype)
    x, y = tg.Tensor(array), torch.from_numpy(array)

    def check(name: str, *args: Any, **kwargs: Any) -> None:
        as_torch = {k: getattr(torch, np.dtype(v).name, v) for k, v in kwargs.items()}
        expected = getattr(torch, name)(y, *args, **as_torch).numpy()
        for found in (getattr(tg, name)(x, *args, **kwargs), getattr(x, name)(*args, **kwargs)):
            assert found.dtype == expected.dtype, name
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)

    # of uint8, all and any are uint8 in PyTorch
    logical = () if dtype == np.uint8 else ("all", "any")
    for name in ("sum", "prod", "count_nonzero", *logical):
        check(name)
        check(name, 0)
    for name in ("cumsum", "cumprod"):
        check(name, 1)
    for wanted in (np.int32, np.float32, np.float64):
        for name in ("sum", "prod"):
            check(name, dtype=wanted)
            check(name, 1, True, dtype=wanted)
        check("cumsum", 0, dtype=wanted)
        check("cumprod", 0, dtype=wanted)
        if wanted != np.int32:
            check("mean", dtype=wanted)
            check("softmax", 1, dtype=wanted)
            check("log_softmax", 1, dtype=wanted)
    check("sum", dtype=np.bool_)
    if dtype not in (np.bool_, np.uint8):
        check("trace")


def test_a_dtype_is_part_of_the_graph() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    out = x.sum(dtype=np.float64) + x.softmax(0, dtype=np.float64).sum() + x.norm(dtype=np.float64)
    assert out.dtype == np.float64
    out.backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_allclose(x.grad.numpy(), 1 + np.array([1, 2]) / np.sqrt(5), rtol=1e-6)
