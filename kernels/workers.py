"""The threads that help the caller of a kernel, and how they are given work.

A job is a body and a number of tasks. Jobs are done in the order in which they were published, one
after the other; the tasks of a job are done by whoever is free and claims them. A helper that comes
late, because the processor was busy with somebody else's work, finds nothing left to do, and nobody
waits for it.

Usually the caller publishes a job and works with the helpers until it is done (`do`). Within
`run_ahead` it may go on to prepare the next jobs while the helpers work (`put_off`); `catch_up` is
when it joins them. A job may also be held back for the next one to join it (`hold_back`).
parallel.py explains what that is good for and what must be observed.

Idle helpers look for work for some microseconds (SPINS) and then sleep; the caller wakes them.
All of this runs in compiled code that holds no Python lock. Threads are started when first
needed, end with the interpreter, and are started anew in a child process after a fork.

The state of a pool is memory that all its threads see, as int64 words; each of the words that
several threads write has a cache line of its own:

    TICKET     number of the current job << 32 | end << 16 | begin: its tasks that wait
    DONE       tasks of the current job that have been finished
    FINISHED   jobs that have been finished
    OPENED     jobs whose tasks may be claimed, or could be: FINISHED, or one more
    PUBLISHED  jobs that have been published
    STOP       1 when the threads are to end
    APART      what separation.py needs to know of the process
    RING       the last JOBS jobs: the body, its arguments, its tasks, the helpers to be woken
    HELPERS    for each helper: 1 while it sleeps; how to put it to sleep and to wake it; how to
               keep it off its caller's core

A task is claimed by replacing TICKET by one with a later begin or an earlier end. As the number of
the job is part of it, a thread that has read an old ticket cannot claim a task of a later job by
mistake. The caller claims from the beginning and helpers from the end, so that two threads find
their working memory, which goes by the task, in their own caches. Whoever finishes a
job's last task opens the next job, if there is one; so does whoever publishes a job when no other
is open. Each looks after having written, so at least one of them sees that it is time; OPENED lets
only one of them do it.
"""

import atexit
import ctypes
import os
import threading
import time
from threading import get_ident
from typing import Any, Protocol

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
TICKET, DONE, FINISHED, OPENED, PUBLISHED, STOP, APART = (i * LINE for i in range(7))
RING = 8 * LINE
JOBS = 128  # a power of two
SPARE = 3
"""Of these, what is left free for others than `put_off`: what is held back needs two, `do` one."""
JOB = 8  # words
BODY, INTS, FLOATS, TASKS, NEEDED = 0, 1, 2, 3, 4  # words of a job
HELPERS = RING + JOBS * JOB
ASLEEP, WAIT, POST, SEPARATE = 0, 1, 5, 9  # words of a helper

MOST = 256
"""Threads in all, at most."""
SPINS = 30_000
"""How often an idle helper looks for work before it sleeps: 0.6 to 1.5 ms, longer than Python takes
from one kernel to the next, also where it computes a loss or looks for gradients in between."""
PATIENCE = 20_000
"""How often the caller looks whether the helpers are done before it lets other processes have the
processor."""


@njit(nogil=True)
def _job(state, number):
    return int64_at(state + (RING + (number & (JOBS - 1)) * JOB) * 8)


@njit(nogil=True)
def _wake(state, helpers, as_caller):
    """Wake those of the first `helpers` helpers that sleep."""
    for i in range(helpers):
        helper = state + (HELPERS + i * LINE) * 8
        if atomic_replace(helper + ASLEEP * 8, 1, 0):
            its = int64_at(helper)
            if as_caller:
                keep_away(state + APART * 8, helper + SEPARATE * 8)
            call_system(its[POST], its[POST + 1], its[POST + 2], its[POST + 3])


@njit(nogil=True)
def _open_next(state, as_caller):
    """Let the next job's tasks be claimed, if there is one and the one before is finished."""
    number = atomic_load(state + FINISHED * 8)
    there_is = number < atomic_load(state + PUBLISHED * 8)
    if there_is and atomic_replace(state + OPENED * 8, number, number + 1):
        atomic_store(state + DONE * 8, 0)
        job = _job(state, number)
        needed = job[NEEDED]  # another job may be here once the ticket is out
        atomic_store(state + TICKET * 8, (number & 0x7FFFFFFF) << 32 | job[TASKS] << 16)
        _wake(state, needed, as_caller)


