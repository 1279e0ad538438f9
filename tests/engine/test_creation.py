"""Making tensors: shapes, dtypes, contents, refusals; conversions and what a dtype says."""

import numpy as np
import pytest

import tinygrad_ft as tg

SIZED = {"zeros": tg.zeros, "ones": tg.ones, "empty": tg.empty, "rand": tg.rand, "randn": tg.randn}


@pytest.mark.parametrize("make", SIZED.values(), ids=SIZED)
def test_sizes_and_dtypes(make) -> None:
    for size in ((2, 3), ((2, 3),), ([2, 3],), (np.int64(2), tg.tensor(3))):
        assert make(*size).shape == (2, 3)
    assert make(()).shape == make().shape == ()
    assert make(0, 3).numel() == 0
    assert make(2).dtype == np.float32
    x = make(2, dtype=np.float64, requires_grad=True)
    assert (x.dtype, x.requires_grad, x.is_leaf) == (np.float64, True, True)
    with pytest.raises(ValueError, match=rf"{make.__name__}: the size \(2, -1\) has a negative"):
        make(2, -1)
    with pytest.raises(TypeError, match=rf"{make.__name__}: the size must be integers"):
        make(2.5)


def test_contents() -> None:
    assert tg.zeros(2).tolist() == [0, 0]
    assert tg.ones(2, dtype=bool).tolist() == [True, True]
    assert tg.full((1, 2), 7).tolist() == [[7, 7]]
    assert tg.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert tg.eye(2, requires_grad=True).requires_grad
    assert tg.arange(2, 8, 3).tolist() == [2, 5]
    assert tg.arange(3, 0, -1, dtype=np.float32, requires_grad=True).tolist() == [3, 2, 1]
    assert tg.arange(0).tolist() == []
    assert tg.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert tg.linspace(3, 1, 1).tolist() == [3]
    assert tg.linspace(0, 1, 0).shape == (0,)
    assert tg.linspace(0, 4, 5, dtype=np.int64).dtype == np.int64
    assert tg.linspace(0, 1, 2, requires_grad=True).requires_grad


def test_like() -> None:
    x = tg.ones(2, 3, dtype=np.float64)
    for make in (tg.zeros_like, tg.ones_like, tg.empty_like, tg.rand_like, tg.randn_like):
        assert (make(x).shape, make(x).dtype) == ((2, 3), np.float64)
        other = make(x, dtype=np.float32, requires_grad=True)
        assert (other.dtype, other.requires_grad) == (np.float32, True)
    assert tg.full_like(x, 2).tolist() == [[2] * 3] * 2
    assert tg.full_like(tg.tensor([1]), 2.5, dtype=np.float32).tolist() == [2.5]


def test_new() -> None:
    x = tg.ones(2, dtype=np.float64, requires_grad=True)
    for made, expected in (
        (x.new_zeros(1, 2), [[0, 0]]),
        (x.new_ones((2,)), [1, 1]),
        (x.new_full((1,), 3), [3]),
        (x.new_tensor([1, 2]), [1, 2]),
    ):
        assert (made.tolist(), made.dtype, made.requires_grad) == (expected, np.float64, False)
    assert x.new_zeros(1, dtype=np.float32, requires_grad=True).dtype == np.float32


def test_as_tensor_shares_where_it_can() -> None:
    x, array = tg.ones(2), np.ones(2)
    assert tg.as_tensor(x) is x
    assert np.shares_memory(tg.as_tensor(array).data, array)
    assert not np.shares_memory(tg.as_tensor(array, np.float32).data, array)
    assert tg.as_tensor(x, np.int64).dtype == np.int64
    assert tg.as_tensor([1.5]).dtype == np.float32


def test_random_numbers() -> None:
    tg.manual_seed(0)
    first = [tg.rand_like(tg.zeros(3)).tolist(), tg.randn_like(tg.zeros(3)).tolist()]
    tg.manual_seed(0)
    assert [tg.rand(3).tolist(), tg.randn(3).tolist()] == first
    assert set(tg.randint(3, (100,)).tolist()) == {0, 1, 2}
    assert set(tg.randint(-1, 1, (100,), dtype=np.float32).tolist()) == {-1, 0}
    assert sorted(tg.randperm(5, dtype=np.int32).tolist()) == [0, 1, 2, 3, 4]
    assert tg.randperm(0).shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tg.arange(0, 3, 0), ValueError, "arange: a step of 0"),
        (lambda: tg.arange(0, 3, -1), ValueError, "arange: .* from 0 to 3"),
        (lambda: tg.linspace(0, 1, -1), ValueError, "linspace: .* negative"),
        (lambda: tg.linspace(0, 1, 2.5), TypeError, "linspace: .* integers"),
        (lambda: tg.eye(-1), ValueError, "eye: .* negative"),
        (lambda: tg.full((2, -1), 0), ValueError, "full: .* negative"),
        (lambda: tg.randint(3, 3, (2,)), ValueError, "randint: .* from 3 to before 3"),
        (lambda: tg.randperm(-1), ValueError, "randperm: .* negative"),
        (lambda: tg.tril_indices(2, -1), ValueError, "tril_indices: .* negative"),
        (lambda: tg.zeros(2, dtype="complex64"), TypeError, "complex64 is not supported"),
        (lambda: tg.ones(2, dtype=np.int64, requires_grad=True), TypeError, "floating"),
    ],
)
def test_refusals(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_triangle_indices() -> None:
    torch = pytest.importorskip("torch")
    for size in ((3, 3), (2, 4), (4, 2), (0, 2)):
        for offset in (-2, 0, 1):
            for name in ("tril_indices", "triu_indices"):
                found = getattr(tg, name)(*size, offset)
                assert found.tolist() == getattr(torch, name)(*size, offset).tolist()
                assert found.dtype == np.int64
    x = tg.arange(9).reshape(3, 3)
    rows, columns = tg.triu_indices(3, 3, 1)
    assert x[rows, columns].tolist() == [1, 2, 5]


def test_what_a_tensor_says_of_itself() -> None:
    x = tg.zeros(2, 3, 4)
    assert (x.ndimension(), x.nelement(), x.element_size(), x.size(-1)) == (3, 24, 4, 4)
    assert x.is_contiguous()
    assert not x.mT.is_contiguous()
    assert x.mT.shape == (2, 4, 3)
    assert x.mT.contiguous().is_contiguous()
    assert x.is_floating_point()
    assert not x.long().is_floating_point()


def test_conversions() -> None:
    x = tg.tensor([0.0, 1.75], requires_grad=True)
    assert (x.int().dtype, x.int().tolist()) == (np.int32, [0, 1])
    assert x.type_as(tg.zeros(1, dtype=np.float64)).dtype == np.float64
    assert x.to(tg.zeros(1, dtype=np.float64)).dtype == np.float64
    (gradient,) = tg.autograd.grad(x.to(tg.zeros(1, dtype=np.float64)).sum(), x)
    assert gradient.dtype == np.float32
