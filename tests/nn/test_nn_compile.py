"""Module.compile(): the same bits as without it, whatever happens between the calls."""

import copy
import gc
import pickle
import re
import sys
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
import tinygrad_ft as tg
from kernels import buffers, workers
from tinygrad_ft import models, nn, optim, random
from tinygrad_ft.autograd import detect_anomaly
from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn.compiled import CompileWarning
from tinygrad_ft.observe import Observer, observing
from tinygrad_ft.ops.conv import Conv2d
from tinygrad_ft.ops.fusion import set_fusion


@pytest.fixture(autouse=True)
def as_before():
    threads = kernels.get_num_threads()
    yield
    kernels.set_num_threads(threads)
    kernels.set_winograd(True)
    set_fusion(True)


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + x)


def small(channels=8):
    """A small residual network."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        Block(channels),
        nn.Conv2d(channels, 17, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(17),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(17, 5),
    )


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 12), nn.Linear(12, 12)
        self.second.weight = self.first.weight
        self.last = nn.Linear(12, 5)

    def forward(self, x):
        return self.last(F.relu(self.second(F.relu(self.first(x)))))


IMAGES = (6, 3, 16, 16)
NETWORKS = {
    "residual": (small, IMAGES),
    "wide": (lambda: small(64), (16, 3, 16, 16)),  # arrays that are the pool's
    "resnet20": (lambda: models.create_model("resnet20", num_classes=5), (4, 3, 32, 32)),
    "resnet18": (lambda: models.create_model("resnet18", num_classes=5), (2, 3, 64, 64)),
    "mlp": (lambda: nn.Sequential(nn.Linear(12, 30), nn.ReLU(), nn.Linear(30, 5)), (6, 12)),
    "many features": (
        lambda: nn.Sequential(nn.Linear(12, 300), nn.ReLU(), nn.Linear(300, 5)),
        (6, 12),
    ),
    "norm of vectors": (
        lambda: nn.Sequential(nn.Linear(12, 30), nn.BatchNorm1d(30), nn.ReLU(), nn.Linear(30, 5)),
        (6, 12),
    ),
    "dropout": (
        lambda: nn.Sequential(
            nn.Linear(12, 30), nn.ReLU(), nn.Dropout(0.3), nn.Linear(30, 5), nn.Dropout(0.1)
        ),
        (6, 12),
    ),
    "tied": (Tied, (6, 12)),
    "biases, pools and vectors": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 17, 3, stride=2),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(17, 16, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 9, 5),
        ),
        (6, 3, 28, 28),
    ),
    "groups and dilation": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 20, 1, bias=False),
            nn.Conv2d(20, 5, 3, dilation=2, bias=False),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        ),
        IMAGES,
    ),
}


class Twins:
    """Two networks with the same weights, one of them compiled, that are trained side by side."""

    def __init__(self, make, **options):
        self.models, self.optimizers = [], []
        for is_compiled in (False, True):
            tg.manual_seed(1)
            model = make()
            if is_compiled:
                model.compile(**options)
            self.models.append(model)
            learned = [p for p in model.parameters() if p.requires_grad]
            self.optimizers.append(optim.SGD(learned, lr=0.05, momentum=0.9))
        self.draws = [random.get_rng_state()] * 2

    def both(self, deed):
        """What a deed gives for each; random numbers as if there was no other."""
        results = []
        for i, model in enumerate(self.models):
            random.set_rng_state(self.draws[i])
            results.append(deed(model, self.optimizers[i]))
            self.draws[i] = random.get_rng_state()
        return results

    def step(self, x, y, x_grad=False, zero=True):
        def deed(model, optimizer):
            images = tg.tensor(x, requires_grad=x_grad)
            loss = F.cross_entropy(model(images), tg.tensor(y))
            if zero:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item(), None if images.grad is None else images.grad.numpy()

        (loss, x_grad_), (loss_, x_grad__) = self.both(deed)
        assert loss == loss_
        np.testing.assert_array_equal(x_grad_, x_grad__)
        self.compare()

    def compare(self):
        plain, compiled = (m.state_dict() for m in self.models)
        assert list(plain) == list(compiled)
        for name in plain:
            np.testing.assert_array_equal(compiled[name].numpy(), plain[name].numpy(), name)
        for p, q in zip(*(m.parameters() for m in self.models), strict=True):
            assert (p.grad is None) == (q.grad is None)
            if p.grad is not None:
                np.testing.assert_array_equal(q.grad.numpy(), p.grad.numpy())

    @property
    def graph(self):
        return self.models[1]._compiled._graph

    @property
    def is_repeated(self):
        return self.graph is not None and self.graph.ready


def batch(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(np.float32), rng.integers(0, 5, shape[0])


def count_forwards(monkeypatch):
    """A list that grows with each convolution that Python runs."""
    seen = []
    before = Conv2d.forward
    monkeypatch.setattr(
        Conv2d, "forward", lambda self, *a, **k: (seen.append(1), before(self, *a, **k))[1]
    )
    return seen


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_training_has_the_same_bits(name, threads):
    make, shape = NETWORKS[name]
    kernels.set_num_threads(threads)
    twins = Twins(make, fullgraph=True)
    for i in range(5):
        twins.step(*batch(shape, i))
        assert twins.is_repeated == (i > 0)
    for i in range(4):  # another kind of call
        twins.step(*batch(shape, i), x_grad=True)
    assert twins.is_repeated


@pytest.mark.parametrize("switch", ["fusion", "winograd"])
@pytest.mark.filterwarnings("ignore::tinygrad_ft.nn.compiled.CompileWarning")
def test_the_same_bits_with_fusion_or_winograd_off_and_on_again(switch):
    set_switch = {"fusion": set_fusion, "winograd": kernels.set_winograd}[switch]
    twins = Twins(lambda: small(64))
    for enabled in (False, True):
        set_switch(enabled)
        for i in range(4):
            twins.step(*batch((16, 3, 16, 16), i))
    assert twins.is_repeated


def test_from_the_third_call_on_no_python_runs_between_the_kernels(monkeypatch):
    twins = Twins(small)
    forwards = count_forwards(monkeypatch)
    found = []
    for i in range(4):
        forwards.clear()
        twins.step(*batch(IMAGES, i))
        found.append(len(forwards))
    assert found == [8, 8, 4, 4]  # four convolutions in each network


def freeze_part(model):
    nn.freeze(model[0])
    nn.freeze(model[1])


def thaw(model):
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.frozen = False
    model.requires_grad_(True)


def new_layer(model):
    tg.manual_seed(3)
    model[9] = nn.Linear(17, 5)


def other_layout(model):
    weight = model[0].weight
    weight.data = np.asfortranarray(weight.data)


def scaled_copy(model):
    weight = model[3].conv1.weight
    weight.data = weight.data * np.float32(0.5)


def change_in_place(model):
    with tg.no_grad():
        model[3].bn1.running_mean.mul_(0.5)
        model[0].weight.mul_(0.9)


CHANGES = {
    "momentum": lambda m: setattr(m[1], "momentum", 0.3 if m[1].momentum == 0.1 else 0.1),
    "freeze": freeze_part,
    "thaw": thaw,
    "requires_grad": lambda m: m[3].conv1.weight.requires_grad_(
        not m[3].conv1.weight.requires_grad
    ),
    "eval and back": lambda m: m.eval() and m.train(),
    "new layer": new_layer,
    "other layout": other_layout,
    "new data": scaled_copy,
    "in place": change_in_place,
    "stride": lambda m: setattr(m[4], "stride", 1 if m[4].stride != 1 else 2),
    "pop and append": lambda m: m.append(m.pop()),
    "zero_grad of the module": lambda m: m.zero_grad(),
    "load": lambda m: m.load_state_dict(copy.deepcopy(m.state_dict())),
}
ACTIONS = [
    *[("step", size) for size in (4, 6)] * 3,
    *[(kind, 4) for kind in ("input", "add up", "forget", "twice", "no_grad", "threads")],
    *[("change", name) for name in CHANGES],
]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(ACTIONS), min_size=4, max_size=14))
def test_whatever_happens_between_the_calls_the_bits_are_the_same(actions):
    kernels.set_num_threads(2)
    twins = Twins(small)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompileWarning)
        for seed, (kind, value) in enumerate(actions):
            if kind == "change":
                twins.both(lambda model, _, value=value: CHANGES[value](model))
            elif kind == "threads":
                kernels.set_num_threads(5 - kernels.get_num_threads())
            else:
                x, y = batch((value, *IMAGES[1:]), seed)
                act(twins, kind, x, y)
            twins.compare()


def act(twins, kind, x, y):
    """Something that a training loop may do."""
    if kind in ("step", "input", "add up"):
        for _ in range(2 if kind == "step" else 3):
            twins.step(x, y, x_grad=kind == "input", zero=kind != "add up")
        return

    def deed(model, _):
        scores = model(tg.tensor(x))
        if kind == "forget":
            return scores.numpy().copy()
        if kind == "twice":  # the second forward comes before the first backward
            other = model(tg.tensor(x[::-1].copy()))
            F.cross_entropy(scores, tg.tensor(y)).backward()
            F.cross_entropy(other, tg.tensor(y)).backward()
            return scores.numpy().copy()
        with tg.no_grad():
            return model(tg.tensor(x)).numpy().copy()

    plain, compiled = twins.both(deed)
    np.testing.assert_array_equal(compiled, plain)


@pytest.mark.parametrize("channels", [8, 64])  # small arrays, and the pool's
def test_what_was_given_away_is_never_overwritten(channels):
    model = small(channels)
    model.compile(fullgraph=True)
    kept = []
    for i in range(5):
        x, y = batch((16, 3, 16, 16), i)
        images = tg.tensor(x, requires_grad=True)
        scores = model(images)
        model.zero_grad()
        F.cross_entropy(scores, tg.tensor(y)).backward()
        arrays = [scores.data, images.grad.data, *[p.grad.data for p in model.parameters()]]
        kept += [(array, array.copy()) for array in arrays]
    for array, copied in kept:
        np.testing.assert_array_equal(array, copied)


def test_nor_are_large_results_of_the_call_that_was_recorded():
    """Gradients of weights lie where activations were, which the program writes in each run."""
    body = nn.Sequential(*[part for _ in range(4) for part in (nn.Linear(256, 256), nn.ReLU())])
    body.compile(fullgraph=True)
    kept = []
    for i in range(4):
        x = tg.tensor(batch((256, 256), i)[0], requires_grad=True)
        out = body(x)
        body.zero_grad()
        (out * out).sum().backward()
        arrays = [out.data, x.grad.data, *[p.grad.data for p in body.parameters()]]
        kept += [(array, array.copy()) for array in arrays]
    assert body._compiled._graph.ready
    for array, copied in kept:
        np.testing.assert_array_equal(array, copied)


def test_two_forwards_before_the_first_backward():
    twins = Twins(small, fullgraph=True)
    for i in range(3):
        twins.step(*batch(IMAGES, i))
    assert twins.is_repeated

    def deed(model, _):
        losses = [
            F.cross_entropy(model(tg.tensor(x)), tg.tensor(y))
            for x, y in (batch(IMAGES, i) for i in (5, 6))
        ]
        for loss in losses:
            loss.backward()

    twins.both(deed)
    twins.compare()


@pytest.mark.parametrize("first", [True, False])
def test_a_parameter_that_requires_grad_no_more_or_again(first):
    twins = Twins(small, fullgraph=True)
    for requires_grad in (first, not first, first):
        for model in twins.models:
            model[3].conv1.weight.requires_grad_(requires_grad)
        for i in range(3):
            twins.step(*batch(IMAGES, i))
    assert twins.is_repeated


def test_changes_of_buffers_are_counted():
    twins = Twins(small, fullgraph=True)
    for i in range(4):
        twins.step(*batch(IMAGES, i))
    plain, compiled = ([b._version.count for b in m.buffers()] for m in twins.models)
    assert plain == compiled
    assert set(plain) == {4}


class Several(nn.Module):
    """Two arguments, two results, one of which the backward reads."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 30), nn.Linear(12, 30)

    def forward(self, a, b):
        return F.relu(self.first(a)), F.relu(self.second(b))


