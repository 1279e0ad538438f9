"""The Tensor as an object: NumPy, Python numbers, printing, copying, pickling."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_ft as tg


def test_as_an_array() -> None:
    x = tg.tensor([[1.0, 2.0]])
    assert np.shares_memory(np.asarray(x), x.data)
    assert np.asarray(x, np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(x), x.data)
    np.testing.assert_array_equal(np.stack([x, x]).shape, (2, 1, 2))
    with pytest.raises(ValueError, match="copy"):
        np.asarray(x, np.float64, copy=False)


def test_numpy_is_read_only_where_a_gradient_is_asked() -> None:
    x = tg.ones(2, requires_grad=True)
    for t in (x, x * 2):
        with pytest.raises(ValueError, match="read-only"):
            t.numpy()[0] = 5
        with pytest.raises(ValueError, match="read-only"):
            np.asarray(t)[0] = 5
    x.detach().numpy()[0] = 5
    assert x.tolist() == [5, 1]
    x.numpy()  # does not make the tensor itself read-only
    with tg.no_grad():
        x.add_(1)
    assert x.tolist() == [6, 2]


def test_an_array_on_the_left_leaves_the_operation_to_the_tensor() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    array = np.array([3.0, 4.0], np.float32)
    for out, expected in (
        (array + x, [4, 6]),
        (array - x, [2, 2]),
        (array * x, [3, 8]),
        (array / x, [3, 2]),
        (array**x, [3, 16]),
        (array @ x, 11),
        (np.float32(2) * x, [2, 4]),
    ):
        assert isinstance(out, tg.Tensor)
        assert out.requires_grad
        assert out.tolist() == expected
    assert isinstance(array == x, tg.Tensor)
    assert (array > x).tolist() == [True, True]
    with pytest.raises(TypeError):
        np.exp(x)


def test_python_numbers() -> None:
    x = tg.tensor([[2.5]])
    assert x.item() == 2.5
    assert float(x) == 2.5
    assert int(x) == 2
    assert bool(x)
    assert not tg.tensor(0)
    assert [10, 20, 30][tg.tensor(1)] == 20
    with pytest.raises(TypeError, match="integer tensor"):
        [10, 20][tg.tensor(1.0)]
    assert len(tg.zeros(3, 2)) == 3
    assert [row.tolist() for row in tg.tensor([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]
    assert sum(tg.tensor([1, 2, 3])).item() == 6


def test_comparisons() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    assert (x == 2).tolist() == [False, True, False]
    assert (x != tg.tensor([1.0, 0.0, 3.0])).tolist() == [False, True, False]
    assert (x < 2).tolist() == [True, False, False]
    assert (x <= 2).tolist() == [True, True, False]
    assert (x > 2).tolist() == [False, False, True]
    assert (x >= 2).tolist() == [False, True, True]
    assert ((x > 1) & (x < 3)).tolist() == [False, True, False]
    assert ((x < 2) | (x > 2)).tolist() == [True, False, True]
    assert (~(x > 1)).tolist() == [True, False, False]
    assert (tg.tensor([1, 2]) == tg.tensor([1.0, 2.5])).tolist() == [True, False]
    assert (tg.tensor([0.1]) == [0.1]).all()
    assert not x.isnan().any()
    assert x.isfinite().all().item() is True
    assert (x == 1).any(0).item()
    assert (x.reshape(1, 3) > 1).all(0).tolist() == [False, True, True]
    assert (x == None) is False  # noqa: E711
    assert x in {x}


def test_shape_words() -> None:
    x = tg.zeros(2, 3)
    assert (x.shape, x.size(), x.size(1), x.dim(), x.ndim, x.numel()) == (
        (2, 3),
        (2, 3),
        3,
        2,
        2,
        6,
    )
    assert x.T.shape == (3, 2)
    assert x.T.contiguous().data.flags.c_contiguous
    assert x.contiguous() is x


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: tg.tensor([1.0, 2.5]), "tensor([1. , 2.5])"),
        (lambda: tg.tensor([[1, 2], [3, 4]]), "tensor([[1, 2],\n        [3, 4]])"),
        (lambda: tg.tensor(True), "tensor(True)"),
        (lambda: tg.zeros(1, dtype=np.float64), "tensor([0.], dtype=float64)"),
        (lambda: tg.ones(1, requires_grad=True), "tensor([1.], requires_grad=True)"),
        (lambda: tg.ones(1, requires_grad=True) * 2, "tensor([2.], grad_fn=<Mul>)"),
        (lambda: tg.zeros(0, 3), "tensor([], size=(0, 3))"),
    ],
)
def test_repr(make, text: str) -> None:
    assert repr(make()) == text


def test_format() -> None:
    loss = tg.tensor(2.0, requires_grad=True) / 3
    assert f"{loss:.3f} {loss:>8.1e} {tg.tensor(7):03d}" == "0.667  6.7e-01 007"
    assert f"{tg.tensor([1.0])}" == "tensor([1.])"
    with pytest.raises(TypeError, match="format"):
        f"{tg.tensor([1.0]):.2f}"


def test_a_large_tensor_is_printed_short() -> None:
    assert len(repr(tg.zeros(1000, 1000))) < 1000


def test_deepcopy() -> None:
    x = tg.ones(2, 3, requires_grad=True)
    (x * 2).sum().backward()
    pair = [x, x]
    first, second = copy.deepcopy(pair)
    assert first is second
    assert first.requires_grad
    assert first.tolist() == x.tolist()
    assert first.grad.tolist() == x.grad.tolist()
    with tg.no_grad():
        first.zero_()
        first.grad.zero_()
    assert x.tolist() == [[1] * 3] * 2
    assert x.grad.tolist() == [[2] * 3] * 2
    with pytest.raises(RuntimeError, match="only leaves"):
        copy.deepcopy(x * 2)


def test_deepcopy_keeps_the_order_of_axes_in_memory() -> None:
    x = tg.Tensor(np.zeros((2, 3, 4, 5)).transpose(0, 3, 1, 2))
    assert copy.deepcopy(x).data.strides == x.data.strides


def test_pickle() -> None:
    for x in (
        tg.ones(2, 3, requires_grad=True),
        tg.tensor([True, False]),
        tg.tensor(2.0),
        tg.nn.Parameter(tg.zeros(2)),
    ):
        again = pickle.loads(pickle.dumps(x))
        assert type(again) is type(x)
        assert again.tolist() == x.tolist()
        assert again.dtype == x.dtype
        assert again.requires_grad == x.requires_grad
    with pytest.raises(RuntimeError, match="only leaves"):
        pickle.dumps(tg.ones(2, requires_grad=True) * 2)


def test_memory_shared_on_purpose_shares_its_version_too() -> None:
    x = tg.ones(2)
    y = tg.Tensor(x)
    assert np.shares_memory(x.data, y.data)
    w = tg.ones(2, requires_grad=True)
    out = (w * x).sum()
    y.add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        out.backward()
