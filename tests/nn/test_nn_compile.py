"""Module.compile(): the same bits as without it, whatever happens between the calls."""

import copy
import warnings

import numpy as np
import pytest
from compile_twins import IMAGES, Several, Tied, Twins, batch, small, trained
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
import tinygrad_ft as tg
from tinygrad_ft import models, nn
from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn.compiled import CompileWarning
from tinygrad_ft.ops.conv import Conv2d
from tinygrad_ft.ops.fusion import set_fusion

pytestmark = pytest.mark.usefixtures("switches_as_before")


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
