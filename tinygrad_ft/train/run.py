"""A whole run in its folder: train, choose the best epoch, judge it once, write the report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kernels import get_num_threads
from tinygrad_ft.io import RunFolder, atomic_write, fingerprint_state, short
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train.evaluation import Evaluation
from tinygrad_ft.train.metrics import Metrics
from tinygrad_ft.train.model_file import ModelCard
from tinygrad_ft.train.progress import Reporter, duration
from tinygrad_ft.train.report import Report, write_report
from tinygrad_ft.train.settings import Settings
from tinygrad_ft.train.splits import Splits
from tinygrad_ft.train.trainer import Trainer


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    judged_on   "test", or "validation" or "training" where the data has nothing better
    seconds     time spent in training steps, over all resumes
    """

    evaluation: Evaluation
    judged_on: str
    metrics: Metrics
    seconds: float
    best_epoch: int | None


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
    """Train `model` by `settings` in the folder `run`, then judge the best epoch on the test images.

    Leaves args.yaml, summary.csv, last.safetensors, best.safetensors, results.json and report.html.
    """
    run.write_args({**args, **settings.as_dict()})
    trainer = Trainer(model, card, splits.train, splits.val, settings, run, reporter, stop)
    history = trainer.fit(resume)
    best = trainer.best_model()
    judged_on, dataset = _judge(splits)
    evaluation = trainer.evaluate(dataset, judged_on)
    metrics = evaluation.metrics()
    outcome = Outcome(
        evaluation,
        judged_on,
        metrics,
        sum(row["seconds"] for row in history),
        trainer.position.best_epoch,
    )
    weights = {name: value.numpy() for name, value in best.state_dict().items()}
    results = {
        "judged_on": judged_on,
        "images": len(evaluation.labels),
        "accuracy": metrics.accuracy,
        "macro_recall": metrics.macro_recall,
        "macro_f1": metrics.macro_f1,
        "loss": evaluation.loss,
        "best_epoch": outcome.best_epoch,
        "training_seconds": round(outcome.seconds, 3),
        "weights_fingerprint": fingerprint_state(weights),
        "data_fingerprint": splits.train.fingerprint,
    }
    atomic_write(run.path / "results.json", json.dumps(results, indent=2).encode())
    parameters = sum(p.numel() for p in best.parameters())
    trained = sum(p.numel() for p in best.parameters() if p.requires_grad)
    write_report(
        run.report_path,
        Report(
            title=title,
            facts=(
                ("model", f"{card.architecture['name']}, {parameters:,} parameters, {trained:,} trained"),
                *facts,
                ("data", splits.describe()),
                ("training time", f"{duration(outcome.seconds)} with {get_num_threads()} threads"),
                ("finished", time.strftime("%Y-%m-%d %H:%M")),
                ("fingerprint of the weights", short(results["weights_fingerprint"])),
                ("fingerprint of the training images", str(splits.train.fingerprint)),
            ),
            history=history,
            best_epoch=outcome.best_epoch if splits.val is not None else None,
            judged_on=judged_on,
            evaluation=evaluation,
            dataset=dataset,
            classes=card.classes,
            settings=settings.as_dict(),
            command=command,
        ),
    )
    return outcome


def _judge(splits: Splits) -> tuple[str, Any]:
    if splits.test is not None:
        return "test", splits.test
    if splits.val is not None:
        return "validation", splits.val
    return "training", splits.train
