"""Pooling against a walk over every window, its own transposes, and PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS, is_channels_last, laid_out

import kernels
from kernels import pool
from kernels.reference import pool as reference

DTYPES = [np.float32, np.float64]


@pytest.fixture(autouse=True, scope="module")
def _several_threads_for_middling_arrays():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "ONE_THREAD", 500)
        yield


@st.composite
def axes(draw):
    """(size, kernel, stride, padding, dilation) of one axis, such that every window has a pixel."""
    kernel, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    size = dilation * (kernel - 1) + 1 + draw(st.integers(0, 6))
    return size, kernel, draw(st.integers(1, 4)), draw(st.integers(0, kernel // 2)), dilation


@st.composite
def problems(draw):
    """(x, kernel_size, stride, padding, dilation, ceil_mode, generator)"""
    sizes, *geometry = zip(draw(axes()), draw(axes()), strict=True)
    shape = (draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 16, 17])), *sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(-3, 4, shape).astype(draw(st.sampled_from(DTYPES)))  # many ties
    if draw(st.booleans()):
        special = rng.random(shape) < 0.3
        x[special] = rng.choice([np.nan, -np.inf, np.inf, -0.0], special.sum())
    return laid_out(x, draw(st.sampled_from(LAYOUTS))), *geometry, draw(st.booleans()), rng


def assert_result(ours, expected, rtol=0.0):
    assert ours.dtype == expected.dtype
    assert ours.shape == expected.shape
    assert is_channels_last(ours)
    np.testing.assert_allclose(ours, expected, rtol=rtol, atol=rtol)


@settings(deadline=None, max_examples=80)
@given(problems())
def test_max_pooling(problem):
    x, *geometry, _ = problem
    before = x.copy()
    out, places = kernels.max_pool2d_forward(x, *geometry)
    expected = reference.max_pool2d_forward(x, *geometry)
    assert_result(out, expected[0])
    assert_result(places, expected[1])
    assert_result(kernels.gather_planes(x, places), expected[0])
    np.testing.assert_array_equal(x, before)


@settings(deadline=None, max_examples=60)
@given(problems(), st.integers(1, 9), st.integers(1, 9))
def test_maxima_of_cells(problem, rows, columns):
    x = problem[0]
    out, places = kernels.adaptive_max_pool2d_forward(x, (rows, columns))
    expected = reference.adaptive_max_pool2d_forward(x, (rows, columns))
    assert_result(out, expected[0])
    assert_result(places, expected[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_window_that_steps_over_the_image(dtype):
    x = np.random.default_rng(0).normal(size=(2, 3, 2, 5)).astype(dtype)
    geometry = ((2, 2), (1, 1), (1, 1), (3, 2), False)
    out, places = kernels.max_pool2d_forward(x, *geometry)
    expected, _ = reference.max_pool2d_forward(x, *geometry)
    assert np.isneginf(expected).all()
    np.testing.assert_array_equal(out, expected)
    assert places.min() >= 0
    assert places.max() < 10


@settings(deadline=None, max_examples=60)
@given(problems(), st.booleans(), st.sampled_from([None, None, 3, -2]))
def test_average_pooling(problem, count_include_pad, divisor):
    x, kernel, stride, padding, _, ceil_mode, rng = problem
    x = laid_out(rng.normal(size=x.shape).astype(x.dtype), "reversed")
    options = (kernel, stride, padding, ceil_mode, count_include_pad, divisor)
    rtol = 1e-6 if x.dtype == np.float32 else 1e-14
    out = kernels.avg_pool2d_forward(x, *options)
    assert_result(out, reference.avg_pool2d_forward(x, *options), rtol)
    grad = laid_out(rng.normal(size=out.shape).astype(x.dtype), "gaps")
    grad_x = kernels.avg_pool2d_grad_input(grad, x.shape, *options)
    assert_result(grad_x, reference.avg_pool2d_grad_input(grad, x.shape, *options), rtol)
    if x.dtype == np.float64:  # <pool(x), g> = <x, transpose(g)>
        np.testing.assert_allclose((out * grad).sum(), (x * grad_x).sum(), atol=1e-10)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 3, 40])),
    st.tuples(*[st.integers(1, 7)] * 4),
    st.sampled_from(DTYPES),
    st.sampled_from([np.int64, np.int32]),
    st.sampled_from(LAYOUTS),
    st.integers(0, 2**32 - 1),
)
def test_gather_and_scatter(batch, sizes, dtype, index_dtype, layout, seed):
    height, width, *out_size = sizes
    rng = np.random.default_rng(seed)
    x = laid_out(rng.normal(size=(*batch, height, width)).astype(dtype), layout)
    places = rng.integers(0, height * width, (*batch, *out_size)).astype(index_dtype)
    places = laid_out(places, layout)
    grad = laid_out(rng.normal(size=places.shape).astype(dtype), layout)
    out = kernels.gather_planes(x, places)
    assert_result(out, reference.gather_planes(x, places))
    scattered = kernels.scatter_add_planes(grad, places, x.shape)
    rtol = 1e-5 if dtype == np.float32 else 1e-13
    assert_result(scattered, reference.scatter_add_planes(grad, places, x.shape), rtol)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float16])
def test_max_pooling_of_other_dtypes(dtype):
    x = np.random.default_rng(0).integers(0, 9, (2, 3, 7, 7)).astype(dtype)
    geometry = ((3, 3), (2, 2), (1, 1), (1, 1), False)
    ours = kernels.max_pool2d_forward(x, *geometry)
    for a, b in zip(ours, reference.max_pool2d_forward(x, *geometry), strict=True):
        assert_result(a, b)


def test_padding_never_wins_and_the_last_nan_does():
    x = np.full((1, 1, 3, 3), -np.inf, np.float32)
    geometry = ((2, 2), (2, 2), (1, 1), (1, 1), False)
    out, places = kernels.max_pool2d_forward(x, *geometry)
    np.testing.assert_array_equal(out, np.full((1, 1, 2, 2), -np.inf))
    np.testing.assert_array_equal(places[0, 0], [[0, 1], [3, 4]])
    x[0, 0, 1, 1] = x[0, 0, 2, 1] = np.nan
    out, places = kernels.max_pool2d_forward(x, *geometry)
    assert np.isnan(out[0, 0, 1, 1])
    assert places[0, 0, 1, 1] == 7


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_images(dtype):
    for shape in ((0, 3, 4, 4), (2, 0, 4, 4)):
        x = np.empty(shape, dtype)
        small = (*shape[:2], 2, 2)
        out, places = kernels.max_pool2d_forward(x, (2, 2), (2, 2), (0, 0), (1, 1), False)
        assert out.shape == places.shape == small
        options = ((2, 2), (2, 2), (0, 0), False, True, None)
        assert kernels.avg_pool2d_forward(x, *options).shape == small
        assert kernels.avg_pool2d_grad_input(out, shape, *options).shape == shape
        assert kernels.scatter_add_planes(out, places, shape).shape == shape


def test_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(1)
    before = kernels.get_num_threads()
    for shape in ((5, 33, 13, 13), (1, 70, 21, 21)):
        x = rng.normal(size=shape).astype(np.float32)
        options = ((3, 3), (2, 2), (1, 1), False, True, None)
        results = []
        try:
            for threads in (before, before, 1):
                kernels.set_num_threads(threads)
                out, places = kernels.max_pool2d_forward(x, *options[:3], (1, 1), False)
                mean = kernels.avg_pool2d_forward(x, *options)
                results.append(
                    [
                        out.tobytes(),
                        places.tobytes(),
                        kernels.scatter_add_planes(out, places, shape).tobytes(),
                        mean.tobytes(),
                        kernels.avg_pool2d_grad_input(mean, shape, *options).tobytes(),
                    ]
                )
        finally:
            kernels.set_num_threads(before)
        assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("dtype", DTYPES)
def test_places_outside_the_image_are_refused(dtype):
    x = np.ones((1, 2, 3, 3), dtype)
    for bad in (-1, 9, 2**40):
        places = np.zeros((1, 2, 2, 2), np.int64)
        places[0, 1, 1, 0] = bad
        with pytest.raises(IndexError, match=rf"gather_planes: places .*{bad}.* 3 x 3 pixels"):
            kernels.gather_planes(x, places)
        with pytest.raises(IndexError, match=rf"scatter_add_planes: places .*{bad}.* 3 x 3 pixels"):
            kernels.scatter_add_planes(places.astype(dtype), places, x.shape)


def test_errors():
    x = np.zeros((1, 2, 4, 4), np.float32)
    one, two, none = (1, 1), (2, 2), (0, 0)
    with pytest.raises(ValueError, match=r"max_pool2d_forward: windows of \(5, 5\) pixels"):
        kernels.max_pool2d_forward(x, (5, 5), one, none, one, False)
    with pytest.raises(
        ValueError, match=r"adaptive_max_pool2d_forward: .*\(1, 2, 4, 4\).*\(0, 2\)"
    ):
        kernels.adaptive_max_pool2d_forward(x, (0, 2))
    with pytest.raises(ValueError, match="stride must be two integers of at least 1"):
        kernels.max_pool2d_forward(x, two, (0, 1), none, one, False)
    with pytest.raises(ValueError, match=r"needs images \(N, C, H, W\), got shape \(2, 4, 4\)"):
        kernels.avg_pool2d_forward(x[0], two, two, none, False, True, None)
    with pytest.raises(ValueError, match="divisor_override must not be 0"):
        kernels.avg_pool2d_forward(x, two, two, none, False, True, 0)
    with pytest.raises(TypeError, match=r"avg_pool2d_forward: .* got int64"):
        kernels.avg_pool2d_forward(x.astype(int), two, two, none, False, True, None)
    with pytest.raises(ValueError, match=r"grad_out has shape \(1, 2, 4, 4\)"):
        kernels.avg_pool2d_grad_input(x, x.shape, two, two, none, False, True, None)
    places = np.zeros((1, 3, 2, 2), np.int64)
    with pytest.raises(ValueError, match=r"places \(1, 3, 2, 2\) do not belong to images"):
        kernels.gather_planes(x, places)
    with pytest.raises(TypeError, match="places must be integers, got float32"):
        kernels.gather_planes(x, x)
    with pytest.raises(ValueError, match=r"x \(1, 2, 4, 4\) and places \(1, 3, 2, 2\)"):
        kernels.scatter_add_planes(x, places, x.shape)


@settings(deadline=None, max_examples=60)
@given(problems(), st.booleans(), st.sampled_from([None, 3]))
def test_agrees_with_pytorch(problem, count_include_pad, divisor):
    torch = pytest.importorskip("torch")
    x, kernel, stride, padding, dilation, ceil_mode, rng = problem
    tensor = torch.from_numpy(x.copy())
    out, places = kernels.max_pool2d_forward(x, kernel, stride, padding, dilation, ceil_mode)
    expected = torch.nn.functional.max_pool2d(
        tensor, kernel, stride, padding, dilation, ceil_mode, return_indices=True
    )
    np.testing.assert_array_equal(out, expected[0])
    np.testing.assert_array_equal(places, expected[1])

    values = rng.normal(size=x.shape).astype(x.dtype)
    tensor = torch.from_numpy(values).requires_grad_()
    options = (kernel, stride, padding, ceil_mode, count_include_pad, divisor)
    out = kernels.avg_pool2d_forward(values, *options)
    expected = torch.nn.functional.avg_pool2d(tensor, *options)
    rtol = 1e-6 if x.dtype == np.float32 else 1e-14
    np.testing.assert_allclose(out, expected.detach(), rtol=rtol, atol=rtol)
    expected.backward(torch.from_numpy(np.ascontiguousarray(out)))
    ours = kernels.avg_pool2d_grad_input(out, x.shape, *options)
    np.testing.assert_allclose(ours, tensor.grad, rtol=10 * rtol, atol=10 * rtol)
