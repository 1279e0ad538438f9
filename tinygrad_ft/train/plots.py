"""The report's figures, as SVG text."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

TRAIN, VALIDATION, GREY = "#7a8aa0", "#1f6feb", "#6b7280"
_COLORS = ("#8a94a3", "#e08a1e", "#2e9e6b", "#1f6feb", "#a04bd6")
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#c3c8d0",
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "svg.hashsalt": "tinygrad_ft",
    # letters, not outlines: the browser has fonts for every script, and the page stays small
    "svg.fonttype": "none",
}


def curves(history: Sequence[dict[str, Any]], best_epoch: int | None) -> list[str]:
    """Loss and accuracy by epoch, training and validation; the chosen epoch marked. Two figures."""
    found = []
    epochs = [row["epoch"] for row in history]
    for name, title in (("loss", "Loss (cross-entropy)"), ("accuracy", "Accuracy")):
        with rc_context(_STYLE):
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
            axes.grid(axis="y", color="#e6e9ee", lw=0.8)
            axes.legend(frameon=False, fontsize=9)
            found.append(_svg(figure))
    return found


def compare(histories: Mapping[str, Sequence[Sequence[dict[str, Any]]]]) -> str:
    """Accuracy on watched images by epoch: a line for each way of training, the mean of its runs.

    The band around a line goes from the worst to the best run.
    """
    with rc_context(_STYLE):
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
        axes.grid(axis="y", color="#e6e9ee", lw=0.8)
        axes.legend(frameon=False, fontsize=9, loc="lower right")
        return _svg(figure)


def confusion(matrix: np.ndarray, classes: Sequence[str]) -> str:
    """The confusion matrix as a heat map, a row for each true class; counts where there is room."""
    count = len(classes)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(9.0, 3.0 + 0.42 * count)
    with rc_context({**_STYLE, "axes.spines.left": False, "axes.spines.bottom": False}):
        figure = Figure(figsize=(side + 0.6, side), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        if count <= 30:
            names = [_brief(name) for name in classes]
            axes.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(count), names)
            _write_counts(axes, matrix, shares)
        else:
            axes.set_xticks([])
            axes.set_yticks([])
        axes.tick_params(length=0)
        return _svg(figure)


def _epoch_axis(axes: Axes, epochs: int) -> None:
    """From epoch 1 to the last one: there is no epoch 0."""
    axes.set_xlim(0.5, epochs + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")


def _write_counts(axes: Axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    size = 10 if len(matrix) <= 12 else 6
    for (row, column), value in np.ndenumerate(matrix):
        if value:
            color = "white" if shares[row, column] > 0.55 else "#1f2937"
            axes.text(column, row, str(value), ha="center", va="center", color=color, fontsize=size)


def _brief(name: str) -> str:
    """Class names may hold `$`, which matplotlib would take for mathematics."""
    return (name if len(name) <= 18 else name[:17] + "…").replace("$", r"\$")


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with warnings.catch_warnings():
        # only the room for a name is measured with a font that lacks its letters
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font", category=UserWarning
        )
        figure.savefig(text, format="svg", metadata=_NO_METADATA)
    content = text.getvalue()
    return content[content.index("<svg") :]
