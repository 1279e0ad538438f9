"""`tinygrad-ft predict`"""

from __future__ import annotations

import csv
import glob
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from rich.markup import escape
from rich.table import Table

from tinygrad_ft.cli.options import threads_option
from tinygrad_ft.data import ArrayDataset, DataError, decode_image
from tinygrad_ft.data.decode import EXTENSIONS
from tinygrad_ft.train import ModelCard, load_model, predict_scores
from tinygrad_ft.train.progress import Reporter

BATCH = 256  # images decoded and classified at a time; bounds the memory
Row = tuple[str, list[tuple[str, float]]]


@click.command("predict")
@click.argument("model_file", metavar="MODEL", type=click.Path(exists=True, dir_okay=False))
@click.argument("images", nargs=-1, required=True)
@click.option(
    "--top", type=click.IntRange(1), default=1, show_default=True, help="Classes for each image."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print.",
)
@threads_option
def command(model_file: str, images: tuple[str, ...], top: int, form: str) -> int:
    """Classify IMAGES with MODEL: files, folders, patterns like '*.jpg', or - for names on stdin.

    \b
    tinygrad-ft predict runs/mine/best.safetensors holiday.jpg
    tinygrad-ft predict runs/mine/best.safetensors album/ --top 3 --format csv > classes.csv
    """
    model, card = load_model(model_file)
    names = _expand(images)
    rows: list[Row] = []
    for start in range(0, len(names), BATCH):
        part = names[start : start + BATCH]
        found = predict_scores(model, _decode(part, card), card.preprocessing)
        for name, p in zip(part, found.probabilities, strict=True):
            best = np.argsort(-p, kind="stable")[:top]
            rows.append((name, [(card.classes[i], float(p[i])) for i in best]))
    _print(rows, form)
    return 0


def _expand(arguments: Sequence[str]) -> list[str]:
    """Every image that the arguments name; DataError for one that names none."""
    names: list[str] = []
    for argument in arguments:
        if argument == "-":
            found = [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
        elif Path(argument).is_dir():
            files = sorted(Path(argument).rglob("*"))
            found = [str(p) for p in files if p.suffix.lower() in EXTENSIONS]
        elif Path(argument).exists():
            found = [argument]
        else:
            found = sorted(glob.glob(argument, recursive=True))
        if not found:
            raise DataError(f"{argument!r} names no image file")
        names += found
    return names


def _decode(names: Sequence[str], card: ModelCard) -> ArrayDataset:
    pictures = []
    for name in names:
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            raise DataError(f"{name!r} cannot be read: {error.strerror or error}") from None
        mode = "L" if card.preprocessing.channels == 1 else "RGB"
        pictures.append(decode_image(data, name, mode, card.preprocessing.size))  # type: ignore[arg-type]
    return ArrayDataset(np.stack(pictures), np.zeros(len(names), np.int64), card.classes)


def _print(rows: Sequence[Row], form: str) -> None:
    if form == "json":
        content = [
            {"file": name, "predictions": [{"class": c, "probability": p} for c, p in best]}
            for name, best in rows
        ]
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["file", "rank", "class", "probability"])
        for name, best in rows:
            writer.writerows((name, i + 1, c, f"{p:.6f}") for i, (c, p) in enumerate(best))
    else:
        table = Table("file", "class", "probability")
        for name, best in rows:
            classes = "\n".join(escape(c) for c, _ in best)
            table.add_row(escape(name), classes, "\n".join(f"{p:.1%}" for _, p in best))
        Reporter().console.print(table)
