"""A whole run in its folder: train, choose the best epoch, judge it once, write the report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from kernels import get_num_threads
from tinygrad_ft.data import Dataset
from tinygrad_ft.io import RunFolder, RunFolderError, atomic_write, fingerprint_state, short
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train.assessment import assess
from tinygrad_ft.train.calibration import fit_temperature
from tinygrad_ft.train.checkpoints import Position, check_identity
from tinygrad_ft.train.model_file import ModelCard, save_model
from tinygrad_ft.train.progress import Reporter, duration
from tinygrad_ft.train.recipe.memory import available_memory
from tinygrad_ft.train.report import Report, write_report
from tinygrad_ft.train.settings import Settings
from tinygrad_ft.train.splits import Splits
from tinygrad_ft.train.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to: the content of results.json.

    judged_on           "test", or "validation" or "training" where the data has nothing better
    images              number of images it was judged on
    intervals_95        accuracy, macro_recall, macro_f1: [low, high] of the 95% confidence interval
    ece                 expected calibration error, without a temperature
    best_epoch          the chosen epoch
    epochs_trained      all of the settings, or fewer if patience ended the run
    training_seconds    time spent in training steps, over all resumes
    weights_fingerprint of best.safetensors, data_fingerprint of the training images
    """

    judged_on: str
    images: int
    accuracy: float
    macro_recall: float
    macro_f1: float
    loss: float
    intervals_95: dict[str, list[float]]
    ece: float
    best_epoch: int
    training_seconds: float
    weights_fingerprint: str
    data_fingerprint: str
    epochs_trained: int

    def write(self, path: Path) -> None:
        atomic_write(path, json.dumps(asdict(self), indent=2).encode())

    @classmethod
    def read(cls, path: Path) -> Self:
        """RunFolderError if the file is not what `write` wrote."""
        try:
            return cls(**json.loads(path.read_bytes()))
        except OSError as problem:
            raise RunFolderError(f"{path} cannot be read: {problem.strerror}") from problem
        except (ValueError, TypeError) as problem:
            raise RunFolderError(
                f"{path} is damaged: remove it, and --resume judges the run again"
            ) from problem


def execute(
    title: str,
    model: ImageClassifier,
    card: ModelCard,
    splits: Splits,
    settings: Settings,
    run: RunFolder,
    reporter: Reporter,
    *,
    args: dict[str, Any],
    command: str,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    facts: tuple[tuple[str, str], ...] = (),
) -> Outcome:
    """Train `model` by `settings` in the folder `run`, then judge the best epoch on test images.

    Leaves args.yaml, summary.csv, last.safetensors, best.safetensors, report.html and, last,
    results.json. With `resume` goes on from where the run stopped; a finished one is only read.
    CheckpointError, with nothing changed, if the run in the folder is another one;
    NotEnoughMemory, before anything is written, if the run would not fit.
    """
    card = replace(card, tta=settings.tta)
    trainer = Trainer(model, card, splits.train, splits.val, settings, run, reporter, stop)
    if resume and run.args_path.exists():
        before = run.read_args()
        before["settings"] = {name: before.get(name) for name in settings.as_dict()}
        check_identity(before, trainer.identity, run.path)
        if run.results_path.exists():
            return Outcome.read(run.results_path)
    available = available_memory()
    need = trainer.memory_need(judged=len(_judge(splits)[1]), available=available)
    reporter.line(need.describe())
    need.check(available)
    if not (resume and run.args_path.exists()):
        run.write_args({**args, **settings.as_dict(), **_without_settings(trainer.identity)})
    history = trainer.fit(resume)
    best = trainer.best_model()
    judged_on, dataset = _judge(splits)
    temperature = seen = None
    if splits.val is not None:
        seen = trainer.evaluate(splits.val, "calibrating", settings.tta)
        temperature = fit_temperature(seen.scores, seen.labels)
    facts_of_run = _facts(card, settings, splits, history, trainer.position)
    save_model(run.best_path, best, replace(card, training=facts_of_run, temperature=temperature))
    # without test images what was just seen is what it is judged on
    if seen and dataset is splits.val:
        evaluation = seen
    else:
        evaluation = trainer.evaluate(dataset, judged_on, settings.tta)
    found = assess(evaluation)
    metrics = found.metrics
    best_epoch = trainer.position.best_epoch
    assert best_epoch is not None  # there is at least one epoch
    weights = {name: value.numpy() for name, value in best.state_dict().items()}
    outcome = Outcome(
        judged_on=judged_on,
        images=len(evaluation.labels),
        accuracy=metrics.accuracy,
        macro_recall=metrics.macro_recall,
        macro_f1=metrics.macro_f1,
        loss=found.loss,
        intervals_95=found.intervals.as_dict(),
        ece=found.reliability.ece,
        best_epoch=best_epoch,
        training_seconds=round(sum(row["seconds"] for row in history), 3),
        weights_fingerprint=fingerprint_state(weights),
        data_fingerprint=splits.train.fingerprint,
        epochs_trained=len(history),
    )
    write_report(
        run.report_path,
        Report(
            title=title,
            facts=(
                ("model", _describe(best, card)),
                *facts,
                ("data", splits.describe()),
                *_left_out(splits),
                ("test-time augmentation", settings.tta),
                ("training time", _training_time(outcome)),
                ("finished", time.strftime("%Y-%m-%d %H:%M")),
                ("fingerprint of the weights", short(outcome.weights_fingerprint)),
                ("fingerprint of the training images", outcome.data_fingerprint),
            ),
            history=history,
            best_epoch=best_epoch if splits.val is not None else None,
            judged_on=judged_on,
            evaluation=evaluation,
            dataset=dataset,
            classes=card.classes,
            settings=settings.as_dict(),
            command=command,
            model=best,
            preprocessing=card.preprocessing,
            temperature=temperature,
        ),
    )
    outcome.write(run.results_path)  # last: it says that the run is finished
    return outcome


def _facts(
    card: ModelCard,
    settings: Settings,
    splits: Splits,
    history: list[dict[str, Any]],
    position: Position,
) -> dict[str, Any]:
    """How the best model came to be, for its file: the same after a resume, so nothing of time."""
    facts = {
        **card.training,
        "training_images": len(splits.train),
        "training_images_fingerprint": splits.train.fingerprint,
        "settings": settings.as_dict(),
        "epochs_trained": len(history),
        "best_epoch": position.best_epoch,
    }
    if splits.val is not None:
        facts["validation_accuracy"] = position.best_accuracy
    return facts


def _left_out(splits: Splits) -> list[tuple[str, str]]:
    """A line of the report, where there is something to say."""
    bad = len(splits.bad_files())
    return [("left out", f"{bad:,} that cannot be decoded")] if bad else []


def _without_settings(identity: dict[str, Any]) -> dict[str, Any]:
    """The settings stand in args.yaml themselves, one name a line."""
    return {name: value for name, value in identity.items() if name != "settings"}


def _judge(splits: Splits) -> tuple[str, Dataset]:
    if splits.test is not None:
        return "test", splits.test
    if splits.val is not None:
        return "validation", splits.val
    return "training", splits.train


def _describe(model: ImageClassifier, card: ModelCard) -> str:
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"{card.architecture['name']}, {parameters:,} parameters, {trained:,} trained"


def _training_time(outcome: Outcome) -> str:
    threads = get_num_threads()
    return f"{duration(outcome.training_seconds)} with {threads} thread{'s' * (threads > 1)}"
