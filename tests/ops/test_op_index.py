"""Picking and putting: what shares memory, what is met twice, what is large or not a number."""

import numpy as np
import pytest

import tinygrad_ft as tg

VIEWS = {
    "__getitem__": lambda x: x[1:, ::2],
    "negative step": lambda x: x[::-1],
    "new dimension": lambda x: x[None, ..., 0],
    "number": lambda x: x[tg.tensor(1), 2],
    "select": lambda x: x.select(1, 0),
    "narrow": lambda x: x.narrow(1, 1, 2),
    "split": lambda x: x.split(2, 1)[1],
    "chunk": lambda x: x.chunk(2)[1],
    "unbind": lambda x: x.unbind(1)[2],
    "unbind to numbers": lambda x: x[0].unbind()[2],
    "diagonal": lambda x: x.diagonal(1),
    "movedim": lambda x: x.movedim(0, 1),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "mT": lambda x: x.mT,
    "unflatten": lambda x: x.unflatten(1, (2, 2)),
    "view_as": lambda x: x.view_as(tg.zeros(4, 2)),
    "reshape_as": lambda x: x.reshape_as(tg.zeros(4, 2)),
}
COPIES = {
    "array": lambda x: x[[0, 1]],
    "mask": lambda x: x[tg.tensor([True, True])],
    "flip": lambda x: x.flip(0),
    "roll": lambda x: x.roll(0, 0),
    "repeat": lambda x: x.repeat(1, 2),
    "cat": lambda x: tg.cat([x]),
    "stack": lambda x: tg.stack([x]),
    "tril": lambda x: x.tril(9),
    "diag": lambda x: x.diag(),
    "index_select": lambda x: x.index_select(0, tg.tensor([0, 1])),
    "gather": lambda x: x.gather(0, tg.tensor([[0, 0]])),
    "scatter": lambda x: x.scatter(0, tg.tensor([[0]]), 1.0),
    "masked_fill": lambda x: x.masked_fill(tg.tensor(False), 0),
}


@pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
def test_views_share_memory_and_the_count_of_its_changes(make) -> None:
    x = tg.zeros(2, 4)
    view, w = make(x), tg.ones(2, 4, requires_grad=True)
    product = (w * x).sum()
    view.fill_(7)
    assert (x == 7).sum().item() == view.numel()
    with pytest.raises(RuntimeError, match=r"Mul: its input 1.* was changed in place"):
        product.backward()


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_copies_have_memory_of_their_own(make) -> None:
    x = tg.rand(2, 4)
    before, copy = x.tolist(), make(x)
    assert not np.shares_memory(copy.data, x.data)
    copy.fill_(7)
    assert x.tolist() == before


def test_a_value_that_scatter_wrote_over_has_no_gradient() -> None:
    """Which of two stays is not said, but the gradient is that of the one that did."""
    x, src = tg.zeros(3, requires_grad=True), tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    out = x.scatter(0, tg.tensor([1, 1, 0]), src)
    (grad_x, grad_src) = tg.autograd.grad(out, (x, src), tg.tensor([10.0, 20.0, 30.0]))
    stayed = out.tolist()[1]
    assert grad_x.tolist() == [0, 0, 30]
    assert grad_src.tolist() == [20.0 * (stayed == 1), 20.0 * (stayed == 2), 10]
    assert tg.gradcheck(
        lambda x, s: x.scatter(0, tg.tensor([1, 1, 0]), s), [x.double(), src.double()]
    )


def test_masked_fill_with_infinity() -> None:
    """As attention masks do: the softmax of what is left, and no NaN in the gradient."""
    x = tg.tensor([[1.0, 2.0, 3.0], [np.nan, 5.0, np.inf]], requires_grad=True)
    mask = tg.tensor([[False, True, False], [True, False, True]])
    out = x.masked_fill(mask, -np.inf).softmax(1)
    expected = np.exp([1.0, 3.0]) / np.exp([1.0, 3.0]).sum()
    np.testing.assert_allclose(out.tolist()[0], [expected[0], 0, expected[1]], rtol=1e-6)
    assert out.tolist()[1] == [0, 1, 0]
    (gradient,) = tg.autograd.grad(out[:, 0].sum(), x)
    slope = expected[0] * expected[1]
    np.testing.assert_allclose(gradient.tolist()[0], [slope, 0, -slope], rtol=1e-6)
    assert gradient.tolist()[1] == [0, 0, 0]


