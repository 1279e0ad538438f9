"""Results, and what is made of them: ratios, best modes, geometric means."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.case import OURS, Case, Probe, family
from benchmarks.timing import Samples


@dataclass
class Result:
    """What became of a case or probe.

    samples   by label, ours under "ours"; empty if the case was not timed
    checked   peers that ours was found equal to before the timing
    skipped   labels that did not take part, with the reason
    error     why the case was not timed
    """

    suite: str
    name: str
    group: str
    unit: str = "s"
    flops: float = 0
    bytes: float = 0
    items: int = 0
    item: str = ""
    samples: dict[str, Samples] = field(default_factory=dict)
    checked: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    error: str = ""

    @classmethod
    def of(cls, suite: str, source: Case | Probe) -> "Result":
        """An empty result for a case or probe."""
        if isinstance(source, Probe):
            return cls(suite, source.name, source.group, source.unit)
        return cls(
            suite,
            source.name,
            source.group,
            flops=source.flops,
            bytes=source.bytes,
            items=source.items,
            item=source.item,
        )

    @property
    def ours(self) -> float:
        """Median of ours."""
        return self.samples[OURS].median

    @property
    def timed(self) -> bool:
        return OURS in self.samples

    @property
    def evenness(self) -> float | None:
        """The slowest of our own variants' speed as a share of the fastest one's; None if fewer
        than three took part."""
        times = [s.median for label, s in self.samples.items() if family(label) == OURS]
        return min(times) / max(times) if len(times) > 2 else None

    def ratios(self) -> dict[str, float]:
        """ours / peer for every peer, and for the best mode of a peer that has several."""
        if not self.timed:
            return {}
        labels = [label for label in self.samples if label != OURS]
        found = {label: self.ours / self.samples[label].median for label in labels}
        for name, members in best_modes(labels).items():
            found[name] = max(found[label] for label in members)
        return found


def best_modes(labels: Iterable[str]) -> dict[str, list[str]]:
    """The labels that compete for "<peer> best", and for "<peer> eager best" if there are others
    besides the eager ones. A peer with a single mode has no entry."""
    families: dict[str, list[str]] = {}
    for label in labels:
        if family(label) != OURS:
            families.setdefault(family(label), []).append(label)
    found = {}
    for name, members in families.items():
        eager = [label for label in members if label.split()[1:2] == ["eager"]]
        if 1 < len(eager) < len(members):
            found[f"{name} eager best"] = eager
        if len(members) > 1:
            found[f"{name} best"] = members
    return found


def geometric_mean(values: Sequence[float]) -> float:
    """exp of the mean of the logarithms; raises ValueError for none, or for one that is not
    positive."""
    if not values or min(values) <= 0:
        raise ValueError(f"a geometric mean needs positive numbers, not {list(values)}")
    return math.exp(math.fsum(map(math.log, values)) / len(values))


@dataclass(frozen=True)
class GroupRatio:
    """The geometric mean of ours / peer over the cases of a group that the peer took part in."""

    suite: str
    group: str
    peer: str
    ratio: float
    cases: int
    """cases of the group in which the peer took part"""
    of: int
    """cases of the group"""


def group_ratios(results: Sequence[Result]) -> list[GroupRatio]:
    """One row for each group and peer (or best mode), in the order of the results."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.suite, result.group), []).append(result)
    rows = []
    for (suite, group), members in groups.items():
        by_peer: dict[str, list[float]] = {}
        for result in members:
            for peer, ratio in result.ratios().items():
                by_peer.setdefault(peer, []).append(ratio)
        rows += [
            GroupRatio(suite, group, peer, geometric_mean(ratios), len(ratios), len(members))
            for peer, ratios in by_peer.items()
        ]
    return rows