def test_several_arguments_and_results():
    rng = np.random.default_rng(0)
    twins = Twins(Several, fullgraph=True)
    for i in range(6):
        a, b = rng.standard_normal((2, 6, 12)).astype(np.float32)

        def deed(model, optimizer, a=a, b=b, i=i):
            x, y = tg.tensor(a, requires_grad=True), tg.tensor(b)
            first, second = model(x, y)
            optimizer.zero_grad()
            # in some steps nothing depends on one of the results
            loss = first.sum() if i % 2 else (first * second).sum()
            loss.backward()
            return loss.item(), x.grad.numpy()

        (loss, grad), (loss_, grad_) = twins.both(deed)
        assert loss == loss_
        np.testing.assert_array_equal(grad, grad_)
        plain, compiled = (list(m.parameters()) for m in twins.models)
        for p, q in zip(plain, compiled, strict=True):
            # where nothing depends on a parameter, a compiled module gives zeros
            wanted = np.zeros(p.shape, np.float32) if p.grad is None else p.grad.numpy()
            np.testing.assert_array_equal(q.grad.numpy(), wanted)
    assert twins.is_repeated


def test_the_same_argument_twice_is_not_taken_for_two():
    twins = Twins(Several)
    rng = np.random.default_rng(0)
    with pytest.warns(CompileWarning, match="overlap"):
        check_several(twins, rng)