def test_what_a_triangle_cuts_off_does_not_matter() -> None:
    x = tg.tensor([[1.0, np.nan], [np.inf, 2.0]], requires_grad=True)
    for out, expected in ((x.tril().triu(), [[1, 0], [0, 2]]), (x.diagonal(), [1, 2])):
        assert out.tolist() == expected
        assert tg.autograd.grad((out * out).sum(), x)[0].tolist() == [[2, 0], [0, 4]]


@pytest.mark.parametrize("dim", [0, 1])
def test_many_rows_met_many_times(dim: int) -> None:
    """Large enough for the kernel: against bincount in float64."""
    rng = np.random.default_rng(0)
    index = rng.integers(0, 7, 500)
    x = tg.Tensor(rng.standard_normal((7, 40) if dim == 0 else (40, 7)).astype(np.float32), True)
    weight = rng.standard_normal((500, 40)).astype(np.float32)
    expected = np.stack([np.bincount(index, column, 7) for column in weight.T.astype(float)], 1)
    turned = weight if dim == 0 else weight.T.copy()
    for out in (
        x.index_select(dim, tg.tensor(index)),
        x[index] if dim == 0 else x[:, index],
        x.gather(dim, tg.tensor(np.broadcast_to(index[:, None], weight.shape)).movedim(0, dim)),
    ):
        (gradient,) = tg.autograd.grad(out, x, turned)
        assert gradient.dtype == np.float32
        np.testing.assert_allclose(np.moveaxis(gradient.numpy(), dim, 0), expected, atol=1e-4)


def test_nonzero() -> None:
    x = tg.tensor([[0.0, 2.0, 0.0], [-1.0, 0.0, np.nan]], requires_grad=True)
    assert x.nonzero().tolist() == [[0, 1], [1, 0], [1, 2]]
    assert x.nonzero().dtype == np.int64
    rows, columns = tg.nonzero(x, as_tuple=True)
    assert x[rows, columns].tolist()[:2] == [2, -1]
    assert tg.tensor(3).nonzero().shape == (1, 0)
    assert tg.tensor(0).nonzero().shape == (0, 0)
    assert [i.tolist() for i in tg.tensor(3).nonzero(as_tuple=True)] == [[0]]
    assert tg.zeros(0, 2).nonzero().shape == (0, 2)
    assert not x.nonzero().requires_grad


def test_nothing_is_done_for_a_gradient_that_nobody_wants() -> None:
    x, s, i = tg.zeros(2, 3), tg.ones(2, 1, requires_grad=True), tg.tensor([[0], [2]])
    for f in (tg.scatter, tg.scatter_add):
        out = f(x, 1, i, s)
        assert out.sum().item() == 2
        assert tg.autograd.grad(out.sum(), s)[0].tolist() == [[1], [1]]
    first, second = tg.ones(2, requires_grad=True), tg.ones(2)
    assert tg.cat([first, second]).grad_fn.backward(tg.ones(4))[1] is None
    assert tg.stack([second, first]).grad_fn.backward(tg.ones(2, 2))[0] is None


def test_dtypes_meet_as_in_sums() -> None:
    ints, halves = tg.tensor([1, 2]), tg.tensor([0.5, 1.5])
    for joined in (tg.stack([ints, halves]), tg.hstack([ints, halves]), tg.vstack([ints, halves])):
        assert joined.dtype == np.float32
        assert joined.reshape(-1).tolist() == [1, 2, 0.5, 1.5]
    assert tg.tril(tg.ones(2, 2, dtype=bool)).dtype == np.bool_
    assert tg.triu(tg.ones(2, 2, dtype=np.int64)).dtype == np.int64
    assert ints.scatter(0, tg.tensor([0]), 7).tolist() == [7, 2]
    assert ints.scatter_add(0, tg.tensor([0, 0]), ints).tolist() == [4, 2]
    assert (ints > 1).masked_fill(tg.tensor([True, False]), True).tolist() == [True, True]
