"""`tinygrad-ft search`"""

from __future__ import annotations

import shlex
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tinygrad_ft.cli.bare_weights import OPTIONS as WEIGHTS_OPTIONS
from tinygrad_ft.cli.bare_weights import describe_weights
from tinygrad_ft.cli.finetune import DEFAULTS
from tinygrad_ft.cli.options import (
    data_options,
    fit_option,
    settings_options,
    threads_option,
    weights_options,
)
from tinygrad_ft.cli.starting import start_from
from tinygrad_ft.cli.stop import stop_on_signals
from tinygrad_ft.cli.training import command_line, open_data
from tinygrad_ft.io import RunFolder, fingerprint_file
from tinygrad_ft.train import (
    Interrupted,
    NonFiniteLoss,
    Settings,
    SettingsError,
    load_pretrained,
)
from tinygrad_ft.train.assessment import Assessment
from tinygrad_ft.train.model_file import build_model
from tinygrad_ft.train.progress import Reporter
from tinygrad_ft.train.recipe.freezing import frozen_stages
from tinygrad_ft.train.run import Outcome, execute
from tinygrad_ft.train.search import (
    SearchFolder,
    Space,
    Trial,
    best_trial,
    check_search_folder,
    possible_depths,
    run_trials,
)
from tinygrad_ft.train.search_report import COLUMNS, conclude, trial_rows