def check_several(twins, rng):
    """Steps in which both arguments are one tensor, and then two."""
    for i in range(6):
        a, b = rng.standard_normal((2, 6, 12)).astype(np.float32)

        def deed(model, _, a=a, b=b, i=i):
            x = tg.tensor(a)
            first, second = model(x, x if i < 3 else tg.tensor(b))
            (first * second).sum().backward()
            return first.numpy().copy(), second.numpy().copy()

        for got, wanted in zip(*twins.both(deed), strict=True):
            np.testing.assert_array_equal(got, wanted)
        twins.compare()


def trained(model, steps=3, **kwargs):
    """The last loss, not yet walked back."""
    for i in range(steps):
        x, y = batch(IMAGES, i)
        loss = F.cross_entropy(model(tg.tensor(x)), tg.tensor(y))
        if i < steps - 1:
            loss.backward(**kwargs)
    return loss


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
        r"without a kernel in Gelu, test_nn_compile.py:\d+",
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


def test_a_setting_that_is_set_again_to_the_same_value_is_no_change():
    model = small()
    model[1].levels = (1, (2.0, "a"), None)
    model.compile(fullgraph=True)
    trained(model, 4).backward()
    graph = model._compiled._graph
    model[1].eps, model[1].levels, model.training = 0.00001, (1, (2.0, "a"), None), True
    trained(model, 2).backward()
    assert model._compiled._graph is graph
    model[1].levels = (1, (2.0, "b"), None)
    trained(model, 4).backward()
    assert model._compiled._graph is not graph


