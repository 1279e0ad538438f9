"""Comparisons and logic: NumPy's answers, dtypes, what is no number, and no gradient."""

import operator

import numpy as np
import pytest

import tinygrad_ft as tg

INF, NAN = np.inf, np.nan
A = np.array([[1.0, 2.0, NAN], [INF, -INF, 0.0]], np.float32)
B = np.array([1.0, 3.0, NAN], np.float32)

UFUNCS = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}


@pytest.mark.parametrize("name", UFUNCS)
def test_functions_and_methods(name: str) -> None:
    a, b = tg.Tensor(A, requires_grad=True), tg.Tensor(B)
    for function in (getattr(tg, name), getattr(tg.Tensor, name)):
        for right, array in ((b, B), (B, B), (2, 2), (2.0, 2.0), (tg.tensor([0]), np.zeros(1))):
            out = function(a, right)
            assert out.dtype == np.bool_
            assert not out.requires_grad
            np.testing.assert_array_equal(out.numpy(), UFUNCS[name](A, array))
    np.testing.assert_array_equal(getattr(tg, name)(2, b).numpy(), UFUNCS[name](2, B))


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_operators(name: str) -> None:
    out = getattr(operator, name)(tg.Tensor(A), tg.Tensor(B))
    np.testing.assert_array_equal(out.numpy(), UFUNCS[name](A, B))
    reflected = getattr(operator, name)(2.0, tg.Tensor(B))
    np.testing.assert_array_equal(reflected.numpy(), UFUNCS[name](2.0, B))


def test_a_number_takes_the_dtype_of_the_tensor() -> None:
    x = tg.tensor([0.1])
    for number in (0.1, np.float64(0.1), [0.1]):
        assert (x == number).item()
    assert not (x == np.array([0.1])).item()
    assert (tg.tensor([1, 2]) > 1.5).tolist() == [False, True]
    assert (tg.tensor([200], dtype=np.uint8) < 300).item()


def test_what_is_no_number_is_left_to_python() -> None:
    x = tg.ones(2)
    assert (x == None) is False  # noqa: E711
    assert (x != "a") is True
    with pytest.raises(TypeError, match="not supported between"):
        x < None  # noqa: B015
    with pytest.raises(TypeError, match="dtype"):
        tg.eq(x, "a")


def test_bits() -> None:
    a, b = tg.tensor([True, True, False]), tg.tensor([True, False, False])
    assert (a & b).tolist() == [True, False, False]
    assert (a | b).tolist() == [True, True, False]
    assert (a ^ b).tolist() == [False, True, False]
    assert (~a).tolist() == [False, False, True]
    assert (tg.tensor([6]) & 3).tolist() == [2]
    assert (3 & tg.tensor([6])).tolist() == [2]
    assert (1 | tg.tensor([6])).tolist() == [7]
    assert (True ^ a).tolist() == [False, False, True]
    assert (tg.tensor([6]) ^ tg.tensor([3])).tolist() == [5]
    for f in (lambda: tg.ones(1) & 1, lambda: a | tg.ones(3), lambda: ~tg.ones(1)):
        with pytest.raises(TypeError, match=r"(bitwise_and|bitwise_or|invert): .*float32"):
            f()
    with pytest.raises(ValueError, match=r"bitwise_and: shapes \(3,\) and \(2,\)"):
        a & tg.tensor([True, False])


def test_in_asks_for_an_equal_element() -> None:
    x = tg.tensor([[1.0, 2.0], [3.0, np.nan]])
    assert 3 in x and 4 not in x and np.nan not in x and tg.tensor(2) in x


def test_functions_of_one() -> None:
    for form in (lambda n: getattr(tg, n)(A), lambda n: getattr(tg.Tensor(A), n)()):
        np.testing.assert_array_equal(form("isnan").numpy(), np.isnan(A))
        np.testing.assert_array_equal(form("isinf").numpy(), np.isinf(A))
        np.testing.assert_array_equal(form("isfinite").numpy(), np.isfinite(A))
        np.testing.assert_array_equal(form("logical_not").numpy(), A == 0)
    assert tg.isnan(tg.tensor([1])).tolist() == [False]


@pytest.mark.parametrize("equal_nan", [False, True])
def test_isclose_as_in_torch(equal_nan: bool) -> None:
    torch = pytest.importorskip("torch")
    values = np.array([1.0, 1.0 + 1e-6, 1.1, INF, -INF, NAN, 0.0, 1e-9])
    a, b = (x.ravel() for x in np.meshgrid(values, values))
    for rtol, atol in ((1e-5, 1e-8), (0.1, 0.0), (0.0, 1e-7)):
        arguments = (rtol, atol, equal_nan)
        found = tg.isclose(tg.Tensor(a), tg.Tensor(b), *arguments)
        expected = torch.isclose(torch.from_numpy(a), torch.from_numpy(b), *arguments)
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
        for i in range(len(values)):
            one = slice(i, None, len(values))
            assert (
                tg.Tensor(a[one]).allclose(tg.Tensor(b[one]), *arguments)
                is found.numpy()[one].all().item()
            )


def test_equal_and_allclose_are_python_booleans() -> None:
    x = tg.tensor([1.0, 2.0])
    assert tg.equal(x, tg.tensor([1, 2])) is True
    assert x.equal(tg.tensor([1.0, 2.5])) is False
    assert tg.equal(x, tg.tensor([[1.0, 2.0]])) is False
    assert tg.equal(tg.zeros(0), tg.zeros(0)) is True
    assert tg.tensor([NAN]).equal(tg.tensor([NAN])) is False
    assert tg.allclose(x, x + 1e-7) is True
    assert x.allclose(2.0) is False
    with pytest.raises(ValueError, match=r"isclose: shapes \(2,\) and \(3,\)"):
        tg.allclose(x, tg.ones(3))


def test_where_with_the_condition_alone() -> None:
    x = np.array([[0.0, 2.0, NAN], [0.0, 0.0, -1.0]])
    found = tg.where(tg.Tensor(x))
    assert isinstance(found, tuple)
    for f, e in zip(found, np.nonzero(x), strict=True):
        assert f.dtype == np.int64
        np.testing.assert_array_equal(f.numpy(), e)
    np.testing.assert_array_equal(tg.Tensor(x)[found].numpy(), x[np.nonzero(x)])
    assert [f.tolist() for f in tg.where(tg.tensor(True))] == [[0]]
    with pytest.raises(ValueError, match="where: give both"):
        tg.where(tg.tensor([True]), tg.ones(1))  # type: ignore[call-overload]
