"""Batch normalisation against its formula in float64, PyTorch, and values that break naive sums."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS, is_channels_last, laid_out

import kernels
from kernels import norm, norm_plan
from kernels.reference import norm as reference

EPS = 1e-5


@pytest.fixture(autouse=True, scope="module")
def _several_threads_for_middling_arrays():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(norm_plan, "ONE_THREAD", 2000)
        yield


@st.composite
def problems(draw):
    channels = draw(st.sampled_from([1, 2, 3, 16, 17, 64, 300]))
    shape = (draw(st.integers(1, 5)), channels, *draw(st.lists(st.integers(1, 9), max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(draw(st.sampled_from([0, 50])), 1, shape).astype(np.float32)
    grad = rng.normal(size=shape).astype(np.float32)
    weight, bias = rng.normal(size=(2, channels)).astype(np.float32)
    layout, grad_layout = draw(st.sampled_from(LAYOUTS)), draw(st.sampled_from(LAYOUTS))
    return laid_out(x, layout), laid_out(grad, grad_layout), weight, bias


def in_float64(*arrays):
    return [array.astype(np.float64) for array in arrays]


def per_channel(vector, x):
    return vector.reshape(1, -1, *(1,) * (x.ndim - 2))


@settings(deadline=None, max_examples=80)
@given(problems())
def test_float32_agrees_with_the_formula_in_float64(problem):
    x, grad, weight, bias = problem
    before = x.copy(), grad.copy()
    out, mean, var = kernels.batch_norm_forward(x, weight, bias, EPS)
    x64, grad64, weight64, bias64 = in_float64(x, grad, weight, bias)
    expected, mean64, var64 = reference.batch_norm_forward(x64, weight64, bias64, EPS)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mean, mean64, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(var, var64, rtol=1e-5, atol=1e-10)

    grads = kernels.batch_norm_backward(grad, x, weight, mean, var, EPS)
    expected = reference.batch_norm_backward(grad64, x64, weight64, mean64, var64, EPS)
    scale = np.abs(weight64 / np.sqrt(var64 + EPS))
    tolerance = per_channel(2e-6 * (1 + scale), x) * (1 + np.abs(grad).max())
    assert (np.abs(grads[0] - expected[0]) <= tolerance).all()
    m = x.size // x.shape[1]
    np.testing.assert_allclose(grads[1], expected[1], rtol=1e-5, atol=1e-5 * m**0.5)
    np.testing.assert_allclose(grads[2], expected[2], rtol=1e-5, atol=1e-6 * m**0.5)

    shifted = kernels.channel_affine(x, weight, bias)
    np.testing.assert_allclose(
        shifted, reference.channel_affine(x64, weight64, bias64), rtol=1e-5, atol=1e-5
    )
    for result in (out, grads[0], shifted):
        assert result.shape == x.shape
        assert result.dtype == np.float32
        assert is_channels_last(result)
    assert all(vector.dtype == np.float32 for vector in (mean, var, *grads[1:]))
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(grad, before[1])


@settings(deadline=None, max_examples=30)
@given(problems())
def test_float64_is_exact_to_its_own_precision(problem):
    x, grad, weight, bias = in_float64(*problem)
    out, mean, var = kernels.batch_norm_forward(x, weight, bias, EPS)
    expected = reference.batch_norm_forward(x, weight, bias, EPS)
    for ours, theirs in zip((out, mean, var), expected, strict=True):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    grads = kernels.batch_norm_backward(grad, x, weight, mean, var, EPS)
    expected = reference.batch_norm_backward(grad, x, weight, mean, var, EPS)
    for ours, theirs in zip(grads, expected, strict=True):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    assert is_channels_last(out)
    assert is_channels_last(grads[0])
    np.testing.assert_allclose(
        kernels.channel_affine(x, weight, bias), reference.channel_affine(x, weight, bias)
    )


def hard_cases():
    rng = np.random.default_rng(3)
    shape = (32, 17, 12, 12)
    noise = rng.normal(size=shape)
    order = np.arange(32).reshape(-1, 1, 1, 1)
    return {
        "far from zero": 1000 + 1e-2 * noise,
        "first image far off": np.where(order == 0, 0, 1000) + 1e-2 * noise,
        "a step half way": np.where(order < 16, -1000, 1000) + 1e-2 * noise,
        "a ramp": order * 100 + noise,
        "tiny": 1e-15 * noise,
        "huge": 1e15 * noise,
    }


@pytest.mark.parametrize("case", hard_cases())
def test_no_digits_are_lost(case):
    x = hard_cases()[case].astype(np.float32)
    rng = np.random.default_rng(4)
    grad = rng.normal(1, 1, x.shape).astype(np.float32)
    weight, bias = rng.normal(size=(2, 17)).astype(np.float32)
    eps = 0.0
    out, mean, var = kernels.batch_norm_forward(x, weight, bias, eps)
    x64, grad64, weight64, bias64 = in_float64(x, grad, weight, bias)
    expected, mean64, var64 = reference.batch_norm_forward(x64, weight64, bias64, eps)
    np.testing.assert_allclose(mean, mean64, rtol=1e-6, atol=1e-6 * np.abs(x64).mean())
    np.testing.assert_allclose(var, var64, rtol=1e-6)
    np.testing.assert_allclose(out, expected, rtol=2e-6, atol=2e-6)
    grads = kernels.batch_norm_backward(grad, x, weight, mean, var, eps)
    expected = reference.batch_norm_backward(grad64, x64, weight64, mean64, var64, eps)
    for ours, theirs in zip(grads, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6 * np.abs(theirs).max())


@pytest.mark.parametrize("value", [0.0, 0.1, -1000.1])
def test_equal_values_have_no_negative_variance(value):
    x = np.full((7, 3, 5, 5), value, np.float32)
    weight, bias = np.ones(3, np.float32), np.full(3, 2, np.float32)
    out, mean, var = kernels.batch_norm_forward(x, weight, bias, EPS)
    np.testing.assert_allclose(mean, value, rtol=1e-7)
    assert (var >= 0).all()
    np.testing.assert_allclose(out, 2, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_values_stay_in_their_channel(dtype, bad):
    rng = np.random.default_rng(5)
    x, grad = rng.normal(size=(2, 4, 17, 6, 6)).astype(dtype)
    weight, bias = rng.normal(size=(2, 17)).astype(dtype)
    clean = kernels.batch_norm_forward(x, weight, bias, EPS)
    x[2, 5, 3, 3] = bad
    out, mean, var = kernels.batch_norm_forward(x, weight, bias, EPS)
    assert not np.isfinite(mean[5])
    assert np.isnan(var[5])
    assert np.isnan(out[:, 5]).all()
    others = np.arange(17) != 5
    for ours, before in zip(
        (out[:, others], mean[others], var[others]),
        (clean[0][:, others], clean[1][others], clean[2][others]),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, before)
    grad_x, grad_weight, grad_bias = kernels.batch_norm_backward(grad, x, weight, mean, var, EPS)
    assert np.isnan(grad_weight[5])
    assert np.isfinite(grad_x[:, others]).all()
    assert np.isfinite(grad_weight[others]).all()
    assert np.isfinite(grad_bias).all()
    affine = kernels.channel_affine(x, weight, bias)
    np.testing.assert_array_equal(affine[2, 5, 3, 3], bad * weight[5])
    assert np.isfinite(affine).sum() == affine.size - 1


@pytest.mark.parametrize("threads", [1, 2])
def test_same_bits_every_time(threads):
    before = kernels.get_num_threads()
    try:
        kernels.set_num_threads(threads)
    except ValueError:
        pytest.skip(f"the machine has no {threads} threads")
    try:
        rng = np.random.default_rng(6)
        x, grad = rng.normal(size=(2, 9, 33, 11, 13)).astype(np.float32)
        weight, bias = rng.normal(size=(2, 33)).astype(np.float32)

        def run():
            out, mean, var = kernels.batch_norm_forward(x, weight, bias, EPS)
            return out, mean, var, *kernels.batch_norm_backward(grad, x, weight, mean, var, EPS)

        first = run()
        for _ in range(3):
            for a, b in zip(first, run(), strict=True):
                assert a.tobytes() == b.tobytes()
    finally:
        kernels.set_num_threads(before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4), (2, 0, 4, 4), (0, 0), (0, 5)])
def test_nothing_to_normalise(shape, dtype):
    x = np.empty(shape, dtype)
    weight = np.ones(shape[1], dtype)
    out, mean, var = kernels.batch_norm_forward(x, weight, weight, EPS)
    assert out.shape == shape
    assert mean.shape == var.shape == (shape[1],)
    assert np.isnan(mean).all()
    assert np.isnan(var).all()
    grads = kernels.batch_norm_backward(x, x, weight, weight, weight, EPS)
    assert grads[0].shape == shape
    np.testing.assert_array_equal(grads[1:], np.zeros((2, shape[1])))
    assert kernels.channel_affine(x, weight, weight).shape == shape


def test_errors_name_the_function_and_the_shapes():
    x, three, four = np.zeros((2, 3, 4, 4)), np.zeros(3), np.zeros(4)
    with pytest.raises(
        ValueError, match=r"batch_norm_forward: bias has shape \(4,\).*\(2, 3, 4, 4\)"
    ):
        kernels.batch_norm_forward(x, three, four, EPS)
    with pytest.raises(ValueError, match=r"batch_norm_backward: grad_out has shape \(2, 3, 4\)"):
        kernels.batch_norm_backward(x[..., 0], x, three, three, three, EPS)
    with pytest.raises(
        ValueError, match=r"channel_affine: x must be \(N, C, ...\), got shape \(3,\)"
    ):
        kernels.channel_affine(three, three, three)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(8, 16, 9, 9), (5, 3), (3, 17, 7), (2, 64, 3, 4, 5)])
def test_agrees_with_pytorch(shape, dtype):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(7)
    x, grad = rng.normal(1, 2, (2, *shape)).astype(dtype)
    weight, bias = rng.normal(size=(2, shape[1])).astype(dtype)
    tensors = [torch.from_numpy(a).requires_grad_() for a in (x, weight, bias)]
    expected = torch.nn.functional.batch_norm(tensors[0], None, None, *tensors[1:], training=True)
    expected.backward(torch.from_numpy(grad))
    out, mean, var = kernels.batch_norm_forward(x, weight, bias, EPS)
    grads = kernels.batch_norm_backward(grad, x, weight, mean, var, EPS)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(out, expected.detach(), rtol=tolerance, atol=tolerance)
    for ours, tensor in zip(grads, tensors, strict=True):
        np.testing.assert_allclose(ours, tensor.grad, rtol=tolerance, atol=10 * tolerance)
    evaluated = torch.nn.functional.batch_norm(
        tensors[0], *(torch.from_numpy(a) for a in (mean, var)), *tensors[1:]
    )
    scale = weight / np.sqrt(var + dtype(EPS))
    np.testing.assert_allclose(
        kernels.channel_affine(x, scale, bias - mean * scale),
        evaluated.detach(),
        rtol=tolerance,
        atol=tolerance,
    )


# ---- with a residual and relu --------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(problems(), st.booleans(), st.booleans(), st.sampled_from([np.float32, np.float64]))
def test_fused_equals_one_after_the_other(problem, with_residual, relu, dtype):
    x, grad, weight, bias = (a.astype(dtype) for a in problem)
    residual = np.random.default_rng(0).normal(size=x.shape).astype(dtype)
    of = kernels.batch_norm_statistics(x)
    plain, none = kernels.batch_norm_apply(x, weight, bias, of, EPS)
    assert none is None
    added = residual if with_residual else None
    out, passes = kernels.batch_norm_apply(
        x, weight, bias, of, EPS, added, relu, keep_mask=with_residual
    )
    before = plain + residual if with_residual else plain
    expected, through = reference.add_relu(before) if relu else (before, ~(before < 0))
    np.testing.assert_array_equal(out, expected)
    assert is_channels_last(out)
    if with_residual:
        np.testing.assert_array_equal(passes, through)
    affine = kernels.channel_affine(x, weight, bias, added, relu)
    once = kernels.channel_affine(x, weight, bias)
    once = once + residual if with_residual else once
    np.testing.assert_array_equal(affine, reference.add_relu(once)[0] if relu else once)
    if not relu:
        return
    masked = reference.add_relu_backward(grad, through)
    expected = kernels.batch_norm_backward(masked, x, weight, of.mean, of.var, EPS)
    again = {"passes": passes} if with_residual else {"relu": (bias, of.cut_off)}
    grads = kernels.batch_norm_backward(grad, x, weight, of.mean, of.var, EPS, **again)
    for ours, theirs in zip(grads[:3], expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if with_residual:
        np.testing.assert_array_equal(grads[3], masked)
    else:
        assert len(grads) == 3


def test_relu_after_batch_norm_has_derivative_1_at_0_and_keeps_nan():
    x = np.array([[-1.0, 0.0, np.nan]], np.float32).T.reshape(3, 1, 1, 1)
    of = norm.Statistics(np.zeros(1, np.float32), np.ones(1, np.float32), np.zeros(1))
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    out, passes = kernels.batch_norm_apply(
        x, one, zero, of, 0.0, np.zeros_like(x), True, keep_mask=True
    )
    np.testing.assert_array_equal(out.ravel(), [0, 0, np.nan])
    np.testing.assert_array_equal(passes.ravel(), [False, True, True])
    bias_grads = [
        kernels.batch_norm_backward(np.ones_like(x[:2]), x[:2], one, *of[:2], 0.0, **again)[2]
        for again in ({"passes": passes[:2]}, {"relu": (zero, of.cut_off)})
    ]
    np.testing.assert_array_equal(bias_grads, [[1], [1]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_running_statistics_move_in_place(dtype):
    rng = np.random.default_rng(8)
    x = rng.normal(3, 2, (4, 5, 3, 3)).astype(dtype)
    mean, var = rng.uniform(1, 2, (2, 5)).astype(dtype)
    spread = np.stack([mean, var], -1)  # views that are not contiguous
    for running_mean, running_var in ((mean.copy(), var.copy()), (spread[:, 0], spread[:, 1])):
        kernels.batch_norm_statistics(x, running_mean, running_var, 0.3)
        values = x.transpose(1, 0, 2, 3).reshape(5, -1).astype(np.float64)
        np.testing.assert_allclose(running_mean, 0.7 * mean + 0.3 * values.mean(1), rtol=1e-6)
        np.testing.assert_allclose(running_var, 0.7 * var + 0.3 * values.var(1, ddof=1), rtol=1e-6)


def test_a_residual_must_fit():
    x, three = np.zeros((2, 3, 4, 4), np.float32), np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"channel_affine: residual has shape \(2, 3, 4, 5\)"):
        kernels.channel_affine(x, three, three, np.zeros((2, 3, 4, 5), np.float32))
    with pytest.raises(TypeError, match="channel_affine: residual is float64, x is float32"):
        kernels.channel_affine(x, three, three, np.zeros((2, 3, 4, 4)))
