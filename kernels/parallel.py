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

import ctypes
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from kernels.cache import Kernel
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


def address(array: np.ndarray) -> int:
    """Where an array's first element lies."""
    return int(array.ctypes.data)


@lru_cache(maxsize=128)
def _int64s(n: int) -> Any:
    return ctypes.c_int64 * n


@lru_cache(maxsize=32)
def _doubles(n: int) -> Any:
    return ctypes.c_double * n


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
    # this line runs hundreds of times in a training step
    values = [
        v if type(v) is int else v.ctypes.data if isinstance(v, np.ndarray) else int(v)
        for v in ints
    ]
    integers = _int64s(len(values))(*values)
    numbers = _doubles(len(floats))(*floats)
    ints_at = ctypes.addressof(integers)
    floats_at = ctypes.addressof(numbers)
    if tasks == 1:
        body.call(ints_at, floats_at, 0, 1)
        return
    do(body, ints_at, floats_at, tasks)


@njit(nogil=True)
def share(n, task, tasks):
    """First of n items that belongs to a task; it ends where the next task's share begins."""
    return n * task // tasks
