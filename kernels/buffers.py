"""Reuse of large arrays.

A training step makes and drops gigabytes of arrays of the same few sizes. Fresh memory costs page
faults (0.2 to 0.5 ms per MB), so arrays of 256 KiB and more take their memory from free lists kept
by size:

    x = empty((128, 16, 32, 32), np.float32)

The memory returns to its list when the last array that looks at it is gone, views included (every
view keeps the owner alive through `.base`), and not earlier. So a result in the user's hands is
never overwritten by a later one. The memory is 64-byte aligned and holds whatever was there before.

The pool keeps at most `set_pool_limit` bytes of unused memory (default a quarter of the machine's
memory, at most 4 GiB) and a few blocks that came back last, dropping the blocks that were unused
for longest; `trim()` drops them all.

A kernel that was put off (parallel.py) may still read or write memory that has returned. Another
kernel may have it at once, for it will run later; who says `later=True` promises to touch it by
kernels alone that say the same. Everybody else waits for the kernel, and another thread gets other
memory.
"""

import ctypes
import math
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kernels.addresses import address
from kernels.workers import ahead, catch_up

SMALLEST = 256 * 1024
"""Arrays of fewer bytes are plain NumPy arrays."""
ALIGNMENT = 64
RETURNED, RETURNED_BYTES = 8, 16 * 2**20
"""Less than so many blocks of less than so many bytes wait until somebody wants a block."""


