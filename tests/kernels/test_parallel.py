import os
import subprocess
import sys
import threading

import numba
import numpy as np
import pytest

from kernels import get_num_threads, set_num_threads, threading_layer
from kernels.cache import kernel, registry
from kernels.parallel import launch, share
from kernels.simd import float64_at, int64_at


@kernel()
def count(ints, floats, task, tasks):
    """counts[i] += floats[0] for this task's share; who[task] = tasks."""
    counts, who = float64_at(ints[0]), int64_at(ints[1])
    for i in range(share(ints[2], task, tasks), share(ints[2], task + 1, tasks)):
        counts[i] += floats[0]
    who[task] = tasks


del registry[count.name]  # not one of the package's own

MANY = int(numba.config.NUMBA_NUM_THREADS)


@pytest.fixture(autouse=True)
def restore():
    before = get_num_threads()
    yield
    set_num_threads(before)


@pytest.mark.parametrize("threads", range(1, min(MANY, 4) + 1))
def test_every_item_is_done_once(threads):
    set_num_threads(threads)
    assert get_num_threads() == threads
    counts, who = np.zeros(1001), np.zeros(threads + 1, np.int64)
    for _ in range(20):
        launch(count, (counts, who, 1001), (0.5,))
    assert (counts == 10).all()
    assert list(who) == [threads] * threads + [0]


def test_tasks_are_limited_by_work_and_by_threads():
    set_num_threads(min(2, MANY))
    who = np.zeros(8, np.int64)
    launch(count, (np.zeros(1), who, 1), (1.0,), tasks=1)
    assert list(who) == [1] + [0] * 7
    launch(count, (np.zeros(1), who, 1), (1.0,), tasks=5)
    assert list(who[: min(2, MANY)]) == [min(2, MANY)] * min(2, MANY)
    launch(count, (np.zeros(0), who, 0), (1.0,), tasks=0)


def test_launches_from_several_python_threads():
    set_num_threads(min(2, MANY))
    results = [np.zeros(500) for _ in range(4)]

    def work(counts):
        who = np.zeros(8, np.int64)
        for _ in range(200):
            launch(count, (counts, who, 500), (1.0,))

    threads = [threading.Thread(target=work, args=(counts,)) for counts in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((counts == 200).all() for counts in results)


def test_numbas_own_thread_count_is_left_alone():
    set_num_threads(min(2, MANY))
    before = numba.get_num_threads()
    launch(count, (np.zeros(9), np.zeros(8, np.int64), 9), (1.0,))
    assert numba.get_num_threads() == before


@pytest.mark.parametrize("n", [0, -1, MANY + 1, 1.5, None])
def test_bad_thread_counts(n):
    with pytest.raises(ValueError, match=f"from 1 to {MANY}"):
        set_num_threads(n)


def test_layer_has_a_name():
    assert threading_layer() in ("omp", "tbb", "workqueue")


PROGRAM = """
import os, sys, numpy as np
from kernels import elementwise, matmul, set_num_threads, get_num_threads, threading_layer
a = np.ones((256, 256), np.float32)
def work():
    return matmul(a, a)
if get_num_threads() > 1:
    set_num_threads(2)
{then}
"""


def run(then, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM.format(then=then)],
        env={**os.environ, "PYTHONPATH": os.getcwd(), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forked_children_work_without_threads():
    then = """
assert (work() == 256).all()
child = os.fork()
if child == 0:
    os._exit(0 if (work() == 256).all() else 3)
assert os.waitpid(child, 0)[1] == 0
"""
    done = run(then)
    assert done.returncode == 0, done.stderr


def test_workqueue_layer_from_several_threads():
    then = """
import threading
assert threading_layer() == "workqueue"
errors = []
def loop():
    for _ in range(20):
        if not (work() == 256).all():
            errors.append(1)
threads = [threading.Thread(target=loop) for _ in range(3)]
[t.start() for t in threads]
[t.join() for t in threads]
assert not errors
"""
    done = run(then, NUMBA_THREADING_LAYER="workqueue")
    assert done.returncode == 0, done.stderr
