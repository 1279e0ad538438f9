"""Convolution, batch norm, addition and relu in one call where nothing is recorded."""

import numpy as np
import pytest

import kernels
import tinygrad_ft as tg
from tinygrad_ft import models, nn
from tinygrad_ft.nn import functional as F


@pytest.fixture(autouse=True)
def restore():
    yield
    tg.set_fusion(True)


@pytest.fixture
def calls(monkeypatch):
    """The `finish` of each convolution."""
    seen = []
    real = kernels.conv2d_forward

    def counting(*arguments, **options):
        seen.append(options.get("finish"))
        return real(*arguments, **options)

    monkeypatch.setattr(kernels, "conv2d_forward", counting)
    return seen


def drawn(*shape, seed=0, dtype=np.float32):
    return tg.Tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def layers(bias=False, dtype=np.float32):
    tg.manual_seed(0)
    conv, norm = nn.Conv2d(8, 8, 3, padding=1, bias=bias), nn.BatchNorm2d(8)
    rng = np.random.default_rng(1)
    with tg.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.copy_(rng.uniform(0.5, 2, 8).astype(np.float32))
    return conv.to(dtype), norm.to(dtype).eval()


def kept(conv, norm, x):
    y = conv(x)
    z = norm(y)
    return F.relu(z + x), z, y


def rebound(conv, norm, x):
    out = conv(x)
    out = norm(out)
    out = out + x
    return F.relu(out)


PROGRAMS = {
    "conv": lambda conv, norm, x: conv(x),
    "relu": lambda conv, norm, x: F.relu(conv(x)),
    "norm": lambda conv, norm, x: norm(conv(x)),
    "norm relu": lambda conv, norm, x: F.relu(norm(conv(x))),
    "all": lambda conv, norm, x: F.relu(norm(conv(x)) + x),
    "other side": lambda conv, norm, x: F.relu(x + norm(conv(x))),
    "no relu": lambda conv, norm, x: norm(conv(x)) + x,
    "two norms": lambda conv, norm, x: F.relu(norm(norm(conv(x)))),
    "norm after the sum": lambda conv, norm, x: F.relu(norm(conv(x) + x)),
    "two sums": lambda conv, norm, x: F.relu(conv(x) + x + x),
    "two convolutions": lambda conv, norm, x: F.relu(norm(conv(x)) + norm(conv(x * 2))),
    "to itself": lambda conv, norm, x: (lambda y: F.relu(y + y))(conv(x)),
    "number": lambda conv, norm, x: F.relu(conv(x) + 1.5),
    "in place": lambda conv, norm, x: norm(conv(x)).add_(x).relu(),
    "rebound": rebound,
    "kept": lambda conv, norm, x: kept(conv, norm, x)[0],
    "kept, first": lambda conv, norm, x: kept(conv, norm, x)[2],
    "tanh": lambda conv, norm, x: tg.tanh(norm(conv(x))),
}
# whether relu and a factor are part of the one call
ONE_CALL = {
    "relu": (True, False),
    "norm relu": (True, True),
    "all": (True, True),
    "other side": (True, True),
    "two norms": (True, True),
    "rebound": (True, True),
    "tanh": (False, True),
    "no relu": (False, True),
}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("mode", [tg.no_grad, tg.inference_mode])
def test_fused_equals_unfused(program, bias, mode, calls):
    conv, norm = layers(bias)
    x = drawn(2, 8, 9, 9)
    with mode():
        fused = [PROGRAMS[program](conv, norm, x).numpy() for _ in range(2)]
        counted = len(calls) // 2
        tg.set_fusion(False)
        unfused = PROGRAMS[program](conv, norm, x).numpy()
    np.testing.assert_array_equal(fused[0], fused[1])
    np.testing.assert_allclose(fused[0], unfused, rtol=2e-6, atol=2e-5)
    # never computed twice
    assert counted == len(calls) - 2 * counted
    if program in ONE_CALL:
        assert (calls[0].relu, calls[0].scale is not None) == ONE_CALL[program]
        assert counted == 1


def test_all_models_give_the_same_as_unfused():
    for name, size in (("resnet20", 32), ("resnet18", 64), ("resnet50", 64)):
        tg.manual_seed(0)
        model = models.create_model(name, num_classes=4).eval()
        x = drawn(2, 3, size, size)
        found = []
        for fusion in (True, False):
            tg.set_fusion(fusion)
            with tg.inference_mode():
                found.append(model(x).numpy())
        np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5 * np.abs(found[1]).max())


