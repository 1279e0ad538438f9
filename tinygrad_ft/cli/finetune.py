"""`tinygrad-ft finetune`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tinygrad_ft.cli.bare_weights import describe_weights
from tinygrad_ft.cli.options import fit_option, run_options, settings_options, weights_options
from tinygrad_ft.cli.starting import start_from
from tinygrad_ft.cli.training import check_out, open_data, train
from tinygrad_ft.train import Settings, SettingsError, load_pretrained
from tinygrad_ft.train.model_file import build_model
from tinygrad_ft.train.progress import Reporter

DEFAULTS = Settings(epochs=10, lr=0.01, warmup_epochs=0.5)


@click.command("finetune")
@click.argument("data", type=click.Path(exists=True))
@click.option(
    "--weights",
    type=click.Path(exists=True, dir_okay=False),
    required=True,
    help="Trained weights: .safetensors of a run, or .pth/.pt/.th/.safetensors/.npz of others.",
)
@click.option("--new-head", is_flag=True, help="Start the last layer anew even if it would fit.")
@settings_options(DEFAULTS)
@weights_options
@fit_option
@run_options
def command(data: str, weights: str, new_head: bool, **options: Any) -> int:
    """Train a pretrained network on for the classes of DATA.

    The last layer is replaced if the classes differ. With --freeze a part stays as it was: it gets
    no gradient and its batch-norm statistics stay put. Weights made by this program say themselves
    what they are; for others, say --model and --preprocess.

    \b
    tinygrad-ft finetune photos --weights runs/pretrained/best.safetensors --freeze backbone
    tinygrad-ft finetune photos --weights resnet20.pth --model resnet20 --preprocess imagenet

    Frozen layers before unchanged images (--augment none) are computed once for all epochs.
    --find-lr looks for a learning rate. docs/finetuning.md says when to use which option.
    """
    settings = Settings.from_dict(options)
    given = describe_weights(weights, options)
    out = options.pop("out") or f"runs/finetune-{given.architecture['name']}"
    check_out(out, **{name: options[name] for name in ("resume", "overwrite", "find_lr")})
    if options["overwrite"] and Path(weights).resolve().parent == Path(out).resolve():
        raise SettingsError(f"--overwrite would remove {weights}: choose another --out")
    reporter = Reporter(quiet=options["quiet"])
    # before the images are decoded, which may take long: the weights may be the wrong ones
    load_pretrained(build_model(given.architecture, weights), weights)
    splits = open_data(
        data,
        settings,
        reporter,
        size=given.preprocessing.size,
        channels=given.preprocessing.channels,
        skip_bad=options["skip_bad"],
        cache=options["cache"],
        fit=options["fit"],
    )
    given.preprocessing.check_fits(splits.train, f"the images of {data}")
    classes = tuple(splits.train.classes)
    start = start_from(weights, given, classes, settings, reporter, data=data, new_head=new_head)
    own = {"command": "finetune", "data": data, "weights": weights, "new_head": new_head}
    return train(
        "Fine-tuned",
        start.model,
        start.card,
        splits,
        settings,
        reporter,
        args={**own, "out": out, **options},
        facts=start.facts,
    )
