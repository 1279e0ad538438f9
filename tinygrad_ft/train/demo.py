"""The whole story in a minute: pretrain on drawn characters, fine-tune on handwriting, compare.

Pretraining: a small ResNet learns to tell characters apart that are drawn from fonts at run time.
Task: handwritten digits, of which only a few are labelled. Four ways to use the same labels, epochs
and seeds: from scratch, the last layer only, the last stage and the last layer, everything.
"""

from __future__ import annotations

import csv
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kernels import get_num_threads
from tinygrad_ft import manual_seed
from tinygrad_ft.data import GLYPH_CLASSES, ArrayDataset, Subset, digits, glyphs, stratified_split
from tinygrad_ft.io import RunFolder, atomic_write
from tinygrad_ft.models import create_model
from tinygrad_ft.train.evaluation import Evaluation
from tinygrad_ft.train.finetuning import load_pretrained
from tinygrad_ft.train.metrics import Metrics
from tinygrad_ft.train.model_file import ModelCard, read_card
from tinygrad_ft.train.plots import compare
from tinygrad_ft.train.preprocessing import Preprocessing
from tinygrad_ft.train.progress import Reporter, duration
from tinygrad_ft.train.report import Report, write_report
from tinygrad_ft.train.settings import Settings
from tinygrad_ft.train.trainer import Trainer

SIZE = 16
GLYPHS = 400 * len(GLYPH_CLASSES)
MODEL = {"name": "resnet8", "in_chans": 1, "width": 16}
SEEDS = (0, 1, 2)
LABELS_PER_CLASS = 10
WATCHED_PER_CLASS = 25

PRETRAINING = Settings(
    epochs=6, lr=0.2, label_smoothing=0.1, augment="none", val_fraction=0.05, batch_size=128
)


@dataclass(frozen=True)
class Way:
    """One way to come to a classifier of digits; all have the same labels, epochs and batches."""

    name: str
    key: str
    pretrained: bool
    settings: Settings


def _settings(lr: float, freeze: str = "none", augment: Any = "crop") -> Settings:
    return Settings(epochs=20, batch_size=20, lr=lr, freeze=freeze, augment=augment, val_fraction=0)


# 0.1 suits each way best of the learning rates tried: 0.05, 0.1, 0.2 from scratch, 0.1 and 0.5 for
# the head, 0.03 and 0.1 for the others
WAYS = (
    Way("from scratch", "scratch", False, _settings(0.1)),
    Way("head only", "head", True, _settings(0.1, "backbone", "none")),
    Way("last stage + head", "last-stage", True, _settings(0.1, "3")),
    Way("everything", "everything", True, _settings(0.1)),
)


@dataclass(frozen=True)
class Result:
    """One run of one way."""

    way: Way
    seed: int
    metrics: Metrics
    seconds: float
    history: list[dict[str, Any]]
    evaluation: Evaluation


def run_demo(folder: Path, reporter: Reporter) -> list[Result]:
    """Run everything below `folder`: checkpoints, summary.csv and report.html."""
    started = time.monotonic()
    weights, pretraining = _pretrain(folder, reporter)
    train, test = digits(SIZE), digits(SIZE, train=False)
    results = []
    total = len(SEEDS) * len(WAYS)
    with reporter.phase("fine-tuning", total, "runs") as phase:
        for seed in SEEDS:
            labelled, rest = stratified_split(train, per_class=LABELS_PER_CLASS, seed=seed)
            watched, _ = stratified_split(rest, per_class=WATCHED_PER_CLASS, seed=seed)
            for way in WAYS:
                results.append(_finetune(folder, way, seed, weights, labelled, watched, test))
                phase.advance(1, f"{way.name}, seed {seed}")
    _write_summary(folder, results)
    _write_page(folder, results, pretraining, test, time.monotonic() - started)
    return results


