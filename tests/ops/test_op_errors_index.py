"""Wrong indices and shapes: an early error that names the op, the index and the size."""

import re

import numpy as np
import pytest

import tinygrad_ft as tg


def z(*shape: int, dtype: type = np.float32) -> tg.Tensor:
    return tg.zeros(*shape, dtype=dtype)


def i(*values: int) -> tg.Tensor:
    return tg.tensor(values, dtype=np.int64)


yes = tg.tensor([True, False])

WRONG = [
    # call, error, words that the message has to contain
    (lambda: z(2, 3)[i(0, 2)], IndexError, "index (2, 3) dim 0 2"),
    (lambda: z(2, 3)[:, i(-4)], IndexError, "index (2, 3) dim 1 -4 3"),
    (lambda: z(2, 3)[i(0), i(0), i(0)], IndexError, "index (2, 3) many 3 2"),
    (lambda: z(2, 3)[..., 0, ...], IndexError, "index (2, 3) ellipsis"),
    (lambda: z(2, 3)[..., i(0), ...], IndexError, "index (2, 3) ellipsis"),
    (lambda: z(2, 3)[tg.tensor([True] * 3)], IndexError, "index (2, 3) mask (3,) (2,)"),
    (lambda: z(2, 3)[:, yes], IndexError, "index (2, 3) mask (2,) (3,)"),
    (lambda: z(3, 3)[i(0, 1), i(0, 1, 2)], IndexError, "index (3, 3) (2,) (3,) broadcast"),
    (lambda: z(3)[1.5], IndexError, "index (3,) integer float"),
    (lambda: z(3)["a"], IndexError, "index (3,) integer str"),
    (lambda: z(3)[[0, [1]]], IndexError, "index (3,) list array"),
    (lambda: z(3)[1.0:], IndexError, "index (3,) slice integers 1.0"),
    (lambda: z(3)[::0], ValueError, "zero"),
    (lambda: z(()).select(0, 0), IndexError, "select dimensions"),
    (lambda: z(2, 3).select(1, 3), IndexError, "select 3 dim 1 3"),
    (lambda: z(2, 3).select(2, 0), IndexError, "select dim 2"),
    (lambda: z(2, 3).narrow(1, 4, 0), IndexError, "narrow 4 dim 1 3"),
    (lambda: z(2, 3).narrow(1, 2, 2), ValueError, "narrow 2 dim 1 3"),
    (lambda: z(2, 3).narrow(1, 0, -1), ValueError, "narrow -1 dim 1 3"),
    (lambda: z(2, 3).gather(1, i(0)), ValueError, "gather (1,) (2, 3)"),
    (lambda: z(2, 3).gather(1, tg.tensor([[0], [3]])), IndexError, "gather 3 dim 1 3"),
    (lambda: z(2, 3).gather(1, tg.tensor([[0], [-1]])), IndexError, "gather -1 dim 1 3"),
    (lambda: z(2, 3).gather(1, z(2, 3)), TypeError, "gather float32"),
    (lambda: z(2, 3).gather(2, tg.tensor([[0]])), IndexError, "gather dim 2"),
    (lambda: z(2, 3).scatter(0, tg.tensor([[0, 2]]), 1.0), IndexError, "scatter 2 dim 0 2"),
    (lambda: z(2, 3).scatter(0, tg.tensor([[0]]), z(1, 0)), ValueError, "scatter (1, 1) (1, 0)"),
    (lambda: z(2, 3).scatter(0, tg.tensor([[0]])), TypeError, "scatter src value"),
    (lambda: z(2, 3).scatter(0, tg.tensor([[0]]), z(1, 1), value=1), TypeError, "src value"),
    (lambda: z(2, dtype=int).scatter(0, i(0), float("inf")), ValueError, "scatter int64 inf"),
    (
        lambda: z(2).scatter(0, i(0), z(1, dtype=np.float64)),
        TypeError,
        "scatter float32 float64",
    ),
    (lambda: z(2, 3).scatter_add(1, tg.tensor([[3]]), z(1, 1)), IndexError, "scatter_add 3 dim 1"),
    (lambda: z(3).index_select(0, i(1, 3)), IndexError, "index_select 3 dim 0 3"),
    (lambda: z(3).index_select(0, tg.tensor([[0]])), ValueError, "index_select (1, 1)"),
    (lambda: z(()).index_select(0, i(0, 0)), ValueError, "index_select 2"),
    (lambda: z(3, 2).index_add(0, i(0), z(2, 2)), ValueError, "index_add (2, 2) (3, 2) 1"),
    (lambda: z(3, 2).index_add(0, i(3), z(1, 2)), IndexError, "index_add 3 dim 0 3"),
    (lambda: tg.take_along_dim(z(2, 3), i(0), 1), ValueError, "take_along_dim (1,) (2, 3)"),
    (
        lambda: tg.take_along_dim(z(4, 3), tg.tensor([[0], [0]]), 1),
        ValueError,
        "take_along_dim (2, 1) (4, 3) dim 1",
    ),
    (lambda: tg.take_along_dim(z(2, 3), tg.tensor([[3]]), 1), IndexError, "take_along_dim 3"),
    (lambda: tg.take_along_dim(z(2, 3), i(6)), IndexError, "take_along_dim 6"),
    (lambda: z(2).masked_select(z(2)), TypeError, "masked_select boolean float32"),
    (lambda: z(3).masked_select(yes), ValueError, "masked_select (3,) (2,)"),
    (lambda: z(2).masked_fill(i(0, 1), 1), TypeError, "masked_fill boolean int64"),
    (lambda: z(3).masked_fill(yes, 1), ValueError, "masked_fill (3,) (2,)"),
    (lambda: z(2).masked_fill(yes, z(2)), ValueError, "masked_fill (2,)"),
    (lambda: i(1, 2).masked_fill(yes, float("nan")), ValueError, "masked_fill int64 nan"),
    (lambda: z(3).split(0), ValueError, "split 0"),
    (lambda: z(3).split(-1), ValueError, "split -1"),
    (lambda: z(3).split([1, 1]), ValueError, "split [1, 1] 3 dim 0"),
    (lambda: z(3).split([4, -1]), ValueError, "split [4, -1] 3"),
    (lambda: z(()).split(1), ValueError, "split dimensions"),
    (lambda: z(3).chunk(0), ValueError, "chunk 0"),
    (lambda: z(()).unbind(), ValueError, "unbind dimensions"),
    (lambda: z(3).unbind(1), IndexError, "unbind dim 1"),
    (lambda: tg.stack([]), ValueError, "stack at least one"),
    (lambda: tg.hstack([z(2, 3), z(3, 3)]), ValueError, "cat (2, 3) (3, 3)"),
    (lambda: z(2, 3).repeat(2), ValueError, "repeat (2,) 2 (2, 3)"),
    (lambda: z(2).repeat(-1), ValueError, "repeat (-1,)"),
    (lambda: z(2).repeat_interleave(-1), ValueError, "repeat_interleave -1"),
    (lambda: z(3).repeat_interleave(i(1, 2)), ValueError, "repeat_interleave 3 (2,)"),
    (lambda: z(3).repeat_interleave(1.5), TypeError, "repeat_interleave integers"),
    (lambda: z(2, 3).flip(2), IndexError, "flip dim 2"),
    (lambda: z(2, 3).flip(0, 0), ValueError, "flip (0, 0) twice"),
    (lambda: z(2, 3).roll((1, 1)), ValueError, "roll (1, 1) dims"),
    (lambda: z(2, 3).roll(1, (0, 1)), ValueError, "roll (1,) (0, 1)"),
    (lambda: z(2, 3).movedim((0, 1), 0), ValueError, "movedim (0, 1) (0,)"),
    (lambda: z(2, 3).movedim((0, 0), (0, 1)), ValueError, "movedim (0, 0) twice"),
    (lambda: z(2, 3).movedim(0, 2), IndexError, "movedim dim 2"),
    (lambda: z(2, 6).unflatten(1, (4, -1)), ValueError, "unflatten dim 1 6 (4, -1)"),
    (lambda: z(2, 6).unflatten(1, ()), ValueError, "unflatten () (2, 6)"),
    (lambda: z(2, 6).unflatten(1, (-2, -3)), ValueError, "unflatten (-2, -3)"),
    (lambda: z(3).diagonal(), ValueError, "diagonal (3,)"),
    (lambda: z(3, 3).diagonal(0, 0, -2), ValueError, "diagonal dim1 0"),
    (lambda: z(2, 2, 2).diag(), ValueError, "diag (2, 2, 2)"),
    (lambda: z(3).tril(), ValueError, "tril (3,)"),
    (lambda: z(3).triu(), ValueError, "triu (3,)"),
    (lambda: tg.meshgrid(z(2), z(2, 2)), ValueError, "meshgrid (2,) (2, 2)"),
    (lambda: tg.meshgrid(z(2), indexing="yx"), ValueError, "meshgrid 'yx' 'ij' 'xy'"),
]


