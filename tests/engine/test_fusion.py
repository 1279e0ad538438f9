"""Batch norm, addition and relu computed together: the same values, gradients, and side effects."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import autograd, nn
from tinygrad_ft.deferred import Deferred
from tinygrad_ft.nn import functional as F
from tinygrad_ft.ops.fusion import BatchNormReLU


@pytest.fixture(autouse=True)
def restore():
    yield
    tg.set_fusion(True)


def operands(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(3, 2, 2, 3), (2,), (2,), (3, 2, 2, 3)]
    return [tg.Tensor(rng.normal(size=s).astype(dtype), requires_grad=True) for s in shapes]


def norm(x, weight, bias):
    return F.batch_norm(x, None, None, weight, bias, training=True)


PROGRAMS = {
    "relu": lambda x, w, b, r: norm(x, w, b).relu(),
    "residual right": lambda x, w, b, r: (norm(x, w, b) + r).relu(),
    "residual left": lambda x, w, b, r: F.relu(r + norm(x, w, b)),
    "two norms": lambda x, w, b, r: F.relu(norm(x, w, b) + norm(r, b, w)),
    "norm used twice": lambda x, w, b, r: (lambda y: y.relu() * y + (y + r).relu())(norm(x, w, b)),
    "sum used twice": lambda x, w, b, r: (lambda y: y.relu() * y)(norm(x, w, b) + r),
    "own input": lambda x, w, b, r: (norm(x, w, b) + x).relu(),
    "to itself": lambda x, w, b, r: (lambda y: (y + y).relu())(norm(x, w, b)),
    "broadcast": lambda x, w, b, r: (norm(x, w, b) + r[0]).relu(),
    "number": lambda x, w, b, r: (norm(x, w, b) + 0.5).relu(),
    "alone": lambda x, w, b, r: norm(x, w, b) + r,
}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fused_equals_unfused(program, dtype):
    found = {}
    for fusion in (True, False):
        tg.set_fusion(fusion)
        inputs = operands(dtype)
        out = PROGRAMS[program](*inputs)
        (out * out).sum().backward()
        found[fusion] = [out.numpy(), *(None if t.grad is None else t.grad.numpy() for t in inputs)]
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    for fused, unfused in zip(found[True], found[False], strict=True):
        if unfused is None:
            assert fused is None
        else:
            np.testing.assert_allclose(fused, unfused, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("program", ["relu", "residual right"])
def test_derivatives_of_the_fused_op(program):
    inputs = operands()
    out = PROGRAMS[program](*inputs)
    assert isinstance(out.grad_fn, BatchNormReLU)
    inputs = inputs if program != "relu" else inputs[:3]
    assert tg.gradcheck(lambda *t: PROGRAMS[program](*t, *operands()[len(t) :]), inputs, order=3)


def test_recorded_and_unrecorded_backward_agree():
    for program in ("relu", "residual right"):
        inputs = operands()
        wanted = inputs if program != "relu" else inputs[:3]
        results = [
            autograd.grad(PROGRAMS[program](*inputs).sum(), wanted, create_graph=recorded)
            for recorded in (False, True)
        ]
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-12)


def test_it_is_fused_and_can_be_switched_off():
    inputs = operands()
    assert isinstance(norm(*inputs[:3]), Deferred)
    assert isinstance(PROGRAMS["residual left"](*inputs).grad_fn, BatchNormReLU)
    assert isinstance(PROGRAMS["two norms"](*inputs).grad_fn, BatchNormReLU)
    tg.set_fusion(False)
    assert not tg.fusion_enabled()
    assert not isinstance(norm(*inputs[:3]), Deferred)
    assert not isinstance(PROGRAMS["relu"](*inputs).grad_fn, BatchNormReLU)


def test_running_statistics_move_once_and_at_the_call():
    found = []
    for fusion in (True, False):
        tg.set_fusion(fusion)
        layer = nn.BatchNorm2d(2)
        y = layer(operands(np.float32)[0])
        assert layer.num_batches_tracked.item() == 1
        found.append([layer.running_mean.tolist(), layer.running_var.tolist()])
        y.relu()
        y.numpy()
        found.append([layer.running_mean.tolist(), layer.running_var.tolist()])
    assert all(f == found[0] for f in found)


@pytest.mark.parametrize("which", range(4))
def test_an_input_that_is_changed_later_does_not_change_the_result(which):
    with tg.no_grad():
        expected = PROGRAMS["residual right"](*operands()).numpy()
        alone = norm(*operands()[:3]).numpy()
        inputs = operands()
        y = norm(*inputs[:3])
        z = y + inputs[3]
        inputs[which].mul_(2).add_(1)
        np.testing.assert_array_equal(z.relu().numpy(), expected)
        np.testing.assert_array_equal(y.numpy(), alone)
        inputs = operands()
        y = norm(*inputs[:3])
        inputs[which].data = np.zeros_like(inputs[which].data)
        np.testing.assert_array_equal(y.numpy(), alone)


def test_a_change_of_a_saved_input_is_noticed():
    inputs = operands()
    out = PROGRAMS["residual right"](*inputs)
    with tg.no_grad():
        inputs[0].mul_(2)
    with pytest.raises(RuntimeError, match=r"BatchNormReLU: its input 0.*changed in place"):
        out.sum().backward()


def test_grad_mode_is_that_of_the_call():
    x, w, b, r = operands()
    y = norm(x, w, b)
    with tg.no_grad():
        z = y.relu()
    assert not z.requires_grad
    assert y.requires_grad
    assert y.grad_fn is not None
    with tg.no_grad():
        y = norm(x, w, b)
        total = y + r
    assert not y.requires_grad
    assert total.relu().grad_fn is None
    assert (y + r).relu().requires_grad


def test_it_is_a_tensor_like_any_other():
    inputs = operands(np.float32)
    y = norm(*inputs[:3])
    assert y.shape == y.size() == (3, 2, 2, 3)
    assert y.ndim == y.dim() == 4
    assert y.dtype == np.float32
    assert y.requires_grad
    assert not y.is_leaf
    assert "grad_fn=<BatchNorm>" in repr(norm(*inputs[:3]))
    assert norm(*inputs[:3]).detach().grad_fn is None
    with tg.no_grad():
        y = norm(*inputs[:3])
        for duplicate in (copy.deepcopy(y), pickle.loads(pickle.dumps(norm(*inputs[:3])))):
            assert type(duplicate) is tg.Tensor
            np.testing.assert_array_equal(duplicate.numpy(), y.numpy())
        kept = y.numpy().copy()
        y.add_(1)
        np.testing.assert_array_equal(y.numpy(), kept + 1)
    with pytest.raises(RuntimeError, match="only leaves can be copied"):
        copy.deepcopy(norm(*inputs[:3]))


def test_nothing_is_kept_alive():
    import weakref

    x, w, b, _ = operands()
    y = norm(x, w, b)
    watch = weakref.ref(y)
    z = y.relu()
    del y
    assert watch() is None
    watch = weakref.ref(z)
    del z
    assert watch() is None
