"""no_grad, enable_grad, set_grad_enabled: nesting, decorators, exceptions, threads."""

import threading

import pytest

import tinygrad_ft as tg

x = tg.ones(2, requires_grad=True)


def recording() -> bool:
    assert (x * 2).requires_grad == tg.is_grad_enabled()
    return tg.is_grad_enabled()


def test_nesting() -> None:
    assert recording()
    with tg.no_grad():
        assert not recording()
        with tg.enable_grad():
            assert recording()
            with tg.no_grad(), tg.no_grad():
                assert not recording()
            assert recording()
        assert not recording()
    assert recording()


def test_an_exception_restores_the_mode() -> None:
    with pytest.raises(KeyError), tg.no_grad():
        raise KeyError
    assert recording()


def test_decorators() -> None:
    @tg.no_grad()
    def evaluate(depth: int) -> bool:
        return recording() or (depth > 0 and evaluate(depth - 1))

    @tg.set_grad_enabled(False)
    def also() -> bool:
        return recording()

    assert recording()
    assert not evaluate(3)
    assert not also()
    assert recording()


def test_set_grad_enabled() -> None:
    with tg.set_grad_enabled(False):
        assert not recording()
        with tg.set_grad_enabled(True):
            assert recording()
        assert not recording()
    assert recording()
    tg.set_grad_enabled(False)
    try:
        assert not recording()
    finally:
        tg.set_grad_enabled(True)
    assert recording()


def test_one_context_used_twice() -> None:
    mode = tg.no_grad()
    with mode:
        with mode:
            assert not recording()
        assert not recording()
    assert recording()


def test_each_thread_has_its_own_mode() -> None:
    barrier, seen = threading.Barrier(2, timeout=10), {}

    @tg.no_grad()
    def silent() -> None:
        barrier.wait()
        seen["silent"] = recording()
        barrier.wait()

    def loud() -> None:
        barrier.wait()
        seen["loud"] = recording()
        barrier.wait()

    threads = [threading.Thread(target=f) for f in (silent, loud)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert seen == {"silent": False, "loud": True}
    assert recording()


def test_a_decorated_function_in_many_threads() -> None:
    barrier = threading.Barrier(4, timeout=10)
    after = []

    @tg.no_grad()
    def work() -> None:
        barrier.wait()

    def run(enabled: bool) -> None:
        with tg.set_grad_enabled(enabled):
            for _ in range(50):
                work()
                after.append(tg.is_grad_enabled() == enabled)

    threads = [threading.Thread(target=run, args=(i % 2 == 0,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(after) == 200
    assert all(after)


def test_nothing_is_recorded_under_no_grad() -> None:
    with tg.no_grad():
        y = x * 2
    assert y.is_leaf
    assert y.grad_fn is None
    with pytest.raises(RuntimeError, match="computed under no_grad"):
        y.sum().backward()


def test_backward_works_under_no_grad() -> None:
    w = tg.tensor(3.0, requires_grad=True)
    y = w * w
    with tg.no_grad():
        y.backward()
    assert w.grad.item() == 6


def test_backward_records_only_with_create_graph() -> None:
    modes = []

    class Spy(tg.autograd.Function):
        def forward(self, a):
            return a * 1.0

        def backward(self, grad_out):
            modes.append(tg.is_grad_enabled())
            return grad_out

    w = tg.tensor(3.0, requires_grad=True)
    Spy.apply(w).backward()
    with tg.no_grad():
        y = w
    tg.autograd.grad(Spy.apply(y), w, create_graph=True)
    assert modes == [False, True]