def test_every_block_is_one_call_a_convolution(calls):
    model = models.resnet20().eval()
    with tg.inference_mode():
        model(drawn(1, 3, 32, 32))
    assert len(calls) == 19
    assert all(finish.scale is not None and finish.relu for finish in calls)
    assert sum(finish.residual is not None for finish in calls) == 9


def test_a_result_in_between_that_is_held_is_computed_once(calls):
    conv, norm = layers()
    with tg.no_grad():
        out, z, y = kept(conv, norm, drawn(2, 8, 9, 9))
        [t.numpy() for t in (out, z, y)]
    assert len(calls) == 1
    np.testing.assert_allclose(out.numpy(), np.maximum(z.numpy() + drawn(2, 8, 9, 9).numpy(), 0))


def test_an_input_that_is_changed_later_does_not_change_the_result():
    with tg.no_grad():
        conv, norm = layers(bias=True)
        x, r = drawn(2, 8, 9, 9), drawn(2, 8, 9, 9, seed=2)
        expected = (norm(conv(x)) + r).numpy()
        for change in (
            lambda: x.zero_(),
            lambda: r.zero_(),
            lambda: conv.weight.mul_(3),
            lambda: conv.bias.mul_(3),
            lambda: norm.weight.mul_(3),
            lambda: norm.running_var.mul_(3),
        ):
            out = norm(conv(x)) + r
            before = [t.data.copy() for t in (x, r, conv.weight, conv.bias, norm.weight)]
            variance = norm.running_var.data.copy()
            change()
            np.testing.assert_array_equal(out.numpy(), expected)
            norm.running_var.data = variance
            for tensor, array in zip(
                (x, r, conv.weight, conv.bias, norm.weight), before, strict=True
            ):
                tensor.data = array


def test_weights_are_prepared_once_in_inference_mode_and_anew_when_they_change(monkeypatch):
    from kernels import winograd

    packed = []
    real = winograd.transformed
    monkeypatch.setattr(winograd, "transformed", lambda *a: packed.append(1) or real(*a))
    monkeypatch.setattr(winograd, "own_transforms", lambda *a: False)
    conv, _ = layers()
    x = drawn(2, 8, 16, 16)
    with tg.inference_mode():
        first = conv(x).numpy()
        with tg.inference_mode():
            np.testing.assert_array_equal(conv(x).numpy(), first)
        assert len(packed) == 1
        conv.weight.mul_(2)
        np.testing.assert_array_equal(conv(x).numpy(), 2 * first)
        assert len(packed) == 2
        conv.weight.data = conv.weight.data / 2
        np.testing.assert_array_equal(conv(x).numpy(), first)
    assert not tg.is_inference_mode_enabled()
    conv.weight.data[...] *= 4
    with tg.inference_mode():
        np.testing.assert_array_equal(conv(x).numpy(), 4 * first)
    packed.clear()
    with tg.no_grad():
        for _ in range(2):
            conv(x).numpy()
    assert len(packed) == 2


def test_inference_mode_is_no_grad():
    x = tg.Tensor(np.ones(3, np.float32), requires_grad=True)
    assert not tg.is_inference_mode_enabled()
    with tg.inference_mode():
        assert tg.is_inference_mode_enabled()
        assert not tg.is_grad_enabled()
        assert not (x * 2).requires_grad
        with tg.inference_mode(False):
            assert not tg.is_grad_enabled()
    with tg.inference_mode(False):
        assert tg.is_grad_enabled()
        assert not tg.is_inference_mode_enabled()

    @tg.inference_mode()
    def double(t):
        assert tg.is_inference_mode_enabled()
        return t * 2

    assert not double(x).requires_grad
    assert tg.is_grad_enabled()


def test_gradients_and_float64_are_left_alone(calls):
    conv, norm = layers()
    F.relu(norm(conv(drawn(1, 8, 5, 5)))).sum().backward()
    assert conv.weight.grad is not None
    conv, norm = layers(dtype=np.float64)
    with tg.no_grad():
        F.relu(norm(conv(drawn(1, 8, 5, 5, dtype=np.float64))))
    assert calls == [None, None]
