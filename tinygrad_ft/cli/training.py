"""What `pretrain` and `finetune` have in common: opening the data, running, saying how it went."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tinygrad_ft.cli.stop import stop_on_signals
from tinygrad_ft.data import Dataset
from tinygrad_ft.data.fitted import fitting
from tinygrad_ft.io import RunFolder, WriteError, check_run_folder
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train import Interrupted, ModelCard, Settings, SettingsError
from tinygrad_ft.train.progress import Reporter, duration
from tinygrad_ft.train.recipe.batches import images_per_epoch, update_size
from tinygrad_ft.train.recipe.lr_finder import find_lr, write_curve
from tinygrad_ft.train.run import Outcome, execute
from tinygrad_ft.train.splits import Splits, open_splits

NAMED = 10  # bad images that are named
FEW_STEPS = 100
FEW_IMAGES = 16  # a step, where there are few


def check_out(out: str, *, resume: bool, overwrite: bool, find_lr: bool) -> None:
    """Refuse a folder that cannot be used before the data is read."""
    if resume and overwrite:
        raise SettingsError("--resume and --overwrite exclude each other")
    if find_lr:
        if resume or overwrite:
            raise SettingsError("--find-lr trains nothing: leave out --resume and --overwrite")
        return  # it adds a picture to whatever is there
    check_run_folder(out, resume=resume, overwrite=overwrite)


def open_data(
    path: str,
    settings: Settings,
    reporter: Reporter,
    *,
    size: int | None,
    channels: int | None,
    skip_bad: bool,
    cache: bool | None,
    fit: bool = True,
) -> Splits:
    """The splits of a data set, decoded with a progress bar the first time.

    channels: 1, 3, or None for colour where the data does not say otherwise. Without `fit` images
    of an archive that have another size or colour are refused.
    """
    if skip_bad and cache is False:
        raise SettingsError("--skip-bad must look at all images first: leave out --no-cache")
    with reporter.phases("decoding") as progress:
        splits = open_splits(
            path,
            settings,
            size=size,
            mode={None: None, 1: "L", 3: "RGB"}[channels],
            skip_bad=skip_bad,
            cache=cache,
            progress=progress,
        )
    if bad := splits.bad_files():
        reporter.line(left_out(bad))
    reporter.line(f"{path}: {splits.describe()}")
    say_fitting(splits.train, path, fit, reporter)
    if splits.decoded_each_time():
        reporter.line("images are decoded in every epoch; --cache decodes them once, beforehand")
    if settings.patience is not None and splits.val is None:
        raise SettingsError("--patience needs validation images: leave out --val-fraction 0")
    return splits


def say_fitting(dataset: Dataset, path: str, fit: bool, reporter: Reporter) -> None:
    """What is done to the images of an archive; SettingsError if they do not fit without it."""
    if note := fitting(dataset):
        if not fit:
            raise SettingsError(
                f"{path} is not what the weights were trained on: {note} if you give --fit"
            )
        reporter.line(note)


def left_out(bad: Sequence[tuple[str, str]]) -> str:
    """Lines that name the images which cannot be decoded, as many as can be read."""
    lines = [f"left out {len(bad):,} bad image{'s' * (len(bad) > 1)}:"]
    lines += [f"  {reason}" for _, reason in bad[:NAMED]]
    if len(bad) > NAMED:
        lines.append(f"  and {len(bad) - NAMED:,} more")
    return "\n".join(lines)


def few_steps(images: int, settings: Settings) -> str | None:
    """What to say of a run that ends before it has learned; None if there are steps enough."""
    steps = settings.epochs * math.ceil(images_per_epoch(images, settings) / update_size(settings))
    if steps >= FEW_STEPS:
        return None
    smaller = update_size(settings) > FEW_IMAGES
    return (
        f"note: only {steps} steps in all; with few images choose "
        f"{f'a smaller --batch-size ({FEW_IMAGES}) or ' * smaller}more --epochs"
    )


def train(
    kind: str,
    model: ImageClassifier,
    card: ModelCard,
    splits: Splits,
    settings: Settings,
    reporter: Reporter,
    *,
    args: dict[str, Any],
    facts: tuple[tuple[str, str], ...] = (),
) -> int:
    """Run in the folder `args["out"]`, print the result, and give the exit code.

    With `args["find_lr"]` only look for a learning rate.
    """
    resume, overwrite, out = args.pop("resume"), args.pop("overwrite"), args["out"]
    if args.pop("find_lr"):
        return _find_lr(model, card, splits, settings, reporter, Path(out))
    if hint := few_steps(len(splits.train), settings):
        reporter.line(hint)
    command = command_line()
    with RunFolder(out, resume=resume, overwrite=overwrite) as run, stop_on_signals() as stop:
        try:
            outcome = execute(
                f"{kind} {card.architecture['name']} on {Path(args['data']).resolve().name}",
                model,
                card,
                splits,
                settings,
                run,
                reporter,
                args=args,
                command=command,
                resume=resume,
                stop=stop,
                facts=facts,
            )
        except Interrupted as interrupted:
            click.echo(f"{interrupted}; saved in {out}. To go on: {command} --resume", err=True)
            return stop.exit_code
    _say(outcome, out, reporter)
    return 0


def _find_lr(
    model: ImageClassifier,
    card: ModelCard,
    splits: Splits,
    settings: Settings,
    reporter: Reporter,
    folder: Path,
) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise WriteError(f"{folder} cannot be made: {problem.strerror or problem}") from problem
    with stop_on_signals() as stop:
        curve = find_lr(model, card, splits.train, settings, reporter, stop)
        if stop():
            return stop.exit_code
    files = ", ".join(write_curve(curve, folder))
    if curve.suggestion is None:
        click.echo("the loss falls at no learning rate: is there something that learns?")
    else:
        click.echo(f"the loss falls fastest at --lr {curve.suggestion:g}")
    reporter.line(f"in {folder}: {files}")
    return 0


def command_line() -> str:
    """The command line as it was typed, for the first time and not to go on."""
    arguments: list[str] = click.get_current_context().find_root().obj
    kept = [word for word in arguments if word not in ("--resume", "--overwrite")]
    return f"tinygrad-ft {shlex.join(kept)}"


def _say(outcome: Outcome, out: str, reporter: Reporter) -> None:
    click.echo(
        f"{outcome.judged_on}: accuracy {outcome.accuracy:.2%}, "
        f"macro recall {outcome.macro_recall:.2%}, macro F1 {outcome.macro_f1:.2%} "
        f"on {outcome.images:,} images "
        f"(epoch {outcome.best_epoch}, trained {duration(outcome.training_seconds)})"
    )
    reporter.line(f"in {out}: best.safetensors, report.html, summary.csv")
