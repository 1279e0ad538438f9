"""Launches that wait for the next one: they are never lost, never done twice, and what is done
together has the bits of what is done one by one."""

import threading

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kernels
from kernels import get_num_threads, joining, set_joining, set_num_threads
from kernels.buffers import working_memory
from kernels.cache import kernel, registry
from kernels.joining import Pass, Waiting, exchange, hold, join, waiting_for
from kernels.launch_plan import HERE, LaunchPlan
from kernels.norm import NormGradient, batch_norm_backward_later, batch_norm_statistics
from kernels.parallel import launch
from kernels.simd import float64_at
from kernels.winograd_backward import conv2d_backward
from kernels.winograd_fused import Convolution
from kernels.workers import ahead, allowing, catch_up, run_ahead


@kernel()
def double_and_add(ints, floats, task, tasks):
    """x = 2 x + the number"""
    if task == 0:
        float64_at(ints[0])[0] = 2 * float64_at(ints[0])[0] + floats[0]


del registry[double_and_add.name]  # not one of the package's own


@pytest.fixture(autouse=True)
def two_threads():
    before = get_num_threads()
    set_num_threads(2)
    double_and_add.load()
    yield
    set_joining(True)
    set_num_threads(before)
    assert not ahead.pending
    assert ahead.waiting is None
    assert not ahead.letting_go.locked()
    assert ahead.owner is None


class Numbered(Waiting):
    """Writes x = 2 x + number; joined, x = 2 (2 x + number) + 100."""

    def __init__(self, x, number, joins=True):
        self.result, self.number, self.joins = x, number, joins

    def add(self, number):
        LaunchPlan(double_and_add, [HERE], (number,), 2).go(self.result)

    def publish(self):
        self.add(self.number)

    def go_with(self, kind, after):
        if self.joins:
            self.add(self.number)
            self.add(100.0)
        return self.joins


NOTHING = Pass((), [])


def then(x, number, **options):
    LaunchPlan(double_and_add, [HERE], (number,), 2).launch(x, **options)


def test_what_waits_goes_first():
    x, y = np.ones(1), np.ones(1)
    with run_ahead(), allowing(True):
        assert hold(Numbered(x, 1.0))
        assert ahead.pending  # so that a look at x waits
        then(y, 7.0, beside=True)
        assert waiting_for(x) is not None
        then(x, 5.0)
        assert ahead.waiting is None
    assert x[0] == 2 * (2 * 1 + 1) + 5
    assert y[0] == 9


@pytest.mark.parametrize(
    "how", ["catch_up", "launch", "another", "forbid", "threads", "leave", "thread", "error"]
)
def test_what_lets_it_go(how):
    x, y = np.ones(1), np.ones(1)

    def run():
        with run_ahead():
            with allowing(True):
                assert hold(Numbered(x, 1.0))
                if how == "catch_up":
                    catch_up()
                elif how == "launch":
                    launch(double_and_add, (y,), (0.0,))
                elif how == "another":
                    assert hold(Numbered(y, 1.0))
                    assert waiting_for(x) is None
                    catch_up()
                elif how == "forbid":
                    with allowing(False):
                        assert x[0] == 3
                elif how == "threads":
                    set_num_threads(3)
                elif how == "thread":
                    thread = threading.Thread(target=catch_up)
                    thread.start()
                    thread.join()
                elif how == "error":
                    raise ZeroDivisionError
            if how != "leave":
                assert x[0] == 3
        assert x[0] == 3

    if how == "error":
        with pytest.raises(ZeroDivisionError):
            run()
    else:
        run()
    assert x[0] == 3


def test_who_may_hold_back():
    x = np.ones(1)
    assert not hold(Numbered(x, 1.0))
    with run_ahead():
        assert not hold(Numbered(x, 1.0))  # not allowed
        with allowing(True):
            set_num_threads(1)
            assert not hold(Numbered(x, 1.0))
            set_num_threads(2)
            set_joining(False)
            assert not hold(Numbered(x, 1.0))
    assert x[0] == 1


def test_joining_is_for_the_array_and_the_thread_that_waits():
    x, found = np.ones(1), []
    with run_ahead(), allowing(True):
        assert hold(Numbered(x, 1.0))
        assert not join(x[:], "pass", NOTHING)  # the same memory, but who knows of how much
        thread = threading.Thread(target=lambda: found.append(join(x, "pass", NOTHING)))
        thread.start()
        thread.join()
        assert found == [False]
        assert join(x, "pass", NOTHING)
        assert not join(x, "pass", NOTHING)
    assert x[0] == 2 * 3 + 100
    with run_ahead(), allowing(True):
        assert hold(Numbered(x, 1.0, joins=False))
        assert not join(x, "pass", NOTHING)
        assert waiting_for(x) is not None
    assert x[0] == 213


def test_an_exchange_is_done_once():
    x = np.ones(1)
    with run_ahead(), allowing(True):
        first, second = Numbered(x, 1.0), Numbered(x, 10.0)
        assert hold(first)
        assert exchange(first, second)
        assert not exchange(first, second)
    assert x[0] == 12


