"""`report.html`: one self-contained page about a run."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from PIL import Image

from tinygrad_ft.data import Dataset
from tinygrad_ft.data.datasets import get_batch
from tinygrad_ft.io import atomic_write
from tinygrad_ft.train.evaluation import Evaluation
from tinygrad_ft.version import __version__

SAMPLES = 16  # pictures shown of each kind


@dataclass(frozen=True)
class Report:
    """What a report shows.

    title        its headline
    facts        (name, value) lines: model, data, weights, times, fingerprints
    history      the rows of summary.csv
    best_epoch   the chosen epoch
    judged_on    what `evaluation` was made on ("test", "validation")
    evaluation   the chosen model's scores there, and `dataset` its images
    settings     all settings of the run
    command      the command line that makes the run again
    tables       further tables: (heading, column names, rows)
    figures      further figures: (heading, SVG text)
    """

    title: str
    facts: Sequence[tuple[str, str]]
    history: Sequence[dict[str, Any]]
    best_epoch: int | None
    judged_on: str
    evaluation: Evaluation
    dataset: Dataset
    classes: Sequence[str]
    settings: dict[str, Any]
    command: str
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = ()
    figures: Sequence[tuple[str, str]] = ()


def write_report(path: Path, report: Report) -> None:
    """Write the page, atomically."""
    from tinygrad_ft.train import plots  # here: matplotlib takes half a second

    metrics = report.evaluation.metrics()
    probabilities = report.evaluation.probabilities
    wrong = np.flatnonzero(report.evaluation.predicted != report.evaluation.labels)
    sureness = probabilities.max(axis=1)
    mistakes = wrong[np.argsort(-sureness[wrong], kind="stable")][:SAMPLES]
    count = len(report.evaluation.labels)
    chosen = np.unique(np.linspace(0, count - 1, min(SAMPLES, count)).astype(int))
    by_class = [
        (name, int(n), f"{p:.1%}", f"{r:.1%}", f"{f:.1%}")
        for name, n, p, r, f in zip(
            report.classes,
            metrics.support,
            metrics.precision,
            metrics.recall,
            metrics.f1,
            strict=True,
        )
    ]
    template = files("tinygrad_ft.train").joinpath("report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(template).render(
        report=report,
        metrics=metrics,
        count=count,
        curves=[Markup(svg) for svg in plots.curves(report.history, report.best_epoch)],
        confusion=Markup(plots.confusion(metrics.confusion, report.classes)),
        figures=[(heading, Markup(svg)) for heading, svg in report.figures],
        by_class=by_class,
        samples=_pictures(report, probabilities, chosen),
        mistakes=_pictures(report, probabilities, mistakes),
        version=__version__,
    )
    atomic_write(path, page.encode())


def _pictures(
    report: Report, probabilities: np.ndarray, indices: np.ndarray
) -> list[dict[str, Any]]:
    """For each image: a data URI, the true and the predicted class, and how sure the model is."""
    if len(indices) == 0:
        return []
    images, labels = get_batch(report.dataset, indices)
    return [
        {
            "uri": _data_uri(image),
            "true": report.classes[int(label)],
            "predicted": report.classes[int(p.argmax())],
            "right": int(p.argmax()) == int(label),
            "sure": f"{p.max():.0%}",
        }
        for image, label, p in zip(images, labels, probabilities[indices], strict=True)
    ]


def _data_uri(image: np.ndarray) -> str:
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    data = io.BytesIO()
    picture.save(data, format="PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
