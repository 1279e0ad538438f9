"""What follows a convolution in the same call, on every path; weights that are prepared once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS, laid_out

import kernels
from kernels import Finish, Prepared, winograd

PATHS = {
    "matrix": ((2, 20, 5, 7), (17, 20, 1, 1), {}),
    "matrix, many inputs": ((1, 600, 3, 3), (33, 600, 1, 1), {}),
    "winograd": ((3, 17, 11, 9), (19, 17, 3, 3), {"padding": 1}),
    "winograd in bands": ((1, 16, 70, 66), (16, 16, 3, 3), {"padding": 1}),
    "winograd by step": ((2, 48, 9, 10), (40, 48, 3, 3), {"padding": (1, 0)}),
    "direct": ((2, 3, 13, 12), (18, 3, 5, 3), {"padding": 2, "stride": (2, 1)}),
    "direct in bands": ((1, 40, 60, 60), (16, 40, 2, 2), {}),
    "groups": ((2, 12, 6, 6), (9, 4, 3, 3), {"groups": 3}),
    "depthwise": ((2, 20, 7, 7), (20, 1, 3, 3), {"padding": 1, "groups": 20}),
}


@pytest.fixture(autouse=True, scope="module")
def _winograd_by_step_for_few_channels():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "BY_STEP_FROM", 40)
        yield


def drawn(path, dtype=np.float32, seed=0):
    x_shape, w_shape, geometry = PATHS[path]
    rng = np.random.default_rng(seed)
    x, w = (rng.normal(size=s).astype(dtype) for s in (x_shape, w_shape))
    plain = kernels.conv2d_forward(x, w, **geometry)
    scale, shift = rng.normal(size=(2, w_shape[0])).astype(dtype)
    return x, w, geometry, plain, scale, shift, rng.normal(size=plain.shape).astype(dtype)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(list(PATHS)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(LAYOUTS),
    st.sampled_from([np.float32, np.float64]),
)
def test_finished_equals_one_after_the_other(path, scaled, shifted, added, relu, layout, dtype):
    x, w, geometry, plain, scale, shift, residual = drawn(path, dtype)
    finish = Finish(
        scale if scaled else None,
        shift if shifted else None,
        laid_out(residual, layout) if added else None,
        relu,
    )
    expected = plain.astype(np.float64)
    if scaled:
        expected = expected * scale.reshape(1, -1, 1, 1)
    if shifted:
        expected = expected + shift.reshape(1, -1, 1, 1)
    if added:
        expected = expected + residual
    if relu:
        expected = np.maximum(expected, 0)
    found = kernels.conv2d_forward(laid_out(x, layout), w, **geometry, finish=finish)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(plain).max())
    if layout == "rows":
        out = np.empty(plain.shape, dtype)
        kernels.conv2d_forward(x, w, **geometry, out=out, finish=finish)
        np.testing.assert_array_equal(out, found)


@pytest.mark.parametrize("path", PATHS)
def test_relu_keeps_nan(path):
    x, w, geometry, *_ = drawn(path)
    x[...] = np.nan
    found = kernels.conv2d_forward(x, w, **geometry, finish=Finish(relu=True))
    assert np.isnan(found[:, :, 1:-1, 1:-1]).all()


@pytest.mark.parametrize("path", PATHS)
def test_prepared_weights_give_the_same_bits(path):
    x, w, geometry, plain, *_ = drawn(path)
    prepared = Prepared()
    first = kernels.conv2d_forward(x, w, **geometry, prepared=prepared)
    kept = prepared.nbytes
    assert kept > 0
    np.testing.assert_array_equal(first, plain)
    # the weights are not looked at again
    again = kernels.conv2d_forward(x, np.full_like(w, np.nan), **geometry, prepared=prepared)
    np.testing.assert_array_equal(again, plain)
    larger = np.concatenate([x, x], 2)
    np.testing.assert_array_equal(
        kernels.conv2d_forward(larger, w, **geometry, prepared=prepared),
        kernels.conv2d_forward(larger, w, **geometry),
    )
    assert prepared.nbytes == kept


def test_what_does_not_fit_is_named():
    x, w, geometry, _, scale, shift, residual = drawn("winograd")
    with pytest.raises(ValueError, match=r"conv2d_forward: shift has shape \(3,\)"):
        kernels.conv2d_forward(x, w, **geometry, finish=Finish(scale, shift[:3]))
    with pytest.raises(ValueError, match="conv2d_forward: residual has shape"):
        kernels.conv2d_forward(x, w, **geometry, finish=Finish(residual=residual[:1]))
    with pytest.raises(TypeError, match="conv2d_forward: residual is float64"):
        kernels.conv2d_forward(x, w, **geometry, finish=Finish(residual=residual.astype(float)))


def test_nothing_to_convolve():
    w, shift = np.ones((4, 2, 3, 3), np.float32), np.arange(4, dtype=np.float32)
    found = kernels.conv2d_forward(np.ones((0, 2, 5, 5), np.float32), w, finish=Finish(shift=shift))
    assert found.shape == (0, 4, 3, 3)
    x, w = np.ones((1, 0, 5, 5), np.float32), np.ones((4, 0, 3, 3), np.float32)
    found = kernels.conv2d_forward(x, w, finish=Finish(shift=shift))
    np.testing.assert_array_equal(found[0, :, 0, 0], shift)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_input_gradient_can_be_added_to_what_is_there(path, dtype, layout):
    x, w, geometry, plain, *_ = drawn(path, dtype)
    grad = kernels.conv2d_grad_input(plain, w, x.shape, **geometry)
    expected, there = x + grad, laid_out(x, layout)
    with pytest.raises(ValueError, match="out is read-only"):
        kernels.conv2d_grad_input(plain, w, x.shape, **geometry, out=there, accumulate=True)
    there.flags.writeable = True
    out = kernels.conv2d_grad_input(plain, w, x.shape, **geometry, out=there, accumulate=True)
    assert out is there
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6 * np.abs(grad).max())
    with pytest.raises(ValueError, match="accumulate needs an out"):
        kernels.conv2d_grad_input(plain, w, x.shape, **geometry, accumulate=True)
