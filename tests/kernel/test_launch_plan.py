import numpy as np
import pytest
from counting import count

from kernels import addresses, buffers, launch_plan, set_num_threads
from kernels.buffers import scratch
from kernels.cache import kernel, registry
from kernels.launch_plan import HERE, LaunchPlan, Work
from kernels.parallel import launch
from kernels.simd import float64_at, int64_at


@kernel()
def describe(ints, floats, task, tasks):
    """To ints[0]: the integers, what is in the arrays, those of the tables within, and floats[0];
    to the table at ints[2]: how often it was counted in."""
    out, first = float64_at(ints[0]), int64_at(ints[2])
    second = int64_at(first[1])
    out[0], out[1], out[2] = ints[1], int64_at(first[0])[0], first[2]
    out[3], out[4], out[5] = second[0], int64_at(second[1])[0], int64_at(ints[3])[0]
    out[6] = floats[0]
    second[2] += 1
    out[7] = second[2]


@kernel()
def remember(ints, floats, task, tasks):
    """The addresses of working memory, to ints[0]; writes to its ends."""
    out, begin, end = int64_at(ints[0]), ints[1], int64_at(ints[2])[0]
    out[0], out[1] = begin, end
    int64_at(begin)[0] = int64_at(end)[0] = 1


for own in (describe, remember):
    del registry[own.name]  # not one of the package's own


pytestmark = pytest.mark.usefixtures("restore_threads")


@pytest.fixture(params=["heads", "numpy"])
def way_to_addresses(request, monkeypatch):
    """Both ways in which a plan finds where arrays begin."""
    if request.param == "numpy":
        monkeypatch.setattr(launch_plan, "cells", addresses._cells_by_numpy)
        monkeypatch.setattr(launch_plan, "CELL_HEAD", 0)


def words(*values):
    return np.array(values, np.int64)


def test_a_plan_fills_in_what_is_given_in_the_order_of_reading(way_to_addresses):
    set_num_threads(1)
    constant = words(50)
    ints = [HERE, 10, [HERE, [30, constant, 0], 40], HERE]
    plan = LaunchPlan(describe, ints, (0.5,))
    del constant  # the plan holds it
    out = np.zeros(8)
    for given in ((20, 60), (21, 61)):
        # a view begins elsewhere than the array that owns the memory
        plan.launch(out, words(0, given[0])[1:], words(given[1]))
        # the table in which was counted is a new one each time
        assert list(out) == [10, given[0], 40, 30, 50, given[1], 0.5, 1]
    with pytest.raises(ValueError, match=r"describe.* 3 arrays are needed, not 2"):
        plan.launch(out, words(1))
    with pytest.raises(ValueError, match=r"describe.* 3 arrays are needed, not 4"):
        plan.launch(out, words(1), words(2), words(3))
    with pytest.raises(AttributeError):
        plan.launch(out, 20, 60)  # numbers belong to the plan


def test_working_memory_is_that_of_the_thread_and_large_enough():
    set_num_threads(1)
    size = 3 * buffers.working_memory().size + 64  # more than there is
    plan = LaunchPlan(remember, [HERE, Work(), [Work(size - 8)]], work_bytes=size)
    out = words(0, 0)
    plan.launch(out)
    begin = scratch(size)
    assert list(out) == [begin, begin + size - 8]
    assert begin % 64 == 0


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_plan_does_what_a_launch_does(threads, way_to_addresses):
    set_num_threads(threads)
    planned, launched = np.zeros(1001), np.zeros(1001)
    who = np.zeros(threads + 1, np.int64)
    plan = LaunchPlan(count, [HERE, HERE, 1001], (0.5,), threads)
    for _ in range(20):
        plan.launch(planned, who)
        launch(count, (launched, who, 1001), (0.5,))
    assert (planned == 10).all()
    assert (launched == 10).all()
    assert list(who) == [threads] * threads + [0]
