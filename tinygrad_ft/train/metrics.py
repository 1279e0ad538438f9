"""How good predictions are; every number comes from scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Metrics:
    """Quality of class predictions on n images of k classes.

    accuracy      share predicted right
    precision, recall, f1, support   (k,) arrays by class: precision = right / predicted as it,
                  recall = right / images of it, F1 = 2 precision recall / (precision + recall)
    macro_...     mean over the classes, each counted once
    weighted_...  mean over the classes, each counted by its images (weighted recall is accuracy)
    confusion     (k, k) counts: row = true class, column = predicted class
    """

    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    confusion: np.ndarray


def measure(labels: np.ndarray, predicted: np.ndarray, classes: int) -> Metrics:
    """The metrics of `predicted` against `labels`, both (n,) class indices. ValueError if n is 0.

    A class that is never predicted has precision 0. Classes without an image in `labels` do not
    enter the means.
    """
    # imported here: it takes a second, which `--help`, `predict` and a run's start need not wait
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    if len(labels) == 0:
        raise ValueError("metrics: there is no image to measure")
    every = np.arange(classes)
    by_class = precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0.0)
    precision, recall, f1, support = by_class
    present = support > 0
    macro = [float(values[present].mean()) for values in by_class[:3]]
    weighted = [float(np.average(values, weights=support)) for values in by_class[:3]]
    return Metrics(
        accuracy=float(np.mean(labels == predicted)),
        macro_precision=macro[0],
        macro_recall=macro[1],
        macro_f1=macro[2],
        weighted_precision=weighted[0],
        weighted_recall=weighted[1],
        weighted_f1=weighted[2],
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
        confusion=confusion_matrix(labels, predicted, labels=every),
    )


def top_k_accuracy(labels: np.ndarray, scores: np.ndarray, k: int = 5) -> float | None:
    """Share of the images whose class is among the `k` highest of its scores (n, classes).

    None where there are not more than `k` classes: it would be 1 whatever the scores.
    """
    from sklearn.metrics import top_k_accuracy_score

    classes = scores.shape[1]
    if classes <= k:
        return None
    return float(top_k_accuracy_score(labels, scores, k=k, labels=np.arange(classes)))
