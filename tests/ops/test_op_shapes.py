"""Shapes drawn by hypothesis: broadcasting, reductions, reshape, permute, indexing as in NumPy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_ft as tg

few = settings(max_examples=60)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def values(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Positive and distinct: no pole, no tie."""
    size = math.prod(shape)
    return np.random.default_rng(seed).permutation(size).reshape(shape) * 0.1 + 0.5 + 0.01 * seed


def gradient(x: tg.Tensor, out: tg.Tensor, weight: np.ndarray) -> np.ndarray:
    (found,) = tg.autograd.grad(out, x, weight, retain_graph=True)
    assert found.shape == x.shape
    return found.numpy()


def summed_to(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Undo a broadcast by the definition: each element collects all its copies."""
    owner = np.broadcast_to(np.arange(math.prod(shape)).reshape(shape), array.shape)
    totals = np.bincount(owner.ravel(), array.ravel(), minlength=math.prod(shape))
    return totals.reshape(shape)


BINARY = {
    "add": (np.add, lambda a, b: (np.ones_like(a + b), np.ones_like(a + b))),
    "sub": (np.subtract, lambda a, b: (np.ones_like(a + b), -np.ones_like(a + b))),
    "mul": (np.multiply, lambda a, b: (b + 0 * a, a + 0 * b)),
    "div": (np.divide, lambda a, b: (1 / b + 0 * a, -a / b**2)),
    "pow": (np.power, lambda a, b: (b * a ** (b - 1), a**b * np.log(a))),
    "maximum": (np.maximum, lambda a, b: (1.0 * (a > b), 1.0 * (a < b))),
    "minimum": (np.minimum, lambda a, b: (1.0 * (a < b), 1.0 * (a > b))),
}


@pytest.mark.parametrize("name", BINARY)
@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0))
@few
def test_binary_ops_broadcast(name: str, drawn: hnp.BroadcastableShapes) -> None:
    function, slopes = BINARY[name]
    arrays = [values(s, seed) for seed, s in enumerate(drawn.input_shapes)]
    a, b = (tg.Tensor(x, requires_grad=True) for x in arrays)
    out = getattr(tg, name)(a, b)
    np.testing.assert_allclose(out.numpy(), function(*arrays), rtol=1e-14)
    weight = values(drawn.result_shape, 3)
    for x, slope in zip((a, b), slopes(*arrays), strict=True):
        expected = summed_to(weight * slope, x.shape)
        np.testing.assert_allclose(gradient(x, out, weight), expected, rtol=1e-10, atol=1e-12)


@st.composite
def shape_and_dims(draw: st.DrawFn, min_side: int = 0) -> tuple[tuple[int, ...], tuple[int, ...]]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=min_side, max_side=4))
    dims = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    return shape, tuple(d - len(shape) if draw(st.booleans()) else d for d in dims)


@given(shape_and_dims(), st.booleans())
@few
def test_sum_over_any_dims(drawn: tuple, keepdim: bool) -> None:
    shape, dims = drawn
    x = tg.Tensor(values(shape), requires_grad=True)
    out = x.sum(dims, keepdim)
    np.testing.assert_allclose(out.numpy(), x.numpy().sum(dims, keepdims=keepdim), rtol=1e-12)
    weight = values(out.shape, 1)
    spread = weight if keepdim else np.expand_dims(weight, dims)
    np.testing.assert_allclose(gradient(x, out, weight), np.broadcast_to(spread, shape))


@given(shape_and_dims(min_side=1), st.booleans(), st.sampled_from(["mean", "amax", "amin"]))
@few
def test_mean_and_extremes_over_any_dims(drawn: tuple, keepdim: bool, name: str) -> None:
    shape, dims = drawn
    x = tg.Tensor(values(shape), requires_grad=True)
    array = x.numpy()
    out = getattr(x, name)(dims, keepdim)
    function = {"mean": np.mean, "amax": np.max, "amin": np.min}[name]
    np.testing.assert_allclose(out.numpy(), function(array, dims, keepdims=keepdim), rtol=1e-12)
    weight = values(out.shape, 1)
    spread = weight if keepdim else np.expand_dims(weight, dims)
    if name == "mean":
        expected = np.broadcast_to(spread / math.prod(shape[d] for d in dims), shape)
    else:
        expected = np.where(array == function(array, dims, keepdims=True), spread, 0)
    np.testing.assert_allclose(gradient(x, out, weight), expected, rtol=1e-12)


@given(shape_and_dims(min_side=1), st.integers(0, 1), st.booleans())
@few
def test_var_over_any_dims(drawn: tuple, correction: int, keepdim: bool) -> None:
    shape, dims = drawn
    count = math.prod(shape[d] for d in dims)
    x = tg.Tensor(values(shape), requires_grad=True)
    out = x.var(dims, correction=correction, keepdim=keepdim)
    if count == correction:
        assert np.isnan(out.numpy()).all()
        return
    expected = x.numpy().var(dims, ddof=correction, keepdims=keepdim)
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-9, atol=1e-12)
    found = gradient(x, out, np.ones(out.shape))
    centred = x.numpy() - x.numpy().mean(dims, keepdims=True)
    np.testing.assert_allclose(found, 2 * centred / (count - correction), rtol=1e-9, atol=1e-12)


@given(st.data(), shapes)
@few
def test_permute(data: st.DataObject, shape: tuple[int, ...]) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    signed = [d - len(shape) if data.draw(st.booleans()) else d for d in order]
    x = tg.Tensor(values(shape), requires_grad=True)
    out = x.permute(signed)
    np.testing.assert_array_equal(out.numpy(), x.numpy().transpose(order))
    weight = values(out.shape, 1)
    np.testing.assert_array_equal(gradient(x, out, weight), weight.transpose(np.argsort(order)))


@given(st.data(), st.lists(st.sampled_from([1, 2, 3]), max_size=4))
@few
def test_reshape(data: st.DataObject, factors: list[int]) -> None:
    """Any regrouping of the factors, from a tensor whose memory is transposed."""
    shape = tuple(factors)
    shuffled = data.draw(st.permutations(factors))
    target: list[int] = []
    for f in shuffled:
        if target and data.draw(st.booleans()):
            target[-1] *= f
        else:
            target.append(f)
    hidden = list(target)
    if target and data.draw(st.booleans()):
        hidden[data.draw(st.integers(0, len(target) - 1))] = -1
    x = tg.Tensor(values(shape[::-1]).T, requires_grad=True)
    out = x.reshape(*hidden) if hidden else x.reshape(())
    np.testing.assert_array_equal(out.numpy(), x.numpy().reshape(target))
    weight = values(out.shape, 1)
    np.testing.assert_array_equal(gradient(x, out, weight), weight.reshape(shape))


indexed = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)


def index_gradient(shape: tuple[int, ...], index: object, weight: np.ndarray) -> np.ndarray:
    places = np.arange(math.prod(shape)).reshape(shape)[index]
    total = np.bincount(np.ravel(places), np.ravel(weight), minlength=math.prod(shape))
    return total.reshape(shape)


@given(st.data(), indexed)
@few
def test_basic_indexing(data: st.DataObject, shape: tuple[int, ...]) -> None:
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    x = tg.Tensor(values(shape), requires_grad=True)
    out = x[index]
    np.testing.assert_array_equal(out.numpy(), x.numpy()[index])
    assert out.numel() == 0 or np.shares_memory(out.numpy(), x.numpy())
    weight = values(out.shape, 1)
    np.testing.assert_allclose(gradient(x, out, weight), index_gradient(shape, index, weight))


@given(st.data(), indexed)
@few
def test_indexing_by_arrays(data: st.DataObject, shape: tuple[int, ...]) -> None:
    index = data.draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2)))
    x = tg.Tensor(values(shape), requires_grad=True)
    out = x[tuple(tg.from_numpy(i) for i in index)]
    np.testing.assert_array_equal(out.numpy(), x.numpy()[index])
    weight = values(out.shape, 1)
    np.testing.assert_allclose(gradient(x, out, weight), index_gradient(shape, index, weight))


@given(st.data(), indexed)
@few
def test_assignment_by_index(data: st.DataObject, shape: tuple[int, ...]) -> None:
    index = data.draw(hnp.basic_indices(shape))
    x, expected = tg.tensor(values(shape)), values(shape)
    expected[index] = 7.0
    x[index] = 7.0
    np.testing.assert_array_equal(x.numpy(), expected)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.integers(-2, 1))
@few
def test_cat(sizes: list[int], dim: int) -> None:
    arrays = [values((n, 2) if dim % 2 == 0 else (2, n), seed) for seed, n in enumerate(sizes)]
    tensors = [tg.Tensor(a, requires_grad=True) for a in arrays]
    out = tg.cat(tensors, dim)
    np.testing.assert_array_equal(out.numpy(), np.concatenate(arrays, dim))
    weight = values(out.shape, 9)
    found = tg.autograd.grad(out, tensors, weight)
    pieces = np.split(weight, np.cumsum(sizes)[:-1], dim)
    for f, piece in zip(found, pieces, strict=True):
        np.testing.assert_array_equal(f.numpy(), piece)


@given(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=4))
@few
def test_matmul_over_any_ranks(drawn: hnp.BroadcastableShapes) -> None:
    """The gradient of sum(w * (a @ b)) is found by moving one operand at a time: it is linear."""
    a, b = (tg.Tensor(values(s, i), requires_grad=True) for i, s in enumerate(drawn.input_shapes))
    out = a @ b
    np.testing.assert_allclose(out.numpy(), a.numpy() @ b.numpy(), rtol=1e-12)
    weight = values(out.shape, 3)
    grad_a, grad_b = tg.autograd.grad(out, (a, b), weight)
    for moved, found, product in (
        (values(a.shape, 5), grad_a, lambda m: m @ b.numpy()),
        (values(b.shape, 5), grad_b, lambda m: a.numpy() @ m),
    ):
        expected = (product(moved) * weight).sum()
        np.testing.assert_allclose((found.numpy() * moved).sum(), expected, rtol=1e-10)
