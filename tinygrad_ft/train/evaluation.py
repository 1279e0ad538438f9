"""Running a model over a data set without training it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tinygrad_ft.data import DataLoader, Dataset
from tinygrad_ft.grad_mode import inference_mode
from tinygrad_ft.nn import Module
from tinygrad_ft.nn import functional as F
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train.calibration import Reliability, reliability
from tinygrad_ft.train.evaluation_batch import evaluation_batch
from tinygrad_ft.train.metrics import Metrics, measure, top_k_accuracy
from tinygrad_ft.train.preprocessing import Preprocessing
from tinygrad_ft.train.settings import TestTimeAugmentation


@dataclass(frozen=True)
class Evaluation:
    """What a model says about a labelled data set.

    scores       (n, k) float32 unnormalised scores
    labels       (n,) true classes
    temperature  the scores are divided by it before they become probabilities; see `calibration`
    """

    scores: np.ndarray
    labels: np.ndarray
    temperature: float = 1.0

    def at(self, temperature: float) -> Evaluation:
        """The same scores at another temperature."""
        return replace(self, temperature=temperature)

    @property
    def predicted(self) -> np.ndarray:
        """(n,) the class of the highest score."""
        return self.scores.argmax(axis=1)

    @property
    def probabilities(self) -> np.ndarray:
        """(n, k) softmax of scores / temperature."""
        return F.softmax(Tensor(self._tempered), 1).numpy()

    @property
    def loss(self) -> float:
        """The mean cross-entropy, which is the negative log-likelihood."""
        return float(F.cross_entropy(Tensor(self._tempered), Tensor(self.labels)).item())

    @property
    def _tempered(self) -> np.ndarray:
        if self.temperature == 1.0:
            return self.scores
        return self.scores / np.float32(self.temperature)

    def metrics(self) -> Metrics:
        return measure(self.labels, self.predicted, self.scores.shape[1])

    def top5(self) -> float | None:
        """Share of the images whose class is among the five highest; None up to five classes."""
        return top_k_accuracy(self.labels, self.scores, 5)

    def reliability(self) -> Reliability:
        return reliability(self.probabilities, self.labels)


def predict_scores(
    model: Module,
    dataset: Dataset,
    preprocessing: Preprocessing,
    *,
    tta: TestTimeAugmentation = "none",
    batch_size: int | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """The scores of `model` in evaluation mode for every image of `dataset`, in order.

    With `tta="flip"` the mean of the scores of each image and its mirror image.
    `batch_size` is that of `evaluation_batch` if it is not given; `on_batch` is told the number of
    images of each finished batch. The model's mode is put back.
    """
    if batch_size is None:
        batch_size = evaluation_batch(model, preprocessing.shape)
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
        with inference_mode():
            for images, targets in loader:
                views = [images] if tta == "none" else [images, images[..., ::-1].copy("K")]
                found = [model(Tensor(view)).numpy() for view in views]
                scores.append(np.mean(found, axis=0))
                labels.append(targets)
                if on_batch is not None:
                    on_batch(len(targets))
    finally:
        model.train(training)
    return Evaluation(np.concatenate(scores), np.concatenate(labels))


def arrays(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A collate function that leaves ndarrays as they are."""
    return images, labels
