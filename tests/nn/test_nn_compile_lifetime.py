"""Module.compile(): copies, memory, and several threads."""

import copy
import gc
import pickle
import sys
import threading

import pytest
from compile_twins import IMAGES, batch, small, trained

import kernels
import tinygrad_ft as tg
from kernels import buffers, workers
from tinygrad_ft import optim
from tinygrad_ft.nn import functional as F

pytestmark = pytest.mark.usefixtures("switches_as_before")


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
