"""How good predictions are; every number comes from scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Metrics:
    """Quality of class predictions on n images of k classes.

    accuracy          share predicted right
    macro_recall      mean over the classes of recall = right / images of the class
    macro_f1          mean over the classes of F1 = 2 precision recall / (precision + recall)
    precision, recall, f1, support   (k,) arrays by class
    confusion         (k, k) counts: row = true class, column = predicted class
    """

    accuracy: float
    macro_recall: float
    macro_f1: float
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    confusion: np.ndarray


def measure(labels: np.ndarray, predicted: np.ndarray, classes: int) -> Metrics:
    """The metrics of `predicted` against `labels`, both (n,) class indices. ValueError if n is 0.

    A class that is never predicted has precision 0. Classes without an image in `labels` do not
    enter the macro means.
    """
    # imported here: it takes a second, which `--help`, `predict` and a run's start need not wait
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    if len(labels) == 0:
        raise ValueError("metrics: there is no image to measure")
    every = np.arange(classes)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=0.0
    )
    present = support > 0
    return Metrics(
        accuracy=float(np.mean(labels == predicted)),
        macro_recall=float(recall[present].mean()),
        macro_f1=float(f1[present].mean()),
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
        confusion=confusion_matrix(labels, predicted, labels=every),
    )
