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

Running ahead. A training step is a few hundred launches, and between two of them Python works for
a tenth of a millisecond while all other threads wait. So within

    with run_ahead(): ...

and while `ahead.allowed` is set (`allowing`), launches that say `later=True` may return before they
are done, and the caller goes on to prepare the next ones while the helpers work; it joins them at
the end of the block, at a launch without `later`, when it calls `catch_up()`, or when too many
wait. Kernels still run one after the other, in the order of their launches, so they need not know.
But Python must not look at memory that a kernel has yet to write, nor write or give away memory
that a kernel has yet to read:

- who reads or writes the contents of an array without a kernel calls `catch_up()` first;
- arrays in `ints` and what is in `keep` live until the kernel is done, but those whose memory
  belongs to `buffers` and need not: it may go to the next kernel at once, which comes later
  (buffers.py takes care of the rest).

Recording. What is launched with `later`, where that is allowed, is all that a stretch of Python
does to arrays, or it calls `catch_up()`. So it can be done again without Python (recording.py).

Joining. Where a launch reads what the one before wrote, and both go over activations that no cache
holds, they may be done together, unit by unit. So a launch may be held back (joining.py); the next
one takes it along, or else it is let go as it is, before anything else is launched or looked at.

workers.py has the threads.
"""

import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np

from kernels.addresses import address
from kernels.buffers import is_reused
from kernels.cache import Kernel
from kernels.language import njit
from kernels.workers import (
    MOST,
    ahead,
    catch_up,
    do,
    let_go,
    put_off,
)


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
    catch_up()
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
    later: bool = False,
    keep: Sequence[Any] = (),
) -> None:
    """Run a body once per task, on as many threads, and wait for all.

    ints    integers and arrays (passed by address; alive until the call returns)
    floats  numbers
    tasks   how many; default `get_num_threads()`, and never more. Pass the number of independent
            pieces of work to keep a small problem from waking threads that would have nothing to
            do.
    later   it may still be running when this returns, if the caller is in `run_ahead`
    keep    what else must live until it is done: arrays behind addresses
    """
    tasks = _threads if tasks is None else max(1, min(tasks, _threads))
    arrays = [v for v in ints if isinstance(v, _ndarray)]
    integers = array("q", [address(v) if isinstance(v, _ndarray) else v for v in ints])
    numbers = array("d", floats)
    hold = (integers, numbers, [v for v in (*arrays, *keep) if not is_reused(v)])
    places = (integers.buffer_info()[0], numbers.buffer_info()[0])
    run(body, *places, tasks, later, hold)


def run(
    body: Kernel,
    ints_at: int,
    floats_at: int,
    tasks: int,
    later: bool,
    hold: Any,
    beside: bool = False,
) -> None:
    """Run a body, whose arguments are at these addresses, now, or put it off; `hold` has what must
    live until it is done, first of all the array of integers. For `beside` see
    LaunchPlan.launch."""
    if ahead.waiting is not None and not beside and ahead.owner == get_ident():
        let_go()
    may_wait = later and ahead.allowed
    if may_wait and _threads > 1 and put_off(body, ints_at, floats_at, tasks, hold):
        return
    if tasks == 1:
        if ahead.pending and ahead.owner == get_ident():
            if may_wait and _threads == 1 and ahead.recording is not None:
                ahead.recording.add(body, ints_at, floats_at, 1, hold)
            else:
                catch_up()
        body.call(ints_at, floats_at, 0, 1)
        return
    do(body, ints_at, floats_at, tasks)


@njit(nogil=True)
def share(n, task, tasks):
    """First of n items that belongs to a task; it ends where the next task's share begins."""
    return n * task // tasks
