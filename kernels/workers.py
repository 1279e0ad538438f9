"""The threads that help the caller of a kernel, and how they are given work.

A job is a body and a number of tasks. The caller does the tasks together with its helpers:
whoever is free claims the next one. A helper that comes late, because the processor was busy with
somebody else's work, finds nothing left to do, and nobody waits for it.

Idle helpers look for work for some microseconds (SPINS) and then sleep; the caller wakes them.
All of this runs in compiled code that holds no Python lock. Threads are started when first
needed, end with the interpreter, and are started anew in a child process after a fork.

The state of a pool is memory that all its threads see, as int64 words; each of the words that
several threads write has a cache line of its own:

    TICKET   number of the job << 32 | its tasks << 16 | the next task to be claimed
    DONE     tasks that have been finished
    JOB      the body and its arguments; not changed before all tasks are done
    STOP     1 when the threads are to end
    APART    what separation.py needs to know of the process
    HELPERS  for each helper: 1 while it sleeps; how to put it to sleep and to wake it; how to keep
             it off its caller's core

A task is claimed by replacing TICKET by TICKET + 1. As the number of the job is part of it, a
thread that has read an old ticket cannot claim a task of a later job by mistake.
"""

import atexit
import ctypes
import os
import threading
import time

from kernels.atomic import (
    atomic_add,
    atomic_load,
    atomic_replace,
    atomic_store,
    call_body,
    call_system,
    pause,
)
from kernels.cache import Kernel, kernel
from kernels.language import njit
from kernels.semaphore import Semaphore
from kernels.separation import Separation, keep_away
from kernels.simd import int64_at

LINE = 16  # words: 128 bytes, as processors fetch cache lines in pairs
TICKET, DONE, JOB, STOP, APART, HELPERS = 0, LINE, 2 * LINE, 3 * LINE, 4 * LINE, 6 * LINE
ASLEEP, WAIT, POST, SEPARATE = 0, 1, 5, 9  # words of a helper

MOST = 256
"""Threads in all, at most."""
SPINS = 10_000
"""How often an idle helper looks for work before it sleeps: 0.2 to 0.5 ms, longer than Python takes
from one kernel to the next."""
PATIENCE = 20_000
"""How often the caller looks whether the helpers are done before it lets other processes have the
processor."""


@njit(nogil=True)
def _help(state):
    """Claim and do tasks until none is left."""
    job = int64_at(state + JOB * 8)
    while True:
        ticket = atomic_load(state + TICKET * 8)
        task, tasks = ticket & 0xFFFF, ticket >> 16 & 0xFFFF
        if task >= tasks:
            return
        if atomic_replace(state + TICKET * 8, ticket, ticket + 1):
            call_body(job[0], job[1], job[2], task, tasks)
            atomic_add(state + DONE * 8, 1)


@njit(nogil=True)
def _work_waits(state):
    ticket = atomic_load(state + TICKET * 8)
    return ticket & 0xFFFF < ticket >> 16 & 0xFFFF


@kernel("void(int64, int64, int64)")
def serve(state, helper, spins):
    """A helper's life."""
    me = int64_at(helper)
    idle = 0
    while atomic_load(state + STOP * 8) == 0:
        if _work_waits(state):
            _help(state)
            idle = 0
        elif idle < spins:
            pause()
            idle += 1
        else:
            atomic_store(helper + ASLEEP * 8, 1)
            # the job may have come in between, from a caller who thought that we were awake
            if not _work_waits(state):
                call_system(me[WAIT], me[WAIT + 1], me[WAIT + 2], me[WAIT + 3])
            atomic_store(helper + ASLEEP * 8, 0)
            idle = 0


@njit(nogil=True)
def _unfinished(state, tasks, patience):
    for _ in range(patience):
        if atomic_load(state + DONE * 8) == tasks - 1:
            return 0
        pause()
    return 1


