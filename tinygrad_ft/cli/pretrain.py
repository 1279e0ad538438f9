"""`tinygrad-ft pretrain`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tinygrad_ft import manual_seed
from tinygrad_ft.cli.options import (
    OF_FINETUNING,
    architecture_options,
    run_options,
    settings_options,
)
from tinygrad_ft.cli.training import check_out, open_data, train
from tinygrad_ft.models import create_model
from tinygrad_ft.train import ModelCard, Preprocessing, Settings
from tinygrad_ft.train.progress import Reporter


@click.command("pretrain")
@click.argument("data", type=click.Path(exists=True))
@click.option("--model", default="resnet20", show_default=True, help="resnet20/32/44/56/18/34/50.")
@click.option(
    "--width", type=int, help="Channels of the first stage (default 16, or 64 for resnet18/34/50)."
)
@click.option("--small-input", is_flag=True, help="3x3 stem for small images (resnet18/34/50).")
@click.option(
    "--size", type=click.IntRange(1), help="Resize images to this side.  [default: as they are]"
)
@click.option("--grey", is_flag=True, help="One grey channel instead of three colours.")
@settings_options(Settings(epochs=20), without=OF_FINETUNING)
@run_options
def command(data: str, **options: Any) -> int:
    """Train a network from scratch on DATA.

    DATA is a folder or .zip of images (train/CLASS/*.jpg, with val/ or test/ beside train/ if there
    is), a CIFAR-10/100 archive, or a folder with MNIST's files.

    \b
    tinygrad-ft pretrain tiny-imagenet.zip --epochs 20 --out runs/pretrained
    tinygrad-ft finetune photos --weights runs/pretrained/best.safetensors
    """
    settings = Settings.from_dict(options)
    out = options.pop("out") or f"runs/pretrain-{options['model']}"
    check_out(out, **{name: options[name] for name in ("resume", "overwrite", "find_lr")})
    reporter = Reporter(quiet=options["quiet"])
    channels = 1 if options["grey"] else 3
    architecture = architecture_options(
        options["model"], options["width"], options["small_input"], channels
    )
    splits = open_data(
        data,
        settings,
        reporter,
        size=options["size"],
        channels=1 if options["grey"] else None,
        skip_bad=options["skip_bad"],
        cache=options["cache"],
    )
    preprocessing = Preprocessing.measured(splits.train)
    architecture |= {
        "num_classes": len(splits.train.classes),
        "in_chans": preprocessing.channels,
    }
    manual_seed(settings.seed)
    origin = {"pretrained_on": Path(data).resolve().name}
    card = ModelCard(architecture, tuple(splits.train.classes), preprocessing, origin)
    return train(
        "Pretrained",
        create_model(**architecture),
        card,
        splits,
        settings,
        reporter,
        args={"command": "pretrain", "data": data, "out": out, **options},
    )