def test_copies_and_pickles_start_anew():
    model = small()
    model.compile()
    trained(model).backward()
    names = list(model.state_dict())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other._compiled is not None
        assert other._compiled._graph is None
        assert list(other.state_dict()) == names
        assert trained(other, 4).item() == trained(copy.deepcopy(model), 4).item()


def test_memory_is_kept_between_steps_and_given_back():
    model = small(64)
    model.compile(fullgraph=True)
    shape = (32, 3, 16, 16)

    def train(steps):
        for i in range(steps):
            x, y = batch(shape, i)
            model.zero_grad()
            F.cross_entropy(model(tg.tensor(x)), tg.tensor(y)).backward()

    train(3)
    held = model._compiled._graph._reserve.bytes()
    assert held > 2**20
    unused = buffers.pool_info()["unused_bytes"]
    train(20)
    assert model._compiled._graph._reserve.bytes() == held
    assert buffers.pool_info()["unused_bytes"] == unused
    train_other = batch((8, 3, 16, 16))
    for _ in range(3):  # another batch size takes the place of the first
        F.cross_entropy(model(tg.tensor(train_other[0])), tg.tensor(train_other[1])).backward()
    assert model._compiled._graph._reserve.bytes() < held
    model.compile(disable=True)
    gc.collect()
    assert buffers.pool_info()["unused_bytes"] >= unused


