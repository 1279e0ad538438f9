"""The picture of a comparison: losses, and how far they are apart."""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.agreement_report import SMOOTHED_OVER, Trainings, smoothed
from benchmarks.agreement_training import REFERENCE
from benchmarks.charts import COLOURS, PALE, STYLE

LEAST = 1e-7
"""Differences below this are drawn here."""


def draw_trainings(path: Path, trainings: Trainings, title: str) -> None:
    """Above the smoothed losses, below their differences to the reference's, smoothed once more, on
    a logarithmic axis."""
    dashes = ("-", "-", "--", "-", "--", ":")
    right = smoothed(trainings[REFERENCE].losses)
    steps = np.arange(1, len(right) + 1)
    with rc_context(STYLE):
        figure = Figure(figsize=(9.5, 6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        for i, (name, training) in enumerate(trainings.items()):
            curve = smoothed(training.losses)
            look = {"color": COLOURS[i], "ls": dashes[i], "lw": 1.4}
            above.plot(steps, curve, label=name, **look)
            if name != REFERENCE:
                # equal losses have no place on this axis
                apart = smoothed(np.abs(curve - right))
                below.plot(steps, np.maximum(apart, LEAST), **look)
        above.set_ylabel(f"loss, mean of {SMOOTHED_OVER} steps")
        above.set_title(title)
        below.set(yscale="log", xlabel="step", ylabel=f"difference to {REFERENCE}")
        for axes in (above, below):
            axes.grid(color=PALE, lw=0.8)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        figure.savefig(path, dpi=80)
