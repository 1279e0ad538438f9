"""Kernels that are put off: the order they run in, the memory they use, who waits for them."""

import gc
import itertools
import os
import threading
import weakref

import numpy as np
import pytest

from kernels import buffers, get_num_threads, set_num_threads, workers
from kernels.cache import kernel, registry
from kernels.parallel import launch, share
from kernels.simd import float64_at
from kernels.workers import ahead, allowing, catch_up, run_ahead


@kernel()
def slow_add(ints, floats, task, tasks):
    """out[i] = a[i] + floats[0] for this task's share, after ints[3] rounds of idle work."""
    a, out = float64_at(ints[0]), float64_at(ints[1])
    waste = 0.0
    for i in range(ints[3]):
        waste = waste * 0.5 + i
    for i in range(share(ints[2], task, tasks), share(ints[2], task + 1, tasks)):
        out[i] = a[i] + floats[0] + (0.0 if waste >= 0 else 1.0)


del registry[slow_add.name]  # not one of the package's own
IDLE = 200_000  # some tenths of a millisecond


@pytest.fixture(autouse=True)
def two_threads():
    before = get_num_threads()
    set_num_threads(2)
    slow_add.load()
    yield
    set_num_threads(before)
    assert not ahead.pending
    assert ahead.owner is None
    assert not ahead.held


def add(a, out, value=1.0, idle=IDLE, tasks=None, later=True):
    launch(slow_add, (a, out, out.size, idle), (value,), tasks=tasks, later=later)


def test_put_off_kernels_run_in_the_order_of_their_launches():
    arrays = [np.zeros(100) for _ in range(3 * workers.JOBS)]  # more than can wait
    with run_ahead(), allowing(True):
        for tasks, (before, after) in enumerate(itertools.pairwise(arrays)):
            add(before, after, idle=1000, tasks=1 + tasks % 3)
            assert len(ahead.held) < workers.JOBS
    assert [int(a[0]) for a in arrays] == list(range(len(arrays)))
    assert all((a == a[0]).all() for a in arrays)


def test_who_is_not_asked_is_not_put_off():
    x, y = np.zeros(10), np.zeros(10)
    add(x, y)
    assert (y == 1).all()
    with run_ahead():  # not allowed
        add(x, y, 2.0)
        assert (y == 2).all()
        with allowing(True):
            set_num_threads(1)  # nobody to leave it to
            add(x, y, 3.0)
            assert (y == 3).all()
            set_num_threads(2)
            add(x, y, 4.0, later=False)
            assert (y == 4).all()


@pytest.mark.parametrize("how", ["catch_up", "launch", "one task", "forbid", "threads", "leave"])
def test_what_waits_for_put_off_kernels(how):
    x, y, z = np.zeros(10), np.zeros(10), np.zeros(10)
    with run_ahead():
        with allowing(True):
            add(x, y)
            assert ahead.pending
            if how == "catch_up":
                catch_up()
            elif how == "launch":
                add(y, z, later=False)
                assert (z == 2).all()
            elif how == "one task":
                add(y, z, tasks=1, later=False)
                assert (z == 2).all()
            elif how == "forbid":
                with allowing(False):
                    assert (y == 1).all()
                assert ahead.allowed
            elif how == "threads":
                set_num_threads(3)
        if how != "leave":
            assert not ahead.pending
    assert (y == 1).all()


def test_an_error_in_the_block_waits_too():
    x, y = np.zeros(10), np.zeros(10)

    def fail():
        with run_ahead(), allowing(True):
            add(x, y)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (y == 1).all()


def test_arrays_live_until_their_kernels_are_done():
    out = np.zeros(1000)
    given, kept = np.zeros(1000), np.zeros(3)
    seen = [weakref.ref(given), weakref.ref(kept)]
    with run_ahead(), allowing(True):
        launch(slow_add, (given, out, 1000, 20 * IDLE), (1.0,), later=True, keep=(kept,))
        del given, kept
        gc.collect()
        assert all(array() is not None for array in seen)
    assert all(array() is None for array in seen)
    assert (out == 1).all()


