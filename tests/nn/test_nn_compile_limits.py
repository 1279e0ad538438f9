"""Module.compile(): what it refuses, what it does not record, and what it says then."""

import re
import warnings

import numpy as np
import pytest
from compile_twins import IMAGES, Several, Twins, batch, small, trained

import tinygrad_ft as tg
from tinygrad_ft import nn
from tinygrad_ft.autograd import detect_anomaly
from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn.compiled import CompileWarning
from tinygrad_ft.observe import Observer, observing


@pytest.mark.parametrize("steps", [2, 3])  # the call that is recorded, and one that is repeated
def test_a_second_backward_and_higher_derivatives_are_refused(steps):
    model = small()
    model.compile()
    loss = trained(model, steps)
    with pytest.raises(RuntimeError, match=r"create_graph=True .* Sequential.compile\(disable"):
        tg.autograd.grad(loss, list(model.parameters()), create_graph=True)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"second backward .* Sequential.compile\(disable"):
        loss.backward()
    model.compile(disable=True)
    loss = trained(model, 3)
    grads = tg.autograd.grad(loss, [model[9].weight], create_graph=True)
    grads[0].sum().backward()


def test_changes_in_place_before_the_backward_are_noticed():
    model = small()
    model.compile(fullgraph=True)
    loss = trained(model)
    with tg.no_grad():
        model[3].conv1.weight.add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()
    # a bias is not needed for the gradient
    loss = trained(model, 1)
    with tg.no_grad():
        model[9].bias.add_(1)
    loss.backward()

    several = Several()
    several.compile(fullgraph=True)
    ones = [tg.tensor(np.ones((6, 12), np.float32)) for _ in range(2)]
    for i in range(3):
        first, second = several(*ones)
        total = first.sum() + second.sum()
        if i < 2:
            total.backward()
    with tg.no_grad():
        first.add_(1)
    total.backward()  # not read either: relu keeps where it was passed


def test_who_looks_into_a_module_sees_its_ops():
    model = small()
    model.compile(fullgraph=True)
    trained(model).backward()
    x = tg.tensor(batch(IMAGES)[0])

    class Names(Observer):
        def __init__(self):
            self.names = []

        def ran(self, node, inputs, params, outputs):
            self.names.append(node.name)

    with observing(Names()) as names:
        model(x)
    assert names.names.count("Conv2d") == 4
    with detect_anomaly():
        assert "Compiled" not in repr(model(x))
    assert "CompiledSequential" in repr(model(x))
    seen = []
    handle = model[3].register_forward_hook(lambda module, args, out: seen.append(out.shape))
    for _ in range(3):
        model(x)
    assert len(seen) == 3
    handle.remove()
    model.register_forward_hook(lambda module, args, out: out * 2)  # its own is no matter
    assert trained(model, 4).item() > 0
    assert model._compiled._graph.ready


@pytest.mark.parametrize("recordable", [True, False])
def test_hooks_of_parameters_and_arguments_are_called_once_with_whole_gradients(recordable):
    twins = Twins(small if recordable else lambda: small().append(nn.GELU()))
    seen = []
    for model in twins.models:
        for parameter in (model[0].weight, model[9].bias):
            seen.append(calls := [])
            parameter.register_hook(lambda g, calls=calls: calls.append(g.numpy().copy()))
        model[3].conv1.weight.register_hook(lambda g: g * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompileWarning)
        for i in range(4):
            twins.step(*batch(IMAGES, i))
    assert [len(calls) for calls in seen] == [4] * 4
    np.testing.assert_array_equal(seen[0], seen[2])
    np.testing.assert_array_equal(seen[1], seen[3])
    assert twins.is_repeated == recordable


UNFIT = {
    "no kernel": (
        lambda: nn.Sequential(nn.Linear(12, 30), nn.GELU(), nn.Linear(30, 5)),
        r"without a kernel in Gelu, test_nn_compile_limits.py:\d+",
    ),
}


def forward_of(function):
    class Unfit(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(12, 5)
            self.calls = 0

        def forward(self, x):
            return function(self, x)

    return Unfit


def counting(self, x):
    self.calls += 1
    return self.layer(x)


def remembering(self, x):
    if not hasattr(self, "features"):
        self.features = []
    out = self.layer(x)
    self.features = [out]
    return out


def pairing(self, x):
    self.pair = (x, x)
    return self.layer(x)


def hooking(self, x):
    out = self.layer(x)
    hidden = F.relu(out)
    hidden.register_hook(lambda grad: grad * 2)
    return self.layer(x) if hidden is None else hidden


def noisy(self, x):
    noise = tg.tensor(np.random.default_rng(int(self.calls)).random((6, 12), np.float32))
    return self.layer(noise) if x is None else self.layer(x.detach() * 1) + self.layer(noise)


def branching(self, x):
    return self.layer(x) if float(x.sum().item()) > 0 else F.relu(self.layer(x))


UNFIT |= {
    "attribute": (forward_of(counting), "sets attributes"),
    "attribute with a tensor": (forward_of(remembering), "sets attributes"),
    "tuple of tensors": (forward_of(pairing), "sets attributes"),
    "hook": (forward_of(hooking), "hook"),
    "given numbers": (forward_of(noisy), "made of given numbers|without a kernel"),
    "values": (forward_of(branching), "without a kernel"),
    "dict": (forward_of(lambda self, x: {"scores": self.layer(x)}), "neither a Tensor"),
    "tuple of one": (forward_of(lambda self, x: (self.layer(x),)), "tuple of several"),
    "no gradient": (forward_of(lambda self, x: self.layer(x).detach()), "does not require grad"),
    "view": (forward_of(lambda self, x: (self.layer(x), x)), "require grad|view"),
    "float64": (lambda: nn.Sequential(nn.Linear(12, 5)).double(), "without a kernel"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_recorded_runs_as_ever_and_says_why(name):
    make, reason = UNFIT[name]

    def play(model, _):
        results = []
        for i in range(5):
            x = tg.tensor(batch((6, 12), i)[0].astype(next(model.parameters()).dtype))
            out = model(x)
            out = out["scores"] if isinstance(out, dict) else out
            out = out[0] if isinstance(out, tuple) else out
            results.append(out.numpy().copy())
            if out.requires_grad:
                out.sum().backward()
        return results

    twins = Twins(make)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        plain, compiled = twins.both(play)
    np.testing.assert_array_equal(plain, compiled)
    twins.compare()
    assert not twins.is_repeated
    texts = [str(w.message) for w in said if w.category is CompileWarning]
    assert len(texts) == 1, texts
    assert re.search(reason, texts[0]), texts
    assert said[0].filename == __file__
    model = make()
    model.compile(fullgraph=True)
    with pytest.raises(RuntimeError, match=r"compile: \w+ cannot be recorded"):
        play(model, None)


def test_arguments_that_are_no_tensors_or_have_names_are_told_of_once():
    model = nn.Sequential(nn.Linear(12, 5))
    layer = model[0]
    layer.compile()
    x = tg.tensor(batch((6, 12))[0])
    with pytest.warns(CompileWarning, match="not just tensors, given by position"):
        layer(input=x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(input=x).sum().backward()
    layer.compile(fullgraph=True)
    with pytest.raises(RuntimeError, match="given by position"):
        layer(input=x)
    with tg.no_grad():
        layer(input=x)
