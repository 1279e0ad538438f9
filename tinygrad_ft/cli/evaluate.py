"""`tinygrad-ft evaluate`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from tinygrad_ft.cli.bare_weights import describe_weights
from tinygrad_ft.cli.options import threads_option, weights_options
from tinygrad_ft.data import DataError, dataset_splits, open_dataset
from tinygrad_ft.io import atomic_write
from tinygrad_ft.train import ModelCard, load_model, predict_scores
from tinygrad_ft.train.progress import Reporter


@click.command("evaluate")
@click.argument("model_file", metavar="MODEL", type=click.Path(exists=True, dir_okay=False))
@click.argument("data", type=click.Path(exists=True))
@click.option("--split", help="train, val or test.  [default: test, or val if there is none]")
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False), help="Also write the numbers here."
)
@click.option("--by-class", is_flag=True, help="Print precision, recall and F1 of every class.")
@weights_options
@threads_option
def command(
    model_file: str,
    data: str,
    split: str | None,
    json_path: str | None,
    by_class: bool,
    **options: Any,
) -> int:
    """Measure MODEL (.safetensors of a run, or bare weights) on the labelled images of DATA.

    \b
    tinygrad-ft evaluate runs/mine/best.safetensors photos
    tinygrad-ft evaluate resnet20.pth cifar10.zip --model resnet20 --preprocess imagenet
    """
    reporter = Reporter()
    card = describe_weights(model_file, options)
    with reporter.phases("decoding") as progress:
        dataset = open_dataset(
            data,
            split or _default_split(data),
            size=card.preprocessing.size,
            mode="L" if card.preprocessing.channels == 1 else "RGB",
            classes=card.classes or None,
            progress=progress,
        )
    card.preprocessing.check_fits(dataset, f"the images of {data}")
    if not card.classes:
        architecture = {**card.architecture, "num_classes": len(dataset.classes)}
        card = ModelCard(architecture, tuple(dataset.classes), card.preprocessing)
    model, card = load_model(model_file, card)
    with reporter.phase("evaluating", len(dataset)) as phase:
        found = predict_scores(model, dataset, card.preprocessing, on_batch=phase.advance)
    metrics = found.metrics()
    right = int((found.predicted == found.labels).sum())
    reporter.line(
        f"{right:,} of {len(found.labels):,} right: accuracy {metrics.accuracy:.2%}, macro recall "
        f"{metrics.macro_recall:.2%}, macro F1 {metrics.macro_f1:.2%}, loss {found.loss:.4f}"
    )
    if by_class:
        table = Table("class", "images", "precision", "recall", "F1")
        for i, name in enumerate(card.classes):
            shares = (f"{v[i]:.1%}" for v in (metrics.precision, metrics.recall, metrics.f1))
            table.add_row(escape(name), str(metrics.support[i]), *shares)
        reporter.console.print(table)
    if json_path is not None:
        numbers = {
            "images": len(found.labels),
            "right": right,
            "accuracy": metrics.accuracy,
            "macro_recall": metrics.macro_recall,
            "macro_f1": metrics.macro_f1,
            "loss": found.loss,
            "classes": list(card.classes),
            "precision": metrics.precision.tolist(),
            "recall": metrics.recall.tolist(),
            "f1": metrics.f1.tolist(),
            "confusion": metrics.confusion.tolist(),
        }
        text = json.dumps(numbers, indent=2, ensure_ascii=False)
        atomic_write(Path(json_path), text.encode("utf-8", "backslashreplace"))
    return 0


def _default_split(data: str) -> str | None:
    present = dataset_splits(data)
    for name in ("test", "val"):
        if name in present:
            return name
    if present:
        raise DataError(f"{data} has only the split {', '.join(present)}: name it with --split")
    return None
