"""Embeddings and one-hot vectors: the padding row, the limit of the norm, errors."""

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import autograd
from tinygrad_ft.nn import functional as F

IDS = np.array([[2, 0, 2], [3, 2, 0]])


@pytest.mark.parametrize("padding_idx", [2, -2])
def test_the_padding_row_has_a_value_but_no_gradient(padding_idx: int) -> None:
    weight = tg.Tensor(np.arange(8.0).reshape(4, 2), requires_grad=True)
    out = F.embedding(tg.tensor(IDS), weight, padding_idx)
    np.testing.assert_array_equal(out.numpy(), weight.numpy()[IDS])
    seed = np.random.default_rng(0).standard_normal(out.shape)
    (gradient,) = autograd.grad(out, weight, seed)
    expected = np.zeros((4, 2))
    for place in np.ndindex(IDS.shape):
        if IDS[place] != 2:
            expected[IDS[place]] += seed[place]
    np.testing.assert_allclose(gradient.numpy(), expected)


def test_the_padding_row_has_no_second_gradient_either() -> None:
    """d^2/dw^2 of sum(embedding^3) is 6 w for each look-up, 0 for the padding row."""
    weight = tg.Tensor(np.arange(1.0, 9.0).reshape(4, 2), requires_grad=True)
    out = F.embedding(tg.tensor(IDS), weight, 2)
    (first,) = autograd.grad((out**3).sum(), weight, create_graph=True)
    (second,) = autograd.grad(first.sum(), weight, create_graph=True)
    counts = np.array([2, 0, 0, 1])[:, None]
    np.testing.assert_allclose(first.numpy(), 3 * weight.numpy() ** 2 * counts)
    np.testing.assert_allclose(second.numpy(), 6 * weight.numpy() * counts)


@pytest.mark.parametrize("norm_type", [1.0, 2.0])
def test_max_norm_shortens_the_rows_that_are_looked_up(norm_type: float) -> None:
    torch = pytest.importorskip("torch")
    rows = np.array([[3.0, 4.0], [0.1, 0.2], [6.0, 8.0], [-5.0, 0.0]])
    ours, theirs = tg.tensor(rows, dtype=np.float64), torch.from_numpy(rows.copy())
    ids = np.array([0, 1, 0, 3])
    found = F.embedding(tg.tensor(ids), ours, max_norm=2.0, norm_type=norm_type)
    expected = torch.nn.functional.embedding(
        torch.from_numpy(ids), theirs, max_norm=2.0, norm_type=norm_type
    )
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12)
    np.testing.assert_array_equal(ours.numpy()[2], [6, 8])


def test_ids_may_change_after_the_look_up() -> None:
    ids, weight = tg.tensor([0, 1]), tg.ones(3, 2, requires_grad=True)
    out = F.embedding(ids, weight)
    ids.fill_(2)
    out.sum().backward()
    np.testing.assert_array_equal(weight.grad.numpy(), [[1, 1], [1, 1], [0, 0]])


def test_one_hot() -> None:
    out = F.one_hot(tg.tensor([[0, 2], [1, 1]]))
    assert out.dtype == np.int64
    np.testing.assert_array_equal(out.numpy(), np.eye(3)[[[0, 2], [1, 1]]])
    np.testing.assert_array_equal(F.one_hot(tg.tensor(1), 3).numpy(), [0, 1, 0])
    assert F.one_hot(tg.zeros(0, 2, dtype=np.int64), 4).shape == (0, 2, 4)


WEIGHT, ROWS = tg.zeros(4, 2), tg.tensor([0, 1])


@pytest.mark.parametrize(
    "use, error, message",
    [
        (lambda: F.embedding(tg.tensor([0.0]), WEIGHT), TypeError, "of integers, not float32"),
        (lambda: F.embedding(tg.tensor([4]), WEIGHT), IndexError, "4 is no row.*4 rows"),
        (lambda: F.embedding(tg.tensor([-1]), WEIGHT), IndexError, "-1 is no row"),
        (lambda: F.embedding(ROWS, tg.zeros(4)), ValueError, r"\(rows, width\), got shape \(4,\)"),
        (lambda: F.embedding(ROWS, WEIGHT, 4), ValueError, "padding_idx 4 is no row of 4"),
        (lambda: F.embedding(ROWS, WEIGHT, sparse=True), NotImplementedError, "sparse"),
        (
            lambda: F.embedding(ROWS, WEIGHT, scale_grad_by_freq=True),
            NotImplementedError,
            "scale_grad_by_freq",
        ),
        (lambda: F.one_hot(tg.tensor([0.5])), TypeError, "of integers, not float32"),
        (lambda: F.one_hot(tg.tensor([3]), 3), ValueError, "3 is no class of 3"),
        (lambda: F.one_hot(tg.tensor([-1])), ValueError, "num_classes must be positive"),
        (lambda: F.one_hot(tg.tensor([-1, 1])), ValueError, "-1 is no class"),
        (lambda: F.one_hot(tg.zeros(0, dtype=np.int64)), ValueError, "give num_classes"),
        (lambda: F.one_hot(tg.tensor([0]), 0), ValueError, "positive or -1, got 0"),
    ],
)
def test_errors(use, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        use()
