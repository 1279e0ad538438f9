"""What a search found, as a picture: validation accuracy against each thing that was varied."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
    StrMethodFormatter,
)

from tinygrad_ft.io import atomic_write
from tinygrad_ft.train.plots import GRID, STYLE, TRAIN, VALIDATION, svg
from tinygrad_ft.train.search import Trial, best_trial

_PANELS = (
    ("lr", "learning rate"),
    ("weight_decay", "weight decay"),
    ("freeze", "frozen stages"),
)


def trials_svg(trials: Sequence[Trial]) -> str:
    """For the report."""
    with rc_context(STYLE):
        return svg(_draw(trials))


def write_trials_png(path: Path, trials: Sequence[Trial]) -> None:
    """A file, atomically."""
    data = io.BytesIO()
    with rc_context({**STYLE, "figure.facecolor": "white"}):
        _draw(trials).savefig(data, format="png", dpi=120)
    atomic_write(path, data.getvalue())


def _draw(trials: Sequence[Trial]) -> Figure:
    """A panel for each; the best trial marked. Diverged trials have no accuracy and no point."""
    done = [t for t in trials if t.accuracy is not None]
    best = best_trial(trials)
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, 3, sharey=True), _PANELS, strict=True):
        axes.scatter(
            [getattr(t, name) for t in done],
            [t.accuracy for t in done],
            s=30, color=TRAIN, alpha=0.8, label="trials",
        )  # fmt: skip
        if best is not None:
            axes.scatter(
                [getattr(best, name)], [best.accuracy], s=60, color=VALIDATION,
                label=f"best: trial {best.number}",
            )  # fmt: skip
        if name == "freeze":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        else:
            _log_axis(axes, [getattr(t, name) for t in done] or [1.0])
        axes.set_xlabel(label)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(color=GRID, lw=0.8)
        axes.set_axisbelow(True)
    figure.axes[0].set_ylabel("validation accuracy")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    return figure


def _log_axis(axes: Axes, values: Sequence[float]) -> None:
    """Logarithmic, with numbers that stay apart however short it is."""
    low, high = min(values) / 1.5, max(values) * 1.5
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
