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

from kernels.addresses import address, addresses
from kernels.buffers import is_reused
from kernels.cache import Kernel
from kernels.language import njit
from kernels.workers import (
    MOST,
    ahead,
    catch_up,
    do,
    let_go,
    publish_ahead,
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
    hold = [v for v in (*arrays, *keep) if not is_reused(v)]
    _run(body, integers, array("d", floats), tasks, later, hold)


HERE = None
"""Stands for a number or an array that every launch of a LaunchPlan gives."""


class LaunchPlan:
    """A launch of which all is known from the shapes but some addresses. It is made once for all
    calls with the same shapes, and then takes half the time that `launch` would.

        plan = LaunchPlan(body, [HERE, 64, [HERE, 16, 16]], (0.5,), tasks)
        plan.launch(x, y)

    ints     integers; arrays that are the same in each launch; HERE for what is given at each
             launch, in the order in which one reads; a list in the place of an integer is a table,
             handed over by its address: it lies behind the arguments, and as them it is new in each
             launch, so that tasks may count in it
    floats, tasks   as in `launch`; a plan is for one number of threads
    keep     what must live as long: arrays behind addresses
    """

    def __init__(
        self,
        body: Kernel,
        ints: Sequence[Any],
        floats: Sequence[float] = (),
        tasks: int = 1,
        keep: Any = None,
    ) -> None:
        self.body, self.tasks = body, max(1, min(tasks, _threads))
        self._floats = array("d", floats)
        self._ints = array("q")
        self._given: list[int] = []  # where the values of a launch go
        self._tables: list[tuple[int, int]] = []  # where a table's address goes, and its offset
        self._kept: list[Any] = [keep]
        self._lay_out(ints)

    def _lay_out(self, ints: Sequence[Any]) -> None:
        """Append a table and, behind it, those that it refers to."""
        begin = len(self._ints)
        self._ints.extend([0] * len(ints))
        for place, value in enumerate(ints, begin):
            if value is HERE:
                self._given.append(place)
            elif isinstance(value, _ndarray):
                self._ints[place] = address(value)
                self._kept.append(value)
            elif isinstance(value, list):
                self._tables.append((place, 8 * len(self._ints)))
                self._lay_out(value)
            else:
                self._ints[place] = value

    def launch(
        self, *values: int | np.ndarray, keep: Sequence[Any] = (), beside: bool = False
    ) -> None:
        """Run it with these in the places of HERE; as `launch` with later=True.

        beside   it has nothing to do with a launch that is held back: neither reads what the other
                 writes"""
        integers = self._filled(values)
        hold = [v for v in values if type(v) is not int and not is_reused(v)]
        _run(self.body, integers, self._floats, self.tasks, True, (self, hold, keep), beside)

    def go(self, *values: int | np.ndarray) -> None:
        """Publish it, after it was held back."""
        integers = self._filled(values)
        hold = (self, integers, [v for v in values if type(v) is not int and not is_reused(v)])
        ints_at, floats_at = integers.buffer_info()[0], self._floats.buffer_info()[0]
        publish_ahead(self.body, ints_at, floats_at, self.tasks, hold)

    def _filled(self, values: Sequence[int | np.ndarray]) -> "array[int]":
        # these lines run a hundred times in a training step
        integers = self._ints[:]
        begin = integers.buffer_info()[0]
        for place, offset in self._tables:
            integers[place] = begin + offset
        for place, number in zip(self._given, addresses(values), strict=True):
            integers[place] = number
        return integers


def _run(
    body: Kernel,
    integers: "array[int]",
    numbers: "array[float]",
    tasks: int,
    later: bool,
    hold: Any,
    beside: bool = False,
) -> None:
    """Run a body now, or put it off; `hold` has what must live until it is done."""
    if ahead.waiting is not None and not beside and ahead.owner == get_ident():
        let_go()
    ints_at, floats_at = integers.buffer_info()[0], numbers.buffer_info()[0]
    if (
        later
        and ahead.allowed
        and _threads > 1
        and put_off(body, ints_at, floats_at, tasks, (integers, numbers, hold))
    ):
        return
    if tasks == 1:
        if ahead.pending and ahead.owner == get_ident():
            catch_up()
        body.call(ints_at, floats_at, 0, 1)
        return
    do(body, ints_at, floats_at, tasks)


@njit(nogil=True)
def share(n, task, tasks):
    """First of n items that belongs to a task; it ends where the next task's share begins."""
    return n * task // tasks
