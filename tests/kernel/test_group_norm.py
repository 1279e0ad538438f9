"""Group, layer, instance and RMS norm against their formula in float64, and hard values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS, is_channels_last, laid_out

import kernels
from kernels import group_norm as module
from kernels.reference import group_norm as reference

EPS = 1e-5


@pytest.fixture(autouse=True, scope="module")
def _several_threads_for_middling_arrays():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ONE_THREAD", 300)
        yield


@st.composite
def problems(draw):
    """(x, grad, weight, bias, groups, centred); without further dimensions often a layer norm"""
    groups = draw(st.sampled_from([1, 1, 2, 3, 7]))
    channels = groups * draw(st.sampled_from([1, 2, 5, 16, 33]))
    shape = (draw(st.integers(1, 5)), channels, *draw(st.lists(st.integers(1, 6), max_size=2)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(draw(st.sampled_from([0, 50])), 1, shape)
    grad, (weight, bias) = rng.normal(size=shape), rng.normal(size=(2, channels))
    x, grad = (laid_out(a, draw(st.sampled_from(LAYOUTS))) for a in (x, grad))
    return x, grad, weight, bias, groups, draw(st.booleans())


@settings(deadline=None, max_examples=80)
@given(problems())
def test_against_the_formula_in_float64(problem):
    x, grad, weight, bias, groups, centred = problem
    if centred and x.size == len(x) * groups:
        return  # one number a group: its deviation is rounding
    for dtype in (np.float64, np.float32):
        arrays = [a.astype(dtype) for a in (x, weight, bias)]
        exact = [a.astype(np.float64) for a in arrays]
        expected = reference.group_norm_forward(*exact, groups, EPS, centred)
        out, mean, var = kernels.group_norm_forward(*arrays, groups, EPS, centred)
        tolerance = 3e-6 if dtype == np.float32 else 1e-11
        np.testing.assert_allclose(mean, expected[1], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(var, expected[2], rtol=1e-5, atol=1e-10)
        scale = 1 + np.abs(expected[0]).max()
        np.testing.assert_allclose(out, expected[0], tolerance, tolerance * scale)
        g = grad.astype(dtype)
        slopes = reference.group_norm_backward(
            g.astype(np.float64), exact[0], exact[1], *expected[1:], EPS, centred
        )
        found = kernels.group_norm_backward(g, *arrays[:2], mean, var, EPS, centred)
        for ours, theirs in zip(found, slopes, strict=True):
            assert ours.dtype == dtype
            scale = 1 + np.abs(theirs).max() + (1 / np.sqrt(expected[2].min() + EPS))
            np.testing.assert_allclose(ours, theirs, 10 * tolerance, 10 * tolerance * scale)
        assert out.dtype == dtype
        assert is_channels_last(out)
        assert is_channels_last(found[0])
        frozen = kernels.group_norm_backward(g, *arrays[:2], mean, var, EPS, centred, False)
        assert frozen[0] is None
        np.testing.assert_array_equal(frozen[1], found[1])


def hard_rows():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(3, 1500))
    order = np.arange(1500)
    return {
        "far from zero": 1000 + 1e-2 * noise,
        "first number far off": np.where(order == 0, 0, 1000) + 1e-2 * noise,
        "a step": np.where(order < 750, -1000, 1000) + 1e-2 * noise,
        "a ramp": order + noise,
        "tiny": 1e-15 * noise,
        "huge": 1e15 * noise,
    }


@pytest.mark.parametrize("shape", [(3, 1500), (3, 10, 150)])
@pytest.mark.parametrize("case", hard_rows())
def test_no_digits_are_lost(case, shape):
    """A layer norm of long rows, and the same numbers as one group of an image."""
    x = hard_rows()[case].astype(np.float32).reshape(shape)
    rng = np.random.default_rng(4)
    grad = rng.normal(1, 1, shape).astype(np.float32)
    weight, bias = rng.normal(size=(2, shape[1])).astype(np.float32)
    out, mean, var = kernels.group_norm_forward(x, weight, bias, 1, 0.0)
    exact = [a.astype(np.float64) for a in (x, weight, bias)]
    expected = reference.group_norm_forward(*exact, 1, 0.0)
    np.testing.assert_allclose(mean, expected[1], rtol=1e-6, atol=1e-6 * np.abs(x).mean())
    np.testing.assert_allclose(var, expected[2], rtol=2e-6)
    np.testing.assert_allclose(out, expected[0], rtol=5e-6, atol=5e-6)
    found = kernels.group_norm_backward(grad, x, weight, mean, var, 0.0)
    slopes = reference.group_norm_backward(grad.astype(np.float64), *exact[:2], *expected[1:], 0.0)
    for ours, theirs in zip(found, slopes, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=5e-6 * np.abs(theirs).max())


@pytest.mark.parametrize("shape", [(7, 8), (7, 8, 3)])
@pytest.mark.parametrize("value", [0.0, 0.1, -1000.1])
def test_equal_values_have_no_negative_variance(shape, value):
    x = np.full(shape, value, np.float32)
    out, mean, var = kernels.group_norm_forward(
        x, np.ones(8, np.float32), np.full(8, 2, np.float32), 1, EPS
    )
    np.testing.assert_allclose(mean, value, rtol=1e-7)
    assert (var >= 0).all()
    np.testing.assert_allclose(out, 2, atol=1e-3)


@pytest.mark.parametrize("shape, groups", [((4, 37), 1), ((4, 8, 5), 4)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_values_stay_in_their_group(shape, groups, bad):
    rng = np.random.default_rng(5)
    x, grad = rng.normal(size=(2, *shape)).astype(np.float32)
    weight, bias = rng.normal(size=(2, shape[1])).astype(np.float32)
    clean = kernels.group_norm_forward(x, weight, bias, groups, EPS)
    x[1].flat[0] = bad
    out, mean, var = kernels.group_norm_forward(x, weight, bias, groups, EPS)
    assert np.isnan(var[1, 0])
    assert np.isnan(out[1, : shape[1] // groups]).all()
    np.testing.assert_array_equal(out[[0, 2, 3]], clean[0][[0, 2, 3]])
    np.testing.assert_array_equal(out[1, shape[1] :], clean[0][1, shape[1] :])
    grad_x, _, grad_bias = kernels.group_norm_backward(grad, x, weight, mean, var, EPS)
    assert np.isfinite(grad_x[[0, 2, 3]]).all()
    assert np.isfinite(grad_bias).all()


@pytest.mark.parametrize("shape, groups", [((9, 70), 1), ((3, 12, 11, 5), 3), ((1, 12, 40), 12)])
def test_same_bits_every_time(shape, groups):
    rng = np.random.default_rng(6)
    x, grad = rng.normal(size=(2, *shape)).astype(np.float32)
    weight, bias = rng.normal(size=(2, shape[1])).astype(np.float32)

    def run():
        out, mean, var = kernels.group_norm_forward(x, weight, bias, groups, EPS)
        grads = kernels.group_norm_backward(grad, x, weight, mean, var, EPS)
        return [a.tobytes() for a in (out, mean, var, *grads)]

    first = run()
    assert all(run() == first for _ in range(3))
    before = kernels.get_num_threads()
    try:
        kernels.set_num_threads(1)
        alone = run()
    finally:
        kernels.set_num_threads(before)
    assert alone[:4] == first[:4], "only sums over the batch depend on the number of threads"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 3, 0), (2, 0, 4), (0, 5), (3, 0)])
def test_nothing_to_normalise(shape, dtype):
    x, weight = np.empty(shape, dtype), np.ones(shape[1], dtype)
    out, mean, var = kernels.group_norm_forward(x, weight, weight, 1, EPS)
    assert out.shape == shape
    assert mean.shape == var.shape == (shape[0], 1)
    grads = kernels.group_norm_backward(x, x, weight, mean, var, EPS)
    assert grads[0].shape == shape
    np.testing.assert_array_equal(grads[1:], np.zeros((2, shape[1])))


def test_errors_name_the_function_and_the_shapes():
    x, four, three = np.zeros((2, 4, 3)), np.ones(4), np.ones(3)
    with pytest.raises(ValueError, match=r"group_norm_forward: bias has shape \(3,\)"):
        kernels.group_norm_forward(x, four, three, 2, EPS)
    with pytest.raises(ValueError, match=r"multiple of 3 channels, got \(2, 4, 3\)"):
        kernels.group_norm_forward(x, four, four, 3, EPS)
    statistics = np.ones((2, 2))
    with pytest.raises(ValueError, match=r"grad_out \(2, 4\).*x \(2, 4, 3\)"):
        kernels.group_norm_backward(x[..., 0], x, four, statistics, statistics, EPS)
