"""dtypes: PyTorch's promotion on NumPy's types, conversions and their gradients."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_ft as tg

PAIRS = [
    (np.float32, np.float32, np.float32),
    (np.float32, np.float64, np.float64),
    (np.float32, np.int64, np.float32),
    (np.int64, np.float32, np.float32),
    (np.float32, np.bool_, np.float32),
    (np.float64, np.int32, np.float64),
    (np.int32, np.int64, np.int64),
    (np.uint8, np.int8, np.int16),
    (np.bool_, np.int64, np.int64),
]


@pytest.mark.parametrize(("left", "right", "common"), PAIRS)
def test_two_tensors(left: type, right: type, common: type) -> None:
    a, b = tg.ones(2, dtype=left), tg.ones(2, dtype=right)
    assert (a + b).dtype == common
    assert (a * b).dtype == common
    assert tg.maximum(a, b).dtype == common
    assert tg.where(tg.tensor([True, False]), a, b).dtype == common
    assert tg.cat([a, b]).dtype == common
    assert (a == b).dtype == np.bool_


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", [2, 2.0, True, np.float64(2), np.int64(2), np.bool_(True)])
def test_a_number_takes_the_dtype_of_a_floating_tensor(dtype: type, number: object) -> None:
    x = tg.full(2, 3.0, dtype=dtype, requires_grad=True)
    for f in (
        lambda: x + number,
        lambda: number + x,
        lambda: number - x,
        lambda: x * number,
        lambda: number * x,
        lambda: x / number,
        lambda: number / x,
        lambda: x**number,
        lambda: number**x,
        lambda: x.clamp(0, number),
    ):
        out = f()
        assert out.dtype == dtype
        (gradient,) = tg.autograd.grad(out.sum(), x)
        assert gradient.dtype == dtype


def test_numbers_beside_integer_tensors() -> None:
    x = tg.tensor([1, 2])
    assert (x + 1).dtype == np.int64
    assert (x + 1.5).tolist() == [2.5, 3.5]
    assert (x + 1.5).dtype == np.float32
    assert (x / 2).tolist() == [0.5, 1.0]
    assert (x**2).dtype == np.int64
    assert (x**0.5).dtype == np.float32
    assert x.clamp(min=1.5).tolist() == [1.5, 2.0]
    assert x.exp().dtype == np.float32
    assert tg.tensor([200, 100], dtype=np.uint8).sum().item() == 300
    assert (x > 0).sum().item() == 2


def test_what_data_becomes() -> None:
    assert tg.tensor([1.0]).dtype == np.float32
    assert tg.tensor([1]).dtype == np.int64
    assert tg.tensor([True]).dtype == np.bool_
    assert tg.tensor(np.zeros(2)).dtype == np.float64
    assert tg.tensor([0.1], dtype=np.float64).item() == 0.1
    assert tg.tensor(tg.ones(2, requires_grad=True)).is_leaf
    assert tg.full((2,), 1.0).dtype == np.float32
    assert tg.full((2,), 1).dtype == np.int64
    assert tg.arange(3).dtype == np.int64
    assert tg.arange(0, 1, 0.5).dtype == np.float32
    assert tg.tensor([2.0], dtype=np.int64).dtype == np.int64
    source = np.ones(2, np.float32)
    assert not np.shares_memory(tg.tensor(source).numpy(), source)
    assert np.shares_memory(tg.from_numpy(source).numpy(), source)


@pytest.mark.parametrize(
    ("convert", "dtype"),
    [
        (lambda x: x.to(np.float32), np.float32),
        (lambda x: x.float(), np.float32),
        (lambda x: x.double(), np.float64),
        (lambda x: x.long(), np.int64),
        (lambda x: x.bool(), np.bool_),
    ],
)
@pytest.mark.parametrize("source", [np.float32, np.float64])
def test_conversion(convert, dtype: type, source: type) -> None:
    x = tg.Tensor(np.array([0.0, 1.75, -2.5], source), requires_grad=True)
    out = convert(x)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out.numpy(), x.numpy().astype(dtype))
    assert out.requires_grad == (np.dtype(dtype).kind == "f")
    if dtype == source:
        assert out is x
    if out.requires_grad and out is not x:
        weight = np.array([1.0, 0.5, 3.0], dtype)
        first = tg.autograd.grad(out, x, tg.Tensor(weight), create_graph=True)[0]
        assert first.dtype == source
        np.testing.assert_array_equal(first.numpy(), weight)
        (second,) = tg.autograd.grad((convert(x) ** 2).sum(), x, create_graph=True)
        (third,) = tg.autograd.grad(second.sum(), x)
        assert third.dtype == source
        np.testing.assert_array_equal(third.numpy(), [2, 2, 2])


def test_mixed_operands_get_gradients_of_their_own_dtype() -> None:
    a = tg.ones(2, 3, requires_grad=True)
    b = tg.ones(3, dtype=np.float64, requires_grad=True)
    (a * b).sum().backward()
    assert a.grad.dtype == np.float32
    assert b.grad.dtype == np.float64
    assert b.grad.tolist() == [2, 2, 2]


def test_no_warning_for_infinities_and_nan() -> None:
    """Warnings are errors in these tests, so this fails if NumPy's get through."""
    huge = tg.tensor([3e38, -1.0, 0.0], requires_grad=True)
    out = (huge * 10).exp() - (huge * 10).exp() + (huge.log() / huge) ** 0.5 + huge.mean()
    out.sum().backward()
    assert np.isnan(huge.grad.numpy()).any()
    assert np.isinf(tg.tensor([1e300], dtype=np.float64).float().item())


