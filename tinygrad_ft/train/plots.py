"""The report's figures, as SVG text."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tinygrad_ft.train.calibration import Reliability

TRAIN, VALIDATION, GREY = "#7a8aa0", "#1f6feb", "#6b7280"
_INK, _AXIS, GRID = "#1b2430", "#c3c8d0", "#e6e9ee"
_COLORS = ("#8a94a3", "#e08a1e", "#2e9e6b", "#1f6feb", "#a04bd6")
#: these colours are the page's own, light or dark; what stands here is for a reader without CSS
_FROM_PAGE = {
    _INK: "ink", GREY: "soft", _AXIS: "axis", GRID: "grid", VALIDATION: "accent"
}  # fmt: skip
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "text.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _AXIS,
    "axes.labelcolor": GREY,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "svg.hashsalt": "tinygrad_ft",
    # letters, not outlines: the browser has fonts for every script, and the page stays small
    "svg.fonttype": "none",
}
NAMED_CLASSES = 30  # up to so many, a confusion matrix has names and counts


def curves(history: Sequence[dict[str, Any]], best_epoch: int | None) -> list[str]:
    """Loss and accuracy by epoch, training and validation; the chosen epoch marked. Two figures."""
    found = []
    epochs = [row["epoch"] for row in history]
    for name, title in (("loss", "Loss (cross-entropy)"), ("accuracy", "Accuracy")):
        with rc_context(STYLE):
            figure = Figure(figsize=(4.6, 3.2), layout="constrained")
            axes = figure.subplots()
            axes.set_title(title)
            for part, color in (("train", TRAIN), ("val", VALIDATION)):
                values: list[Any] = [row.get(f"{part}_{name}") for row in history]
                if all(v is not None for v in values):
                    label = "training" if part == "train" else "validation"
                    marker = "o" if len(epochs) < 3 else None
                    axes.plot(epochs, values, color=color, label=label, lw=2, marker=marker)
            if best_epoch is not None:
                label = f"chosen: epoch {best_epoch}"
                axes.axvline(best_epoch, color=GREY, lw=1, ls=":", label=label)
            _epoch_axis(axes, len(epochs))
            if name == "accuracy":
                axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axes.grid(axis="y", color=GRID, lw=0.8)
            axes.legend(frameon=False, fontsize=9)
            found.append(svg(figure))
    return found


def compare(histories: Mapping[str, Sequence[Sequence[dict[str, Any]]]]) -> str:
    """Accuracy on watched images by epoch: a line for each way of training, the mean of its runs.

    The band around a line goes from the worst to the best run.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        axes = figure.subplots()
        for (name, runs), color in zip(histories.items(), _COLORS, strict=False):
            values = np.array([[row["val_accuracy"] for row in run] for run in runs])
            epochs = [row["epoch"] for row in runs[0]]
            axes.plot(epochs, values.mean(axis=0), color=color, lw=2.2, label=name)
            axes.fill_between(
                epochs, values.min(axis=0), values.max(axis=0), color=color, alpha=0.12, lw=0
            )
        _epoch_axis(axes, max(row["epoch"] for runs in histories.values() for row in runs[0]))
        axes.set_ylabel("accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(axis="y", color=GRID, lw=0.8)
        axes.legend(frameon=False, fontsize=9, loc="lower right")
        return svg(figure)


def confusion(matrix: np.ndarray, classes: Sequence[str]) -> str:
    """The confusion matrix as a heat map, a row for each true class; up to NAMED_CLASSES classes
    with names and counts.
    """
    count = len(classes)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    named = count <= NAMED_CLASSES
    side = 2.2 + min(0.4 * count, 0.25 * count + 2) if named else 6.0
    with rc_context({**STYLE, "axes.spines.left": False, "axes.spines.bottom": False}):
        figure = Figure(figsize=(side + 0.6, side), layout="constrained")
        axes = figure.subplots()
        # the share is the opacity of one colour: right on a light page and on a dark one
        colour = np.zeros((count, count, 4))
        colour[..., :3] = to_rgb(VALIDATION)
        colour[..., 3] = shares if named else np.sqrt(shares)
        axes.imshow(colour, interpolation="nearest")
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.tick_params(length=0)
        if named:
            names = [_brief(name) for name in classes]
            axes.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(count), names)
            axes.tick_params(colors=_INK)
            _write_counts(axes, matrix, shares)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(8, integer=True))
        edges = np.arange(count + 1) - 0.5 if named else np.array([-0.5, count - 0.5])
        axes.hlines(edges, -0.5, count - 0.5, colors=GRID, lw=0.8)
        axes.vlines(edges, -0.5, count - 0.5, colors=GRID, lw=0.8)
        return svg(figure)


def reliability(found: Reliability, tempered: Reliability | None, temperature: float | None) -> str:
    """Accuracy by confidence beside the diagonal on which they agree, and how many images have it.

    `tempered`: the same at the fitted temperature, as a line.
    """
    bins = len(found.count)
    left = np.arange(bins) / bins
    with rc_context(STYLE):
        figure = Figure(figsize=(4.6, 4.2), layout="constrained")
        axes, below = figure.subplots(2, height_ratios=(3, 1), sharex=True)
        some = found.count > 0
        axes.bar(
            left[some], found.accuracy[some], 1 / bins, align="edge", color=TRAIN, alpha=0.55,
            edgecolor=TRAIN, lw=0.8, label="is right",
        )  # fmt: skip
        axes.plot((0, 1), (0, 1), color=GREY, ls=":", lw=1.5, label="ideal")
        if tempered is not None and temperature is not None:
            there = tempered.count > 0
            axes.plot(
                tempered.confidence[there], tempered.accuracy[there], color=VALIDATION, lw=2,
                marker="o", ms=4, label=f"at temperature {temperature:.2f}",
            )  # fmt: skip
        axes.set_ylabel("is right")
        axes.set_ylim(0, 1)
        axes.legend(frameon=False, fontsize=9, loc="upper left")
        below.bar(
            left, found.count / found.count.sum(), 1 / bins, align="edge", color=TRAIN, alpha=0.55
        )
        below.set_ylabel("images")
        below.set_xlabel("says it is sure by")
        below.set_xlim(0, 1)
        for each in (axes, below):
            each.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            each.grid(axis="y", color=GRID, lw=0.8)
            each.set_axisbelow(True)
        below.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        return svg(figure)


def _epoch_axis(axes: Axes, epochs: int) -> None:
    """From epoch 1 to the last one: there is no epoch 0."""
    axes.set_xlim(0.5, epochs + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")


def _write_counts(axes: Axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    size = 10 if len(matrix) <= 12 else 7
    for (row, column), value in np.ndenumerate(matrix):
        if value:
            color = "white" if shares[row, column] > 0.55 else _INK
            axes.text(column, row, str(value), ha="center", va="center", color=color, fontsize=size)


def _brief(name: str) -> str:
    """Class names may hold `$`, which matplotlib would take for mathematics."""
    return (name if len(name) <= 18 else name[:17] + "…").replace("$", r"\$")


def svg(figure: Figure) -> str:
    """A figure as SVG text, in the colours of the page around it."""
    text = io.StringIO()
    with warnings.catch_warnings():
        # only the room for a name is measured with a font that lacks its letters
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font", category=UserWarning
        )
        figure.savefig(text, format="svg", metadata=_NO_METADATA)
    content = text.getvalue()
    content = content[content.index("<svg") :]
    for colour, name in _FROM_PAGE.items():
        content = content.replace(f": {colour}", f": var(--{name}, {colour})")
    return content
