"""What was found, as tables and sentences."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.agreement_gradients import Comparison
from benchmarks.agreement_training import CHANNELS_LAST, OURS, REFERENCE, Training
from benchmarks.results import geometric_mean
from benchmarks.tables import Table

SHOWN_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000, 2000, 5000, 10000)
SMOOTHED_OVER = 10
"""Losses of so many steps, up to the one in question, are averaged before they are compared."""

Trainings = dict[str, Training]


def smoothed(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each loss and the nine before it (fewer at the beginning)."""
    sums = np.cumsum(np.concatenate([[0.0], losses]))
    last = np.arange(1, len(losses) + 1)
    first = np.maximum(last - SMOOTHED_OVER, 0)
    with np.errstate(invalid="ignore"):  # infinity - infinity: what comes after one is NaN
        means: NDArray[np.float64] = (sums[last] - sums[first]) / (last - first)
    return means


def windows(steps: int) -> list[slice]:
    """The steps cut at 10, 20, 50, 100, 200 ...: each window is a part of the curve of its own
    kind."""
    cuts = [0, *(step for step in SHOWN_STEPS if 10 <= step < steps), steps]
    return [slice(a, b) for a, b in pairwise(cuts)]


def strays(trainings: Trainings) -> dict[str, list[float]]:
    """By contender: the mean absolute difference of its smoothed losses to the reference's, in each
    of the windows."""
    right = smoothed(trainings[REFERENCE].losses)
    found = {}
    for name, training in trainings.items():
        if name != REFERENCE:
            with np.errstate(invalid="ignore"):
                apart = np.abs(smoothed(training.losses) - right)
            found[name] = [float(apart[part].mean()) for part in windows(len(right))]
    return found


def ratios(trainings: Trainings, name: str) -> list[float]:
    """In each window, how far a contender strays as a multiple of what PyTorch's channels_last
    does."""
    found = strays(trainings)
    pairs = zip(found[name], found[CHANNELS_LAST], strict=True)
    return [mine / theirs if theirs else float("inf" if mine else 1) for mine, theirs in pairs]


def training_tables(trainings: Trainings) -> list[Table]:
    """Losses and differences at some steps; strays in windows; accuracies."""
    names = list(trainings)
    right = trainings[REFERENCE].losses
    steps = sorted({step for step in SHOWN_STEPS if step < len(right)} | {len(right)})
    losses = Table("losses", ["step", *names], set())
    values = [[t.losses[step - 1] for t in trainings.values()] for step in steps]
    apart = [[loss - row[names.index(REFERENCE)] for loss in row] for row in values]
    shown = list(map(str, steps))
    losses.sections = [
        ("loss", _rows(shown, values, "{:.4f}")),
        (f"difference to {REFERENCE}", _rows(shown, apart, "{:.1e}")),
    ]
    found = strays(trainings)
    parts = [f"{part.start + 1} to {part.stop}" for part in windows(len(right))]
    straying = Table(
        f"straying from {REFERENCE}: losses smoothed over {SMOOTHED_OVER} steps",
        ["steps", *found],
        set(),
    )
    straying.sections = [
        ("mean absolute difference", _rows(parts, _turned(found.values()), "{:.1e}")),
        (
            f"as a multiple of {CHANNELS_LAST}",
            _rows(parts, _turned(ratios(trainings, name) for name in found), "{:.2f}"),
        ),
    ]
    ends = Table(
        "at the end", ["", "test accuracy", "losses not finite", "furthest logit below"], set()
    )
    rows = [
        [
            name,
            f"{training.accuracy:.2%}",
            str(int((~np.isfinite(training.losses)).sum())),
            f"{training.furthest:.1f}",
        ]
        for name, training in trainings.items()
    ]
    ends.sections = [(f"after {len(right)} steps", rows)]
    ends.notes = verdict(trainings)
    return [losses, straying, ends]


def _turned(columns: Iterable[Sequence[float]]) -> list[Sequence[float]]:
    return list(zip(*columns, strict=True))


def _rows(labels: Sequence[str], rows: Iterable[Sequence[float]], form: str) -> list[list[str]]:
    return [
        [label, *(form.format(value) for value in row)]
        for label, row in zip(labels, rows, strict=True)
    ]


def verdict(trainings: Trainings) -> list[str]:
    """Whether ours follows PyTorch as closely as PyTorch's formats follow each other, and whether a
    loss was infinite or not a number."""
    lines = []
    broken = [name for name, training in trainings.items() if not training.finite]
    for name in trainings:
        comparable = not {name, REFERENCE, CHANNELS_LAST} & set(broken)
        if name.startswith(OURS) and comparable:
            found = ratios(trainings, name)
            mean = geometric_mean(found) if min(found) > 0 else 0.0
            further = "no further than" if mean <= 1 else f"{mean:.2f} times as far as"
            lines.append(
                f"{name} strays from {REFERENCE} {further} {CHANNELS_LAST} does "
                f"(geometric mean over the windows {mean:.2f}, "
                f"from {min(found):.2f} to {max(found):.2f})"
            )
    lines.append(
        f"losses that are not finite: {', '.join(broken)}" if broken else "every loss is finite"
    )
    return lines


def gradient_tables(comparison: Comparison) -> list[Table]:
    """Errors of the first gradient as it is, and with masks held; switched places."""
    names = list(comparison.free)
    table = Table("the first gradient against float64", ["layer", *names], set())
    layers = comparison.layers
    counts = [mask.size for mask in comparison.double.masks]
    flips = comparison.flips()
    errors = comparison.errors(comparison.free), comparison.errors(comparison.held)
    places = [f"{layer} (of {n:,})" for layer, n in zip(layers, counts, strict=False)]
    places.append(f"all (of {sum(counts):,})")
    totals = [sum(column) for column in zip(*flips, strict=True)]
    table.sections = [
        ("relative L2 error", _rows(layers, errors[0], "{:.1e}")),
        ("the same with the masks of float64", _rows(layers, errors[1], "{:.1e}")),
        ("places that its ReLU treats otherwise", _rows(places, [*flips, totals], "{}")),
    ]
    apart, switched = comparison.checks
    table.notes = [
        f"float64 is ours; PyTorch's differs by {apart:.1e} at most, and in {switched} places",
    ]
    return [table]