def _default_limit() -> int:
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = 8 * 2**30
    return min(4 * 2**30, memory // 4)


class _Block:
    """Memory of the pool.

    start    where it begins
    offset   how far behind that lies a multiple of the alignment
    reserve  where it returns to, if not to the pool
    """

    __slots__ = ("memory", "offset", "reserve", "size", "start")

    def __init__(self, size: int) -> None:
        self.memory, self.size = np.empty(size, np.uint8), size
        self.start = address(self.memory)
        self.offset = -self.start % ALIGNMENT
        self.reserve: Reserve | None = None


class Reserve:
    """Memory that is taken from the pool and stays apart, for launches that are done again and
    again with the same addresses (recording.py): within `reserving`, a thread's blocks come from
    here and return to here, until it is closed.

    clock   set by the user of the memory
    taken   for each block by its beginning, the time when it was given out last
    """

    def __init__(self) -> None:
        self.clock = 0
        self.taken: dict[int, int] = {}
        self._lock = threading.Lock()  # another thread may let a launch go on behalf of this one
        self._blocks: list[_Block] = []
        self._returned: deque[_Block] = deque()
        self._free: dict[int, list[_Block]] = {}

    def take(self, size: int) -> "_Block | None":
        """A block that has returned here."""
        with self._lock:
            while self._returned:
                block = self._returned.popleft()
                self._free.setdefault(block.size, []).append(block)
            found = self._free.get(size)
            if not found:
                return None
            block = found.pop()
        self.taken[block.start + block.offset] = self.clock
        return block

    def keep(self, block: _Block) -> None:
        """Let a block of the pool return here."""
        block.reserve = self
        self._blocks.append(block)
        self.taken[block.start + block.offset] = self.clock

    def put(self, block: _Block) -> None:
        """As _Pool.put."""
        self._returned.append(block)

    def release(self, start: int) -> None:
        """Let the block that begins there return to the pool, when it does."""
        for block in self._blocks:
            if block.start + block.offset == start:
                self._blocks.remove(block)
                block.reserve = None
                return

    def bytes(self) -> int:
        """What it holds."""
        return sum(block.size for block in self._blocks)

    def close(self) -> None:
        """Give everything back to the pool: now, or when the arrays that look at it are gone."""
        for block in self._blocks:
            block.reserve = None
        self._blocks.clear()
        for blocks in self._free.values():
            self._returned.extend(blocks)
        self._free.clear()
        while self._returned:
            _pool.put(self._returned.popleft())


class _Pool:
    """Unused blocks by size, the longest unused first.

    `put` is called from finalisers, that is at any moment, even while this thread is inside `take`.
    So it only appends to a deque, which is atomic and takes no lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.returned: deque[_Block] = deque()
        self.blocks: OrderedDict[int, list[_Block]] = OrderedDict()
        self.unused = 0
        self.limit = _default_limit()

    def take(self, size: int, later: bool) -> _Block:
        mine = ahead.owner == threading.get_ident()
        if ahead.pending and mine and not later:
            catch_up()
        reserve = _memory.reserve
        if reserve is None:
            block = self._take(size)
            # looked at afterwards: what was put off when the block returned is done, or still is
            if ahead.pending and not mine:
                self.put(block)
                return _Block(size)
            return block
        found = reserve.take(size)
        if found is None:
            found = self._take(size)
            reserve.keep(found)
        return found

    def _take(self, size: int) -> _Block:
        with self.lock:
            self._collect()
            found = self.blocks.get(size)
            if found:
                self.unused -= size
                return found.pop()
        return _Block(size)

    def put(self, block: _Block) -> None:
        if block.reserve is not None:
            block.reserve.put(block)
            return
        self.returned.append(block)
        # `take` sorts the next few blocks, unless they are large
        few = len(self.returned) < RETURNED and block.size < RETURNED_BYTES
        if not few and self.lock.acquire(blocking=False):
            try:
                self._collect()
            finally:
                self.lock.release()

    def _collect(self) -> None:
        """Sort returned blocks into their lists and keep the limit. Needs the lock."""
        while self.returned:
            block = self.returned.popleft()
            self.blocks.setdefault(block.size, []).append(block)
            self.blocks.move_to_end(block.size)
            self.unused += block.size
        self._drop(self.limit)

    def _drop(self, limit: int) -> None:
        while self.unused > limit and not ahead.pending:
            size, oldest = next(iter(self.blocks.items()))
            if oldest:
                oldest.pop()
                self.unused -= size
            if not oldest:
                del self.blocks[size]

    def drop(self, limit: int) -> None:
        with self.lock:
            self._collect()
            self._drop(limit)


_pool = _Pool()


class Working:
    """Working memory of kernels that run one after the other.

    reserve   where it is taken from, if not from the pool
    """

    __slots__ = ("block", "place", "reserve", "size")

    def __init__(self, reserve: Reserve | None = None) -> None:
        self.reserve, self.size, self.place = reserve, 0, 0
        self.block: NDArray[np.uint8] | None = None

    def at(self, nbytes: int) -> int:
        """See `scratch`."""
        if self.size < nbytes:
            with _growing:
                if self.size < nbytes:
                    # so large that it is the pool's, and goes to kernels alone when a larger one
                    # replaces it
                    size = max(nbytes + nbytes // 4, SMALLEST)
                    block = aligned(size, later=True)
                    self.place, self.block, self.size = address(block), block, size
        return self.place


_growing = threading.Lock()


class Memory(threading.local):
    """Where a thread's kernels get their memory from: a reserve or the pool; and their working
    memory."""

    def __init__(self) -> None:
        self.reserve: Reserve | None = None
        self.working = Working()


_memory = Memory()


def working_memory() -> Working:
    """That of this thread's kernels. It knows where all other memory comes from, too."""
    return _memory.working


@contextmanager
def memory_from(working: Working) -> Iterator[None]:
    """Take all memory from where `working` is taken, as if this thread was the one whose it is."""
    before = _memory.reserve, _memory.working
    _memory.reserve, _memory.working = working.reserve, working
    try:
        yield
    finally:
        _memory.reserve, _memory.working = before


def reserving(reserve: Reserve) -> AbstractContextManager[None]:
    """Take this thread's memory from a reserve, its kernels' working memory as well."""
    return memory_from(Working(reserve))


@cache
def _owner_type(size: int) -> Any:
    """The class of objects that hold one block of `size` bytes on behalf of the arrays that look at
    it, and return it when the last one is gone. NumPy takes such an object as an array's memory in
    one step; a class in Python with an `__array_interface__` takes four times as long."""

    def give_back(self: Any) -> None:
        if self.block is not None and _pool is not None:  # at the interpreter's end it may be gone
            _pool.put(self.block)

    members = {"__del__": give_back, "is_reused": True, "block": None}
    return type("_Owner", (ctypes.c_char * size,), members)


def _from_pool(
    shape: Sequence[int],
    dtype: np.dtype[Any],
    nbytes: int,
    strides: Sequence[int] | None,
    later: bool,
) -> NDArray[Any]:
    # Sizes are rounded so that nearly equal requests share blocks: 1/8 of slack at most.
    step = max(4096, 1 << (nbytes.bit_length() - 4))
    size = -(-(nbytes + ALIGNMENT) // step) * step
    block = _pool.take(size, later)
    owner = _owner_type(size).from_address(block.start)
    owner.block = block
    return np.ndarray(shape, dtype, owner, block.offset, strides)


def empty(
    shape: int | Sequence[int], dtype: DTypeLike = np.float32, *, later: bool = False
) -> NDArray[Any]:
    """An uninitialised C-contiguous array, like `numpy.empty`, from reused memory if it is
    large."""
    dtype = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < SMALLEST or dtype.hasobject or min(shape) < 0:
        return np.empty(shape, dtype)
    return _from_pool(shape, dtype, nbytes, None, later)


def empty_like(array: NDArray[Any]) -> NDArray[Any]:
    """An uninitialised array of the same shape, dtype and axis order in memory as `array`."""
    order = sorted(range(array.ndim), key=lambda axis: (-abs(array.strides[axis]), axis))
    memory = empty([array.shape[axis] for axis in order], array.dtype)
    return memory.transpose(np.argsort(order)) if array.ndim else memory


def zeros(shape: int | Sequence[int], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """An array of zeros, like `numpy.zeros`, from reused memory if it is large."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def empty_nhwc(
    n: int, c: int, h: int, w: int, dtype: DTypeLike = np.float32, *, later: bool = False
) -> NDArray[Any]:
    """An uninitialised array of shape N,C,H,W whose memory is ordered N,H,W,C (channels last)."""
    dtype = np.dtype(dtype)
    size = dtype.itemsize
    nbytes = n * c * h * w * size
    if nbytes < SMALLEST or min(n, c, h, w) < 0:
        return np.empty((n, h, w, c), dtype).transpose(0, 3, 1, 2)
    strides = (h * w * c * size, size, w * c * size, c * size)
    return _from_pool((n, c, h, w), dtype, nbytes, strides, later)


def aligned(nbytes: int, *, later: bool = False) -> NDArray[np.uint8]:
    """Uninitialised bytes that start at a multiple of 64, for a kernel's working memory."""
    if nbytes >= SMALLEST:
        return empty(nbytes, np.uint8, later=later)
    memory = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -address(memory) % ALIGNMENT
    return memory[start : start + nbytes]


def scratch(nbytes: int) -> int:
    """The address of uninitialised bytes, a multiple of 64, for the working memory of one kernel.

    Kernels run one after the other, so all that a thread launches share it: nothing may be left
    there for another kernel to find, and one launch asks once."""
    return _memory.working.at(nbytes)


def spread(nbytes: int) -> int:
    """At least so many bytes, as an odd number of cache lines: matrices, panels or tasks' buffers
    that far apart begin in different sets of the cache."""
    return 64 * (-(-nbytes // 64) | 1)


def is_reused(array: Any) -> bool:
    """Whether an array's memory is a block of the pool, which lives on without the array."""
    base = getattr(array, "base", None)
    if base is None:
        return False
    return hasattr(base.base if isinstance(base, np.ndarray) else base, "is_reused")


def set_pool_limit(nbytes: int) -> None:
    """How many bytes of unused memory the pool may keep."""
    if nbytes < 0:
        raise ValueError(f"set_pool_limit: nbytes must not be negative, not {nbytes}")
    _pool.limit = nbytes
    catch_up()
    _pool.drop(nbytes)


def trim() -> None:
    """Give all unused memory back to the system."""
    catch_up()
    _memory.working = Working(_memory.reserve)
    _pool.drop(0)


def pool_info() -> dict[str, int]:
    """Bytes of unused memory in the pool, and its limit."""
    _pool.drop(_pool.limit)
    return {"unused_bytes": _pool.unused, "limit_bytes": _pool.limit}