def test_reused_memory_goes_to_kernels_at_once_and_to_others_after_waiting():
    size = 100_000
    out = np.zeros(size)
    first = buffers.zeros(size, np.float64)
    place = first.ctypes.data
    with run_ahead(), allowing(True):
        add(first, out, idle=20 * IDLE)
        assert buffers.is_reused(first[3:].reshape(-1, 1))
        del first
        gc.collect()
        second = buffers.empty(size, np.float64, later=True)
        assert second.ctypes.data == place
        assert ahead.pending
        add(out, second)  # writes what the first kernel reads, but after it
        del second
        gc.collect()
        third = buffers.empty(size, np.float64)
        assert third.ctypes.data == place
        assert not ahead.pending
        third[...] = 7
    assert (out == 1).all()
    assert not buffers.is_reused(np.zeros(5)[1:])
    assert not buffers.is_reused(np.frombuffer(bytearray(80), np.float64))


def test_the_pool_gives_no_memory_back_to_the_system_that_a_kernel_still_reads():
    limit = buffers.pool_info()["limit_bytes"]
    out = np.zeros(100_000)
    try:
        buffers.set_pool_limit(0)
        with run_ahead(), allowing(True):
            add(buffers.zeros(100_000, np.float64), out, idle=20 * IDLE)
            gc.collect()
            assert buffers.pool_info()["unused_bytes"] > 0
            buffers.trim()
            assert not ahead.pending
            assert buffers.pool_info()["unused_bytes"] == 0
    finally:
        buffers.set_pool_limit(limit)
    assert (out == 1).all()


def test_another_thread_gets_other_memory():
    size = 100_000
    out, found = np.zeros(size), {}
    first = buffers.zeros(size, np.float64)
    place = first.ctypes.data

    def other():
        with run_ahead(), allowing(True):  # not for it
            mine = buffers.zeros(size, np.float64)
            found["place"] = mine.ctypes.data
            add(mine, mine, 5.0)
            found["sum"] = mine.sum()
            catch_up()
        found["pending"] = ahead.pending

    with run_ahead(), allowing(True):
        add(first, out, idle=200 * IDLE)
        del first
        gc.collect()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found["sum"] == 5 * size
    assert found["place"] != place
    assert found["pending"]
    assert (out == 1).all()


def test_the_first_of_two_threads_runs_ahead():
    inside, leave = threading.Event(), threading.Event()

    def other():
        with run_ahead():
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(60)
    x, y = np.zeros(10), np.zeros(10)
    with run_ahead(), run_ahead(), allowing(True):
        add(x, y)
        assert (y == 1).all()
    assert ahead.owner == thread.ident
    leave.set()
    thread.join()
    with run_ahead():
        with run_ahead(), allowing(True):
            add(y, x)
        assert ahead.pending  # the outer block is not left


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_waits_and_the_child_can_go_on():
    x, y = np.zeros(10), np.zeros(10)
    with run_ahead(), allowing(True):
        add(x, y)
        child = os.fork()
        if child == 0:
            add(y, x)
            catch_up()
            os._exit(0 if (y == 1).all() and (x == 2).all() else 3)
    assert os.waitpid(child, 0)[1] == 0


def test_working_memory_is_shared_grows_and_may_be_replaced_while_it_is_used():
    buffers.trim()
    places = [buffers.scratch(n) for n in (100_000, 1000)]
    assert places[0] == places[1]
    assert places[0] % 64 == 0
    out = np.zeros(1000)
    with run_ahead(), allowing(True):
        x = np.ones(1000)
        launch(slow_add, (x, places[0], 1000, 20 * IDLE), (1.0,), later=True)
        launch(slow_add, (places[0], out, 1000, 0), (1.0,), later=True)
        assert buffers.scratch(10_000_000) != places[0]
        assert ahead.pending
        buffers.zeros(2**20, np.uint8)[...] = 255  # may be what was replaced
    assert (out == 3).all()
    found = []
    thread = threading.Thread(target=lambda: found.append(buffers.scratch(1000)))
    thread.start()
    thread.join()
    assert found[0] != buffers.scratch(1000)
    buffers.trim()