def table(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    """Column names, and a row a way: means over the seeds."""
    columns = ["", "accuracy", "macro recall", "macro F1", "seconds"]
    rows = []
    for way in WAYS:
        runs = [r for r in results if r.way is way]
        spread = np.std([r.metrics.accuracy for r in runs])
        rows.append(
            [
                way.name,
                f"{np.mean([r.metrics.accuracy for r in runs]):.1%} ± {spread:.1%}",
                f"{np.mean([r.metrics.macro_recall for r in runs]):.1%}",
                f"{np.mean([r.metrics.macro_f1 for r in runs]):.1%}",
                f"{np.mean([r.seconds for r in runs]):.1f}",
            ]
        )
    return columns, rows


def _pretrain(folder: Path, reporter: Reporter) -> tuple[Path, dict[str, Any]]:
    reporter.line(f"drawing {GLYPHS:,} characters of {len(GLYPH_CLASSES)} kinds from fonts")
    val, train = stratified_split(glyphs(GLYPHS, SIZE), PRETRAINING.val_fraction, seed=0)
    card = _card(train, Preprocessing.measured(train))
    manual_seed(PRETRAINING.seed)
    model = create_model(**card.architecture)
    with RunFolder(folder / "pretrained", overwrite=True) as run:
        run.write_args({"command": "demo", **PRETRAINING.as_dict()})
        history = Trainer(model, card, train, val, PRETRAINING, run, reporter).fit()
        return run.best_path, history[-1]


def _card(dataset: ArrayDataset | Subset, preprocessing: Preprocessing) -> ModelCard:
    classes = tuple(dataset.classes)
    architecture = {**MODEL, "num_classes": len(classes)}
    return ModelCard(architecture, classes, preprocessing)


def _finetune(
    folder: Path, way: Way, seed: int, weights: Path, labelled: Any, watched: Any, test: Any
) -> Result:
    settings = Settings.from_dict({**way.settings.as_dict(), "seed": seed})
    # pretrained weights want the preprocessing that they were trained with
    pretrained = read_card(weights) if way.pretrained else None
    preprocessing = pretrained.preprocessing if pretrained else Preprocessing.measured(labelled)
    card = _card(labelled, preprocessing)
    manual_seed(seed)
    model = create_model(**card.architecture)
    if way.pretrained:
        load_pretrained(model, weights)
    quiet = Reporter(quiet=True)
    with RunFolder(folder / f"{way.key}-{seed}", overwrite=True) as run:
        run.write_args({"command": "demo", "way": way.name, **settings.as_dict()})
        # `watched` only draws the curve: no label of it chooses anything
        trainer = Trainer(model, card, labelled, watched, settings, run, quiet, choose_best=False)
        history = trainer.fit()
        evaluation = trainer.evaluate(test, "test")
    seconds = sum(row["seconds"] for row in history)
    return Result(way, seed, evaluation.metrics(), seconds, history, evaluation)


def _write_summary(folder: Path, results: list[Result]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["way", "seed", "accuracy", "macro_recall", "macro_f1", "seconds"])
    for r in results:
        m = r.metrics
        numbers = (f"{v:.6f}" for v in (m.accuracy, m.macro_recall, m.macro_f1))
        writer.writerow([r.way.name, r.seed, *numbers, f"{r.seconds:.3f}"])
    atomic_write(folder / "summary.csv", text.getvalue().encode())


def _write_page(
    folder: Path, results: list[Result], pretraining: dict[str, Any], test: Any, seconds: float
) -> None:
    last = next(r for r in results if r.way is WAYS[-1])
    columns, rows = table(results)
    curves = {way.name: [r.history for r in results if r.way is way] for way in WAYS}
    labels = LABELS_PER_CLASS
    write_report(
        folder / "report.html",
        Report(
            title=f"Reading handwriting from {labels} examples a digit",
            facts=(
                ("model", f"resnet8, {MODEL['width']} channels, {SIZE}x{SIZE} grey images"),
                (
                    "pretrained on",
                    f"{GLYPHS:,} characters drawn from fonts, {len(GLYPH_CLASSES)} kinds",
                ),
                ("pretraining accuracy", f"{pretraining['val_accuracy']:.1%} on unseen drawings"),
                (
                    "fine-tuned on",
                    f"{10 * labels} labelled handwritten digits, {len(SEEDS)} draws of them",
                ),
                ("the pictures below", f"{last.way.name}, seed {last.seed}"),
                ("time in all", f"{duration(seconds)} with {get_num_threads()} threads"),
            ),
            history=last.history,
            best_epoch=None,
            judged_on="test",
            evaluation=last.evaluation,
            dataset=test,
            classes=test.classes,
            settings=last.way.settings.as_dict(),
            command="tinygrad-ft demo",
            tables=[(f"Four ways to use {labels} labels a class", columns, rows)],
            figures=[("Accuracy on unused handwriting, by epoch", compare(curves))],
        ),
    )
