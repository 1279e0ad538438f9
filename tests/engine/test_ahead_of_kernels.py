"""Python runs ahead of the kernels within a model's call and a backward; nobody notices."""

import threading

import numpy as np
import pytest

import kernels
import tinygrad_ft as tg
from kernels import get_num_threads, set_num_threads, workers
from tinygrad_ft import nn
from tinygrad_ft.deferred import Deferred
from tinygrad_ft.models import resnet20


@pytest.fixture(autouse=True)
def two_threads():
    before = get_num_threads()
    set_num_threads(2)
    yield
    kernels.set_joining(True)
    set_num_threads(before)
    assert not workers.ahead.pending


def images(n=8, seed=0):
    rng = np.random.default_rng(seed)
    return tg.tensor(rng.standard_normal((n, 3, 32, 32)).astype(np.float32))


def train(steps=3):
    """Losses, parameters and running statistics of some training steps, as bytes."""
    tg.manual_seed(0)
    model = resnet20(num_classes=10)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images(16, step)), tg.tensor(np.arange(16) % 10))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, {name: t.numpy().tobytes() for name, t in model.state_dict().items()}


def test_the_bits_of_a_training_are_the_same(monkeypatch):
    jobs = []
    for module in ("launch_plan", "workers"):
        monkeypatch.setattr(
            f"kernels.{module}.publish_ahead",
            lambda *given, original=workers.publish_ahead: jobs.append(1) or original(*given),
        )
    ahead = train()
    joined = len(jobs)
    assert joined > 200
    kernels.set_joining(False)
    try:
        assert ahead == train()
        assert len(jobs) - joined > joined + 3 * 40  # in each step more launches
        monkeypatch.setattr("kernels.parallel.put_off", lambda *given: False)
        assert ahead == train()
    finally:
        kernels.set_joining(True)


class Added(Deferred):
    """x + 1, computed by a kernel that may be put off, when somebody asks."""

    def __init__(self, x):
        super().__init__(x.shape, x.dtype, (tg.Tensor(x),))
        self.x = x

    __slots__ = ("x",)

    def compute(self):
        kernels.accumulate(self.x, np.ones_like(self.x))
        return tg.Tensor._wrap(self.x)


def test_values_that_are_computed_on_demand_are_there_when_they_are_read():
    later = Added(np.zeros(1 << 16, np.float32))
    with workers.run_ahead(), workers.allowing(True):
        values = later._data
        assert not workers.ahead.pending
        assert (values == 1).all()


class Looking(nn.Module):
    """Looks at values in the middle of its forward, in every way there is."""

    def __init__(self, look):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.look, self.seen = look, None

    def forward(self, x):
        y = nn.functional.relu(self.norm(self.first(x)))
        y = self.second(y)
        self.seen = self.look(self, y)
        return y


LOOKS = {
    "numpy": lambda m, y: y.detach().numpy().sum(),
    "data": lambda m, y: y.data.sum(),
    "item": lambda m, y: y.sum().item(),
    "asarray": lambda m, y: np.asarray(y.detach()).sum(),
    "tolist": lambda m, y: np.sum(y.tolist(), dtype=np.float32),
    "op": lambda m, y: (y * 2).sum().item(),
    "index": lambda m, y: y[0, 3, 4, 5].item(),
    "view": lambda m, y: y[1:, 2:].detach().numpy().sum(),
    "compare": lambda m, y: bool((y > 0).any()),
    "running mean": lambda m, y: m.norm.running_mean.numpy().sum(),
    "running mean's view": lambda m, y: m.norm.running_mean[2:5].numpy().sum(),
    "copy": lambda m, y: y.detach().clone().numpy().sum(),
    "double": lambda m, y: y.double().sum().item(),
    "in place": lambda m, y: y.detach().add_(1).numpy().sum(),
    "repr": lambda m, y: repr(y),
}


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("grad", [True, False])
def test_a_look_in_the_middle_sees_what_was_computed(name, grad, monkeypatch):
    def run():
        tg.manual_seed(0)
        model = Looking(LOOKS[name])
        with tg.set_grad_enabled(grad):
            out = model(images(32))
        return model.seen, out.numpy().tobytes()

    ahead = [run() for _ in range(3)]
    kernels.set_joining(False)
    monkeypatch.setattr("kernels.parallel.put_off", lambda *given: False)
    assert ahead == [run()] * 3


def test_hooks_and_gradients_of_results_see_what_was_computed(monkeypatch):
    def run():
        tg.manual_seed(0)
        seen = []
        model = Looking(lambda m, y: None)
        model.first.register_forward_hook(lambda m, given, out: seen.append(out.data.sum()))
        x = images(16)
        x.requires_grad_()
        x.register_hook(lambda g: seen.append(g.data.sum()))
        out = model(x)
        out.register_hook(lambda g: seen.append(g.data.sum()))
        (out * out).sum().backward()
        return seen, x.grad.numpy().tobytes(), model.first.weight.grad.numpy().tobytes()

    ahead = run()
    monkeypatch.setattr("kernels.parallel.put_off", lambda *given: False)
    assert ahead == run()


def test_an_error_in_forward_leaves_nothing_behind():
    def look(m, y):
        raise ZeroDivisionError

    model = Looking(look)
    with pytest.raises(ZeroDivisionError):
        model(images())
    assert workers.ahead.owner is None
    model.look = lambda m, y: None
    assert np.isfinite(model(images()).numpy()).all()


@pytest.mark.parametrize("look", [lambda t: t.numpy().sum(), lambda t: (t * 1).numpy().sum()])
def test_another_thread_that_is_handed_a_result_sees_what_was_computed(look):
    """As a logging thread would be, by a hook, while the model's call goes on."""
    found = []

    def show(module, y):
        thread = threading.Thread(target=lambda: found.append(look(y.detach())))
        thread.start()
        thread.join()

    model = Looking(show)
    with tg.no_grad():
        for seed in range(5):
            out = model(images(64, seed))
            assert found.pop() == look(out)
