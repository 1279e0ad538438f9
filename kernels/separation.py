"""Keeping a helper thread off the core that its caller runs on.

A system that wakes a thread often places it on the core of the thread that woke it, and some move
it away only after tens of milliseconds: until then both share one core, and a kernel that was
called after a pause takes twice its time. So a helper that is woken is first told to use every core
of the process (as they were when it started) but the caller's. On Linux; elsewhere, and where a
helper would have no core of its own, nothing is done.

The state of a pool (workers.py) has room for this: ROOM words for the pool, four for each helper.
Compiled code does the rest (`keep_away`).
"""

import ctypes
import os
import sys
from typing import Any

from kernels.atomic import call_system
from kernels.language import njit
from kernels.semaphore import function_address
from kernels.simd import int64_at

MASK = 16
"""Words of a set of cores: 1024 cores, as many as glibc's cpu_set_t."""
ROOM = 1 + MASK
"""Words of a pool: the address of sched_getcpu, or 0; the cores of the process."""
TASK, AWAY, OWN = 0, 1, 2
"""Words of a helper: its thread's number, or 0; the core it is kept from, or -1; the address of its
own set of cores. One more is the address of sched_setaffinity."""
SET = 3


@njit(nogil=True)
def keep_away(pool, helper):
    """Keep a helper from the core of the caller. Takes a system call only if the caller moved."""
    of_pool, own = int64_at(pool), int64_at(helper)
    if own[TASK] == 0:
        return
    core = call_system(of_pool[0], 0, 0, 0)
    if core == own[AWAY] or core < 0 or core >= 64 * MASK:
        return
    cores = int64_at(own[OWN])
    for i in range(MASK):
        cores[i] = of_pool[1 + i]
    cores[core >> 6] &= ~(1 << (core & 63))
    call_system(own[SET], own[TASK], 8 * MASK, own[OWN])
    own[AWAY] = core


class Separation:
    """What keeps the helpers of one pool from its callers' cores; holds their sets of cores."""

    def __init__(self, pool: int) -> None:
        """`pool`: the address of the pool's ROOM words."""
        self._cores: set[int] = set()
        self._sets: list[Any] = []
        library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
        if not (hasattr(library, "sched_getcpu") and hasattr(library, "sched_setaffinity")):
            return
        self._cores = {core for core in os.sched_getaffinity(0) if core < 64 * MASK}
        words = (ctypes.c_int64 * ROOM).from_address(pool)
        words[0] = function_address(library.sched_getcpu)
        self._set_affinity = function_address(library.sched_setaffinity)
        for core in self._cores:
            bits = ctypes.c_uint64(words[1 + core // 64]).value | 1 << core % 64
            words[1 + core // 64] = ctypes.c_int64(bits).value

    def add(self, helper: int, thread: int) -> None:
        """Prepare a helper's four words. `thread` is its number in the system."""
        if len(self._sets) + 1 >= len(self._cores):
            return  # there is no core for it
        own = (ctypes.c_int64 * MASK)()
        self._sets.append(own)
        words = (ctypes.c_int64 * 4).from_address(helper)
        words[AWAY], words[OWN], words[SET] = -1, ctypes.addressof(own), self._set_affinity
        words[TASK] = thread