@njit(nogil=True)
def help_out(state, as_caller):
    """Claim and do tasks until none can be claimed."""
    while True:
        ticket = atomic_load(state + TICKET * 8)
        begin, end = ticket & 0xFFFF, ticket >> 16 & 0xFFFF
        if begin >= end:
            return
        task = begin if as_caller else end - 1
        rest = ticket + 1 if as_caller else ticket - (1 << 16)
        if atomic_replace(state + TICKET * 8, ticket, rest):
            job = _job(state, ticket >> 32)
            tasks = job[TASKS]
            call_body(job[BODY], job[INTS], job[FLOATS], task, tasks)
            if atomic_add(state + DONE * 8, 1) == tasks - 1:
                atomic_add(state + FINISHED * 8, 1)
                _open_next(state, as_caller)


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
            help_out(state, False)
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
def publish_job(state, body, ints, floats, tasks, helpers):
    """Publish a job for the first `helpers` helpers. There must be room in the ring."""
    number = atomic_load(state + PUBLISHED * 8)
    job = _job(state, number)
    job[BODY], job[INTS], job[FLOATS], job[TASKS], job[NEEDED] = body, ints, floats, tasks, helpers
    atomic_store(state + PUBLISHED * 8, number + 1)
    _open_next(state, True)


@kernel("void(int64, int64, int64, int64, int64, int64)")
def publish(state, body, ints, floats, tasks, helpers):
    """`publish_job`, for Python."""
    publish_job(state, body, ints, floats, tasks, helpers)


@kernel("int64(int64, int64, int64)")
def work(state, jobs, patience):
    """Work with the helpers until so many jobs are done. Returns 1 if that takes them too long."""
    for _ in range(patience):
        help_out(state, True)
        if atomic_load(state + FINISHED * 8) >= jobs:
            return 0
        pause()
    return 1


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
        for module_kernel in (serve, publish, work):
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


class Waiting(Protocol):
    """A launch that is held back."""

    def go(self) -> None:
        """Publish it, by `publish_ahead`: one or two jobs."""


class Recording(Protocol):
    """Takes down what a stretch of Python launches (recording.py)."""

    def add(self, body: Kernel, ints: int, floats: int, tasks: int, hold: Any) -> None:
        """A job is about to be published."""

    def refuse(self, what: str) -> None:
        """Python does something that launches alone cannot do again."""


class _Ahead:
    """What is known of the thread that runs ahead.

    door     held by it
    owner    its number, None if no thread runs ahead
    allowed  whether it says that jobs may be put off now
    pending  whether it has put off jobs that may not be done, or holds one back
    held     what these jobs need to stay alive
    waiting  the launch that it holds back, if any
    letting_go   held while that launch is let go
    recording    takes down what this thread launches, if anything does
    """

    def __init__(self) -> None:
        self.door = threading.Lock()
        self.owner: int | None = None
        self.allowed = False
        self.pending = False
        self.held: list[Any] = []
        self.waiting: Waiting | None = None
        self.letting_go = threading.Lock()
        self.recording: Recording | None = None


ahead = _Ahead()


def is_recorded() -> bool:
    """Whether what this thread launches is taken down: then also small work is left to kernels."""
    return ahead.recording is not None and ahead.owner == get_ident()


def cannot_repeat(what: str) -> None:
    """To be called where something is done that launches alone cannot do again, in case that they
    are recorded."""
    if ahead.recording is not None and ahead.owner == get_ident():
        ahead.recording.refuse(what)


def do(body: Kernel, ints: int, floats: int, tasks: int) -> None:
    """Run all tasks of a body, `ints` and `floats` being the addresses of its arguments, after
    everything that was put off.

    A caller who comes while another thread's job is running does its tasks alone, one after the
    other.
    """
    mine = ahead.pending and ahead.owner == get_ident()
    if mine:
        cannot_repeat("a kernel is waited for")
    if not mine and not _pool.busy.acquire(blocking=False):
        for task in range(tasks):
            body.call(ints, floats, task, tasks)
        return
    try:
        publish.call(pool_state(tasks - 1), body.address, ints, floats, tasks, tasks - 1)
    finally:
        _settle()


