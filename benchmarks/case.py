"""What a file in cases/ is made of: Case for calls that are timed here, Probe for numbers that come
from elsewhere (another process)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

OURS = "ours"
UNCOMPILED = f"{OURS} without compile()"


@dataclass(frozen=True)
class Case:
    """One piece of work, done by this project and by others.

    name       within its group, short
    group      geometric means are taken over the cases of a group
    ours       a call without arguments; returns its result
    peers      calls that do the same, by name. The first word of a name says whose work it is:
               "torch eager NCHW" and "torch compile NCHW" are two modes of the peer torch
    flops      floating-point operations of one call, of the plain algorithm (a*b+c is two)
    bytes      least memory traffic of one call: every input read once, every result written once
    items      things done by one call, for example images; 0 if there is no such thing, then the
               table shows GFLOP/s
    item       what they are called
    tolerance  largest difference that is allowed between the results of ours and of a peer, as a
               share of the greatest magnitude in the peer's. None: the results differ by nature
    calls_compared   how many calls in a row are compared; more than one for calls that change
               something, as a training step does
    """

    name: str
    group: str
    ours: Callable[[], Any]
    peers: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    flops: float = 0
    bytes: float = 0
    items: int = 0
    item: str = "images"
    tolerance: float | None = 1e-4
    calls_compared: int = 1


@dataclass(frozen=True)
class Probe:
    """A number that each side measures by itself: less is better.

    unit    "s" or "B"
    ours    a call without arguments; returns the number
    peers   as in Case
    rounds  how often everyone is asked, in turns; the median counts
    """

    name: str
    group: str
    unit: str
    ours: Callable[[], float]
    peers: Mapping[str, Callable[[], float]] = field(default_factory=dict)
    rounds: int = 5


def family(label: str) -> str:
    """Whose work a label stands for: its first word."""
    return label.split()[0]
