"""What becomes of a search: its best trial judged once, on test images, and a page about it all."""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_ft.io import short
from tinygrad_ft.train.assessment import Assessment, assess
from tinygrad_ft.train.evaluation import predict_scores
from tinygrad_ft.train.model_file import load_model
from tinygrad_ft.train.progress import Reporter, duration
from tinygrad_ft.train.report import Report, write_report
from tinygrad_ft.train.search import SearchFolder, Trial
from tinygrad_ft.train.search_plot import trials_svg, write_trials_png
from tinygrad_ft.train.settings import Settings
from tinygrad_ft.train.splits import Splits

COLUMNS = ("trial", "learning rate", "weight decay", "frozen stages", "accuracy", "loss", "time")


def trial_rows(trials: Sequence[Trial]) -> list[list[str]]:
    """A row a trial, best first, diverged ones last; `COLUMNS` are its names."""
    found = []
    for t in sorted(trials, key=lambda t: (t.accuracy is None, -(t.accuracy or 0), t.loss or 0)):
        numbers = ["diverged", "", ""]
        if t.accuracy is not None and t.loss is not None and t.seconds is not None:
            numbers = [f"{t.accuracy:.2%}", f"{t.loss:.4f}", duration(t.seconds)]
        found.append([str(t.number), f"{t.lr:g}", f"{t.weight_decay:g}", str(t.freeze), *numbers])
    return found


def conclude(
    folder: SearchFolder,
    best: Trial,
    splits: Splits,
    settings: Settings,
    command: str,
    reporter: Reporter,
) -> Assessment | None:
    """Judge the best trial on the test images; None if there are none. Leaves search.png and, with
    test images, report.html.
    """
    write_trials_png(folder.path / "search.png", folder.trials)
    if splits.test is None:
        return None
    model, card = load_model(folder.path / best.folder / "best.safetensors")
    with reporter.phase("test", len(splits.test)) as phase:
        scores = predict_scores(
            model, splits.test, card.preprocessing, tta=card.tta, on_batch=phase.advance
        )
    found = assess(scores)
    folder.test = {
        "trial": best.number,
        "images": len(splits.test),
        "accuracy": found.metrics.accuracy,
        "macro_recall": found.metrics.macro_recall,
        "macro_f1": found.metrics.macro_f1,
        "loss": found.loss,
    }
    folder.write()  # before the page: from now on the search is over
    write_report(
        folder.path / "report.html",
        Report(
            title=f"Best of {len(folder.trials)} trials: {card.architecture['name']}",
            facts=(
                ("best trial", f"{best.number}, in {best.folder}"),
                ("validation accuracy", f"{best.accuracy:.2%}, the highest of all trials"),
                ("data", splits.describe()),
                ("fingerprint of the weights it started from", short(folder.identity["weights"])),
                ("fingerprint of the training images", splits.train.fingerprint),
            ),
            history=(),
            best_epoch=None,
            judged_on="test",
            evaluation=scores,
            dataset=splits.test,
            classes=card.classes,
            settings=settings.as_dict(),
            command=command,
            tables=[("All trials, by validation accuracy", COLUMNS, trial_rows(folder.trials))],
            figures=[("What was tried", trials_svg(folder.trials))],
            model=model,
            preprocessing=card.preprocessing,
            temperature=card.temperature,
        ),
    )
    return found
