"""`report.html`: one self-contained page about a run, or about an evaluation of any model.

It holds nothing but text, SVG and small pictures: no script, no font, no reference to the network,
which a content security policy in the page forbids besides. Its size is bounded whatever the
images: about 1 MB for 200 classes at worst, usually 0.2 to 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup

from tinygrad_ft.data import Dataset
from tinygrad_ft.data.datasets import get_batch
from tinygrad_ft.io import atomic_write
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train.assessment import Assessment, assess
from tinygrad_ft.train.calibration import BINS
from tinygrad_ft.train.evaluation import Evaluation
from tinygrad_ft.train.gradcam import grad_cam
from tinygrad_ft.train.mistakes import (
    confident_mistakes,
    frequent_confusions,
    spread,
    weakest_classes,
)
from tinygrad_ft.train.pictures import EXACT, overlay_uri, picture_uri
from tinygrad_ft.train.preprocessing import Preprocessing
from tinygrad_ft.version import __version__

SAMPLES = 16  # pictures shown of each kind
EXPLAINED = 4  # Grad-CAM pictures of mistakes, and as many of right answers
CONFUSIONS = 10  # lines of the list of confusions
WEAKEST = 10  # classes named apart where there are more than OPEN
OPEN = 20  # tables up to so many classes are shown open


@dataclass(frozen=True)
class Report:
    """What a report shows.

    title          its headline
    facts          (name, value) lines: model, data, weights, times, fingerprints
    history        the rows of summary.csv; none: no curves
    best_epoch     the chosen epoch
    judged_on      what `evaluation` was made on ("test", "validation")
    evaluation     the chosen model's scores there, and `dataset` its images
    settings       all settings of the run
    command        the command line that makes the run again
    tables         further tables: (heading, column names, rows)
    figures        further figures: (heading, SVG text)
    model          with `preprocessing`: the model, for the pictures of what it looked at
    temperature    fitted on validation images; None: not known
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
    model: ImageClassifier | None = None
    preprocessing: Preprocessing | None = None
    temperature: float | None = None


def write_report(path: Path, report: Report) -> None:
    """Write the page, atomically."""
    from tinygrad_ft.train import plots  # here: matplotlib takes half a second

    evaluation = report.evaluation
    found = assess(evaluation)
    confusion = found.metrics.confusion
    mistakes = confident_mistakes(evaluation, SAMPLES)
    everything = np.arange(len(evaluation.labels))
    by_class = _by_class(found, report.classes)
    many = len(report.classes) > OPEN
    weakest = weakest_classes(found.metrics.f1, found.metrics.support, WEAKEST if many else 0)
    tempered = tempered_loss = None
    if report.temperature is not None:
        mended = evaluation.at(report.temperature)
        tempered, tempered_loss = mended.reliability(), mended.loss
    template = files("tinygrad_ft.train").joinpath("report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(template).render(
        report=report,
        found=found,
        metrics=found.metrics,
        count=len(everything),
        curves=[Markup(svg) for svg in plots.curves(report.history, report.best_epoch)]
        if report.history
        else [],
        confusion=Markup(plots.confusion(confusion, report.classes)),
        named=len(report.classes) <= plots.NAMED_CLASSES,
        confusions=frequent_confusions(confusion, report.classes, CONFUSIONS),
        figures=[(heading, Markup(svg)) for heading, svg in report.figures],
        reliability=Markup(plots.reliability(found.reliability, tempered, report.temperature)),
        bins=BINS,
        tempered=tempered,
        tempered_loss=tempered_loss,
        by_class=by_class,
        averages=_averages(found),
        open_classes=not many,
        weakest=[by_class[i] for i in weakest],
        samples=_pictures(report, spread(everything, SAMPLES)),
        mistakes=_pictures(report, mistakes),
        explained=_explained(report, mistakes),
        version=__version__,
    )
    atomic_write(path, page.lstrip().encode("utf-8", "backslashreplace"))


def _by_class(found: Assessment, classes: Sequence[str]) -> list[tuple[str, ...]]:
    m = found.metrics
    rows = zip(classes, m.support, m.precision, m.recall, m.f1, strict=True)
    return [(name, f"{n:,}", f"{p:.1%}", f"{r:.1%}", f"{f:.1%}") for name, n, p, r, f in rows]


def _averages(found: Assessment) -> list[tuple[str, ...]]:
    m = found.metrics
    macro = (m.macro_precision, m.macro_recall, m.macro_f1)
    weighted = (m.weighted_precision, m.weighted_recall, m.weighted_f1)
    return [
        ("macro mean", "", *(f"{v:.1%}" for v in macro)),
        ("weighted mean", "", *(f"{v:.1%}" for v in weighted)),
    ]


def _pictures(report: Report, indices: np.ndarray) -> list[dict[str, Any]]:
    """For each image: a data URI, the true and the predicted class, and how sure the model is."""
    if len(indices) == 0:
        return []
    images, labels = get_batch(report.dataset, indices)
    probabilities = report.evaluation.probabilities[indices]
    return [
        {
            "uri": picture_uri(image),
            "exact": max(image.shape[:2]) <= EXACT,
            "true": report.classes[int(label)],
            "predicted": report.classes[int(p.argmax())],
            "right": int(p.argmax()) == int(label),
            "sure": f"{p.max():.0%}",
        }
        for image, label, p in zip(images, labels, probabilities, strict=True)
    ]


def _explained(report: Report, mistakes: np.ndarray) -> list[dict[str, Any]]:
    """Pictures of mistakes and of right answers with what spoke for the predicted class."""
    if report.model is None or report.preprocessing is None:
        return []
    predicted = report.evaluation.predicted
    right = np.flatnonzero(predicted == report.evaluation.labels)
    indices = np.concatenate([mistakes[:EXPLAINED], spread(right, EXPLAINED)])
    images, _ = get_batch(report.dataset, indices)
    inputs = report.preprocessing.evaluation_transform()(images).transpose(0, 3, 1, 2)
    heat = grad_cam(report.model, inputs, predicted[indices])
    if heat is None:
        return []
    pictures = _pictures(report, indices)
    return [
        {**picture, "overlay": overlay_uri(image, m)}
        for picture, image, m in zip(pictures, images, heat, strict=True)
    ]
