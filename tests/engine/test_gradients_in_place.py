"""A convolution adds its gradient to what another op has sent, and no user's array is touched."""

import numpy as np

import kernels
import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F


def block(x, w, weight, bias):
    """A residual block: x gets a gradient from the convolution and one from the shortcut."""
    return (
        F.batch_norm(F.conv2d(x, w, padding=1), None, None, weight, bias, training=True) + x
    ).relu()


def operands(dtype=np.float64):
    rng = np.random.default_rng(0)
    shapes = [(2, 3, 4, 4), (3, 3, 3, 3), (3,), (3,)]
    return [tg.Tensor(rng.normal(size=s).astype(dtype), requires_grad=True) for s in shapes]


def added(monkeypatch):
    """How often an input gradient was added in place."""
    seen = []
    real = kernels.conv2d_grad_input

    def counting(*arguments, accumulate=False, **options):
        seen.append(accumulate)
        return real(*arguments, accumulate=accumulate, **options)

    monkeypatch.setattr(kernels, "conv2d_grad_input", counting)
    return seen


def test_a_chain_of_blocks_adds_in_place_and_gets_the_same(monkeypatch):
    seen = added(monkeypatch)
    found = {}
    for fusion in (True, False):
        tg.set_fusion(fusion)
        try:
            inputs = operands()
            x = inputs[0] * 1
            block(block(x, *inputs[1:]), *inputs[1:]).sum().backward()
        finally:
            tg.set_fusion(True)
        found[fusion] = [t.grad.numpy() for t in inputs]
        if fusion:
            assert seen == [True, True]
    for fused, plain in zip(found[True], found[False], strict=True):
        np.testing.assert_allclose(fused, plain, rtol=1e-12, atol=1e-12)


def test_recorded_backwards_do_not(monkeypatch):
    seen = added(monkeypatch)
    inputs = operands()
    out = block(inputs[0] * 1, *inputs[1:]).sum()
    tg.autograd.grad(out, inputs, create_graph=True)
    assert seen == [False]
    assert tg.gradcheck(lambda *t: block(t[0] * 1, *t[1:]), operands(), order=2)


def test_hooks_and_retained_gradients_see_the_sum():
    inputs = operands()
    x = inputs[0] * 1
    x.retain_grad()
    seen = []
    x.register_hook(lambda g: seen.append(g.numpy().copy()))
    out = block(x, *inputs[1:]).sum()
    out.backward(retain_graph=True)
    first = x.grad.numpy().copy()
    np.testing.assert_array_equal(seen[0], first)
    np.testing.assert_array_equal(inputs[0].grad.numpy(), first)
    out.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * first, rtol=1e-12)
    np.testing.assert_array_equal(seen[1], first)


def test_the_gradient_that_a_user_passes_is_not_changed():
    inputs = operands()
    out = block(inputs[0] * 1, *inputs[1:])
    weight = tg.Tensor(np.ones(out.shape))
    out.backward(weight)
    np.testing.assert_array_equal(weight.numpy(), 1)


def test_a_strided_convolution_adds_to_what_a_padded_slice_has_sent(monkeypatch):
    """The shortcut of ResNet-20's second and third stage."""
    rng = np.random.default_rng(0)
    x = tg.Tensor(rng.normal(size=(2, 3, 4, 4)), requires_grad=True)
    w = tg.Tensor(rng.normal(size=(6, 3, 3, 3)))
    weight = tg.Tensor(rng.normal(size=(2, 6, 2, 2)))

    def parts():
        y = x * 1
        convolved = F.conv2d(y, w, stride=2, padding=1)
        return convolved, F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2))

    alone = [tg.autograd.grad((parts()[i] * weight).sum(), x)[0].numpy() for i in (0, 1)]
    seen = added(monkeypatch)
    (gradient,) = tg.autograd.grad((sum(parts()) * weight).sum(), x)
    assert seen == [True]
    np.testing.assert_allclose(gradient.numpy(), alone[0] + alone[1], rtol=1e-12, atol=1e-12)