def _range(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """`1e-3,0.1` as two numbers."""
    if value is None:
        return None
    try:
        low, high = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not two numbers like 0.001,0.1") from None
    return low, high


@click.command("search")
@click.argument("data", type=click.Path(exists=True))
@click.option(
    "--weights",
    type=click.Path(exists=True, dir_okay=False),
    required=True,
    help="Trained weights, as for finetune.",
)
@click.option(
    "--trials", type=click.IntRange(1), default=20, show_default=True, help="Runs in all."
)
@click.option(
    "--lr-range", callback=_range, help="Like 0.001,0.1.  [default: --lr / 10 to --lr * 10]"
)
@click.option("--weight-decay-range", callback=_range, help="Like 1e-5,1e-2, which is the default.")
@click.option(
    "--freeze-range", callback=_range, help="Numbers of frozen stages, like 0,4.  [default: all]"
)
@click.option("--new-head", is_flag=True, help="Start the last layer anew even if it would fit.")
@click.option(
    "--out", type=click.Path(file_okay=False), help="Folder of the search.  [default: runs/...]"
)
@click.option("--resume", is_flag=True, help="Go on where the search in the folder stopped.")
@data_options
@click.option("--quiet", is_flag=True, help="Say nothing but errors and the result.")
@settings_options(DEFAULTS)
@weights_options
@fit_option
@threads_option
def command(data: str, weights: str, trials: int, new_head: bool, **options: Any) -> int:
    """Fine-tune many times: find a good learning rate, freeze depth and weight decay.

    Each trial is a whole run in a folder of its own; the first one has the settings given here.
    What to try next is chosen by Optuna from the validation accuracies so far. The test images are
    used once, for the best trial, at the end. Needs the extra: pip install "tinygrad_ft[search]"

    \b
    tinygrad-ft search photos --weights runs/pretrained/best.safetensors --trials 20 --epochs 5
    """
    if find_spec("optuna") is None:
        raise click.ClickException(
            'search needs Optuna, which is not installed: pip install "tinygrad_ft[search]"'
        )
    base = Settings.from_dict(options)
    given = describe_weights(weights, options)
    out = Path(options["out"] or f"runs/search-{given.architecture['name']}")
    check_search_folder(out, resume=options["resume"])
    model = build_model(given.architecture, weights)
    load_pretrained(model, weights)  # the wrong ones are refused before images are decoded
    stages = len(model.stage_modules()) - 1
    first = Trial(0, base.lr, base.weight_decay, frozen_stages(model, base.freeze))
    space = _space(base, stages, options)
    reporter = Reporter(quiet=options["quiet"])
    splits = open_data(
        data,
        base,
        reporter,
        size=given.preprocessing.size,
        channels=given.preprocessing.channels,
        skip_bad=options["skip_bad"],
        cache=options["cache"],
        fit=options["fit"],
    )
    given.preprocessing.check_fits(splits.train, f"the images of {data}")
    if splits.val is None:
        raise SettingsError("search needs validation images: leave out --val-fraction 0")
    identity = {
        "settings": base.as_dict(),
        "space": {name: list(bounds) for name, bounds in vars(space).items()},
        "weights": fingerprint_file(weights),
        "new_head": new_head,
        "training_images": splits.train.fingerprint,
        "validation_images": splits.val.fingerprint,
    }

    def run(trial: Trial) -> Outcome:
        reporter.line(f"trial {trial.number} ({trial.number + 1} of {trials}): {_varied(trial)}")
        settings = trial.settings(base, stages)
        path = out / trial.folder
        begun = path.is_dir() and any(path.iterdir())
        start = start_from(
            weights,
            given,
            tuple(splits.train.classes),
            settings,
            Reporter(quiet=True),
            data=data,
            new_head=new_head,
        )
        with RunFolder(path, resume=begun) as folder:
            return execute(
                f"Trial {trial.number} on {Path(data).resolve().name}",
                start.model,
                start.card,
                replace(splits, test=None),
                settings,
                folder,
                reporter,
                args={"command": "search", "data": data, "weights": weights},
                command=_finetune(settings, data, weights, str(path), options, new_head),
                resume=begun,
                stop=stop,
                facts=start.facts,
            )

    with SearchFolder(out, identity, resume=options["resume"]) as folder, stop_on_signals() as stop:
        try:
            run_trials(folder, trials, space, first, base.seed, run)
        except Interrupted as interrupted:
            again = f"{command_line()} --resume"
            click.echo(f"{interrupted}; saved in {out}. To go on: {again}", err=True)
            return stop.exit_code
        best = best_trial(folder.trials)
        if best is None:
            raise NonFiniteLoss(
                f"all trials ({len(folder.trials)}) diverged: search lower --lr-range"
            )
        settings = best.settings(base, stages)
        again = _finetune(settings, data, weights, "runs/best", options, new_head)
        found = conclude(folder, best, splits, settings, again, reporter)
        _say(folder, best, found, again, reporter)
    return 0


def _space(base: Settings, stages: int, options: dict[str, Any]) -> Space:
    low, high = possible_depths(base, stages)
    depths = options["freeze_range"] or (low, high)
    space = Space(
        lr=options["lr_range"] or (base.lr / 10, base.lr * 10),
        weight_decay=options["weight_decay_range"] or (1e-5, 1e-2),
        freeze=(int(depths[0]), int(depths[1])),
    )
    if space.freeze != tuple(depths) or space.freeze[0] < low or space.freeze[1] > high:
        raise SettingsError(
            f"--freeze-range must be whole numbers from {low} to {high} with this model and these "
            "settings"
        )
    return space


def _varied(trial: Trial) -> str:
    return f"lr {trial.lr:g}, weight decay {trial.weight_decay:g}, {trial.freeze} stages frozen"


def _finetune(
    settings: Settings,
    data: str,
    weights: str,
    out: str,
    options: dict[str, Any],
    new_head: bool,
) -> str:
    """The command line that trains one trial again, and judges it on the test images."""
    words = ["tinygrad-ft", "finetune", data, "--weights", weights]
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value != getattr(DEFAULTS, field.name):
            words += _option(field.name, value)
    for name in WEIGHTS_OPTIONS:
        if options[name]:
            words += _option(name, options[name])
    words += ["--new-head"] * new_head + ["--skip-bad"] * options["skip_bad"]
    words += ["--fit"] * options["fit"]
    if options["cache"] is not None:
        words.append("--cache" if options["cache"] else "--no-cache")
    return shlex.join([*words, "--out", out])


def _option(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if value is True:
        return [flag]
    return [flag, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]


def _say(
    folder: SearchFolder, best: Trial, found: Assessment | None, again: str, reporter: Reporter
) -> None:
    table = Table(*COLUMNS, title="Trials by validation accuracy")
    for row in trial_rows(folder.trials):
        table.add_row(*row)
    reporter.console.print(table)
    click.echo(f"best: trial {best.number}, {_varied(best)}: validation {best.accuracy:.2%}")
    if found is None:
        reporter.line("no test images: the best of many trials is a little worse than it looks")
    else:
        m, span = found.metrics, found.intervals.accuracy
        click.echo(
            f"test: accuracy {m.accuracy:.2%} (95%: {100 * span.low:.1f} – {span.high:.1%}), macro "
            f"recall {m.macro_recall:.2%}, macro F1 {m.macro_f1:.2%} on {m.support.sum():,} images"
        )
    click.echo(f"to train it again: {again}")
    reporter.line(f"in {folder.path}: {best.folder}/best.safetensors, trials.csv, search.png")
