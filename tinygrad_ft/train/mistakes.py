"""Which images, classes and confusions a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tinygrad_ft.train.evaluation import Evaluation


def confident_mistakes(evaluation: Evaluation, count: int) -> np.ndarray:
    """The images that are wrong with the highest probability of the wrong class, worst first."""
    wrong = np.flatnonzero(evaluation.predicted != evaluation.labels)
    sureness = evaluation.probabilities.max(axis=1)
    return wrong[np.argsort(-sureness[wrong], kind="stable")][:count]


def spread(indices: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of `indices`, evenly from the first to the last."""
    if len(indices) <= count:
        return indices
    return indices[np.linspace(0, len(indices) - 1, count).astype(int)]


class Confusion(NamedTuple):
    """`images` images of class `true` were taken for `predicted`: `share` of that class's images."""

    true: str
    predicted: str
    images: int
    share: float


def frequent_confusions(matrix: np.ndarray, classes: Sequence[str], count: int) -> list[Confusion]:
    """The most frequent mistakes of a confusion matrix (row = true class), most frequent first."""
    wrong = np.array(matrix)
    np.fill_diagonal(wrong, 0)
    flat = np.argsort(-wrong, axis=None, kind="stable")[:count]
    rows, columns = np.unravel_index(flat, wrong.shape)
    images = matrix.sum(axis=1)
    return [
        Confusion(classes[r], classes[c], int(wrong[r, c]), float(wrong[r, c] / images[r]))
        for r, c in zip(rows, columns, strict=True)
        if wrong[r, c]
    ]


def weakest_classes(f1: np.ndarray, support: np.ndarray, count: int) -> np.ndarray:
    """The classes with images and the lowest F1, weakest first."""
    present = np.flatnonzero(support)
    return present[np.argsort(f1[present], kind="stable")][:count]
