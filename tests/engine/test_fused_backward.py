"""The gradient between a batch norm and the convolution before it is not made unless somebody wants
it; who wants it gets the same bits."""

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import autograd, nn
from tinygrad_ft.nn import functional as F
from tinygrad_ft.ops import fused_backward


@pytest.fixture(autouse=True)
def restore():
    yield
    tg.set_fusion(True)


class Net(nn.Module):
    """Two residual blocks as in a ResNet."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(16, 16, 3, padding=1, bias=False) for _ in range(4)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(16) for _ in range(4)])

    def forward(self, x, seen=None):
        for i in (0, 2):
            y = self.convs[i](x)
            if seen is not None:
                seen.append(y)
            out = F.relu(self.norms[i](y))
            y = self.convs[i + 1](out)
            if seen is not None:
                seen.append(y)
            x = F.relu(self.norms[i + 1](y) + x)
        return x


def build():
    tg.manual_seed(3)
    x = np.random.default_rng(0).standard_normal((4, 12, 12, 16), np.float32)
    return Net(), tg.Tensor(x.transpose(0, 3, 1, 2), requires_grad=True)


def gradients(net, x):
    return [x.grad.numpy(), *(p.grad.numpy() for p in net.parameters())]


@pytest.fixture
def joined(monkeypatch):
    """How often a convolution took a batch norm's gradient over."""
    calls = []
    kernel = fused_backward.conv2d_backward

    def counting(*arguments):
        calls.append(arguments)
        return kernel(*arguments)

    monkeypatch.setattr(fused_backward, "conv2d_backward", counting)
    return calls


def assert_same(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def plain():
    tg.set_fusion(False)
    net, x = build()
    (net(x) ** 2).sum().backward()
    tg.set_fusion(True)
    return gradients(net, x)


def test_every_convolution_takes_over_and_the_bits_are_the_same(joined):
    net, x = build()
    (net(x) ** 2).sum().backward()
    assert len(joined) == 4
    assert_same(gradients(net, x), plain())


def test_gradients_are_added_up_over_two_backwards(joined):
    net, x = build()
    for _ in range(2):
        (net(x) ** 2).sum().backward()
    assert len(joined) == 8
    tg.set_fusion(False)
    other, z = build()
    for _ in range(2):
        (other(z) ** 2).sum().backward()
    assert_same(gradients(net, x), gradients(other, z))


def test_hooks_see_the_gradient_in_between(joined):
    shown = {}
    for fusion in (True, False):
        tg.set_fusion(fusion)
        net, x = build()
        seen, shown[fusion] = [], []
        out = net(x, seen)
        for y in seen:
            y.register_hook(lambda g, to=shown[fusion]: to.append(g.numpy().copy()))
        (out**2).sum().backward()
        assert_same(gradients(net, x), plain())
    assert_same(shown[True], shown[False])
    assert len(shown[True]) == 4
    assert not joined


def test_retained_gradients_stay_what_they_were():
    kept = {}
    for fusion in (True, False):
        tg.set_fusion(fusion)
        net, x = build()
        seen = []
        out = net(x, seen)
        for y in (*seen, out):
            y.retain_grad()
        (out**2).sum().backward()
        kept[fusion] = [y.grad.numpy() for y in (*seen, out)]
    assert_same(kept[True], kept[False])


def test_the_gradient_given_to_backward_is_not_written_to():
    net, x = build()
    out = net(x)
    given = tg.Tensor(np.random.default_rng(1).standard_normal(out.shape).astype(np.float32))
    before = given.numpy().copy()
    out.backward(given)
    np.testing.assert_array_equal(given.numpy(), before)


def test_the_graph_may_be_walked_twice():
    net, x = build()
    loss = (net(x) ** 2).sum()
    first = autograd.grad(loss, [x, *net.parameters()], retain_graph=True)
    again = autograd.grad(loss, [x, *net.parameters()])
    assert_same([g.numpy() for g in first], [g.numpy() for g in again])
    assert_same([g.numpy() for g in first], plain())


def test_the_gradient_of_the_batch_norms_input_alone():
    for fusion in (True, False):
        tg.set_fusion(fusion)
        net, x = build()
        y = net.convs[0](x)
        out = F.relu(net.norms[0](y))
        (grad,) = autograd.grad((out * out).sum(), y)
        if fusion:
            wanted = grad.numpy().copy()
    np.testing.assert_array_equal(grad.numpy(), wanted)


def test_gradients_of_results_on_the_way_are_not_written_to():
    found = {}
    for fusion in (True, False):
        tg.set_fusion(fusion)
        net, x = build()
        middle = F.relu(net.norms[1](net.convs[1](x)) + x)
        out = F.relu(net.norms[3](net.convs[3](net.convs[2](middle))) + middle)
        seen = [x, middle, out]
        found[fusion] = [g.numpy() for g in autograd.grad((out**2).sum(), seen)]
    assert_same(found[True], found[False])


def test_a_gradient_that_a_hook_keeps_is_that_of_its_time(joined):
    kept = []
    net, x = build()
    y = net.convs[0](x)
    y.register_hook(lambda g: kept.append(g))
    F.relu(net.norms[0](y)).sum().backward()
    with tg.no_grad():
        net.norms[0].weight.mul_(3)
        net.norms[0].bias.add_(1)
    found = kept[0].numpy()
    tg.set_fusion(False)
    other, z = build()
    y = other.convs[0](z)
    y.retain_grad()
    F.relu(other.norms[0](y)).sum().backward()
    np.testing.assert_array_equal(found, y.grad.numpy())


def test_frozen_parts_take_the_ordinary_way(joined):
    for frozen in ("weight", "input"):
        net, x = build()
        if frozen == "weight":
            net.convs[0].weight.requires_grad_(False)
        else:
            x.requires_grad_(False)
        (net(x) ** 2).sum().backward()
        wanted = plain()[1:]
        found = [None if p.grad is None else p.grad.numpy() for p in net.parameters()]
        for a, b in zip(found, wanted, strict=True):
            if a is not None:
                np.testing.assert_array_equal(a, b)
    assert len(joined) == 6


def test_derivatives_of_derivatives_do_not_use_it(joined):
    net, x = build()
    (grad,) = autograd.grad((net(x) ** 2).sum(), x, create_graph=True)
    assert grad.requires_grad
    assert not joined


def test_changing_the_input_in_place_before_backward_is_still_refused():
    net, x = build()
    y = net.convs[0](x)
    out = F.relu(net.norms[0](y))
    with tg.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        out.sum().backward()