@pytest.mark.parametrize(
    ("call", "error", "words"), WRONG, ids=[f"{n}-{w[2]}" for n, w in enumerate(WRONG)]
)
def test_wrong_call(call, error, words) -> None:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    for word in re.findall(r"\([^)]*\)|\[[^\]]*\]|\S+", words):
        assert word in message


# ---- assignment ----------------------------------------------------------------------------------

ASSIGNMENTS = [
    (0, 5.0),
    ((..., -1), 2),
    ((slice(None), 1), tg.tensor([7.0, 8.0])),
    (slice(None), tg.tensor([[1.0], [2.0]])),
    ((0, 0), np.float64(3)),
    (tg.tensor(1), [1.0, 2.0, 3.0]),
    (tg.tensor([1, 1]), 4),
    (tg.tensor([1, 0]), tg.tensor([[[1.0, 2.0, 3.0]]])),
    (([0, 1], [2, 0]), tg.tensor([5.0, 6.0])),
    ((slice(None), tg.tensor([True, False, True])), tg.tensor([1.0, 2.0])),
    (tg.tensor([[True, False, False], [False, False, True]]), tg.tensor([1, 2])),
    (tg.tensor([False, False]), 1),
    ((None, slice(None), [0]), 9),
    (True, 2.5),
    ((), 1.5),
    (slice(None, None, -1), tg.tensor([[1.0], [2.0]])),
]


