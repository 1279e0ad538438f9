"""Wrong calls of reductions, sorting and products: the error names the op and the shapes."""

import re

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F


def z(*shape: int, dtype: type = np.float32) -> tg.Tensor:
    return tg.zeros(*shape, dtype=dtype)


ints = tg.tensor([0, 1])
wide = z(3, 2, dtype=np.float64)
flags = tg.tensor([[True]])

WRONG = [
    # call, error, words that the message has to contain
    (lambda: ints.mean(), TypeError, "mean int64 .float()"),
    (lambda: z(3).mean(dtype=np.int64), TypeError, "mean int64"),
    (lambda: ints.var(), TypeError, "var int64"),
    (lambda: ints.std(), TypeError, "std int64"),
    (lambda: z(3).var(0, True, correction=1), TypeError, "var unbiased correction"),
    (lambda: z(2, 3).prod(2), IndexError, "prod dim 2 2 dimensions"),
    (lambda: z(2, 3).trace().trace(), ValueError, "trace ()"),
    (lambda: z(2, 3).count_nonzero(4), IndexError, "count_nonzero dim 4"),
    (lambda: z(2, 0).max(1), ValueError, "max: 1 (2, 0)"),
    (lambda: z(0).median(), ValueError, "median (0,)"),
    (lambda: z(2, 0).median(1), ValueError, "median 1 (2, 0)"),
    (lambda: tg.max(z(2, 3), z(2)), ValueError, "maximum (2, 3) (2,)"),
    (lambda: z(2, 3).sort(2), IndexError, "sort dim 2"),
    (lambda: z(2, 3).argsort(-3), IndexError, "argsort dim -3"),
    (lambda: z(2, 3).topk(4), ValueError, "topk 4 3 -1 (2, 3)"),
    (lambda: z(2, 3).topk(-1, 0), ValueError, "topk -1 2 (2, 3)"),
    (lambda: z(2, 3).cumsum(2), IndexError, "cumsum dim 2"),
    (lambda: z(2, 3).cumprod(-3), IndexError, "cumprod dim -3"),
    (lambda: ints.norm(), TypeError, "norm int64"),
    (lambda: z(2, 3).norm("nuc"), ValueError, "norm 'nuc' 'fro'"),
    (lambda: z(2, 3).norm(np.nan), ValueError, "norm NaN"),
    (lambda: z(2, 0).norm(np.inf, 1), ValueError, "norm 1 (2, 0)"),
    (lambda: z(2, 0).norm(-1, 1), ValueError, "norm -1 1 (2, 0)"),
    (lambda: z(2, 3).norm(2, 2), IndexError, "norm dim 2"),
    (lambda: z(2, 3) @ z(2, 3), ValueError, "matmul (2, 3) inner"),
    (lambda: z(2, 3) @ wide, TypeError, "matmul float32 float64"),
    (lambda: z(()) @ z(2), ValueError, "matmul () (2,)"),
    (lambda: z(2, 1, 3) @ z(3, 3, 1), ValueError, "matmul (2,) (3,)"),
    (lambda: flags @ flags, TypeError, "matmul booleans"),
    (lambda: z(2, 3).mm(z(3)), ValueError, "mm (2, 3) (3,)"),
    (lambda: z(2, 3).mm(z(2, 3)), ValueError, "mm (2, 3)"),
    (lambda: z(2, 3).mv(z(2)), ValueError, "mv (2, 3) (2,)"),
    (lambda: z(2, 3, 4).bmm(z(4, 5)), ValueError, "bmm (2, 3, 4) (4, 5)"),
    (lambda: z(2, 3, 4).bmm(z(3, 4, 5)), ValueError, "bmm (2, 3, 4) (3, 4, 5) number"),
    (lambda: z(3).dot(z(2)), ValueError, "dot (3,) (2,)"),
    (lambda: z(3).dot(z(3, dtype=np.float64)), TypeError, "dot float32 float64"),
    (lambda: z(3).outer(z(2, 3)), ValueError, "outer (3,) (2, 3)"),
    (lambda: z(3).addmm(z(2, 3), z(3, 2)), ValueError, "addmm (3,) (2, 2)"),
    (lambda: z(5, 2, 2).addmm(z(2, 3), z(3, 2)), ValueError, "addmm (5, 2, 2) (2, 2)"),
    (lambda: wide.addmm(z(3, 3), z(3, 2)), TypeError, "addmm float64 float32"),
    (lambda: F.linear(z(2, 3), wide), TypeError, "linear float32 float64"),
    (lambda: tg.tensordot(z(2, 3), z(4, 2), 1), ValueError, "tensordot (2, 3) (4, 2) dim 1 0"),
    (lambda: tg.tensordot(z(2), z(4, 2), 2), ValueError, "tensordot 2 (2,) (4, 2)"),
    (lambda: tg.tensordot(z(2), z(2), (0, 1)), TypeError, "tensordot (0, 1)"),
    (lambda: tg.tensordot(z(2, 2), z(2), ([0, 1], [0])), ValueError, "tensordot [0, 1] pairs"),
    (lambda: tg.tensordot(z(2, 2), z(2), ([2], [0])), IndexError, "tensordot dim 2"),
    (lambda: tg.tensordot(z(2), wide), TypeError, "tensordot float32 float64"),
    (lambda: tg.einsum("ij,jk", z(2, 3)), ValueError, "'ij,jk' (2, 3) 2 terms 1 operands"),
    (lambda: tg.einsum("ij"), ValueError, "'ij' 1 terms 0 operands"),
    (lambda: tg.einsum("ijk", z(2, 3)), ValueError, "'ijk' (2, 3) 2 dimensions"),
    (lambda: tg.einsum("i", z(2, 3)), ValueError, "'i' (2, 3) 2 dimensions"),
    (lambda: tg.einsum("ij...k", z(2, 3)), ValueError, "'ij...k' (2, 3)"),
    (lambda: tg.einsum("i..j", z(2, 3)), ValueError, "'i..j' (2, 3)"),
    (lambda: tg.einsum("i1", z(2, 3)), ValueError, "'i1' (2, 3) letters"),
    (lambda: tg.einsum("i...j...", z(2, 3)), ValueError, "'i...j...' (2, 3)"),
    (lambda: tg.einsum("ij->->i", z(2, 3)), ValueError, "'ij->->i' (2, 3)"),
    (lambda: tg.einsum("ij->k", z(2, 3)), ValueError, "'ij->k' (2, 3) 'k'"),
    (lambda: tg.einsum("ij->ii", z(2, 3)), ValueError, "'ij->ii' (2, 3) 'i' twice"),
    (lambda: tg.einsum("ii", z(2, 3)), ValueError, "'ii' (2, 3) 'i' sizes 2 3"),
    (lambda: tg.einsum("ii", z(1, 3)), ValueError, "'ii' (1, 3) sizes 1 3"),
    (lambda: tg.einsum("ij,jk", z(2, 3), z(4, 2)), ValueError, "'ij,jk' (2, 3) (4, 2) 'j' 3 4"),
    (lambda: tg.einsum("ij,jk", z(2, 3), wide), TypeError, "'ij,jk' float32 float64"),
    (lambda: tg.einsum("ij", flags), TypeError, "'ij' bool"),
    (lambda: tg.einsum(z(2), "i"), TypeError, "einsum string Tensor"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "words"), WRONG, ids=[f"{i}-{w[2]}" for i, w in enumerate(WRONG)]
)
def test_wrong_call(call, error, words) -> None:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    for word in re.findall(r"\([^)]*\)|\S+", words):
        assert word in message


def test_with_beta_zero_nothing_of_the_input_is_used() -> None:
    x = tg.tensor([[np.nan, np.inf]], requires_grad=True)
    out = x.addmm(tg.ones(2, 3), tg.ones(3, 2), beta=0)
    assert out.tolist() == [[3, 3], [3, 3]]
    out.sum().backward()
    assert x.grad.tolist() == [[0, 0]]
    assert tg.baddbmm(x, tg.ones(1, 2, 3), tg.ones(1, 3, 2), beta=0).tolist() == [[[3, 3]] * 2]


def test_integers_multiply_and_keep_their_dtype() -> None:
    a = np.array([[1, 2], [3, 4]], np.int32)
    x = tg.Tensor(a)
    for found in (x @ x, x.mm(x), tg.einsum("ij,jk", x, x), tg.tensordot(x, x, 1)):
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found.numpy(), a @ a)
    row = tg.einsum("ij->i", x)
    assert row.dtype == np.int32 and row.tolist() == [3, 7]
    assert x[0].dot(x[1]).dtype == np.int32
