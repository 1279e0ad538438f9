"""Launches that are held back so that the next one can join them.

A batch norm and the convolutions around it go over the same activations, one after the other, and
an activation is larger than the caches. Where a convolution works unit by unit, the pass before it
and the one after it can do the same unit while that is in a core's own cache:

    normalize, relu  ->  convolution  ->  statistics of the next batch norm
                         gradients of a convolution  ->  sums of the batch norm's gradient before it

Within `run_ahead`, the launch on the left of an arrow is held back (`hold`). When the one on the
right comes and finds that its source is what the waiting one will write (`waiting_for`), it takes
that along; anything else that is launched, or `catch_up`, lets the waiting one go as it is. Nothing
else changes: each pass does the same work on the same rows in the same order, by the same code, so
the bits are those of separate launches.

A waiting launch keeps all its arrays alive, so the memory that the joining one takes for its
results is not in use by either.
"""

from collections.abc import Sequence
from threading import get_ident
from typing import Any, NamedTuple

from numpy.typing import NDArray

from kernels import workers
from kernels.buffers import Working, memory_from, working_memory
from kernels.parallel import get_num_threads
from kernels.workers import ahead

Array = NDArray[Any]


class Pass(NamedTuple):
    """A batch norm's pass over the rows of an activation, which may be part of another launch.

    facts    what its arguments follow from (norm_plan.py)
    arrays   those that are to be given at the launch
    """

    facts: tuple[Any, ...]
    arrays: Sequence[Array]


class Waiting:
    """A launch that is held back. `result` is the array that it will write, `working` the working
    memory of the thread whose it is."""

    result: Array
    working: Working

    def go(self) -> None:
        """Publish it as it is. Any thread may."""
        if ahead.owner == get_ident():
            self.publish()
        else:
            with memory_from(self.working):
                self.publish()

    def publish(self) -> object:
        """What `go` does, with this thread's memory."""
        raise NotImplementedError

    def before(self) -> Pass | None:
        """It as a pass over the source of the launch that comes, if it is one."""
        return None

    def go_with(self, kind: str, after: Pass) -> bool:
        """Publish it with a pass over its result. False if that cannot be, and nothing was done."""
        return False


_enabled = True


def set_joining(enabled: bool) -> None:
    """Allow (default) or forbid that launches are held back for others to join them."""
    global _enabled
    _enabled = bool(enabled)


def hold(waiting: Waiting) -> bool:
    """Hold a launch back. False if this is not the time to do so, and it is to be launched now."""
    waiting.working = working_memory()
    return _enabled and get_num_threads() > 1 and workers.hold_back(waiting)


def waiting_for(array: Array) -> Waiting | None:
    """The launch that is held back and will write this array."""
    waiting = ahead.waiting
    if isinstance(waiting, Waiting) and waiting.result is array and ahead.owner == get_ident():
        return waiting
    return None


def exchange(waiting: Waiting, other: Waiting) -> bool:
    """Hold back `other`, which does the work of `waiting` as well. False if that has been let go
    (another thread may do so at any time), and nothing was done."""
    other.working = waiting.working
    with ahead.letting_go:
        if ahead.waiting is not waiting:
            return False
        ahead.waiting = other
        return True


def join(array: Array, kind: str, after: Pass) -> bool:
    """Publish the launch that is held back and will write `array`, with a pass over that. False if
    there is none or it cannot be, and nothing was done."""
    with ahead.letting_go:
        waiting = waiting_for(array)
        if waiting is None or not waiting.go_with(kind, after):
            return False
        ahead.waiting = None  # as in `let_go`
        return True