@pytest.mark.parametrize(("index", "value"), ASSIGNMENTS, ids=range(len(ASSIGNMENTS)))
def test_assignment_as_in_numpy(index, value) -> None:
    def plain(item):
        return item.numpy() if isinstance(item, tg.Tensor) else item

    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = tg.tensor(expected)
    base, version = x[:], x._version.count
    numpys = tuple(plain(p) for p in index) if isinstance(index, tuple) else plain(index)
    right = plain(value)
    while np.ndim(right) > np.ndim(expected[numpys]):
        right = right[0]
    expected[numpys] = right
    x[index] = value
    assert x.tolist() == expected.tolist()
    assert base.tolist() == expected.tolist()
    assert x._version.count == version + 1


REFUSED = [
    # index, value, error, words
    (2, 1.0, IndexError, "__setitem__ (2, 3) 2"),
    (tg.tensor([0, 2]), 1.0, IndexError, "__setitem__ (2, 3) dim 0 2"),
    (([0, 1], [0, -4]), 1.0, IndexError, "__setitem__ (2, 3) dim 1 -4 3"),
    ((0, 0, 0), 1.0, IndexError, "__setitem__ (2, 3)"),
    (0, tg.zeros(2), ValueError, "__setitem__ (2,) (3,) (2, 3)"),
    (0, tg.zeros(2, 3), ValueError, "__setitem__ (2, 3) (3,)"),
    (tg.tensor([[True] * 3] * 2), tg.zeros(5), ValueError, "__setitem__ (5,) (6,)"),
    (tg.tensor([True, False, True]), 1.0, IndexError, "__setitem__ mask (3,) (2,)"),
    ([0, 1], tg.zeros(3, 3), ValueError, "__setitem__ (3, 3) (2, 3)"),
    (0, "a", TypeError, "__setitem__ float32 str"),
    (0, 1j, TypeError, "__setitem__ float32 complex"),
]


@pytest.mark.parametrize(
    ("index", "value", "error", "words"),
    REFUSED,
    ids=[f"{n}-{r[3]}" for n, r in enumerate(REFUSED)],
)
def test_a_refused_assignment_changes_nothing(index, value, error, words) -> None:
    x, w = tg.ones(2, 3), tg.ones(2, 3, requires_grad=True)
    product = (w * x).sum()
    with pytest.raises(error) as caught:
        x[index] = value
    for word in re.findall(r"\([^)]*\)|\S+", words):
        assert word in str(caught.value)
    assert x.tolist() == [[1] * 3] * 2
    product.backward()  # not even counted as a change
    assert w.grad.tolist() == x.tolist()


def test_numbers_assigned_to_integers() -> None:
    x = tg.tensor([1, 2, 3])
    x[0] = 7.9
    assert x.tolist() == [7, 2, 3]
    for call in (lambda: x.__setitem__(1, float("nan")), lambda: x.fill_(float("inf"))):
        with pytest.raises(ValueError, match=r"int64 cannot hold (nan|inf)"):
            call()
    small = tg.tensor([1], dtype=np.uint8)
    with pytest.raises(ValueError, match="uint8 cannot hold 300"):
        small[0] = 300
    assert (x.tolist(), small.tolist()) == ([7, 2, 3], [1])


def test_an_expanded_tensor_is_not_written() -> None:
    x = tg.ones(3, 1)
    wide, version = x.expand(3, 2), x._version.count
    for change in (
        lambda: wide.__setitem__(0, 5.0),
        lambda: wide.add_(1),
        lambda: wide.zero_(),
        lambda: wide.copy_(tg.zeros(3, 2)),
    ):
        with pytest.raises(RuntimeError, match=r"\(3, 2\) is read-only, .*expand.*clone"):
            change()
    assert x.tolist() == [[1]] * 3
    assert x._version.count == version


def test_an_index_may_be_changed_after_the_forward() -> None:
    for make in (
        lambda x, i: x[i],
        lambda x, i: x.index_select(0, i),
        lambda x, i: x.gather(0, i),
        lambda x, i: tg.take_along_dim(x, i, 0),
        lambda x, i: x.scatter(0, i, tg.zeros(2)),
    ):
        x, index = tg.ones(3, requires_grad=True), tg.tensor([0, 1])
        out = make(x, index)
        expected = tg.autograd.grad(out.sum(), x, retain_graph=True)[0].tolist()
        index.fill_(2)
        assert tg.autograd.grad(out.sum(), x)[0].tolist() == expected


def test_a_mask_may_be_changed_after_a_selection() -> None:
    x, mask = tg.ones(3, requires_grad=True), tg.tensor([True, False, True])
    for out in (x[mask], x.masked_select(mask)):
        mask.fill_(True)
        assert tg.autograd.grad(out.sum(), x)[0].tolist() == [1, 0, 1]
        mask[1] = False
