"""`tinygrad-ft export`"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tinygrad_ft.cli.bare_weights import describe_weights
from tinygrad_ft.cli.options import weights_options
from tinygrad_ft.io import WeightsError, load_weights
from tinygrad_ft.io.matching import find_head
from tinygrad_ft.train import ModelCard, SettingsError, load_model
from tinygrad_ft.train.export import Format, export_model
from tinygrad_ft.train.progress import Reporter

_ENDINGS: dict[str, Format] = {".onnx": "onnx", ".safetensors": "safetensors"}


@click.command("export")
@click.argument("model_file", metavar="MODEL", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    required=True,
    help="The file to write.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["onnx", "safetensors"]),
    help="What to write.  [default: by the ending of FILE]",
)
@click.option(
    "--classes",
    "classes_file",
    type=click.Path(exists=True, dir_okay=False),
    help="Text file, one class name a line, for weights that name no classes.",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@weights_options
def command(
    model_file: str,
    output: str,
    form: Format | None,
    classes_file: str | None,
    overwrite: bool,
    **options: Any,
) -> int:
    """Write MODEL for other programs, with its classes and preprocessing in the file.

    \b
    tinygrad-ft export runs/mine/best.safetensors -o mine.onnx
    tinygrad-ft export resnet50.pth --model resnet50 --preprocess imagenet -o r50.safetensors

    ONNX files (opset 17) take any number of images and give scores before the softmax; needs the
    extra: pip install "tinygrad_ft[onnx]". A .safetensors file is what finetune, evaluate and
    predict read without further options.
    """
    form = _format(output, form)
    if os.path.exists(output):
        if os.path.samefile(output, model_file):
            raise SettingsError(f"{output} is the file to export: choose another -o")
        if not overwrite:
            raise SettingsError(f"{output} exists: choose another -o, or --overwrite")
    card = _with_classes(describe_weights(model_file, options), model_file, classes_file)
    model, card = load_model(model_file, card)
    export_model(output, model, card, form)
    size = card.preprocessing.size
    Reporter().line(
        f"{output}: {card.architecture['name']}, {len(card.classes)} classes, images of {size}x"
        f"{size} with {card.preprocessing.channels} channels, {os.path.getsize(output):,} bytes"
    )
    return 0


def _format(output: str, form: Format | None) -> Format:
    by_ending = _ENDINGS.get(Path(output).suffix.lower())
    found = form or by_ending
    if found is None:
        raise SettingsError(f"{output} ends in neither .onnx nor .safetensors: say --format")
    if by_ending not in (None, found):
        raise SettingsError(f"{output} has the ending of another format than --format {form}")
    return found


def _with_classes(card: ModelCard, path: str, classes_file: str | None) -> ModelCard:
    """The card with class names: its own, those of the file, or numbers from 0."""
    if card.classes:
        if classes_file is not None:
            raise SettingsError(f"{path} names its classes itself: leave out --classes")
        return card
    weights = load_weights(path)
    head = find_head({name: array.shape for name, array in weights.items()})
    if head is None:
        raise WeightsError(
            f"{path}: it is not clear which of its layers is the last one, so the number of its "
            "classes is not known"
        )
    count = len(weights[f"{head}.weight"])
    names = tuple(str(i) for i in range(count))
    if classes_file is not None:
        names = _read_names(classes_file)
        if len(names) != count:
            raise SettingsError(f"{classes_file} names {len(names)} classes, {path} has {count}")
    architecture = {**card.architecture, "num_classes": count}
    return replace(card, architecture=architecture, classes=names)


def _read_names(path: str) -> tuple[str, ...]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is no text in UTF-8: write one class name a line") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if len(set(names)) != len(names):
        raise SettingsError(f"{path} names a class twice")
    return names