@kernel("int64(int64, int64, int64)")
def wait(state, tasks, patience):
    """Wait for the helpers' tasks. Returns 1 if some are not finished yet."""
    return _unfinished(state, tasks, patience)


@kernel("int64(int64, int64, int64, int64, int64, int64, int64)")
def run(state, body, ints, floats, tasks, helpers, patience):
    """Do a job with the first `helpers` helpers. Returns 1 if some task is not finished yet."""
    job = int64_at(state + JOB * 8)
    job[0] = body
    job[1] = ints
    job[2] = floats
    atomic_store(state + DONE * 8, 0)
    number = (atomic_load(state + TICKET * 8) >> 32) + 1
    # the caller has claimed task 0
    atomic_store(state + TICKET * 8, (number & 0x7FFFFFFF) << 32 | tasks << 16 | 1)
    for i in range(helpers):
        helper = state + (HELPERS + i * LINE) * 8
        if atomic_replace(helper + ASLEEP * 8, 1, 0):
            its = int64_at(helper)
            keep_away(state + APART * 8, helper + SEPARATE * 8)
            call_system(its[POST], its[POST + 1], its[POST + 2], its[POST + 3])
    call_body(body, ints, floats, 0, tasks)
    _help(state)
    return _unfinished(state, tasks, patience)


class _Pool:
    """The helpers of this process."""

    def __init__(self) -> None:
        self.busy = threading.Lock()
        self.threads: list[threading.Thread] = []
        words = HELPERS + MOST * LINE
        self._memory = ctypes.create_string_buffer(8 * words + 128)
        self.state = -(-ctypes.addressof(self._memory) // 128) * 128
        self._semaphores: list[Semaphore] = []
        self._separation: Separation | None = None

    def grow(self, helpers: int) -> None:
        """Start threads until there are so many."""
        for module_kernel in (serve, run, wait):
            module_kernel.load()
        if self._separation is None:
            self._separation = Separation(self.state + APART * 8)
        while len(self.threads) < helpers:
            semaphore = Semaphore()
            place = self.state + (HELPERS + len(self.threads) * LINE) * 8
            words = (ctypes.c_int64 * LINE).from_address(place)
            for i in range(4):
                words[WAIT + i] = semaphore.wait[i]
                words[POST + i] = semaphore.post[i]
            thread = threading.Thread(
                target=serve.call,
                args=(self.state, place, SPINS),
                name=f"kernels {len(self.threads) + 1}",
                daemon=True,
            )
            thread.start()
            self._separation.add(place + SEPARATE * 8, thread.native_id or 0)
            self._semaphores.append(semaphore)
            self.threads.append(thread)

    def stop(self) -> None:
        """End all threads and wait until they have left the compiled code."""
        (ctypes.c_int64 * LINE).from_address(self.state + STOP * 8)[0] = 1
        for semaphore in self._semaphores:
            function, *arguments = semaphore.post
            ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int64] * 3)(function)(*arguments)
        for thread in self.threads:
            thread.join()


_pool = _Pool()


def do(body: Kernel, ints: int, floats: int, tasks: int) -> None:
    """Run all tasks of a body, `ints` and `floats` being the addresses of its arguments.

    A caller who comes while another thread's job is running does its tasks alone, one after the
    other.
    """
    if not _pool.busy.acquire(blocking=False):
        for task in range(tasks):
            body.call(ints, floats, task, tasks)
        return
    try:
        if len(_pool.threads) < tasks - 1:
            _pool.grow(tasks - 1)
        if run.call(_pool.state, body.address, ints, floats, tasks, tasks - 1, PATIENCE):
            while wait.call(_pool.state, tasks, PATIENCE):
                time.sleep(0)
    finally:
        _pool.busy.release()


def _end() -> None:
    _pool.stop()


def _after_fork() -> None:
    """Threads do not live on in a child process; new ones are started when needed."""
    global _pool
    _pool = _Pool()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