# ---- PyTorch's result dtypes, op by op -----------------------------------------------------------

DTYPES = ["bool", "uint8", "int32", "int64", "float32", "float64"]
NUMBERS = [True, 2, 2.5]
BINARY = [
    "add", "sub", "mul", "div", "pow", "maximum", "minimum", "atan2", "eq", "ne", "lt", "le", "gt",
    "ge",
]  # fmt: skip
OPERATORS = ["add", "sub", "mul", "truediv", "pow", "eq", "ne", "lt", "le", "gt", "ge"]
OF_ONE = [
    "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "exp", "exp2", "expm1", "floor",
    "isfinite", "isnan", "log", "log10", "log1p", "log2", "neg", "ones_like", "reciprocal", "relu",
    "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh",
    "zeros_like", "sum", "mean", "prod", "var", "std", "amax", "amin", "max", "min", "argmax",
    "argmin", "all", "any", "norm", "trace", "tril", "t", "clone",
]  # fmt: skip
ALONG_A_DIM = [
    "cumsum", "softmax", "log_softmax", "logsumexp", "sort", "sum", "prod", "max", "unbind",
]  # fmt: skip


def both(names: Callable, *arguments: Any) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """What `names(library)(*arguments)` gives here and in PyTorch; None where PyTorch refuses."""
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arguments]
    try:
        theirs = names(torch)(*tensors)
    except (RuntimeError, TypeError):
        return None
    ours = names(tg)(*[tg.Tensor(a) if isinstance(a, np.ndarray) else a for a in arguments])
    theirs = theirs if isinstance(theirs, tuple | list) else [theirs]
    ours = ours if isinstance(ours, tuple | list) else [ours]
    return [o.numpy() for o in ours], [t.numpy() for t in theirs]


def agree(results: tuple[list[np.ndarray], list[np.ndarray]] | None, *what: Any) -> bool:
    """Whether there was something to compare; it fails if dtypes or values differ."""
    if results is None:
        return False
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype, what
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, err_msg=str(what))
    return True


def sample(dtype: str, *shape: int) -> np.ndarray:
    return (np.arange(1, np.prod(shape, dtype=int) + 1) % 3).reshape(shape).astype(dtype)