def test_a_forward_without_a_backward_is_no_recording():
    model = small()
    model.compile(fullgraph=True)
    x, y = batch(IMAGES)
    for _ in range(5):
        model(tg.tensor(x))
        assert model._compiled._graph is None or not model._compiled._graph.ready
    for _ in range(4):
        F.cross_entropy(model(tg.tensor(x)), tg.tensor(y)).backward()
    assert model._compiled._graph.ready


def test_a_compiled_part_of_a_network():
    def make(is_compiled):
        tg.manual_seed(0)
        model = small()
        if is_compiled:
            model[3].compile(fullgraph=True)
        return model

    plain, compiled = make(False), make(True)
    for i in range(5):
        losses = []
        for model in (plain, compiled):
            x, y = batch(IMAGES, i)
            loss = F.cross_entropy(model(tg.tensor(x)), tg.tensor(y))
            model.zero_grad()
            loss.backward()
            losses.append(loss.item())
        assert losses[0] == losses[1]
        for p, q in zip(plain.parameters(), compiled.parameters(), strict=True):
            np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())
    assert compiled[3]._compiled._graph.ready


def losses_of(model, steps):
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for i in range(steps):
        x, y = batch(IMAGES, i)
        loss = F.cross_entropy(model(tg.tensor(x)), tg.tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def compiled_copies(count):
    tg.manual_seed(0)
    model = small()
    copies = [copy.deepcopy(model) for _ in range(count)]
    for other in copies:
        other.compile(fullgraph=True)
    return model, copies


def test_several_threads_train_compiled_networks_at_the_same_time():
    kernels.set_num_threads(2)
    model, copies = compiled_copies(3)
    found = [[] for _ in copies]
    threads = [
        threading.Thread(target=lambda m=m, f=f: f.extend(losses_of(m, 30)))
        for m, f in zip(copies, found, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = losses_of(model, 30)
    assert all(losses == expected for losses in found)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_another_threads_kernels_put_a_recording_off(where, monkeypatch):
    kernels.set_num_threads(2)
    model, (compiled,) = compiled_copies(1)
    expected = losses_of(model, 6)
    busy = [True]

    def begin_if_free():
        return not busy and workers.begin()

    module = sys.modules["tinygrad_ft.nn.compiled" if where == "forward" else "kernels.recording"]
    optimizer = optim.SGD(compiled.parameters(), lr=0.05, momentum=0.9)
    for i in range(6):
        x, y = batch(IMAGES, i)
        scores = compiled(tg.tensor(x))
        loss = F.cross_entropy(scores, tg.tensor(y))
        optimizer.zero_grad()
        with monkeypatch.context() as patch:
            if where == "backward" and i == 1:
                patch.setattr(module, "begin", begin_if_free)
            loss.backward()
        optimizer.step()
        assert loss.item() == expected[i]
        if where == "forward":
            monkeypatch.setattr(module, "begin", begin_if_free)
            if i == 2:
                busy.clear()
        graph = compiled._compiled._graph
        assert (graph is not None and graph.ready) == (i >= {"forward": 3, "backward": 3}[where])
