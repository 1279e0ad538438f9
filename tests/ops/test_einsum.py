"""einsum on random equations against NumPy's, its order of products, and that it copies nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_ft as tg

SIZES = {"a": 2, "B": 3, "c": 1, "d": 4, "E": 2}


@st.composite
def equations(draw: st.DrawFn) -> tuple[str, list[tuple[int, ...]]]:
    """A valid equation of one to four operands and shapes for it."""
    letters = st.sampled_from(sorted(SIZES))
    terms, shapes = [], []
    for _ in range(draw(st.integers(1, 4))):
        term = draw(st.lists(letters, max_size=3))
        shape = tuple(SIZES[k] for k in term)
        spelled = "".join(term)
        if draw(st.booleans()):
            cut = draw(st.integers(0, len(term)))
            hidden = draw(st.sampled_from([(), (2,), (1,), (3, 2), (3, 1)]))
            shape = (*shape[:cut], *hidden, *shape[cut:])
            spelled = spelled[:cut] + "..." + spelled[cut:]
        terms.append(spelled)
        shapes.append(shape)
    named = sorted({k for t in terms for k in t if k != "."})
    equation = ",".join(terms)
    if draw(st.booleans()):
        output = draw(st.permutations(named).map(lambda p: p[: len(p) - len(p) // 3]))
        dots = "..." if "..." in equation else ""
        equation += "->" + dots + "".join(output)
    return equation, shapes


@given(equations(), st.sampled_from([np.float64, np.float32]))
@settings(max_examples=150, deadline=None)
def test_random_equations(drawn: tuple, dtype: type) -> None:
    equation, shapes = drawn
    rng = np.random.default_rng(0)
    arrays = [np.asarray(rng.standard_normal(s), dtype) for s in shapes]
    found = tg.einsum(equation, *map(tg.Tensor, arrays)).numpy()
    expected = np.einsum(equation, *[a.astype(np.float64) for a in arrays])
    assert found.dtype == dtype
    tolerance = 1e-11 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * 10)


@given(equations())
@settings(max_examples=25, deadline=None)
def test_gradients_of_random_equations(drawn: tuple) -> None:
    """Linear in each operand: the gradient is the einsum with a basis vector put in its place."""
    equation, shapes = drawn
    rng = np.random.default_rng(1)
    arrays = [np.asarray(rng.standard_normal(s)) for s in shapes]
    tensors = [tg.Tensor(a, requires_grad=True) for a in arrays]
    out = tg.einsum(equation, *tensors)
    weights = np.asarray(rng.standard_normal(out.shape))
    out.backward(weights)
    for i, array in enumerate(arrays):
        place = tuple(rng.integers(n) for n in array.shape)
        basis = np.zeros(array.shape)
        basis[place] = 1
        slope = np.einsum(equation, *arrays[:i], basis, *arrays[i + 1 :])
        np.testing.assert_allclose(
            tensors[i].grad.numpy()[place], (slope * weights).sum(), rtol=1e-9, atol=1e-9
        )


@given(equations())
@settings(max_examples=25, deadline=None)
def test_second_derivatives_of_random_equations(drawn: tuple) -> None:
    equation, shapes = drawn
    rng = np.random.default_rng(2)
    tensors = [tg.Tensor(np.asarray(rng.standard_normal(s)), requires_grad=True) for s in shapes]
    if sum(t.numel() for t in tensors) <= 24:
        assert tg.gradcheck(lambda *x: tg.einsum(equation, *x), tensors, order=2, rtol=1e-3)


def test_the_order_of_products_saves_memory() -> None:
    """From left to right the first product would have 4 * 10^10 elements."""
    side = 200_000
    a, b, c = (tg.tensor(np.ones(s, np.float32)) for s in ((side,), (side,), (side, 2)))
    assert tg.einsum("i,j,jk->k", a, b, c).tolist() == [side * side] * 2


def test_products_run_on_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    import kernels

    called = []
    multiply = kernels.matmul

    def spy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        called.append((a.shape, b.shape))
        return multiply(a, b)

    monkeypatch.setattr(kernels, "matmul", spy)
    q, k = tg.randn(2, 5, 3, 4), tg.randn(2, 6, 3, 4)
    tg.einsum("bqhd,bkhd->bhqk", q, k)
    tg.tensordot(tg.randn(2, 3, 4), tg.randn(4, 3, 5), ([1, 2], [1, 0]))
    assert called == [((2, 3, 5, 4), (2, 3, 4, 6)), ((2, 12), (12, 5))]


def test_stacks_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention's permuted heads, and a matrix that broadcasts, reach the kernel as they lie."""
    import kernels

    seen = []
    multiply = kernels.matmul

    def spy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        seen.extend([a, b])
        return multiply(a, b)

    monkeypatch.setattr(kernels, "matmul", spy)
    q, k = tg.randn(2, 5, 3, 4), tg.randn(1, 6, 3, 4)
    heads, keys = q.transpose(1, 2), k.transpose(1, 2).transpose(-1, -2)
    out = heads @ keys
    np.testing.assert_allclose(out.numpy(), np.matmul(heads.numpy(), keys.numpy()), rtol=1e-5)
    assert np.shares_memory(seen[0], q.numpy())
    assert np.shares_memory(seen[1], k.numpy())
