"""Launches that are taken down once and done again without Python.

What Python does between the kernels of a training step takes a third of the time that they take, if
the batch is small. But in a step with the same shapes it is the same as in the step before, down to
the addresses, if memory is given out in the same way. So

    reserve = Reserve()
    with run_ahead(), allowing(True):
        with recording(reserve, where) as taken:
            y = f(x)                            # launches, as ever, and is taken down
    program = taken.program([span_of(x, 0), span_of(y, 1)], 2)
    program.run([other_x, other_y])             # the same launches for other arrays

A program is the arguments of all its launches, with the addresses in them. Memory that is taken
within `recording` is set apart for it (buffers.Reserve) and belongs to all later runs. What differs
from run to run is what lies in the spans that `program` is given: every integer that is an address
in a span is found by its value, and follows the memory that is given in its place.

That is all, if everything that is done to arrays is done by launches that say `later=True`; see
parallel.py. Whatever else would have to be done again makes itself known by `catch_up()`: then
`taken.problem` says what it was, and there is no program. Arrays that Python fills and kernels only
read must be the same in each run.

A program keeps order as Python would: a kernel runs after all that were launched before it, and
memory that returns may be used by the next one at once. It gives the same bits.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.addresses import CELL_HEAD, address, cells
from kernels.atomic import atomic_load, call_body, pause
from kernels.buffers import ALIGNMENT, Reserve, reserving
from kernels.cache import Kernel, kernel
from kernels.language import njit
from kernels.parallel import get_num_threads
from kernels.simd import int64_at
from kernels.workers import (
    FINISHED,
    JOBS,
    PUBLISHED,
    SPARE,
    ahead,
    begin,
    help_out,
    let_go,
    pool_state,
    publish_job,
)

Array = NDArray[Any]

LAUNCHES, PATCHES, HEAD, LAST, FIRST = 0, 1, 2, 3, 4
"""Words of a program: how many launches it has and how many addresses that differ from run to run;
what lies before an address in its cell; the number of the last job that it published. Then come the
launches and the addresses."""
BODY, INTS, FLOATS, TASKS, FRESH, COUNT, STEP = 0, 1, 2, 3, 4, 5, 6
"""Words of a launch: as of a job (workers.py); and where its integers lie as they were, and how
many they are. Its tasks may have counted in them since."""
PLACE, ARRAY, OFFSET, PATCH = 0, 1, 2, 3
"""Words of an address that differs: where it is, in which array it lies, and how far behind its
beginning."""


@njit(nogil=True)
def _prepare(program, cell_list):
    """Give all launches their arguments."""
    words, cell = int64_at(program), int64_at(cell_list)
    at = program + 8 * FIRST
    for _ in range(words[LAUNCHES]):
        launch = int64_at(at)
        ints, fresh = int64_at(launch[INTS]), int64_at(launch[FRESH])
        for i in range(launch[COUNT]):
            ints[i] = fresh[i]
        at += 8 * STEP
    for _ in range(words[PATCHES]):
        patch = int64_at(at)
        begin = int64_at(cell[patch[ARRAY]] + words[HEAD])[0]
        int64_at(patch[PLACE])[0] = begin + patch[OFFSET]
        at += 8 * PATCH


@kernel("void(int64, int64, int64)")
def run_ahead_of(state, program, cell_list):
    """Publish all launches of a program, and work while there is no room for more."""
    words = int64_at(program)
    # those of the run before may still read their arguments (in a child process there are none)
    last = min(words[LAST], atomic_load(state + PUBLISHED * 8))
    while atomic_load(state + FINISHED * 8) < last:
        help_out(state, True)
        pause()
    _prepare(program, cell_list)
    at = program + 8 * FIRST
    for _ in range(words[LAUNCHES]):
        launch = int64_at(at)
        room = JOBS - SPARE
        while atomic_load(state + PUBLISHED * 8) - atomic_load(state + FINISHED * 8) >= room:
            help_out(state, True)
            pause()
        helpers = max(1, launch[TASKS] - 1)
        publish_job(state, launch[BODY], launch[INTS], launch[FLOATS], launch[TASKS], helpers)
        at += 8 * STEP
    words[LAST] = atomic_load(state + PUBLISHED * 8)


@kernel("void(int64, int64)")
def run_alone(program, cell_list):
    """Do all launches of a program, without the help of other threads."""
    _prepare(program, cell_list)
    at = program + 8 * FIRST
    for _ in range(int64_at(program)[LAUNCHES]):
        launch = int64_at(at)
        for task in range(launch[TASKS]):
            call_body(launch[BODY], launch[INTS], launch[FLOATS], task, launch[TASKS])
        at += 8 * STEP


class Span(NamedTuple):
    """Memory in whose place there is other memory in each run.

    begin, end   addresses
    array        the number of the array that is given in its place,
    at           and the byte in that where it begins
    since        the launch from which on an address in it means it (of the reserve's clock); before
                 that, the same memory may have had another use
    """

    begin: int
    end: int
    array: int = 0
    at: int = 0
    since: int = 0


class Root(NamedTuple):
    """The memory that an array looks at, as it was asked for."""

    begin: int
    nbytes: int


def root_of(array: Array) -> Root:
    """The memory that an array looks at."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    owner: Any = array.base
    if hasattr(owner, "is_reused"):
        block = owner.block
        return Root(block.start + block.offset, block.size - ALIGNMENT)
    low, high = np.lib.array_utils.byte_bounds(array)
    return Root(low, high - low)


def span_of(array: Array, number: int = 0) -> Span:
    """That of an array, to be given as number so and so with the same strides."""
    low, high = np.lib.array_utils.byte_bounds(array)
    return Span(low, high, number, low - address(array))


class _Launch(NamedTuple):
    body: Kernel
    integers: "array[int]"
    fresh: NDArray[np.int64]
    floats: int
    tasks: int
    hold: Any


class Taken:
    """What has been taken down so far. `problem` says why it cannot be done again, if so."""

    def __init__(self, reserve: Reserve, where: Callable[[], str]) -> None:
        self.reserve, self._where = reserve, where
        self.problem: str | None = None
        self._launches: list[_Launch] = []
        self._begins_at = reserve.clock

    def add(self, body: Kernel, ints: int, floats: int, tasks: int, hold: Any) -> None:
        """See workers.Recording. The integers are the first of what is held."""
        integers = hold[0]
        fresh = np.frombuffer(integers, np.int64).copy()
        self._launches.append(_Launch(body, integers, fresh, floats, tasks, hold))
        self.reserve.clock += 1

    def refuse(self, what: str) -> None:
        """See workers.Recording. The first reason counts."""
        if self.problem is None:
            self.problem = f"{what} {self._where()}"

    def refers_to(self, span: Span) -> bool:
        """Whether a launch has an address in a span as an argument."""
        words, launch_of = self._words([launch.fresh for launch in self._launches])
        return bool((_spans_of(words, launch_of, [span]) == 0).any())

    def used_before(self, span: Span) -> bool:
        """Whether a launch refers to the memory in another sense, before the span is what it is.
        Then it belongs to the program, which writes there in each run: who wants to keep what the
        recorded run has left in the span takes a copy."""
        words, times = self._words([launch.fresh for launch in self._launches])
        inside = _spans_of(words, times, [span._replace(since=0)]) == 0
        return bool((inside & (times < span.since)).any())

    def program(self, spans: Sequence[Span], arrays: int) -> "Program":
        """To be run with so many arrays, which the spans name.

        Raises ValueError if spans overlap, or if a launch reads the address of one from a table in
        memory of its own."""
        _check_apart(spans)
        words, launch_of = self._words([launch.fresh for launch in self._launches])
        found = _spans_of(words, launch_of, spans)
        begins = {n: x.integers.buffer_info()[0] for n, x in enumerate(self._launches)}
        firsts = np.searchsorted(launch_of, launch_of, "left")
        patches = []
        for at in np.flatnonzero(found >= 0):
            place = begins[launch_of[at] - self._begins_at] + 8 * int(at - firsts[at])
            span = spans[found[at]]
            patches.append((place, span.array, int(words[at]) - span.begin + span.at))
        tables = [np.concatenate([EMPTY, *_tables(x.hold)]) for x in self._launches]
        behind = np.flatnonzero(_spans_of(*self._words(tables), spans) >= 0)
        if behind.size:
            raise ValueError("a launch reads an address from a table")
        return Program(self._launches, patches, arrays, self.reserve)

    def _words(
        self, parts: Sequence[NDArray[np.int64]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All integers of all launches, and for each when its launch was, by the clock."""
        times = np.arange(self._begins_at, self._begins_at + len(parts), dtype=np.int64)
        lengths = [part.size for part in parts]
        return np.concatenate([EMPTY, *parts]), np.repeat(times, lengths)


EMPTY = np.empty(0, np.int64)


def _spans_of(
    words: NDArray[np.int64], times: NDArray[np.int64], spans: Sequence[Span]
) -> NDArray[np.int64]:
    """For each integer the number of the span in which it is an address, or -1."""
    order = [i for i, span in enumerate(spans) if span.begin < span.end]
    if not order:
        return np.full(words.shape, -1)
    order.sort(key=lambda i: spans[i].begin)
    rows = [(spans[i].begin, spans[i].end, spans[i].since) for i in order]
    begin, end, since = np.array(rows, np.int64).T
    at = np.searchsorted(begin, words, "right") - 1
    inside = (at >= 0) & (words < end[at]) & (times >= since[at])
    return np.where(inside, np.array(order)[at], -1)


def _tables(held: Any) -> Iterator[NDArray[np.int64]]:
    """Integers in memory of its own that a launch may read."""
    if isinstance(held, tuple | list):
        for part in held:
            yield from _tables(part)
    elif isinstance(held, np.ndarray) and held.dtype == np.int64:
        yield held.ravel()


def _check_apart(spans: Sequence[Span]) -> None:
    end = 0
    for span in sorted((s.begin, s.end) for s in spans if s.begin < s.end):
        if span[0] < end:
            raise ValueError("arrays that may change from run to run overlap")
        end = span[1]


class Program:
    """Launches that can be done again."""

    def __init__(
        self,
        launches: Sequence[_Launch],
        patches: Sequence[tuple[int, int, int]],
        arrays: int,
        reserve: Reserve,
    ) -> None:
        self.launches, self.arrays = len(launches), arrays
        self.used = {number for _, number, _ in patches}
        """Which of the arrays it looks at."""
        self._kept = (list(launches), reserve)
        self._helpers = max([1, *[launch.tasks - 1 for launch in launches]])
        words = [len(launches), len(patches), CELL_HEAD, 0]
        for body, integers, fresh, floats, tasks, _ in launches:
            at = integers.buffer_info()[0]
            words += (body.address, at, floats, tasks, address(fresh), fresh.size)
        for patch in patches:
            words += patch
        self._words = array("q", words)
        self._at = self._words.buffer_info()[0]

    def run(self, arrays: Sequence[Array]) -> None:
        """Do all launches, with these arrays in the place of those that were recorded. Within
        `run_ahead` and where it is allowed, they may be put off, as launches are."""
        if len(arrays) != self.arrays:
            raise ValueError(f"{self.arrays} arrays are needed, not {len(arrays)}")
        cell_list = cells(arrays)
        cells_at = cell_list.buffer_info()[0]
        mine = ahead.allowed and ahead.owner == get_ident()
        if mine:
            let_go()
        if mine and get_num_threads() > 1 and begin():
            # one for each, for who looks how many wait
            ahead.held.extend([(self, arrays)] * min(self.launches, JOBS))
            run_ahead_of.call(pool_state(self._helpers), self._at, cells_at)
        else:
            run_alone.call(self._at, cells_at)


def can_record() -> bool:
    """Whether this thread may record now. (If another one's kernels are running it may later.)"""
    mine = ahead.owner == get_ident() and ahead.allowed
    return mine and ahead.recording is None and begin()


@contextmanager
def recording(reserve: Reserve, where: Callable[[], str]) -> Iterator[Taken]:
    """Take down what is launched within the block, by the thread that runs ahead and where it is
    allowed. `where` says where Python is, for the message of a refusal."""
    taken = Taken(reserve, where)
    # with one thread nothing is put off; but who looks at values says so while something may be,
    # and `can_record` has begun with that
    if not can_record():
        raise RuntimeError(
            "recording: for the thread that runs ahead, one at a time, while no other one's "
            "kernels are running"
        )
    let_go()
    with reserving(reserve):
        ahead.recording = taken
        try:
            yield taken
            let_go()
        finally:
            ahead.recording = None