@pytest.mark.parametrize("name", BINARY)
def test_two_tensors_as_in_torch(name: str) -> None:
    compared = 0
    for left in DTYPES:
        for right in DTYPES:
            results = both(lambda lib: getattr(lib, name), sample(left, 4), sample(right, 4))
            compared += agree(results, left, right)
    assert compared >= 16


@pytest.mark.parametrize("name", [*BINARY, "where"])
def test_a_tensor_without_dimensions_is_weak_as_in_torch(name: str) -> None:
    compared = 0
    for left in DTYPES:
        for right in DTYPES:
            for shapes in (((), (3,)), ((3,), ()), ((1,), ()), ((), ())):
                x, y = sample(left, *shapes[0]), sample(right, *shapes[1])
                mask = [np.array([True, False, True])] if name == "where" else []
                results = both(lambda lib: getattr(lib, name), *mask, x, y)
                compared += agree(results, left, right, shapes)
    assert compared >= 60


def test_gradients_of_a_weak_tensor_keep_its_dtype() -> None:
    x = tg.ones(2, 3, requires_grad=True)
    scale = tg.tensor(2.0, dtype=np.float64, requires_grad=True)
    for out in (x * scale, tg.lerp(x, x, scale), tg.clamp(x, scale, x), tg.where(x > 0, x, scale)):
        assert out.dtype == np.float32
        gradients = tg.autograd.grad(out.sum(), [x, scale])
        assert [g.dtype for g in gradients] == [np.float32, np.float64]


@pytest.mark.parametrize("f", [lambda lib: lib.add, lambda lib: lib.sub])
def test_alpha_takes_the_dtype_of_the_result(f: Callable) -> None:
    torch = pytest.importorskip("torch")
    x, y = np.array([0.5, 1.5]), np.array([1, 3])
    for a, b, alpha in ((x, y, 0.5), (y, x, 0.5), (y, y, 2), (x, x.astype(np.float32), 1e300)):
        found = f(tg)(tg.Tensor(a), tg.Tensor(b), alpha=alpha).numpy()
        expected = f(torch)(torch.tensor(a), torch.tensor(b), alpha=alpha).numpy()
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(TypeError, match=r"alpha=0\.5 is a float, but the operands are int64"):
        f(tg)(tg.Tensor(y), tg.Tensor(y), alpha=0.5)


def test_alpha_in_place_loses_no_digits() -> None:
    x = tg.zeros(2, dtype=np.float64)
    assert x.add_(tg.tensor([1, 3]), alpha=0.1).tolist() == [0.1, 0.1 * 3]
    assert x.sub_(tg.tensor([True, False]), alpha=0.1).tolist() == [0, 0.1 * 3]
    with pytest.raises(TypeError, match="add_: a tensor of int64 cannot hold"):
        tg.tensor([1]).add_(tg.tensor([1]), alpha=0.5)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_tensor_and_a_number_as_in_torch(name: str) -> None:
    f = getattr(operator, name)
    compared = 0
    for dtype in DTYPES:
        for number in NUMBERS:
            x = sample(dtype, 4)
            compared += agree(both(lambda lib: f, x, number), dtype, number)
            compared += agree(both(lambda lib: f, number, x), number, dtype)
    assert compared >= 20


@pytest.mark.parametrize("name", OF_ONE)
def test_functions_of_one_tensor_as_in_torch(name: str) -> None:
    compared = 0
    for dtype in DTYPES:
        # PyTorch's all and any of uint8 stay uint8, for historical reasons
        if name not in ("all", "any") or dtype != "uint8":
            results = both(lambda lib: getattr(lib, name), sample(dtype, 2, 2))
            compared += agree(results, dtype)
    assert compared >= 2


@pytest.mark.parametrize("name", ALONG_A_DIM)
def test_functions_along_a_dim_as_in_torch(name: str) -> None:
    compared = 0
    for dtype in DTYPES:
        # equal elements may be sorted in any order
        x = np.array([[0, 1], [1, 0]]).astype(dtype)
        compared += agree(both(lambda lib: getattr(lib, name), x, 1), dtype)
    assert compared >= 2
