"""Gradient clipping."""

import math

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft.nn.utils import clip_grad_norm_, clip_grad_value_

GRADS = [np.array([[3.0, -4.0]], np.float32), np.array([12.0], np.float32)]


def params(grads=GRADS):
    tensors = []
    for grad in grads:
        tensor = tg.zeros(grad.shape, requires_grad=True)
        tensor.grad = tg.tensor(grad.copy())
        tensors.append(tensor)
    return [*tensors, tg.zeros(3, requires_grad=True)]  # the last has no gradient


@pytest.mark.parametrize("norm_type, norm", [(2.0, 13.0), (1.0, 19.0), (math.inf, 12.0)])
def test_large_gradients_are_scaled_to_the_norm(norm_type, norm):
    tensors = params()
    total = clip_grad_norm_(tensors, 2.0, norm_type)
    assert total.item() == pytest.approx(norm, rel=1e-6)
    assert total.dtype == np.float32
    for tensor, grad in zip(tensors, GRADS, strict=False):
        assert tensor.grad.dtype == np.float32
        np.testing.assert_allclose(tensor.grad.numpy(), grad * 2 / norm, rtol=1e-6)


def test_small_gradients_stay_as_they_are():
    tensors = params()
    clip_grad_norm_(iter(tensors), 100.0)
    for tensor, grad in zip(tensors, GRADS, strict=False):
        np.testing.assert_array_equal(tensor.grad.numpy(), grad)


def test_no_gradients():
    assert clip_grad_norm_([tg.zeros(2, requires_grad=True)], 1.0).item() == 0.0


def test_a_single_tensor():
    (tensor, *_) = params()
    assert clip_grad_norm_(tensor, 1.0).item() == 5.0
    np.testing.assert_allclose(tensor.grad.numpy(), [[0.6, -0.8]], rtol=1e-5)


def test_squares_do_not_overflow():
    tensors = params([np.full(4, 1e30, np.float32)])
    assert clip_grad_norm_(tensors, 1.0).item() == pytest.approx(2e30, rel=1e-6)
    np.testing.assert_allclose(tensors[0].grad.numpy(), 0.5, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_norms(bad):
    tensors = params([np.array([1.0, bad], np.float32)])
    with pytest.raises(RuntimeError, match="norm of the gradients is"):
        clip_grad_norm_(tensors, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(tensors[0].grad.numpy(), [1.0, bad])
    assert not math.isfinite(clip_grad_norm_(tensors, 1.0).item())
    expected = [np.nan, np.nan] if np.isnan(bad) else [0.0, np.nan]  # PyTorch's
    np.testing.assert_array_equal(tensors[0].grad.numpy(), expected)


def test_values_are_clamped():
    tensors = params()
    clip_grad_value_(tensors, 3.5)
    assert tensors[0].grad.tolist() == [[3.0, -3.5]]
    assert tensors[1].grad.tolist() == [3.5]


def test_wrong_options():
    with pytest.raises(ValueError, match="norm_type > 0"):
        clip_grad_norm_(params(), 1.0, 0.0)
    with pytest.raises(ValueError, match="clip_value >= 0"):
        clip_grad_value_(params(), -1.0)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
def test_as_pytorch(norm_type):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    grads = [rng.standard_normal(shape).astype(np.float32) for shape in [(3, 4), (5,), (2, 2, 2)]]
    ours, theirs = params(grads), [torch.zeros(g.shape, requires_grad=True) for g in grads]
    for tensor, grad in zip(theirs, grads, strict=True):
        tensor.grad = torch.tensor(grad)
    total = clip_grad_norm_(ours, 0.7, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, 0.7, norm_type)
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    for a, b in zip(ours, theirs, strict=False):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5)
