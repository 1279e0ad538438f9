"""The one way to run a kernel on several threads.

    @kernel()
    def body(ints, floats, task, tasks):
        x, y, n = ints[0], ints[1], ints[2]
        for i in range(share(n, task, tasks), share(n, task + 1, tasks)): ...

    launch(body, (x, y, x.size))

A body is a plain C function (see cache.py), which compiles quickly. Only one function in the whole
project is compiled with Numba's expensive `parallel=True`: the loop below that calls a body once
per task. Arrays are handed over as addresses; a body that wants to index them uses
`simd.float32_at` and its relatives.

Work is split by task number and number of tasks alone, so the same number of threads gives the same
bits.

Threads come from Numba's `omp` layer where it loads (a launch costs a few microseconds), else from
the layer that Numba finds (`workqueue` may be entered by one thread at a time: a lock sees to
that). In a process that was forked after the threads were started, OpenMP must not be used again:
there all tasks run one after the other.
"""

import ctypes
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import get_num_threads as numba_get_num_threads
from numba import njit, prange, types
from numba import set_num_threads as numba_set_num_threads
from numba.extending import intrinsic

from kernels.cache import Compiled, Kernel


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


_config: Any = numba.config
_limit = int(_config.NUMBA_NUM_THREADS)
_threads = min(cores_available(), _limit)


def set_num_threads(n: int) -> None:
    """Number of threads that every kernel uses from now on, 1 up to NUMBA_NUM_THREADS (an
    environment variable of Numba, by default the number of cores). Raises ValueError outside that
    range."""
    global _threads
    if not isinstance(n, (int, np.integer)) or not 1 <= n <= _limit:
        raise ValueError(
            f"set_num_threads: n must be an integer from 1 to {_limit}, not {n!r} "
            "(the limit is the environment variable NUMBA_NUM_THREADS)"
        )
    _threads = int(n)


def get_num_threads() -> int:
    """Number of threads that kernels use; at first the cores available to the process."""
    return _threads


# -------------------------------------------------------------------------------- the parallel loop


@intrinsic
def _call(typingctx, address, ints, floats, task, tasks):
    """Call the C function at an address with the arguments of a parallel body."""

    def codegen(context, builder, signature, args):
        integer = ir.IntType(64)
        function_type = ir.FunctionType(ir.VoidType(), [integer] * 4)
        function = builder.inttoptr(args[0], function_type.as_pointer())
        builder.call(function, args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


def _loop(address, ints, floats, tasks):
    for task in prange(tasks):
        _call(address, ints, floats, task, tasks)


class _Loop(Compiled):
    """`_loop`, compiled for threads."""

    run: Any = None

    def _build(self, cached: bool) -> bool:
        signature = types.void(types.int64, types.int64, types.int64, types.int64)
        with _prefer_omp():
            self.run = njit([signature], parallel=True, nogil=True, cache=cached)(_loop)
        return bool(self.run.stats.cache_hits)


SPIN_COUNT = "500"
"""How often an idle thread of GNU OpenMP looks for work before it sleeps: some 10 microseconds.

The library's own choice is hundreds of times more. That saves the 10 microseconds of waking up on
an idle machine, but on a busy one a launch then takes milliseconds, because a thread that spins
uses up the share of the processor that its partner waits for."""


@contextmanager
def _prefer_omp() -> Iterator[None]:
    """While the threads are started: let Numba try OpenMP before its other layers, and OpenMP sleep
    early, unless the user has chosen otherwise."""
    before = _config.THREADING_LAYER_PRIORITY
    _config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]
    chosen = "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ
    if not chosen:
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
    try:
        yield
    finally:
        _config.THREADING_LAYER_PRIORITY = before
        if not chosen:
            del os.environ["GOMP_SPINCOUNT"]


_parallel_loop = _Loop(_loop)
_started = False
_forked = False
_one_at_a_time: "threading.Lock | None" = None


def threading_layer() -> str:
    """Name of the layer that provides the threads: "omp", "tbb" or "workqueue". Starts them if need
    be."""
    _start()
    return str(numba.threading_layer())


def _start() -> None:
    global _started, _one_at_a_time
    if not _started:
        _parallel_loop.load()
        if numba.threading_layer() == "workqueue" and _one_at_a_time is None:
            _one_at_a_time = threading.Lock()
        _started = True


def _after_fork() -> None:
    global _forked
    _forked = _started


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def address(array: np.ndarray) -> int:
    """Where an array's first element lies."""
    return int(array.ctypes.data)


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
    values = [int(v.ctypes.data) if isinstance(v, np.ndarray) else v for v in ints]
    integers = (ctypes.c_int64 * len(values))(*values)
    numbers = (ctypes.c_double * len(floats))(*floats)
    ints_at = ctypes.addressof(integers)
    floats_at = ctypes.addressof(numbers)
    if tasks == 1 or _forked:
        call = body.call
        for task in range(tasks):
            call(ints_at, floats_at, task, tasks)
        return
    code = body.address
    if not _started:
        _start()
    before = numba_get_num_threads()  # Numba's own setting, of this Python thread
    if before != tasks:
        numba_set_num_threads(tasks)
    try:
        if _one_at_a_time is None:
            _parallel_loop.run(code, ints_at, floats_at, tasks)
        else:
            with _one_at_a_time:
                _parallel_loop.run(code, ints_at, floats_at, tasks)
    finally:
        if before != tasks:
            numba_set_num_threads(before)


@njit(nogil=True)
def share(n, task, tasks):
    """First of n items that belongs to a task; it ends where the next task's share begins."""
    return n * task // tasks
