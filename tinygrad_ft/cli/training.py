"""What `pretrain` and `finetune` have in common: opening the data, running, saying how it went."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from tinygrad_ft.cli.stop import stop_on_interrupt
from tinygrad_ft.data import DataError
from tinygrad_ft.io import RunFolder
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train import Interrupted, ModelCard, Settings, SettingsError
from tinygrad_ft.train.progress import Reporter, duration
from tinygrad_ft.train.run import Outcome, execute
from tinygrad_ft.train.splits import Splits, open_splits


def open_data(
    path: str,
    settings: Settings,
    reporter: Reporter,
    *,
    size: int | None,
    channels: int,
    skip_bad: bool,
) -> Splits:
    """The splits of a data set, decoded with a progress bar the first time."""
    with decoding(reporter) as progress:
        splits = open_splits(
            path,
            settings,
            size=size,
            mode="L" if channels == 1 else "RGB",
            skip_bad=skip_bad,
            progress=progress,
        )
    for part in (splits.train, splits.val, splits.test):
        bad = getattr(getattr(part, "dataset", part), "bad_files", [])
        if bad:
            reporter.line(f"left out {len(bad)} bad images, the first: {bad[0][1]}")
    if len(splits.train.classes) < 2:
        raise DataError(f"{path} has only the class {splits.train.classes[0]!r}; two are needed")
    reporter.line(f"{path}: {splits.describe()}")
    return splits


@contextmanager
def decoding(reporter: Reporter) -> Iterator[Any]:
    """A callback (done, total) that shows a bar, for as long as there is something to decode."""
    open_phase: list[Any] = []

    def close() -> None:
        if open_phase:
            open_phase.pop().__exit__(None, None, None)

    state = {"total": -1, "done": 0}
    phases: dict[str, Any] = {}

    def progress(done: int, total: int) -> None:
        if not open_phase or total != state["total"] or done < state["done"]:
            close()
            context = reporter.phase("decoding", total)
            phases["now"] = context.__enter__()
            open_phase.append(context)
            state["total"], state["done"] = total, 0
        phases["now"].advance(done - state["done"])
        state["done"] = done

    try:
        yield progress
    finally:
        close()


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
    """Run in the folder `args["out"]`, print the result, and give the exit code."""
    resume, overwrite, out = args.pop("resume"), args.pop("overwrite"), args["out"]
    if resume and overwrite:
        raise SettingsError("--resume and --overwrite exclude each other")
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    command = f"tinygrad-ft {shlex.join(words)}"
    with RunFolder(out, resume=resume, overwrite=overwrite) as run, stop_on_interrupt() as stop:
        try:
            outcome = execute(
                f"{kind} {card.architecture['name']} on {Path(args['data']).name}",
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
            return 130
    _say(outcome, out, reporter)
    return 0


def _say(outcome: Outcome, out: str, reporter: Reporter) -> None:
    m = outcome.metrics
    click.echo(
        f"{outcome.judged_on}: accuracy {m.accuracy:.2%}, macro recall {m.macro_recall:.2%}, macro F1 "
        f"{m.macro_f1:.2%} on {len(outcome.evaluation.labels):,} images "
        f"(epoch {outcome.best_epoch}, trained {duration(outcome.seconds)})"
    )
    reporter.line(f"in {out}: best.safetensors, report.html, summary.csv")
