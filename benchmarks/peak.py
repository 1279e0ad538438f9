"""What the machine can do at most: fused multiply-adds per second, and bytes per second.

The FMA loop keeps everything in registers: 12 sums, enough to hide the latency of the instruction
on every processor that has it, few enough not to spill. Bandwidth is measured on arrays that no
cache holds, with STREAM's way of counting (McCalpin 1995): the bytes that the program names, so a
store counts once although the processor reads the line first.

Here the fastest of several runs counts, not the median: these numbers are ceilings.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kernels.buffers import aligned
from kernels.cache import kernel
from kernels.parallel import launch, share
from kernels.simd import LANES, add, add_lanes, broadcast, float32_at, fma, load, splat, store

SUMS = 12
_LINE = 16
"""Floats in a cache line; tasks share arrays by lines."""


@dataclass(frozen=True)
class Peaks:
    """Ceilings of the machine, on `threads` threads unless the name says otherwise."""

    threads: int
    gflops_one_thread: float
    gflops: float
    read_gbs: float
    copy_gbs: float
    triad_gbs: float

    @property
    def bandwidth_gbs(self) -> float:
        """The roof of the roofline: the fastest of the three."""
        return max(self.read_gbs, self.copy_gbs, self.triad_gbs)

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@kernel()
def fma_loop(ints: Any, floats: Any, task: Any, tasks: Any) -> None:
    """a = a * x + y, ints[2] times on each of 12 registers; the results go to ints[1]."""
    x, y = broadcast(ints[0]), broadcast(ints[0] + 4)
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = a8 = a9 = a10 = a11 = x
    for _ in range(ints[2]):
        a0 = fma(a0, x, y)
        a1 = fma(a1, x, y)
        a2 = fma(a2, x, y)
        a3 = fma(a3, x, y)
        a4 = fma(a4, x, y)
        a5 = fma(a5, x, y)
        a6 = fma(a6, x, y)
        a7 = fma(a7, x, y)
        a8 = fma(a8, x, y)
        a9 = fma(a9, x, y)
        a10 = fma(a10, x, y)
        a11 = fma(a11, x, y)
    total = add(add(add(a0, a1), add(a2, a3)), add(add(a4, a5), add(a6, a7)))
    total = add(total, add(add(a8, a9), add(a10, a11)))
    float32_at(ints[1])[_LINE * task] = add_lanes(total)


@kernel()
def read_loop(ints: Any, floats: Any, task: Any, tasks: Any) -> None:
    """The sum of an array, in four registers; it goes to ints[1]."""
    lines = ints[2] // (4 * _LINE)
    begin, end = share(lines, task, tasks), share(lines, task + 1, tasks)
    place = ints[0] + 4 * 4 * _LINE * begin
    a = b = c = d = splat(np.float32(0))
    for _ in range(4 * _LINE * (end - begin) // (4 * LANES)):
        a = add(a, load(place))
        b = add(b, load(place + 4 * LANES))
        c = add(c, load(place + 8 * LANES))
        d = add(d, load(place + 12 * LANES))
        place += 16 * LANES
    float32_at(ints[1])[_LINE * task] = add_lanes(add(add(a, b), add(c, d)))


@kernel()
def copy_loop(ints: Any, floats: Any, task: Any, tasks: Any) -> None:
    """ints[1] = ints[0], arrays of ints[2] floats."""
    lines = ints[2] // _LINE
    begin, end = share(lines, task, tasks), share(lines, task + 1, tasks)
    for place in range(4 * _LINE * begin, 4 * _LINE * end, 4 * LANES):
        store(ints[1] + place, load(ints[0] + place))


@kernel()
def triad_loop(ints: Any, floats: Any, task: Any, tasks: Any) -> None:
    """ints[2] = ints[0] + scalar * ints[1], arrays of ints[3] floats; the scalar is at ints[4]."""
    lines = ints[3] // _LINE
    begin, end = share(lines, task, tasks), share(lines, task + 1, tasks)
    scalar = broadcast(ints[4])
    for place in range(4 * _LINE * begin, 4 * _LINE * end, 4 * LANES):
        store(ints[2] + place, fma(load(ints[1] + place), scalar, load(ints[0] + place)))


def measure_peaks(threads: int, quick: bool = False) -> Peaks:
    """Measure all ceilings; takes about two seconds, a fraction of one when quick."""
    rounds = 3 if quick else 20
    turns = 1_000_000 if quick else 4_000_000
    floats = (8 if quick else 32) * 2**20  # 128 MB an array: more than third-level caches hold
    a, b, c = (aligned(4 * floats).view(np.float32) for _ in range(3))
    for array in (a, b, c):
        array[...] = 1
    factors = np.array([0.5, 1.0], np.float32)
    results = np.zeros(_LINE * threads, np.float32)

    def gflops(tasks: int) -> float:
        flops = tasks * turns * SUMS * LANES * 2
        return flops / _fastest(
            lambda: launch(fma_loop, (factors, results, turns), tasks=tasks), rounds
        )

    def gbs(call: Callable[[], None], arrays: int) -> float:
        return arrays * 4 * floats / _fastest(call, rounds) / 1e9

    return Peaks(
        threads=threads,
        gflops_one_thread=gflops(1) / 1e9,
        gflops=gflops(threads) / 1e9,
        read_gbs=gbs(lambda: launch(read_loop, (a, results, floats)), 1),
        copy_gbs=gbs(lambda: launch(copy_loop, (a, b, floats)), 2),
        triad_gbs=gbs(lambda: launch(triad_loop, (a, b, c, floats, factors)), 3),
    )


def _fastest(call: Callable[[], None], rounds: int) -> float:
    """Seconds of the fastest of some calls, after one that compiles and warms up."""
    call()
    best = float("inf")
    for _ in range(rounds):
        before = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - before)
    return best
