"""Drawn geometry: transposes are transposes, and sizes, borders and windows agree with PyTorch."""

import numpy as np
import op_reference as ref
import op_reference_image as image
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F

pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
border = st.tuples(st.integers(0, 2), st.integers(0, 2))


def draw(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    kernel=pair,
    stride=pair,
    padding=border,
    dilation=pair,
    more=border,
    groups=st.integers(1, 2),
)
@settings(max_examples=60)
def test_conv_transpose2d(dtype, size, kernel, stride, padding, dilation, more, groups) -> None:
    assume(all(m < max(s, d) for m, s, d in zip(more, stride, dilation, strict=True)))
    result = [
        (n - 1) * s - 2 * p + d * (k - 1) + m + 1
        for n, k, s, p, d, m in zip(size, kernel, stride, padding, dilation, more, strict=True)
    ]
    assume(min(result) >= 1)
    x = tg.Tensor(draw((2, 2 * groups, *size), 0).astype(dtype), requires_grad=True)
    w = tg.Tensor(draw((2 * groups, 3, *kernel), 1).astype(dtype), requires_grad=True)
    settings_ = (stride, padding, more, groups, dilation)
    out = F.conv_transpose2d(x, w, None, *settings_)
    assert out.shape == (2, 3 * groups, *result)
    assert out.dtype == dtype
    expected = image.conv_transpose2d(x.numpy(), w.numpy(), None, *settings_)
    tolerance = 1e-11 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(out.numpy(), expected, rtol=tolerance, atol=tolerance)
    # linear in each operand: <gradient, direction> is the weighted result of the direction
    weight, (dx, dw) = draw(out.shape, 2).astype(dtype), (draw(t.shape, 3) for t in (x, w))
    grad_x, grad_w = tg.autograd.grad(out, (x, w), weight)
    along_x = (image.conv_transpose2d(dx, w.numpy(), None, *settings_) * weight).sum()
    along_w = (image.conv_transpose2d(x.numpy(), dw, None, *settings_) * weight).sum()
    scale = 10 * tolerance * max(1, weight.size)
    np.testing.assert_allclose((grad_x.numpy() * dx).sum(), along_x, rtol=1e-3, atol=scale)
    np.testing.assert_allclose((grad_w.numpy() * dw).sum(), along_w, rtol=1e-3, atol=scale)


@given(size=border, kernel=pair, dilation=pair, padding=border, stride=pair)
@settings(max_examples=40)
def test_fold_is_the_transpose_of_unfold(size, kernel, dilation, padding, stride) -> None:
    size = (size[0] + 2, size[1] + 2)
    for n, k, p, d in zip(size, kernel, padding, dilation, strict=True):
        assume(n + 2 * p >= d * (k - 1) + 1)
    x = draw((2, 3, *size), 0)
    columns = F.unfold(tg.Tensor(x), kernel, dilation, padding, stride)
    np.testing.assert_array_equal(
        columns.numpy(), image.unfold(x, kernel, dilation, padding, stride)
    )
    y = draw(columns.shape, 1)
    folded = F.fold(tg.Tensor(y), size, kernel, dilation, padding, stride)
    np.testing.assert_allclose((folded.numpy() * x).sum(), (columns.numpy() * y).sum(), rtol=1e-9)


