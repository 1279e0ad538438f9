"""`tinygrad-ft predict`"""

from __future__ import annotations

import csv
import glob
import json
import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
from rich.markup import escape
from rich.table import Table

from tinygrad_ft.cli.options import threads_option, tta_option
from tinygrad_ft.cli.temperature import chosen_temperature, temperature_option
from tinygrad_ft.data import ArrayDataset, DataError, decode_image
from tinygrad_ft.data.decode import looks_like_image
from tinygrad_ft.data.layout import is_image
from tinygrad_ft.data.sources import FolderSource, read_file
from tinygrad_ft.train import ModelCard, load_model, predict_scores
from tinygrad_ft.train.model_file import check_scores
from tinygrad_ft.train.progress import Reporter
from tinygrad_ft.train.settings import TestTimeAugmentation

BATCH = 256  # images decoded and classified at a time
MEMORY = 64 * 2**20  # bytes that they may take
STDIN = "-"
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
@click.option(
    "--skip-bad",
    is_flag=True,
    help="Name files that are no images on stderr and classify the others.",
)
@temperature_option
@tta_option
@threads_option
def command(
    model_file: str,
    images: tuple[str, ...],
    top: int,
    form: str,
    skip_bad: bool,
    temperature: float | str,
    tta: TestTimeAugmentation | None,
) -> int:
    """Classify IMAGES with MODEL: files, folders, patterns like '*.jpg', or - for stdin, which may
    be an image or name some, one a line (or ended by NUL).

    \b
    tinygrad-ft predict runs/mine/best.safetensors holiday.jpg
    tinygrad-ft predict runs/mine/best.safetensors album/ --top 3 --format csv > classes.csv
    find . -name '*.png' | tinygrad-ft predict runs/mine/best.safetensors - --skip-bad
    curl -s https://host/cat.jpg | tinygrad-ft predict runs/mine/best.safetensors -

    Ends with 0 if images were classified; with 1, and nothing on stdout, at the first file that is
    no image, or, with --skip-bad, if none of the files is one.
    """
    model, card = load_model(model_file)
    divisor = chosen_temperature(temperature, card, model_file)
    piped = sys.stdin.buffer.read() if STDIN in images else b""
    names = _expand(images, piped)
    rows: list[Row] = []
    batch = max(1, min(BATCH, MEMORY // math.prod(card.preprocessing.shape)))
    for start in range(0, len(names), batch):
        good, pictures = _decode(names[start : start + batch], card, skip_bad, piped)
        if not good:
            continue
        found = predict_scores(model, pictures, card.preprocessing, tta=tta or card.tta)
        found = found.at(divisor)
        check_scores(found.scores, model_file)
        for name, p in zip(good, found.probabilities, strict=True):
            best = np.argsort(-p, kind="stable")[:top]
            rows.append((name, [(card.classes[i], float(p[i])) for i in best]))
    if left_out := len(names) - len(rows):
        click.echo(f"left out {left_out:,} of {len(names):,} files", err=True)
    if not rows:
        raise DataError("none of the files is an image that could be classified")
    _print(rows, form)
    return 0


def _expand(arguments: Sequence[str], piped: bytes) -> list[str]:
    """Every image file that the arguments name; DataError for one that names none.

    STDIN itself stays in the list if what was `piped` is an image.
    """
    names: list[str] = []
    for argument in arguments:
        if argument == STDIN:
            found = [STDIN] if looks_like_image(piped) else _names_in(piped)
        elif os.path.isdir(argument):
            found = [str(Path(argument, name)) for name in _images_below(argument)]
        elif os.path.lexists(argument):
            found = [argument]
        else:
            matched = sorted(glob.glob(argument, recursive=True))
            found = [name for name in matched if not os.path.isdir(name)]
            if not found:  # a pattern of folders, as the shell would have given them one by one
                found = [str(Path(f, name)) for f in matched for name in _images_below(f)]
        if not found:
            raise DataError(f"{argument!r} names no image file")
        names += found
    return names


def _names_in(piped: bytes) -> list[str]:
    """One name a line, or each ended by NUL as `find -print0` writes them."""
    lines = piped.split(b"\0") if b"\0" in piped else piped.splitlines()
    return [os.fsdecode(line) for line in lines if line]


def _images_below(folder: str) -> list[str]:
    found = (name for name, _ in FolderSource(Path(folder)).walk("") if is_image(name))
    return sorted(found, key=lambda name: name.split("/"))


def _decode(
    names: Sequence[str], card: ModelCard, skip_bad: bool, piped: bytes
) -> tuple[list[str], ArrayDataset]:
    """The images among `names`; one that is none is a DataError, or named and left out."""
    channels, size = card.preprocessing.channels, card.preprocessing.size

    def decode(name: str) -> np.ndarray | DataError:
        try:
            data = piped if name == STDIN else read_file(Path(name))
            return decode_image(data, name, "L" if channels == 1 else "RGB", size)
        except DataError as error:
            return error

    good, pictures = [], [np.zeros((0, size, size, channels), np.uint8)]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for name, found in zip(names, pool.map(decode, names), strict=True):
            if isinstance(found, np.ndarray):
                good.append(name)
                pictures.append(found[None])
            elif skip_bad:
                click.echo(f"left out: {found}", err=True)
            else:
                raise DataError(f"{found} (--skip-bad leaves such files out)") from found
    labels = np.zeros(len(good), np.int64)
    return good, ArrayDataset(np.concatenate(pictures), labels, card.classes)


def _print(rows: Sequence[Row], form: str) -> None:
    if form == "json":
        content = [
            {"file": name, "predictions": [{"class": c, "probability": p} for c, p in best]}
            for name, best in rows
        ]
        # where the output cannot hold every letter, JSON's own escapes can
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        click.echo(json.dumps(content, indent=2, ensure_ascii=not unicode))
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
