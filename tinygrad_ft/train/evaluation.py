"""Running a model over a data set without training it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinygrad_ft.data import DataLoader, Dataset
from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.nn import Module
from tinygrad_ft.nn import functional as F
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train.metrics import Metrics, measure
from tinygrad_ft.train.preprocessing import Preprocessing

EVAL_BATCH = 256


@dataclass(frozen=True)
class Evaluation:
    """What a model says about a labelled data set.

    scores   (n, k) float32 unnormalised scores
    labels   (n,) true classes
    """

    scores: np.ndarray
    labels: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """(n,) the class of the highest score."""
        return self.scores.argmax(axis=1)

    @property
    def probabilities(self) -> np.ndarray:
        """(n, k) softmax of the scores."""
        return F.softmax(Tensor(self.scores), 1).numpy()

    @property
    def loss(self) -> float:
        """The mean cross-entropy."""
        return float(F.cross_entropy(Tensor(self.scores), Tensor(self.labels)).item())

    def metrics(self) -> Metrics:
        return measure(self.labels, self.predicted, self.scores.shape[1])


def predict_scores(
    model: Module,
    dataset: Dataset,
    preprocessing: Preprocessing,
    *,
    batch_size: int = EVAL_BATCH,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """The scores of `model` in evaluation mode for every image of `dataset`, in order.

    `on_batch` is told the number of images of each finished batch. The model's mode is put back.
    """
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        transform=preprocessing.evaluation_transform(),
        collate_fn=arrays,
    )
    training = model.training
    model.eval()
    scores, labels = [], []
    try:
        with no_grad():
            for images, targets in loader:
                scores.append(model(Tensor(images)).numpy())
                labels.append(targets)
                if on_batch is not None:
                    on_batch(len(targets))
    finally:
        model.train(training)
    return Evaluation(np.concatenate(scores), np.concatenate(labels))


def arrays(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A collate function that leaves ndarrays as they are."""
    return images, labels
