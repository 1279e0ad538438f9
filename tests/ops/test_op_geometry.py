"""Convolution and pooling over drawn geometry, against the plain loops of op_reference.

Convolution is linear in each operand and average pooling in its input, so a gradient g is right if
<g, d> = <op(d), w> for a random direction d. Max-pooling is linear once the places are fixed.
"""

import numpy as np
import op_reference as ref
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F

pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
border = st.tuples(st.integers(0, 2), st.integers(0, 2))
image = st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))


def draw(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(
    shape=image,
    kernel=pair,
    stride=pair,
    padding=border,
    dilation=pair,
    groups=st.integers(1, 3),
    filters=st.integers(1, 2),
)
@settings(max_examples=60)
def test_conv2d(dtype, shape, kernel, stride, padding, dilation, groups, filters) -> None:
    for size, k, p, d in zip(shape[2:], kernel, padding, dilation, strict=True):
        assume(size + 2 * p >= d * (k - 1) + 1)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    x_shape = (shape[0], shape[1] * groups, *shape[2:])
    w_shape = (filters * groups, shape[1], *kernel)
    x = tg.Tensor(draw(x_shape, 0).astype(dtype), requires_grad=True)
    w = tg.Tensor(draw(w_shape, 1).astype(dtype), requires_grad=True)
    out = F.conv2d(x, w, **geometry)
    expected = ref.conv2d(x.numpy(), w.numpy(), **geometry)
    tolerance = 1e-11 if dtype == np.float64 else 1e-4
    assert out.dtype == dtype
    np.testing.assert_allclose(out.numpy(), expected, rtol=tolerance, atol=tolerance)
    weight = draw(out.shape, 2).astype(dtype)
    grad_x, grad_w = tg.autograd.grad(out, (x, w), weight)
    assert grad_x.dtype == grad_w.dtype == dtype
    dx, dw = draw(x_shape, 3), draw(w_shape, 4)
    along_x = (ref.conv2d(dx, w.numpy().astype(np.float64), **geometry) * weight).sum()
    along_w = (ref.conv2d(x.numpy().astype(np.float64), dw, **geometry) * weight).sum()
    scale = 10 * tolerance * max(1, weight.size)
    np.testing.assert_allclose((grad_x.numpy() * dx).sum(), along_x, rtol=1e-3, atol=scale)
    np.testing.assert_allclose((grad_w.numpy() * dw).sum(), along_w, rtol=1e-3, atol=scale)


def window(shape, kernel, padding, dilation=(1, 1)) -> None:
    for size, k, p, d in zip(shape[2:], kernel, padding, dilation, strict=True):
        assume(2 * p <= k and size + 2 * p >= d * (k - 1) + 1)


@given(
    shape=image,
    kernel=pair,
    stride=st.none() | pair,
    padding=border,
    dilation=pair,
    ceil_mode=st.booleans(),
)
@settings(max_examples=80)
def test_max_pool2d(shape, kernel, stride, padding, dilation, ceil_mode) -> None:
    window(shape, kernel, padding, dilation)
    # steps of 0.5: ties are common, and the first maximum has to win them
    array = np.round(draw(shape, 0) * 2) / 2
    x = tg.Tensor(array, requires_grad=True)
    options = (kernel, stride, padding, dilation, ceil_mode)
    out, places = F.max_pool2d(x, *options, return_indices=True)
    values, indices = ref.max_pool2d(array, *options, indices=True)
    np.testing.assert_array_equal(out.numpy(), values)
    # with dilation, a window may step over the whole image: it has no gradient, and no place
    reached = np.isfinite(values)
    np.testing.assert_array_equal(places.numpy()[reached], indices[reached])
    weight = draw(out.shape, 1)
    (found,) = tg.autograd.grad(out, x, weight)
    expected = np.zeros(shape)
    for n, c, i, j in zip(*np.nonzero(reached), strict=True):
        row, column = divmod(indices[n, c, i, j], shape[3])
        expected[n, c, row, column] += weight[n, c, i, j]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


@given(
    shape=image,
    kernel=pair,
    stride=st.none() | pair,
    padding=border,
    ceil_mode=st.booleans(),
    include=st.booleans(),
    divisor=st.none() | st.integers(1, 5),
)
@settings(max_examples=80)
def test_avg_pool2d(shape, kernel, stride, padding, ceil_mode, include, divisor) -> None:
    window(shape, kernel, padding)
    options = (kernel, stride, padding, ceil_mode, include, divisor)
    x = tg.Tensor(draw(shape, 0), requires_grad=True)
    out = F.avg_pool2d(x, *options)
    expected = ref.avg_pool2d(x.numpy(), *options)
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-12, atol=1e-12)
    weight, direction = draw(out.shape, 1), draw(shape, 2)
    (found,) = tg.autograd.grad(out, x, weight)
    along = (ref.avg_pool2d(direction, *options) * weight).sum()
    np.testing.assert_allclose((found.numpy() * direction).sum(), along, rtol=1e-9, atol=1e-10)


@given(shape=image, rows=st.none() | st.integers(1, 6), columns=st.none() | st.integers(1, 6))
@settings(max_examples=60)
def test_adaptive_avg_pool2d(shape, rows, columns) -> None:
    x = tg.Tensor(draw(shape, 0), requires_grad=True)
    out = F.adaptive_avg_pool2d(x, (rows, columns))
    expected = ref.adaptive_avg_pool2d(x.numpy(), (rows, columns))
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-11, atol=1e-12)
    weight, direction = draw(out.shape, 1), draw(shape, 2)
    (found,) = tg.autograd.grad(out, x, weight)
    along = (ref.adaptive_avg_pool2d(direction, (rows, columns)) * weight).sum()
    np.testing.assert_allclose((found.numpy() * direction).sum(), along, rtol=1e-9, atol=1e-10)


@given(
    shape=st.tuples(st.integers(2, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    vectors=st.booleans(),
    momentum=st.sampled_from([0.0, 0.1, 1.0]),
)
@settings(max_examples=40)
def test_batch_norm_moves_the_running_statistics(shape, vectors, momentum) -> None:
    array = draw(shape[:2] if vectors else shape, 0) * 3 + 5
    mean, var = tg.Tensor(draw(shape[1:2], 1)), tg.Tensor(draw(shape[1:2], 2) ** 2)
    before = mean.numpy().copy(), var.numpy().copy()
    out = F.batch_norm(tg.Tensor(array), mean, var, training=True, momentum=momentum)
    np.testing.assert_allclose(out.numpy(), ref.batch_norm(array, None, None), rtol=1e-6, atol=1e-9)
    for c in range(shape[1]):
        batch_mean, unbiased = array[:, c].mean(), array[:, c].var(ddof=1)
        expected = (1 - momentum) * before[0][c] + momentum * batch_mean
        np.testing.assert_allclose(mean.numpy()[c], expected, rtol=1e-10)
        expected = (1 - momentum) * before[1][c] + momentum * unbiased
        np.testing.assert_allclose(var.numpy()[c], expected, rtol=1e-9)