def test_nobody_passes_a_launch_that_another_thread_lets_go():
    x, started, go_on, seen = np.ones(1), threading.Event(), threading.Event(), []

    class Slow(Numbered):
        def publish(self):
            started.set()
            go_on.wait(60)
            seen.append(working_memory())
            super().publish()

    with run_ahead(), allowing(True):
        assert hold(Slow(x, 1.0))
        other = threading.Thread(target=catch_up)
        other.start()
        started.wait(60)
        threading.Timer(0.05, go_on.set).start()
        then(x, 10.0)  # has to wait for the other thread
        mine = working_memory()
    other.join()
    assert x[0] == 2 * 3 + 10
    assert seen == [mine]  # on behalf of this one


def test_an_error_of_what_waits_leaves_nothing_undone():
    class Broken(Waiting):
        def publish(self):
            raise ZeroDivisionError("in go")

    x = np.ones(1)

    def run():
        with run_ahead(), allowing(True):
            then(x, 1.0)
            assert hold(Broken())
            then(x, 1.0)

    with pytest.raises(ZeroDivisionError, match="in go"):
        run()
    assert x[0] == 3
    with run_ahead(), allowing(True):  # and everything goes on
        then(x, 1.0)
    assert x[0] == 7


# ------------------------------------------------------------------------------------ batch norm


def images(rng, n, channels, height, width):
    array = rng.standard_normal((n, height, width, channels), np.float32)
    return array.transpose(0, 3, 1, 2)


class Chain:
    """What lies between two batch norms, forward and backward."""

    def __init__(self, n, inner, outer, height, width, residual, seed):
        rng = np.random.default_rng(seed)
        self.x, self.residual = images(rng, n, inner, height, width), None
        if residual:
            self.residual = images(rng, n, inner, height, width)
        self.w = rng.standard_normal((outer, inner, 3, 3), np.float32)
        self.scale, self.shift = rng.standard_normal((2, inner), np.float32)
        self.statistics = batch_norm_statistics(self.x)
        self.grad = images(rng, n, outer, height, width)
        self.factor = rng.standard_normal(outer, np.float32)

    def forward(self):
        """normalize -> convolution -> statistics"""
        outer = len(self.w)
        running = np.zeros(outer, np.float32), np.ones(outer, np.float32)
        out, passes = kernels.batch_norm_apply(
            *(self.x, self.scale, self.shift, self.statistics, 1e-5, self.residual),
            relu=True,
            keep_mask=self.residual is not None,
        )
        result = kernels.conv2d_forward(out, self.w, 1, 1)
        statistics = batch_norm_statistics(result, *running, 0.1)
        return [out, result, *statistics, *running] + ([] if passes is None else [passes])

    def backward(self):
        """gradients of the convolution -> sums of the batch norm before it"""
        y = kernels.conv2d_forward(self.x, self.w, 1, 1)
        behind = batch_norm_statistics(y)
        later, *_ = batch_norm_backward_later(
            self.grad, y, self.factor, behind.mean, behind.var, 1e-5
        )
        assert isinstance(later, NormGradient)
        grad_x = kernels.empty_nhwc(*self.x.shape, later=True)
        grad_w = conv2d_backward(later, self.x, self.w, grad_x)
        before = self.statistics
        sums = batch_norm_backward_later(
            *(grad_x, self.x, self.scale, before.mean, before.var, 1e-5),
            *((self.shift, before.cut_off), None),
        )
        catch_up()
        return [grad_x, grad_w, sums[0].array(), *sums[1:]]


def ran(function):
    with run_ahead(), allowing(True):
        arrays = function()
    return [array.copy() for array in arrays]


CHANNELS = st.sampled_from([16, 32, 48, 64])


@settings(max_examples=40)
@given(
    st.integers(1, 9),
    CHANNELS,
    CHANNELS,
    st.sampled_from([4, 7, 8, 12, 16, 32]),
    st.sampled_from([4, 8, 16, 32]),
    st.booleans(),
    st.integers(1, 3),
)
@example(4, 16, 16, 32, 32, True, 2)  # everything joins
@example(3, 32, 16, 16, 16, False, 2)  # tasks have other rows in the sums
@example(28, 16, 16, 12, 12, False, 2)  # units end within a block of rows
def test_bits_of_passes_that_join(n, inner, outer, height, width, residual, threads):
    set_num_threads(threads)
    chain = Chain(n, inner, outer, height, width, residual, seed=n + width)
    for work in (chain.forward, chain.backward):
        set_joining(True)
        found = ran(work)
        set_joining(False)
        for a, b in zip(found, ran(work), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("channels, size", [(16, 32), (32, 16), (64, 8)])
def test_they_do_join(channels, size, monkeypatch):
    kinds, firsts = [], []
    original = joining.join

    def counting(array, kind, after):
        waiting = waiting_for(array)
        done = original(array, kind, after)
        if done:
            kinds.append(kind)
            firsts.append(isinstance(waiting, Convolution) and waiting.first is not None)
        return done

    monkeypatch.setattr(joining, "join", counting)
    chain = Chain(32, channels, channels, size, size, True, 0)
    ran(chain.forward)
    ran(chain.backward)
    assert kinds == ["statistics", "gradient sums"]
    assert firsts == [True, False]
