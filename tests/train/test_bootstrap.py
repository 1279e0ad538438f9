"""Confidence intervals against the plain bootstrap: draw images, measure with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference

from tinygrad_ft.train import bootstrap as module
from tinygrad_ft.train.bootstrap import bootstrap
from tinygrad_ft.train.metrics import measure


def confusion(seed: int, n: int = 300, k: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(k, n, p=np.arange(1, k + 1) / (k * (k + 1) / 2))
    predicted = np.where(rng.random(n) < 0.7, labels, rng.integers(0, k, n))
    return labels, predicted, reference.confusion_matrix(labels, predicted, labels=range(k))


def test_each_resample_is_measured_as_scikit_learn_does():
    """The counts of a resample, spelled out as images again."""
    _, _, matrix = confusion(0, n=25, k=5)
    rows, columns = np.nonzero(matrix)
    counts = np.random.default_rng(1).multinomial(25, matrix[rows, columns] / 25, size=40)
    found = module._measure(counts, rows, columns, 5)
    for drawn, numbers in zip(counts, found, strict=True):
        expected = measure(np.repeat(rows, drawn), np.repeat(columns, drawn), 5)
        np.testing.assert_allclose(
            numbers, [expected.accuracy, expected.macro_recall, expected.macro_f1]
        )


def test_the_ranges_are_those_of_drawing_images():
    labels, predicted, matrix = confusion(2)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(400):
        at = rng.integers(0, len(labels), len(labels))
        m = measure(labels[at], predicted[at], 4)
        drawn.append((m.accuracy, m.macro_recall, m.macro_f1))
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    found = bootstrap(matrix)
    for i, interval in enumerate((found.accuracy, found.macro_recall, found.macro_f1)):
        assert interval.low == pytest.approx(low[i], abs=0.015)
        assert interval.high == pytest.approx(high[i], abs=0.015)


def test_the_range_holds_the_number_and_narrows_with_images():
    m = confusion(3)[2]
    few, many = bootstrap(m), bootstrap(100 * m)
    accuracy = m.trace() / m.sum()
    for found in (few, many):
        assert found.accuracy.low < accuracy < found.accuracy.high
    width = few.accuracy.high - few.accuracy.low
    assert many.accuracy.high - many.accuracy.low == pytest.approx(width / 10, rel=0.15)


def test_the_seed_is_all_the_chance_there_is():
    m = confusion(4)[2]
    assert bootstrap(m) == bootstrap(m)
    assert bootstrap(m) != bootstrap(m, seed=1)


def test_parts_change_nothing_that_matters(monkeypatch):
    """Memory is bounded by drawing in parts."""
    m = confusion(5)[2]
    whole = bootstrap(m)
    monkeypatch.setattr(module, "_CELLS", 100)
    assert bootstrap(m) == whole


def test_edges():
    perfect = bootstrap(np.diag([5, 3, 0]))
    assert (perfect.accuracy.low, perfect.accuracy.high) == (1.0, 1.0)
    assert (perfect.macro_f1.low, perfect.macro_f1.high) == (1.0, 1.0)
    wrong = bootstrap(np.array([[0, 4], [0, 0]]))
    assert (wrong.accuracy.high, wrong.macro_recall.high) == (0.0, 0.0)
    with pytest.raises(ValueError, match="no image"):
        bootstrap(np.zeros((3, 3)))