@given(
    shape=st.tuples(st.just(2), st.integers(1, 2), st.integers(1, 6), st.integers(1, 6)),
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
)
@settings(max_examples=40)
def test_adaptive_max_pool2d(shape, rows, columns) -> None:
    array = np.round(draw(shape, 0) * 2) / 2  # ties
    x = tg.Tensor(array, requires_grad=True)
    out, places = F.adaptive_max_pool2d(x, (rows, columns), return_indices=True)
    values, indices = image.adaptive_max_pool2d(array, (rows, columns), True)
    np.testing.assert_array_equal(out.numpy(), values)
    np.testing.assert_array_equal(places.numpy(), indices)
    weight = draw(out.shape, 1)
    (found,) = tg.autograd.grad(out, x, weight)
    expected = np.zeros(shape)
    for n, c, i, j in np.ndindex(out.shape):
        row, column = divmod(indices[n, c, i, j], shape[3])
        expected[n, c, row, column] += weight[n, c, i, j]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_a_pooling_window_over_the_image_has_no_gradient() -> None:
    x = tg.Tensor(draw((1, 1, 2, 4), 0), requires_grad=True)
    options = {"kernel_size": 2, "stride": 1, "padding": 1, "dilation": (3, 1)}
    out = F.max_pool2d(x, **options)
    np.testing.assert_array_equal(out.numpy(), ref.max_pool2d(x.numpy(), 2, 1, 1, (3, 1)))
    assert np.isneginf(out.numpy()).all()
    (grad,) = tg.autograd.grad(out, x, np.ones(out.shape), create_graph=True)
    np.testing.assert_array_equal(grad.numpy(), np.zeros((1, 1, 2, 4)))
    ints = tg.tensor([[[1, 2], [3, 4]]])
    assert F.max_pool2d(ints, **options).dtype == np.int64


@given(
    mode=st.sampled_from(["nearest", "linear", "bilinear", "bicubic", "area"]),
    corners=st.booleans(),
    sizes=st.tuples(*[st.integers(1, 9)] * 4),
)
@settings(max_examples=100)
def test_interpolate(mode, corners, sizes) -> None:
    torch = pytest.importorskip("torch")
    n, target = (sizes[:1], sizes[1:2]) if mode == "linear" else (sizes[:2], sizes[2:])
    options = {"align_corners": corners} if mode.endswith(("linear", "cubic")) else {}
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 2e-5)):
        x = draw((2, 3, *n), 0).astype(dtype)
        if mode == "nearest" and dtype == np.float64:
            continue  # PyTorch counts in float32 for float32 only
        ours, theirs = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        found = F.interpolate(ours, target, mode=mode, **options)
        expected = torch.nn.functional.interpolate(theirs, target, mode=mode, **options)
        assert found.dtype == dtype
        np.testing.assert_allclose(found.numpy(), expected.detach(), tolerance, tolerance)
        weight = draw(found.shape, 1).astype(dtype)
        found.backward(weight)
        expected.backward(torch.from_numpy(weight))
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad, 10 * tolerance, 10 * tolerance)


@given(
    factors=st.tuples(*[st.sampled_from([0.3, 0.5, 0.9, 1.0, 1.1, 1.7, 2.0, 3.0])] * 2),
    n=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    mode=st.sampled_from(["nearest", "nearest-exact", "bilinear", "bicubic", "area"]),
    recompute=st.booleans(),
)
@settings(max_examples=60)
def test_interpolate_by_factors(factors, n, mode, recompute) -> None:
    torch = pytest.importorskip("torch")
    x = draw((1, 2, *n), 0).astype(np.float32)
    options = {"scale_factor": factors, "mode": mode, "recompute_scale_factor": recompute}
    found = F.interpolate(tg.tensor(x), **options)
    expected = torch.nn.functional.interpolate(torch.from_numpy(x), **options)
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-5, atol=2e-5)


@given(
    mode=st.sampled_from(["constant", "reflect", "replicate", "circular"]),
    widths=st.tuples(*[st.integers(-2, 4)] * 4),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 6)),
)
@settings(max_examples=100)
def test_pad(mode, widths, shape) -> None:
    left, right, top, bottom = widths
    for size, (a, b) in zip(shape[1:], ((top, bottom), (left, right)), strict=True):
        assume(size + min(a, 0) + min(b, 0) >= 1)
    x = draw(shape, 0)
    try:
        out = F.pad(tg.Tensor(x), widths, mode)
    except ValueError:
        kept = [
            n + min(a, 0) + min(b, 0)
            for n, a, b in zip(shape[1:], (top, left), (bottom, right), strict=True)
        ]
        limits = {"reflect": [n - 1 for n in shape[1:]], "circular": kept}[mode]
        assert max(top, bottom) > limits[0] or max(left, right) > limits[1]
        return
    np.testing.assert_array_equal(out.numpy(), image.pad(x, widths, mode))
