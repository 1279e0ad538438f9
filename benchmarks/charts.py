"""Two pictures of a run: the roofline, and the ratios as bars."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.peak import Peaks
from benchmarks.results import Result, best_modes, geometric_mean

COLOURS = ("#1f6feb", "#e08a1e", "#2e9e6b", "#a04bd6", "#d1495b", "#4f9da6", "#8a6d3b", "#5c6b7f")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, GREY, PALE = "#24292f", "#6b7280", "#e6e9ee"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#c3c8d0",
    "axes.labelcolor": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}


def draw_roofline(path: Path, results: Sequence[Result], peaks: Peaks, machine: str) -> bool:
    """GFLOP/s of ours over flops per byte, one point a case, below the measured ceilings.

    Returns False, and writes nothing, if no case counts its flops and bytes."""
    points = [r for r in results if r.timed and r.flops and r.bytes]
    if not points:
        return False
    with rc_context(STYLE):
        figure = Figure(figsize=(9.5, 5.6), layout="constrained")
        axes = figure.subplots()
        intensity = [r.flops / r.bytes for r in points]
        low, high = min([*intensity, 2.0]) / 2, max([*intensity, 50.0]) * 2
        _roof(axes, low, high, peaks)
        for i, group in enumerate(dict.fromkeys(r.group for r in points)):
            members = [r for r in points if r.group == group]
            axes.scatter(
                [r.flops / r.bytes for r in members],
                [r.flops / r.ours / 1e9 for r in members],
                s=34,
                color=COLOURS[i % len(COLOURS)],
                marker=MARKERS[i % len(MARKERS)],
                alpha=0.85,
                linewidths=0,
                label=group,
                zorder=3,
            )
        slowest = min(r.flops / r.ours / 1e9 for r in points)
        fastest = max(r.flops / r.ours / 1e9 for r in points)
        axes.set(xscale="log", yscale="log", xlim=(low, high))
        axes.set_ylim(slowest / 1.6, 1.7 * max(peaks.gflops, fastest))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())
        axes.grid(color=PALE, lw=0.8)
        axes.set_xlabel("flops per byte (plain algorithm, every array touched once)")
        axes.set_ylabel("GFLOP/s")
        axes.set_title(f"Roofline, {machine}")
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
        figure.supxlabel(
            "A point above the roof does fewer operations than the plain algorithm that is counted "
            "(Winograd).",
            fontsize=8.5,
            color=GREY,
        )
        figure.savefig(path, dpi=150)
    return True


def _roof(axes: Axes, low: float, high: float, peaks: Peaks) -> None:
    x = np.geomspace(low, high, 400)
    lines = [
        (peaks.gflops, f"{peaks.threads} threads, {peaks.gflops:.0f} GFLOP/s", "-"),
        (peaks.gflops_one_thread, f"1 thread, {peaks.gflops_one_thread:.0f} GFLOP/s", ":"),
    ]
    if peaks.threads == 1:
        lines = [(peaks.gflops, f"{peaks.gflops:.0f} GFLOP/s", "-")]
    for peak, label, dash in lines:
        y = np.minimum(peak, x * peaks.bandwidth_gbs)
        axes.plot(x, y, color=INK, lw=1.6, ls=dash, zorder=2)
        _label(axes, label, (high, peak))
    # the bandwidth's number stands beside its slope, a little below the bend
    bend = 0.6 * peaks.gflops / peaks.bandwidth_gbs
    _label(axes, f"{peaks.bandwidth_gbs:.0f} GB/s", (bend, bend * peaks.bandwidth_gbs))


def _label(axes: Axes, text: str, place: tuple[float, float]) -> None:
    """Text to the upper left of a place, readable above points."""
    axes.annotate(
        text,
        place,
        (-5, 5),
        textcoords="offset points",
        ha="right",
        fontsize=9,
        bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1},
        zorder=5,
    )


def draw_ratios(path: Path, results: Sequence[Result], machine: str) -> bool:
    """A bar for each group and peer (its best mode if it has several): the geometric mean, and a
    dot for each case.

    Returns False, and writes nothing, if there is nothing to compare."""
    bars = bars_of(results)
    if not bars:
        return False
    peers = list(dict.fromkeys(peer for _, peer, _ in bars))
    with rc_context(STYLE):
        figure = Figure(figsize=(9.5, 1.5 + 0.36 * len(bars)), layout="constrained")
        axes = figure.subplots()
        for row, (_, peer, ratios) in enumerate(bars):
            mean = geometric_mean(ratios)
            colour = COLOURS[peers.index(peer) % len(COLOURS)]
            label = peer if row == next(i for i, bar in enumerate(bars) if bar[1] == peer) else None
            axes.barh(row, mean, height=0.66, color=colour, alpha=0.8, label=label, zorder=2)
            if len(ratios) > 1:
                axes.scatter(
                    ratios, [row] * len(ratios), s=11, color=INK, alpha=0.45, lw=0, zorder=4
                )
        greatest = max(max(ratios) for _, _, ratios in bars)
        limit = max(1.25, 1.04 * greatest)
        for row, (_, _, ratios) in enumerate(bars):
            mean = geometric_mean(ratios)
            axes.annotate(
                f"{mean:.2f}",
                (1.0, row),
                (6, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
                fontsize=9.5,
                fontweight="bold",
                color=INK if 0.97 <= mean <= 1.03 else "#1a7f37" if mean < 1 else "#b42318",
                annotation_clip=False,
            )
        axes.axvline(1, color=INK, lw=1.2, zorder=3)
        axes.set_xlim(0, limit)
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_yticks(range(len(bars)), [group for group, _, _ in bars], color=INK)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=PALE, lw=0.8, zorder=0)
        axes.set_axisbelow(True)
        axes.set_xlabel("ours / peer; left of 1 ours is ahead. Bar: geometric mean, dots: cases")
        axes.set_title(f"Ours against others, {machine}")
        figure.legend(loc="outside upper right", ncols=len(peers), frameon=False, fontsize=9)
        figure.savefig(path, dpi=150)
    return True


def bars_of(results: Sequence[Result]) -> list[tuple[str, str, list[float]]]:
    """(group, peer, ratios of the cases): a peer that has several modes only by its best."""
    found: dict[tuple[str, str], list[float]] = {}
    for result in results:
        hidden = {label for members in best_modes(result.samples).values() for label in members}
        for peer, ratio in result.ratios().items():
            if peer not in hidden:
                found.setdefault((result.group, peer), []).append(ratio)
    return [(group, peer, ratios) for (group, peer), ratios in found.items()]
