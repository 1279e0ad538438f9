"""The learning-rate range test (Smith 2017, arXiv 1506.01186): which rate to begin with."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_ft import random
from tinygrad_ft.data import DataError, DataLoader, Dataset
from tinygrad_ft.io import atomic_write
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train.model_file import ModelCard
from tinygrad_ft.train.optimization import make_optimizer
from tinygrad_ft.train.progress import Phase, Reporter
from tinygrad_ft.train.recipe.batches import class_weights
from tinygrad_ft.train.recipe.freezing import FreezePlan
from tinygrad_ft.train.recipe.inputs import TrainingInputs
from tinygrad_ft.train.recipe.non_finite import NonFiniteValue
from tinygrad_ft.train.recipe.step import Step
from tinygrad_ft.train.settings import Settings

LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 100
_SMOOTHING = 0.9
_WARM, _REACH = 10, 10  # steps: the running mean is none before; a fall is measured over as many
_DIVERGED = 3.0  # times the rise from the lowest to the first loss above the lowest: enough seen


@dataclass(frozen=True)
class LrCurve:
    """What a range test has seen.

    rates, losses   (n,) the learning rate of each step and the loss of its batch
    smoothed        (n,) a running mean of the losses
    suggestion      the rate at which the smoothed loss falls fastest; None if it never falls
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float | None

    @classmethod
    def of(cls, rates: np.ndarray, losses: np.ndarray) -> LrCurve:
        """Smooth, and choose."""
        mean, smoothed = 0.0, np.empty(len(losses))
        for number, loss in enumerate(losses):
            mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
            smoothed[number] = mean / (1 - _SMOOTHING ** (number + 1))
        suggestion = None
        falling = int(smoothed.argmin()) + 1  # beyond its lowest point the loss only rises
        # the first means are of few batches: they go up and down with those
        falls = smoothed[_WARM + _REACH : falling] - smoothed[_WARM : max(_WARM, falling - _REACH)]
        if len(falls) and falls.min() < 0:
            middle = _WARM + _REACH // 2 + int(falls.argmin())
            suggestion = float(f"{rates[middle]:.1e}")
        return cls(rates, losses, smoothed, suggestion)


def find_lr(
    model: ImageClassifier,
    card: ModelCard,
    train_set: Dataset,
    settings: Settings,
    reporter: Reporter,
    stop: Callable[[], bool] = lambda: False,
) -> LrCurve:
    """Train with a rate that rises from LOWEST to HIGHEST in STEPS steps, until the loss explodes.

    Everything but the rate is as in the first epoch of a run by `settings`; the ratios between the
    parameter groups' rates stay. `stop` ends the test early. The model and the random generator
    are left as they were. DataError if there is not enough to see.
    """
    values = {name: np.array(value.numpy()) for name, value in model.state_dict().items()}
    rng = random.get_rng_state()
    plan = FreezePlan.of(model, settings)
    plan.apply(model, 0)
    optimizer = make_optimizer(model, settings)
    ratios = [group["lr"] / settings.lr for group in optimizer.param_groups]

    def on_batch(phase: Phase) -> Callable[[int], None]:
        return phase.advance

    inputs = TrainingInputs(
        model, card.preprocessing, train_set, None, settings, reporter, on_batch
    )
    inputs.prepare()
    step = Step(model, optimizer, settings, class_weights(train_set, settings))
    step.first_stage = inputs.first_stage
    rates = np.geomspace(LOWEST, HIGHEST, STEPS)
    losses: list[float] = []
    model.train()
    try:
        with reporter.phase("learning rates", STEPS, "steps") as phase:
            for rate, (images, labels) in zip(rates, _endless(inputs.loader), strict=False):
                for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
                    group["lr"] = float(rate * ratio)
                try:
                    loss, _ = step(images, labels)
                except NonFiniteValue:
                    break
                losses.append(loss)
                phase.advance(1, f"lr {rate:.1e}  loss {loss:.3f}")
                if stop() or _exploded(losses):
                    break
    finally:
        model.load_state_dict(values)
        model.zero_grad()
        random.set_rng_state(rng)
    if len(losses) < 3:
        raise DataError(f"--find-lr saw only {len(losses)} steps: nothing can be said of that")
    return LrCurve.of(rates[: len(losses)], np.array(losses))


def _endless(loader: DataLoader) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    while True:
        yield from loader


def _exploded(losses: list[float]) -> bool:
    lowest = min(losses)
    return losses[-1] > lowest + _DIVERGED * max(losses[0] - lowest, 0.5 * math.log(2))


def write_curve(curve: LrCurve, folder: Path) -> list[str]:
    """find-lr.png and find-lr.csv in `folder`; their names. FileError if it cannot be written."""
    from matplotlib.figure import Figure  # here: matplotlib takes half a second

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.rates, curve.losses, color="#c3c8d0", lw=1, label="loss of each batch")
    axes.plot(curve.rates, curve.smoothed, color="#1f6feb", lw=2, label="smoothed")
    if curve.suggestion is not None:
        axes.axvline(
            curve.suggestion, color="#6b7280", ls=":", label=f"falls fastest: {curve.suggestion:g}"
        )
    axes.set_xscale("log")
    top = curve.smoothed[: len(curve.smoothed) // 2 + 1].max()
    axes.set_ylim(curve.smoothed.min() * 0.9, max(top * 1.3, curve.smoothed.min() * 1.5))
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.grid(color="#e6e9ee", lw=0.8)
    axes.legend(frameon=False, fontsize=9)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["lr", "loss", "smoothed"])
    writer.writerows(zip(curve.rates, curve.losses, curve.smoothed, strict=True))
    atomic_write(folder / "find-lr.png", picture.getvalue())
    atomic_write(folder / "find-lr.csv", text.getvalue().encode())
    return ["find-lr.png", "find-lr.csv"]
