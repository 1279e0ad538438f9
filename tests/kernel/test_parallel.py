import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from counting import count

from kernels import get_num_threads, set_num_threads
from kernels.parallel import cores_available, launch
from kernels.workers import MOST

pytestmark = pytest.mark.usefixtures("restore_threads")


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 9])
def test_every_item_is_done_once(threads):
    set_num_threads(threads)
    assert get_num_threads() == threads
    counts, who = np.zeros(1001), np.zeros(threads + 1, np.int64)
    for _ in range(20):
        launch(count, (counts, who, 1001), (0.5,))
    assert (counts == 10).all()
    assert list(who) == [threads] * threads + [0]


def test_tasks_are_limited_by_work_and_by_threads():
    set_num_threads(2)
    who = np.zeros(8, np.int64)
    launch(count, (np.zeros(1), who, 1), (1.0,), tasks=1)
    assert list(who) == [1] + [0] * 7
    launch(count, (np.zeros(1), who, 1), (1.0,), tasks=5)
    assert list(who) == [2, 2] + [0] * 6
    launch(count, (np.zeros(0), who, 0), (1.0,), tasks=0)


def test_launches_from_several_python_threads():
    set_num_threads(2)
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


def test_no_task_is_lost_or_done_twice_when_jobs_follow_quickly():
    """Jobs of changing size, from two callers, so that helpers come late and meet later jobs."""
    failures = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for i in range(3000):
            tasks = int(rng.integers(1, 6))
            counts, who = np.zeros(tasks), np.zeros(8, np.int64)
            launch(count, (counts, who, tasks), (1.0,), tasks=tasks)
            if not ((counts == 1).all() and list(who) == [tasks] * tasks + [0] * (8 - tasks)):
                failures.append((i, tasks, counts, who))

    set_num_threads(5)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_helpers_that_fell_asleep_are_woken():
    set_num_threads(2)
    for _ in range(5):
        counts, who = np.zeros(2_000_000), np.zeros(2, np.int64)
        time.sleep(0.02)
        launch(count, (counts, who, counts.size), (1.0,))
        assert (counts == 1).all()


@pytest.mark.parametrize("n", [0, -1, MOST + 1, 1.5, None])
def test_bad_thread_counts(n):
    with pytest.raises(ValueError, match=f"from 1 to {MOST}"):
        set_num_threads(n)


PROGRAM = """
import os, sys, numpy as np
from kernels import matmul, set_num_threads
a = np.ones((256, 256), np.float32)
def work():
    return matmul(a, a)
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


@pytest.mark.skipif(sys.platform != "linux", reason="helpers choose their cores on Linux only")
@pytest.mark.skipif(cores_available() < 2, reason="there is one core only")
def test_a_helper_that_is_woken_keeps_off_its_callers_core():
    then = """
import threading, time
cores = os.sched_getaffinity(0)
work()
helper = next(t for t in threading.enumerate() if t.name == "kernels 1")
for core in cores:
    os.sched_setaffinity(0, {core})
    time.sleep(0.1)
    work()
    found = os.sched_getaffinity(helper.native_id)
    assert found == cores - {core}, (core, found)
"""
    done = run(then)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forked_children_have_threads_of_their_own():
    then = """
assert (work() == 256).all()
child = os.fork()
if child == 0:
    os._exit(0 if (work() == 256).all() else 3)
assert os.waitpid(child, 0)[1] == 0
"""
    done = run(then)
    assert done.returncode == 0, done.stderr


def test_the_interpreter_ends_while_helpers_sleep_or_spin():
    for then in ("work()", "work(); import time; time.sleep(0.1)", "work(); raise SystemExit(0)"):
        done = run(then)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
