"""`tinygrad-ft evaluate`"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from tinygrad_ft.cli.bare_weights import describe_weights
from tinygrad_ft.cli.options import fit_option, threads_option, tta_option, weights_options
from tinygrad_ft.cli.temperature import chosen_temperature, temperature_option
from tinygrad_ft.cli.training import command_line, left_out, say_fitting
from tinygrad_ft.data import DataError, Dataset, dataset_splits, open_dataset
from tinygrad_ft.io import WriteError, atomic_write, fingerprint_state, short
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train import ModelCard, load_model, predict_scores
from tinygrad_ft.train.assessment import Assessment, assess
from tinygrad_ft.train.bootstrap import Interval
from tinygrad_ft.train.calibration import BINS, fit_temperature
from tinygrad_ft.train.model_file import check_scores
from tinygrad_ft.train.progress import Reporter
from tinygrad_ft.train.report import Report, write_report
from tinygrad_ft.train.settings import TestTimeAugmentation


@click.command("evaluate")
@click.argument("model_file", metavar="MODEL", type=click.Path(exists=True, dir_okay=False))
@click.argument("data", type=click.Path(exists=True))
@click.option("--split", help="train, val or test.  [default: test, or val if there is none]")
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False), help="Also write the numbers here."
)
@click.option(
    "--report", "report_path", type=click.Path(dir_okay=False), help="Also write a page (HTML)."
)
@click.option("--by-class", is_flag=True, help="Print precision, recall and F1 of every class.")
@click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be decoded.")
@temperature_option
@tta_option
@weights_options
@fit_option
@threads_option
def command(
    model_file: str,
    data: str,
    split: str | None,
    json_path: str | None,
    report_path: str | None,
    by_class: bool,
    skip_bad: bool,
    temperature: float | str,
    tta: TestTimeAugmentation | None,
    fit: bool,
    **options: Any,
) -> int:
    """Measure MODEL (.safetensors of a run, or bare weights) on the labelled images of DATA.

    \b
    tinygrad-ft evaluate runs/mine/best.safetensors photos
    tinygrad-ft evaluate resnet20.pth cifar10.zip --model resnet20 --preprocess imagenet

    The ranges are 95% confidence intervals. With --split val it also says which --temperature fits
    those images best.
    """
    reporter = Reporter()
    for path in filter(None, (json_path, report_path)):
        if not Path(path).parent.is_dir():  # before a long evaluation, not after it
            raise WriteError(f"{path} cannot be written: there is no folder {Path(path).parent}")
    card = describe_weights(model_file, options)
    divisor = chosen_temperature(temperature, card, model_file)
    tta = tta or card.tta
    split = split or _default_split(data)
    with reporter.phases("decoding") as progress:
        dataset = open_dataset(
            data,
            split,
            size=card.preprocessing.size,
            mode="L" if card.preprocessing.channels == 1 else "RGB",
            classes=card.classes or None,
            skip_bad=skip_bad,
            progress=progress,
        )
    if bad := getattr(dataset, "bad_files", ()):
        reporter.line(left_out(bad))
    say_fitting(dataset, data, fit, reporter)
    card.preprocessing.check_fits(dataset, f"the images of {data}")
    if not card.classes:
        architecture = {**card.architecture, "num_classes": len(dataset.classes)}
        card = replace(card, architecture=architecture, classes=tuple(dataset.classes))
    model, card = load_model(model_file, card)
    with reporter.phase("evaluating", len(dataset)) as phase:
        scores = predict_scores(model, dataset, card.preprocessing, tta=tta, on_batch=phase.advance)
    check_scores(scores.scores, model_file)
    found = assess(scores.at(divisor))
    m = found.metrics
    reporter.line(
        f"{found.right:,} of {len(dataset):,} right: accuracy {m.accuracy:.2%}, macro recall "
        f"{m.macro_recall:.2%}, macro F1 {m.macro_f1:.2%}, loss {found.loss:.4f}"
    )
    reporter.console.print(_table(found))
    if by_class:
        reporter.console.print(_class_table(found, card))
    if split == "val":
        _offer_temperature(found, reporter)
    if json_path is not None:
        numbers = {
            "model": model_file,
            "weights_fingerprint": _fingerprint(model),
            "data": data,
            "split": split,
            "data_fingerprint": dataset.fingerprint,
            "left_out": len(bad),
            "tta": tta,
            **found.as_dict(card.classes),
        }
        text = json.dumps(numbers, indent=2, ensure_ascii=False) + "\n"
        atomic_write(Path(json_path), text.encode("utf-8", "backslashreplace"))
    if report_path is not None:
        _write_report(Path(report_path), found, model, card, dataset, model_file, data, split, tta)
    return 0


def _default_split(data: str) -> str | None:
    present = dataset_splits(data)
    for name in ("test", "val"):
        if name in present:
            return name
    if present:
        raise DataError(f"{data} has only the split {', '.join(present)}: name it with --split")
    return None


def _fingerprint(model: ImageClassifier) -> str:
    return fingerprint_state({name: v.numpy() for name, v in model.state_dict().items()})


def _table(found: Assessment) -> Table:
    m, ranges = found.metrics, found.intervals

    def row(name: str, value: float, interval: Interval | None = None) -> None:
        span = "" if interval is None else f"{100 * interval.low:.1f} – {interval.high:.1%}"
        table.add_row(name, f"{value:.2%}", span)

    table = Table("measure", "value", "95%")
    row("accuracy", m.accuracy, ranges.accuracy)
    if found.top5 is not None:
        row("top-5 accuracy", found.top5)
    row("macro precision", m.macro_precision)
    row("macro recall", m.macro_recall, ranges.macro_recall)
    row("macro F1", m.macro_f1, ranges.macro_f1)
    row("weighted precision", m.weighted_precision)
    row("weighted recall", m.weighted_recall)
    row("weighted F1", m.weighted_f1)
    row(f"calibration error (ECE, {BINS} bins)", found.reliability.ece)
    if found.evaluation.temperature != 1:
        table.add_row("at temperature", f"{found.evaluation.temperature:.4g}", "")
    return table


def _class_table(found: Assessment, card: ModelCard) -> Table:
    m = found.metrics
    table = Table("class", "images", "precision", "recall", "F1")
    for i, name in enumerate(card.classes):
        shares = (f"{v[i]:.1%}" for v in (m.precision, m.recall, m.f1))
        table.add_row(escape(name), str(m.support[i]), *shares)
    return table


def _offer_temperature(found: Assessment, reporter: Reporter) -> None:
    scores = found.evaluation
    best = fit_temperature(scores.scores, scores.labels)
    if best is None:
        reporter.line("no --temperature fits these images best")
        return
    after = scores.at(best)
    reporter.line(
        f"--temperature {best:.4f} fits these images best: ECE {after.reliability().ece:.2%}, "
        f"loss {after.loss:.4f}"
    )


def _write_report(
    path: Path,
    found: Assessment,
    model: ImageClassifier,
    card: ModelCard,
    dataset: Dataset,
    model_file: str,
    data: str,
    split: str | None,
    tta: str,
) -> None:
    write_report(
        path,
        Report(
            title=f"{card.architecture['name']} on {Path(data).resolve().name}",
            facts=(
                ("model", f"{model_file}: {sum(p.numel() for p in model.parameters()):,} weights"),
                ("images", data if split is None else f"{data}, split {split}"),
                ("fingerprint of the weights", short(_fingerprint(model))),
                ("fingerprint of the images", dataset.fingerprint),
                ("temperature", f"{found.evaluation.temperature:g}"),
                ("test-time augmentation", tta),
            ),
            history=(),
            best_epoch=None,
            judged_on=split or "labelled",
            evaluation=found.evaluation,
            dataset=dataset,
            classes=card.classes,
            settings={},
            command=command_line(),
            model=model,
            preprocessing=card.preprocessing,
            # at another temperature than 1 the page is about that one
            temperature=card.temperature if found.evaluation.temperature == 1 else None,
        ),
    )
