"""The one way to run a kernel on several threads.

    @kernel()
    def body(ints, floats, task, tasks):
        x, y, n = ints[0], ints[1], ints[2]
        for i in range(share(n, task, tasks), share(n, task + 1, tasks)): ...

    launch(body, (x, y, x.size))

A body is a plain C function (see cache.py), which compiles quickly. Arrays are handed over as
addresses; a body that wants to index them uses `simd.float32_at` and its relatives.

Work is split by task number and number of tasks alone, so the same number of threads gives the same
bits.

workers.py has the threads.
"""

import os
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kernels.addresses import address
from kernels.cache import Kernel
from kernels.language import njit
from kernels.workers import MOST, do


def cores_available() -> int:
    """Cores that this process may use: its affinity mask, and the quota of its container."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return cores


_threads = cores_available()
_ndarray = np.ndarray


def set_num_threads(n: int) -> None:
    """Number of threads that every kernel uses from now on, 1 to 256; more than there are cores
    only makes them wait for each other. Raises ValueError outside that range."""
    global _threads
    if not isinstance(n, (int, np.integer)) or not 1 <= n <= MOST:
        raise ValueError(f"set_num_threads: n must be an integer from 1 to {MOST}, not {n!r}")
    _threads = int(n)


def get_num_threads() -> int:
    """Number of threads that kernels use; at first the cores available to the process."""
    return _threads


def launch(
    body: Kernel,
    ints: Sequence[int | np.ndarray],
    floats: Sequence[float] = (),
    tasks: int | None = None,
) -> None:
    """Run a body once per task, on as many threads, and wait for all.

    ints    integers and arrays (passed by address; alive until the call returns)
    floats  numbers
    tasks   how many; default `get_num_threads()`, and never more. Pass the number of independent
            pieces of work to keep a small problem from waking threads that would have nothing to
            do.
    """
    tasks = _threads if tasks is None else max(1, min(tasks, _threads))
    # these lines run hundreds of times in a training step
    integers = array("q", [address(v) if isinstance(v, _ndarray) else v for v in ints])
    numbers = array("d", floats)
    ints_at, floats_at = integers.buffer_info()[0], numbers.buffer_info()[0]
    if tasks == 1:
        body.call(ints_at, floats_at, 0, 1)
        return
    do(body, ints_at, floats_at, tasks)


@njit(nogil=True)
def share(n, task, tasks):
    """First of n items that belongs to a task; it ends where the next task's share begins."""
    return n * task // tasks
