"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, get_args

import click

from tinygrad_ft.train.settings import (
    Augmentation,
    ClassWeights,
    OptimizerName,
    ScheduleName,
    Settings,
    SettingsError,
    TestTimeAugmentation,
)

F = TypeVar("F", bound=Callable[..., Any])

#: type and help of each setting's option; bool is a switch
_SETTINGS: dict[str, tuple[Any, str]] = {
    "epochs": (int, "Passes over the training images."),
    "batch_size": (int, "Images a step."),
    "accumulate": (int, "Batches whose gradients are added up for one step."),
    "optimizer": (click.Choice(get_args(OptimizerName)), "SGD with Nesterov momentum, or AdamW."),
    "lr": (float, "Peak learning rate."),
    "head_lr": (float, "Peak learning rate of the last layer, if it shall differ."),
    "layer_decay": (float, "Each stage learns at this times the rate of the next one up."),
    "momentum": (float, "Momentum of SGD."),
    "weight_decay": (float, "Weight decay; biases and norm parameters have none."),
    "schedule": (click.Choice(get_args(ScheduleName)), "How the learning rate changes."),
    "warmup_epochs": (float, "Linear warm-up before the cosine."),
    "label_smoothing": (float, "Share of the target spread over all classes."),
    "mixup": (float, "Blend each image with another: alpha of the Beta distribution."),
    "cutmix": (float, "Paste a box of another image into each: alpha of the Beta distribution."),
    "class_weights": (click.Choice(get_args(ClassWeights)), "Rare classes count more in the loss."),
    "balanced_sampler": (bool, "Show every class equally often."),
    "augment": (click.Choice(get_args(Augmentation)), "Random changes of the training images."),
    "clip_grad": (float, "Largest gradient norm."),
    "ema": (float, "Evaluate and keep a moving average of the weights, with this decay."),
    "patience": (int, "End the run after so many epochs without a better one."),
    "freeze": (
        str,
        "What stays as it was: none, backbone (all but the last layer), or a number of stages.",
    ),
    "head_epochs": (int, "Train only the last layer in so many epochs first."),
    "unfreeze_every": (int, "Unfreeze one stage more after each so many epochs."),
    "freeze_norms": (bool, "Batch norms keep their statistics also in layers that learn."),
    "feature_cache_mb": (int, "Largest memory for outputs of frozen layers, in MB; 0: none."),
    "labels_fraction": (float, "Use only this share of the training images."),
    "labels_per_class": (int, "Use only so many training images of each class."),
    "val_fraction": (float, "Held out to choose the best epoch if the data has no val folder."),
    "tta": (
        click.Choice(get_args(TestTimeAugmentation)),
        "Judge the finished model on the mean of the scores of an image and its mirror image.",
    ),
    "seed": (int, "Seed of everything random."),
}

#: settings that make no sense where no trained layers are there to begin with
OF_FINETUNING = (
    "freeze",
    "head_lr",
    "layer_decay",
    "head_epochs",
    "unfreeze_every",
    "freeze_norms",
    "feature_cache_mb",
)


def _add(options: list[Callable[[F], F]]) -> Callable[[F], F]:
    def add(function: F) -> F:
        for option in reversed(options):  # click lists decorators from the last to the first
            function = option(function)
        return function

    return add


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def settings_options(defaults: Settings, *, without: tuple[str, ...] = ()) -> Callable[[F], F]:
    """One option for each setting, with `defaults`' values as defaults."""
    options = []
    for field in fields(Settings):
        if field.name in without:
            continue
        kind, text = _SETTINGS[field.name]
        default = getattr(defaults, field.name)
        if kind is bool:
            options.append(click.option(_flag(field.name), is_flag=True, help=text))
            continue
        options.append(
            click.option(
                _flag(field.name),
                type=kind,
                default=default,
                help=text,
                show_default=default is not None,
            )
        )
    return _add(options)


def _set_threads(ctx: click.Context, param: click.Parameter, value: int | None) -> None:
    if value is not None:
        from kernels import set_num_threads

        try:
            set_num_threads(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None


threads_option = click.option(
    "--threads",
    type=int,
    callback=_set_threads,
    expose_value=False,
    help="Threads of the kernels.  [default: all cores]",
)

tta_option = click.option(
    "--tta",
    type=click.Choice(get_args(TestTimeAugmentation)),
    help="Test-time augmentation; flip: the mean of the scores of an image and its mirror image.  "
    "[default: as the run was judged]",
)

fit_option = click.option(
    "--fit",
    is_flag=True,
    help="Resize and colour the images of an archive (CIFAR, MNIST) that are not as the weights "
    "want them; without it they are refused. Image files are always made to fit.",
)

#: how image files are read
data_options = _add(
    [
        click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be decoded."),
        click.option(
            "--cache/--no-cache",
            default=None,
            help="Decode all images once, before anything else, or each one in every epoch.  "
            "[default: once, up to 250,000 images or 16 GB]",
        ),
    ]
)

#: where a run is kept, and how it goes on
run_options = _add(
    [
        click.option(
            "--out",
            type=click.Path(file_okay=False),
            help="Folder of the run.  [default: runs/...]",
        ),
        click.option("--resume", is_flag=True, help="Go on where the run in the folder stopped."),
        click.option("--overwrite", is_flag=True, help="Replace the run that is in the folder."),
        click.option(
            "--find-lr",
            is_flag=True,
            help="Do not train: try learning rates, draw their losses into the folder, name one.",
        ),
        threads_option,
        data_options,
        click.option("--quiet", is_flag=True, help="Say nothing but errors and the result."),
    ]
)


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """`0.485,0.456,0.406` as a tuple of floats."""
    if value is None:
        return None
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers like 0.5,0.5,0.5") from None


#: what a file of bare weights (a .pth) does not say itself
weights_options = _add(
    [
        click.option("--model", help="Architecture of bare weights: resnet20, resnet18, ..."),
        click.option(
            "--width",
            type=int,
            help="Channels of the first stage (default 16, or 64 for resnet18/34/50).",
        ),
        click.option(
            "--small-input", is_flag=True, help="3x3 stem for small images (resnet18/34/50)."
        ),
        click.option("--size", type=click.IntRange(1), help="Side of the images in pixels."),
        click.option(
            "--preprocess", help="Mean and std of bare weights: imagenet, cifar10, cifar100, half."
        ),
        click.option("--mean", callback=_numbers, help="Channel means, like 0.5,0.5,0.5."),
        click.option(
            "--std", callback=_numbers, help="Channel standard deviations, like 0.2,0.2,0.2."
        ),
    ]
)


def architecture_options(
    model: str, width: int | None, small_input: bool, in_chans: int
) -> dict[str, Any]:
    """Arguments of `create_model`, without the number of classes; SettingsError for a wrong one."""
    from tinygrad_ft.models import model_info

    try:
        known = model_info(model).options
    except ValueError as error:
        raise SettingsError(f"--model: {error}") from None
    options: dict[str, Any] = {"name": model, "in_chans": in_chans}
    if width is not None:
        if "width" not in known or width < 1:
            raise SettingsError(f"--width {width} does not go with {model}")
        options["width"] = width
    if small_input:
        if "small_input" not in known:
            raise SettingsError(
                f"--small-input does not go with {model}: its stem is small already"
            )
        options["small_input"] = True
    return options
