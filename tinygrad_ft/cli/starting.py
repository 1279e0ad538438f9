"""Where a fine-tune starts: the trained weights under a head for the new classes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tinygrad_ft import manual_seed
from tinygrad_ft.io import fingerprint_file, short
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train import ModelCard, Settings, load_pretrained
from tinygrad_ft.train.model_file import build_model
from tinygrad_ft.train.progress import Reporter
from tinygrad_ft.train.recipe.freezing import FreezePlan


class Start(NamedTuple):
    """A model to train on, its card, and what the report says of where it came from."""

    model: ImageClassifier
    card: ModelCard
    facts: tuple[tuple[str, str], ...]


def start_from(
    weights: str,
    given: ModelCard,
    classes: tuple[str, ...],
    settings: Settings,
    reporter: Reporter,
    *,
    data: str,
    new_head: bool,
) -> Start:
    """Load `weights`, described by `given`, for `classes`; a function of the files and the seed."""
    architecture = {**given.architecture, "num_classes": len(classes)}
    manual_seed(settings.seed)
    model = build_model(architecture, weights)
    report = load_pretrained(model, weights)
    reporter.line(report.summary())
    if new_head or (given.classes and given.classes != classes):
        # drawn anew: scores of other classes mean nothing here, even where the shapes agree
        model.reset_classifier(len(classes))
        reporter.line("the last layer starts anew")
    elif not given.classes and any(name.startswith(f"{report.head}.") for name in report.matched):
        reporter.line("the last layer fits and is kept; --new-head would start it anew")
    plan = FreezePlan.of(model, settings)
    frozen = plan.describe(model, settings.epochs)
    if frozen:
        reporter.line(f"frozen: {frozen}")
    fingerprint = short(fingerprint_file(weights))
    origin = {
        "finetuned_on": Path(data).resolve().name,
        "from": Path(weights).name,
        "from_fingerprint": fingerprint,
        "new_head": new_head,
    }
    facts = (
        ("started from", f"{weights} ({fingerprint})"),
        ("frozen", frozen or "nothing"),
    )
    return Start(model, ModelCard(architecture, classes, given.preprocessing, origin), facts)
