"""All numbers of one evaluation together: what `evaluate` prints and the report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_ft.train.bootstrap import Intervals, bootstrap
from tinygrad_ft.train.calibration import BINS, Reliability
from tinygrad_ft.train.evaluation import Evaluation
from tinygrad_ft.train.metrics import Metrics


@dataclass(frozen=True)
class Assessment:
    """See `assess`.

    right       number of images predicted right
    top5        accuracy over the five best classes; None up to five classes
    loss        cross-entropy at the evaluation's temperature
    """

    evaluation: Evaluation
    metrics: Metrics
    intervals: Intervals
    reliability: Reliability
    right: int
    top5: float | None
    loss: float

    def as_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """Plain values, for JSON."""
        m = self.metrics
        return {
            "images": len(self.evaluation.labels),
            "right": self.right,
            "accuracy": m.accuracy,
            "top5_accuracy": self.top5,
            "macro_precision": m.macro_precision,
            "macro_recall": m.macro_recall,
            "macro_f1": m.macro_f1,
            "weighted_precision": m.weighted_precision,
            "weighted_recall": m.weighted_recall,
            "weighted_f1": m.weighted_f1,
            "intervals_95": self.intervals.as_dict(),
            "loss": self.loss,
            "temperature": self.evaluation.temperature,
            "ece": self.reliability.ece,
            "reliability": {
                "bins": BINS,
                "count": self.reliability.count.tolist(),
                "confidence": self.reliability.confidence.tolist(),
                "accuracy": self.reliability.accuracy.tolist(),
            },
            "classes": list(classes),
            "support": m.support.tolist(),
            "precision": m.precision.tolist(),
            "recall": m.recall.tolist(),
            "f1": m.f1.tolist(),
            "confusion": m.confusion.tolist(),
        }


def assess(evaluation: Evaluation, seed: int = 0) -> Assessment:
    """Measure an evaluation; `seed` is that of the bootstrap."""
    metrics = evaluation.metrics()
    return Assessment(
        evaluation=evaluation,
        metrics=metrics,
        intervals=bootstrap(metrics.confusion, seed=seed),
        reliability=evaluation.reliability(),
        right=int(metrics.confusion.trace()),
        top5=evaluation.top5(),
        loss=evaluation.loss,
    )
