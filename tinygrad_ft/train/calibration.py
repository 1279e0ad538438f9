"""Whether a model is right as often as it says: reliability, and the temperature that mends it.

The confidence of a prediction is the highest of its softmax probabilities. Of all predictions made
with a confidence of 80%, 80% should be right; networks are usually too sure (Guo et al. 2017, "On
Calibration of Modern Neural Networks", arXiv 1706.04599).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15
#: temperatures that are looked for; outside of it a model says something other than probabilities
LOWEST, HIGHEST = 0.05, 20.0
_STEPS = 60


@dataclass(frozen=True)
class Reliability:
    """Predictions sorted into equally wide bins of confidence: bin b of B holds (b/B, (b+1)/B].

    count               (B,) predictions in each bin
    confidence, accuracy   (B,) their mean confidence and the share that is right; 0 in empty bins
    """

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """The expected calibration error, sum over the bins of count / n |accuracy - confidence|.

        0 is perfect; 0.1 says that confidence and accuracy differ by 10 points on average.
        """
        gap = np.abs(self.accuracy - self.confidence)
        return float((self.count * gap).sum() / self.count.sum())


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Reliability:
    """Sort predictions (n, k) against the true classes (n,). ValueError if n is 0."""
    if len(labels) == 0:
        raise ValueError("reliability: there is no image to measure")
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    some = np.maximum(count, 1)
    return Reliability(
        count=count,
        confidence=np.bincount(place, confidence, minlength=bins) / some,
        accuracy=np.bincount(place, right, minlength=bins) / some,
    )


def fit_temperature(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """The temperature T > 0 of lowest negative log-likelihood of softmax(scores / T).

    scores   (n, k) unnormalised, of images that the model was not trained on
    labels   (n,)

    T > 1: the model is too sure. The order of the classes stays, and so does every prediction. None
    where no T between 1/20 and 20 is the best: when all images are right, say, less is always
    better.

    With b = 1 / T the loss is convex in b: its derivative, mean over the images of (sum_k p_k z_k -
    z_true) with p = softmax(b z), rises. Its zero is found by bisection of log b.
    """
    if len(labels) == 0:
        return None
    z = scores.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    true = z[np.arange(len(z)), labels]

    def slope(log_b: float) -> float:
        powers = np.exp(np.exp(log_b) * z)
        mean = (powers * z).sum(axis=1) / powers.sum(axis=1)
        return float((mean - true).mean())

    low, high = -np.log(HIGHEST), -np.log(LOWEST)
    if not slope(low) < 0 < slope(high):
        return None
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
    return float(np.exp(-(low + high) / 2))
