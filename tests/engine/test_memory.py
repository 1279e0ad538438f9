"""Deep graphs, and memory that stays flat: nothing waits for the cycle collector."""

import gc
import subprocess
import sys
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F


@pytest.fixture(autouse=True)
def no_collector():
    gc.disable()
    yield
    gc.enable()


def chain(x: tg.Tensor, length: int) -> tg.Tensor:
    for _ in range(length):
        x = x * 1.0
    return x


def test_ten_thousand_ops_in_a_chain() -> None:
    x = tg.ones(3, requires_grad=True)
    middle = chain(x, 5_000)
    first, nodes = weakref.ref(middle.grad_fn), weakref.ref(middle)
    y = chain(middle, 5_000).sum()
    del middle
    assert nodes() is None, "a result that no one uses is kept"
    y.backward()
    assert x.grad.tolist() == [1, 1, 1]
    assert first() is not None  # y still holds the graph
    del y
    assert first() is None


def test_a_deep_graph_is_dropped_without_recursion() -> None:
    """In a process of its own: a stack overflow would end it."""
    program = """
import tinygrad_ft as tg
x = tg.ones(1, requires_grad=True)
y = x
for _ in range(100_000):
    y = y * 1.0
del y
for run in (lambda y: y.backward(), lambda y: tg.autograd.grad(y, x)):
    y = x
    for _ in range(20_000):
        y = y * 1.0
    run(y)
    del y
print("done")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"


def test_the_second_order_of_a_long_chain() -> None:
    x = tg.tensor(1.0, requires_grad=True)
    y = chain(x * x, 1_000)
    (slope,) = tg.autograd.grad(y, x, create_graph=True)
    (curvature,) = tg.autograd.grad(slope, x)
    assert curvature.item() == 2


def net() -> tuple[list[tg.Tensor], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(8, 6), (8,), (3, 8), (3,)]
    weights = [tg.Tensor(rng.standard_normal(s) * 0.3, requires_grad=True) for s in shapes]
    x = rng.standard_normal((16, 6))
    return weights, x, (x[:, 0] > 0) * 1 + (x[:, 1] > 0)


def step(weights: list[tg.Tensor], x: np.ndarray, labels: np.ndarray) -> float:
    w1, b1, w2, b2 = weights
    loss = F.cross_entropy(F.linear(F.linear(tg.from_numpy(x), w1, b1).relu(), w2, b2), labels)
    loss.backward()
    with tg.no_grad():
        for w in weights:
            w -= 0.5 * w.grad
            w.grad = None
    return loss.item()


def test_memory_is_flat_over_a_thousand_steps() -> None:
    weights, x, labels = net()
    tracemalloc.start()
    try:
        # Python's own lists of free objects fill up at first
        losses = [step(weights, x, labels) for _ in range(300)]
        objects = len(gc.get_objects())
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(700):
            losses[-1] = step(weights, x, labels)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert losses[-1] < 0.2 * losses[0], "it does not learn"
    # less than one small object a step; a leaked tensor would be 150 bytes or more
    assert after - before < 70 * 700
    assert peak - before < 100_000
    assert abs(len(gc.get_objects()) - objects) < 50


def test_activations_are_freed_while_backward_walks() -> None:
    """Of 30 layers of 1 MB each, only a few are alive at a time in the backward pass."""
    x = tg.Tensor(np.zeros(131_072), requires_grad=True)
    tracemalloc.start()
    try:
        y = x
        for _ in range(30):
            y = y.exp()
        loss = y.sum()
        del y
        graph = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        loss.backward()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    megabyte = 1 << 20
    assert graph > 29 * megabyte
    assert after < 4 * megabyte
    assert peak < graph + 6 * megabyte


def test_a_loss_that_is_kept_does_not_keep_its_activations() -> None:
    weights = tg.ones(3, requires_grad=True)
    hidden = (weights * 2).exp()
    kept = weakref.ref(hidden.data)
    loss = hidden.sum()
    del hidden
    assert kept() is not None
    loss.backward()
    assert kept() is None
    assert loss.item() > 0


def test_accumulating_a_loss_as_number_keeps_no_graph() -> None:
    x = tg.ones(2, requires_grad=True)
    nodes, total = [], 0.0
    for _ in range(3):
        loss = (x * x).sum()
        nodes.append(weakref.ref(loss.grad_fn))
        total += loss.item()
    del loss
    assert total == 6
    assert [n() for n in nodes] == [None] * 3
