"""Matrix products in every rank, as in NumPy; einsum is in test_einsum.py."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from op_property import check, values

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F

some = settings(max_examples=30)
size = st.integers(0, 3)


@given(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=4))
@some
def test_matmul_over_any_ranks(drawn: hnp.BroadcastableShapes) -> None:
    check(tg.matmul, np.matmul, [values(s, i) for i, s in enumerate(drawn.input_shapes)])


PRODUCTS: dict[str, tuple[Callable, Callable]] = {
    # shapes from the sizes k, m, n and b, and NumPy's function
    "addmm": (lambda k, m, n, b: [(m, n), (m, k), (k, n)], lambda c, x, y: c + x @ y),
    "bmm": (lambda k, m, n, b: [(b, m, k), (b, k, n)], np.matmul),
    "dot": (lambda k, m, n, b: [(k,), (k,)], np.dot),
    "mv": (lambda k, m, n, b: [(m, k), (k,)], np.matmul),
    "outer": (lambda k, m, n, b: [(m,), (n,)], np.outer),
    "linear": (lambda k, m, n, b: [(b, m, k), (n, k), (n,)], lambda x, w, c: x @ w.T + c),
}


@pytest.mark.parametrize("name", PRODUCTS)
@given(size, size, size, size)
@some
def test_products_of_any_size(name: str, k: int, m: int, n: int, b: int) -> None:
    shapes, reference = PRODUCTS[name]
    f = getattr(tg, name) if hasattr(tg, name) else getattr(F, name)
    check(f, reference, [values(s, i) for i, s in enumerate(shapes(k, m, n, b))])


@given(st.data(), st.integers(0, 2))
@some
def test_tensordot(data: st.DataObject, count: int) -> None:
    shared = tuple(data.draw(st.lists(st.integers(1, 3), min_size=count, max_size=count)))
    left = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))
    right = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))
    a, b = values(left + shared, 0), values(shared + right, 1)
    if data.draw(st.booleans()):
        check(
            lambda x, y: tg.tensordot(x, y, count), lambda x, y: np.tensordot(x, y, count), [a, b]
        )
        return
    order = data.draw(st.permutations(range(count)))
    dims = [len(left) + i for i in order], [i - b.ndim for i in order]
    check(lambda x, y: tg.tensordot(x, y, dims), lambda x, y: np.tensordot(x, y, dims), [a, b])
