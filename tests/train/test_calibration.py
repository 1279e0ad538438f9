"""Reliability against numbers worked by hand, the fitted temperature against SciPy's minimum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.calibration import calibration_curve

from tinygrad_ft.train import Evaluation
from tinygrad_ft.train.calibration import fit_temperature, reliability


def made(seed: int, n: int = 200, k: int = 4, sharpness: float = 3.0) -> tuple:
    """Scores that are right more often than not, `sharpness` times too sure."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    scores = rng.normal(0, 1, (n, k))
    scores[np.arange(n), labels] += 1.5
    return (sharpness * scores).astype(np.float32), labels


def test_reliability_by_hand():
    """Two bins: (0, 0.5] and (0.5, 1]; 0.5 itself belongs to the lower one."""
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [1.0, 0.0]])
    found = reliability(probabilities, np.array([0, 0, 0, 1]), bins=2)
    assert found.count.tolist() == [1, 3]
    np.testing.assert_allclose(found.confidence, [0.5, (0.9 + 0.8 + 1.0) / 3])
    np.testing.assert_allclose(found.accuracy, [1.0, 1 / 3])
    assert found.ece == pytest.approx((0.5 + 3 * (0.9 - 1 / 3)) / 4)
    with pytest.raises(ValueError, match="no image"):
        reliability(np.zeros((0, 2)), np.zeros(0, np.int64))


@pytest.mark.parametrize("seed", range(3))
def test_reliability_is_scikit_learns(seed):
    scores, labels = made(seed)
    evaluation = Evaluation(scores, labels)
    found = evaluation.reliability()
    right = evaluation.predicted == labels
    sureness = evaluation.probabilities.max(axis=1)
    accuracy, confidence = calibration_curve(right, sureness, n_bins=15)
    some = found.count > 0
    np.testing.assert_allclose(found.accuracy[some], accuracy)
    np.testing.assert_allclose(found.confidence[some], confidence, rtol=1e-6)
    assert found.count.sum() == len(labels)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sharpness", [0.2, 1.0, 5.0])
def test_the_temperature_is_the_minimum_of_the_loss(seed, sharpness):
    scores, labels = made(seed, sharpness=sharpness)

    def loss(log_t: float) -> float:
        logs = log_softmax(scores.astype(np.float64) / np.exp(log_t), axis=1)
        return float(-logs[np.arange(len(labels)), labels].mean())

    found = fit_temperature(scores, labels)
    expected = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), options={"xatol": 1e-10})
    assert found == pytest.approx(np.exp(expected.x), rel=1e-4)
    evaluation = Evaluation(scores, labels)
    assert evaluation.at(found).loss == pytest.approx(expected.fun, rel=1e-5)
    assert evaluation.at(found).loss <= evaluation.loss
    assert np.array_equal(evaluation.at(found).predicted, evaluation.predicted)


def test_scores_that_are_too_sure_are_mended():
    scores, labels = made(0, n=4000, sharpness=4.0)
    evaluation = Evaluation(scores, labels)
    mended = evaluation.at(fit_temperature(scores, labels))
    assert evaluation.reliability().ece > 0.1
    assert mended.reliability().ece < 0.03


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 3))
def test_scaled_scores_have_a_scaled_temperature(seed, factor):
    scores, labels = made(seed, n=60)
    one, other = (fit_temperature(s, labels) for s in (scores, scores * np.float32(factor)))
    if one is not None and other is not None:
        assert other == pytest.approx(one * factor, rel=1e-3)


def test_without_a_minimum_there_is_no_temperature():
    sure = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    assert fit_temperature(sure, np.array([0, 1, 2])) is None, "all right: the lower the better"
    assert fit_temperature(sure, np.array([1, 2, 0])) is None, "all wrong: the higher the better"
    assert fit_temperature(np.zeros((4, 3), np.float32), np.array([0, 1, 2, 0])) is None
    assert fit_temperature(np.zeros((0, 3), np.float32), np.zeros(0, np.int64)) is None
    huge = np.array([[1e30, -1e30], [1e30, -1e30]], np.float32)
    assert fit_temperature(huge, np.array([0, 1])) is None