def put_off(body: Kernel, ints: int, floats: int, tasks: int, hold: Any) -> bool:
    """Leave the tasks to the helpers, until `catch_up`; `hold` lives as long. Returns False if this
    is not the time to do so, and nothing was done."""
    if not ahead.allowed or ahead.owner != get_ident():
        return False
    if len(ahead.held) >= JOBS - SPARE:
        _settle()
    if not begin():
        return False
    publish_ahead(body, ints, floats, tasks, hold)
    return True


def begin() -> bool:
    """Whether jobs may be put off, by the thread that runs ahead: if no other thread has some."""
    if not ahead.pending:
        if not _pool.busy.acquire(blocking=False):
            return False
        ahead.pending = True
    return True


def publish_ahead(body: Kernel, ints: int, floats: int, tasks: int, hold: Any) -> None:
    """Publish a job whose time has come."""
    helpers = max(1, tasks - 1)
    state = pool_state(helpers)
    if ahead.recording is not None:
        ahead.recording.add(body, ints, floats, tasks, hold)
    ahead.held.append(hold)
    publish.call(state, body.address, ints, floats, tasks, helpers)


def pool_state(helpers: int) -> int:
    """The address of the state of the pool, which has so many threads from now on."""
    if len(_pool.threads) < helpers:
        _pool.grow(helpers)
    return _pool.state


def hold_back(waiting: Waiting) -> bool:
    """Keep a launch, put off, until another one joins it (joining.py), or until it is let go.
    Returns False if this is not the time to do so, and nothing was done."""
    if not ahead.allowed or ahead.owner != get_ident():
        return False
    let_go()
    if not begin():
        return False
    ahead.waiting = waiting
    return True


def let_go() -> None:
    """Publish the launch that is held back, if there is one. Any thread may."""
    if ahead.waiting is not None:
        with ahead.letting_go:
            waiting = ahead.waiting
            if waiting is not None:
                try:
                    waiting.go()
                finally:
                    # not before: nobody else must publish, or think that it was, in the meantime
                    ahead.waiting = None


def catch_up() -> None:
    """Work with the helpers until everything that was put off is done. (If another thread has put
    it off: until what it has put off so far is done.)"""
    if ahead.pending:
        if ahead.owner == get_ident():
            cannot_repeat("values are looked at, or changed, without a kernel")
            _settle()
        else:
            let_go()
            _work_off()


def _work_off() -> None:
    """Work until all jobs are done that have been published so far."""
    jobs = ctypes.c_int64.from_address(_pool.state + PUBLISHED * 8).value
    while work.call(_pool.state, jobs, PATIENCE):
        time.sleep(0)


def _settle() -> None:
    """Wait until all jobs are done, and note that nothing is put off any more."""
    problem: BaseException | None = None
    while True:
        try:
            let_go()
            _work_off()
            break
        except BaseException as error:  # the helpers still use the caller's arrays
            problem = error
    ahead.pending = False
    ahead.held.clear()
    _pool.busy.release()
    if problem is not None:
        raise problem


class run_ahead:
    """A context manager within which kernels may be put off; see parallel.py. For one thread at a
    time, and the outermost use counts."""

    __slots__ = ("outermost",)

    def __enter__(self) -> None:
        self.outermost = ahead.door.acquire(blocking=False)
        if self.outermost:
            ahead.owner = get_ident()

    def __exit__(self, *error: object) -> None:
        if self.outermost:
            try:
                catch_up()
            finally:
                ahead.owner, ahead.allowed = None, False
                ahead.door.release()


class allowing:
    """Allow that kernels are put off if this thread runs ahead; otherwise, or if it is not allowed,
    wait for those that are. A context manager, written out, for every op takes one."""

    __slots__ = ("allowed", "before")

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed

    def __enter__(self) -> None:
        self.before: bool | None = None
        if ahead.owner is None:
            return
        if ahead.owner != get_ident():
            catch_up()
            return
        self.before = ahead.allowed
        ahead.allowed = self.allowed
        if not self.allowed:
            catch_up()

    def __exit__(self, *error: object) -> None:
        if self.before is not None:
            ahead.allowed = self.before


def _end() -> None:
    _pool.stop()


def _after_fork() -> None:
    """Threads do not live on in a child process; new ones are started when needed."""
    global _pool
    _pool = _Pool()
    if ahead.owner != get_ident():
        ahead.door = threading.Lock()
    ahead.letting_go = threading.Lock()
    ahead.owner, ahead.allowed, ahead.pending, ahead.waiting = None, False, False, None
    ahead.recording = None
    ahead.held.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=catch_up, after_in_child=_after_fork)
