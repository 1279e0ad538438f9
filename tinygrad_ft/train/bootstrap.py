"""How far the numbers of an evaluation could be off by the luck of the draw of its images."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

RESAMPLES = 1000
_CELLS = 1 << 22  # counts drawn at a time; bounds the memory


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`."""

    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """95% confidence intervals."""

    accuracy: Interval
    macro_recall: Interval
    macro_f1: Interval

    def as_dict(self) -> dict[str, list[float]]:
        """[low, high] of each, for JSON."""
        return {f.name: [(i := getattr(self, f.name)).low, i.high] for f in fields(self)}


def bootstrap(confusion: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> Intervals:
    """Percentile bootstrap (Efron 1979) over the n images behind a confusion matrix (k, k).

    `resamples` times n images are drawn from the n with replacement and measured anew, by the same
    rules as `measure`; the interval holds the middle 95% of what was found. All that matters of an
    image is its true and its predicted class, so a resample is one multinomial draw over the cells
    of the matrix. What it covers is the choice of the test images, not the training's own chance
    (another seed), nor images of another kind than these. Where every image is right it has no
    width. ValueError for a matrix without images.
    """
    confusion = np.asarray(confusion)
    images, classes = int(confusion.sum()), len(confusion)
    if images == 0:
        raise ValueError("bootstrap: there is no image to draw from")
    rows, columns = np.nonzero(confusion)
    shares = confusion[rows, columns] / images
    generator = np.random.Generator(np.random.Philox(seed))
    part = max(1, _CELLS // max(len(rows), classes))
    found = []
    for start in range(0, resamples, part):
        counts = generator.multinomial(images, shares, size=min(part, resamples - start))
        found.append(_measure(counts, rows, columns, classes))
    low, high = np.percentile(np.concatenate(found), (2.5, 97.5), axis=0)
    return Intervals(*(Interval(float(a), float(b)) for a, b in zip(low, high, strict=True)))


def _measure(counts: np.ndarray, rows: np.ndarray, columns: np.ndarray, classes: int) -> np.ndarray:
    """(r, cells) counts -> (r, 3): accuracy, macro recall and macro F1 of each resample."""
    shape = (len(counts), classes)
    support, predicted, right = (np.zeros(shape) for _ in range(3))
    diagonal = rows == columns
    right[:, rows[diagonal]] = counts[:, diagonal]  # each class has one cell on the diagonal
    for cell, (row, column) in enumerate(zip(rows, columns, strict=True)):
        support[:, row] += counts[:, cell]
        predicted[:, column] += counts[:, cell]
    present = support > 0
    number = present.sum(axis=1)
    recall = right / np.maximum(support, 1)
    # F1 = 2 precision recall / (precision + recall) = 2 right / (images of it + predicted as it)
    f1 = 2 * right / np.maximum(support + predicted, 1)
    return np.stack(
        [
            right.sum(axis=1) / support.sum(axis=1),
            recall.sum(axis=1) / number,
            np.where(present, f1, 0).sum(axis=1) / number,
        ],
        axis=1,
    )
