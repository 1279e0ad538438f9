"""Interleaved timing.

Everyone gets one slot per round. A slot is a pause, so that another runtime's spinning workers fall
asleep, one warm call, and as many timed calls as fill a least time. Who begins moves on by one from
round to round. A sample is a slot's time per call; the median of the samples counts.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_CALLS = 10_000


@dataclass(frozen=True)
class Effort:
    """How long to measure: number of rounds, least seconds in a slot, seconds before a slot.

    OpenBLAS's workers spin for 30 ms after their last job, on some hosts for more than 50 (another
    kernel took twice as long then, and its own time after 200); the OpenMP runtimes' for a few."""

    rounds: int = 9
    slot: float = 0.02
    pause: float = 0.25


QUICK = Effort(rounds=1, slot=0.0, pause=0.005)


@dataclass
class Samples:
    """Numbers of one contender: seconds per call, or what a Probe returned.

    calls   timed calls in each sample
    first   seconds that the very first call took: compilation is in it; None if it was not timed
    """

    values: list[float] = field(default_factory=list)
    calls: int = 1
    first: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def interleave(
    calls: Mapping[str, Callable[[], Any]],
    effort: Effort,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[str, Samples]:
    """Time calls against each other; all of them were called at least once before."""
    result = {
        label: Samples(calls=_calls_per_slot(call, effort, clock)) for label, call in calls.items()
    }
    labels = list(calls)
    for turn in range(effort.rounds):
        start = turn % len(labels)
        for label in labels[start:] + labels[:start]:
            call, repeat = calls[label], result[label].calls
            sleep(effort.pause)
            call()
            before = clock()
            for _ in range(repeat):
                call()
            result[label].values.append((clock() - before) / repeat)
    return result


def _calls_per_slot(call: Callable[[], Any], effort: Effort, clock: Callable[[], float]) -> int:
    before = clock()
    call()
    seconds = max(clock() - before, 1e-9)
    return max(1, min(MOST_CALLS, int(effort.slot / seconds) + 1)) if effort.slot else 1
