"""Launches that are laid out once for all calls with the same shapes.

Of most launches of a training step all is known from the shapes but some addresses. What a launch
does with Python objects is then little: it lists the arrays that are given to it, and compiled code
puts their addresses, and those of the working memory, in their places.

Joining (joining.py) makes one plan of several; so what a plan is made of, its `ints`, may be put
together by different files.
"""

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kernels.addresses import CELL_HEAD, address, cells
from kernels.buffers import SMALLEST, is_reused, scratch
from kernels.cache import Kernel, kernel
from kernels.parallel import get_num_threads, run
from kernels.simd import int64_at
from kernels.workers import publish_ahead

HERE = None
"""Stands for the address of an array that every launch of a LaunchPlan gives."""


class Work(NamedTuple):
    """Stands for an address in the working memory of a launch."""

    offset: int = 0


GIVEN, OWN, TABLES, HEAD, PLACES = 0, 1, 2, 3, 4  # words of a layout


@kernel("void(int64, int64, int64, int64)")
def fill(layout, integers, cell_list, work):
    """Put a launch's addresses in their places among its integers.

    layout   how many arrays are given, of places in the working memory, and of tables; then for
             each array its place, for the others their place and what is to be added to the address
             of the working memory, or of the integers
    """
    words, ints, cell = int64_at(layout), int64_at(integers), int64_at(cell_list)
    at = PLACES
    for i in range(words[GIVEN]):
        ints[words[at]] = int64_at(cell[i] + words[HEAD])[0]
        at += 1
    for _ in range(words[OWN]):
        ints[words[at]] = work + words[at + 1]
        at += 2
    for _ in range(words[TABLES]):
        ints[words[at]] = integers + words[at + 1]
        at += 2


class LaunchPlan:
    """A launch of which all is known from the shapes but some addresses. It takes half the time
    that `launch` would.

        plan = LaunchPlan(body, [HERE, 64, [HERE, 16, 16], Work()], (0.5,), tasks, work_bytes=1024)
        plan.launch(x, y)

    ints     integers; arrays that are the same in each launch; HERE for arrays that are given at
             each launch, in the order in which one reads; Work for places in working memory of
             `work_bytes` bytes; a list in the place of an integer is a table, handed over by its
             address: it lies behind the arguments, and as them it is new in each launch, so that
             tasks may count in it
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
        work_bytes: int = 0,
    ) -> None:
        self.body, self.tasks = body, max(1, min(tasks, get_num_threads()))
        self.work_bytes = work_bytes
        self._floats = array("d", floats)
        self._floats_at = self._floats.buffer_info()[0]
        self._ints = array("q")
        self._kept: list[Any] = [keep]
        given: list[int] = []
        own: list[int] = []
        tables: list[int] = []
        self._lay_out(ints, given, own, tables)
        self._given = len(given)
        counts = (len(given), len(own) // 2, len(tables) // 2, CELL_HEAD)
        self._layout = array("q", [*counts, *given, *own, *tables])
        self._layout_at = self._layout.buffer_info()[0]

    def _lay_out(
        self, ints: Sequence[Any], given: list[int], own: list[int], tables: list[int]
    ) -> None:
        """Append a table and, behind it, those that it refers to."""
        begin = len(self._ints)
        self._ints.extend([0] * len(ints))
        for place, value in enumerate(ints, begin):
            if value is HERE:
                given.append(place)
            elif isinstance(value, Work):
                own += (place, value.offset)
            elif isinstance(value, np.ndarray):
                self._ints[place] = address(value)
                self._kept.append(value)
            elif isinstance(value, list):
                tables += (place, 8 * len(self._ints))
                self._lay_out(value, given, own, tables)
            else:
                self._ints[place] = value

    def launch(self, *arrays: np.ndarray, keep: Sequence[Any] = (), beside: bool = False) -> None:
        """Run it with these in the places of HERE; as `launch` with later=True.

        beside   it has nothing to do with a launch that is held back: neither reads what the other
                 writes"""
        integers, ints_at = self._filled(arrays)
        hold = (integers, self, _to_hold(arrays), keep)
        run(self.body, ints_at, self._floats_at, self.tasks, True, hold, beside)

    def go(self, *arrays: np.ndarray) -> None:
        """Publish it, after it was held back."""
        integers, ints_at = self._filled(arrays)
        hold = (integers, self, _to_hold(arrays))
        publish_ahead(self.body, ints_at, self._floats_at, self.tasks, hold)

    def _filled(self, arrays: Sequence[np.ndarray]) -> "tuple[array[int], int]":
        """The integers of a launch, and their address."""
        if len(arrays) != self._given:
            raise ValueError(f"{self.body}: {self._given} arrays are needed, not {len(arrays)}")
        integers = self._ints[:]
        cell_list = cells(arrays)
        ints_at = integers.buffer_info()[0]
        work = scratch(self.work_bytes) if self.work_bytes else 0
        fill.call(self._layout_at, ints_at, cell_list.buffer_info()[0], work)
        return integers, ints_at


def _to_hold(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Those that must live until a launch is done: all whose memory is not the pool's."""
    return [
        a
        for a in arrays
        # `is_reused` for the usual case without a call
        if a.nbytes < SMALLEST or not (hasattr(a.base, "is_reused") or is_reused(a))
    ]
