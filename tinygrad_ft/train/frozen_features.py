"""Features of a frozen backbone, computed once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygrad_ft.data import DataLoader, Dataset
from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train.evaluation import EVAL_BATCH, arrays
from tinygrad_ft.train.preprocessing import Preprocessing


class FrozenFeatures:
    """A data set of pooled features (num_features,) in place of images; same order, same labels.

    Right only while nothing before the last layer changes and the images are not augmented: then a
    backbone pass in every epoch would compute the same numbers again.
    """

    def __init__(
        self,
        model: ImageClassifier,
        dataset: Dataset,
        preprocessing: Preprocessing,
        on_batch: Callable[[int], None],
    ) -> None:
        """`on_batch` is told the number of images of each finished batch."""
        loader = DataLoader(
            dataset,
            batch_size=EVAL_BATCH,
            transform=preprocessing.evaluation_transform(),
            collate_fn=arrays,
        )
        self.classes = dataset.classes
        self.targets = dataset.targets
        self.fingerprint = dataset.fingerprint
        parts = []
        training = model.training
        model.eval()
        try:
            with no_grad():
                for images, labels in loader:
                    maps = model.forward_features(Tensor(images))
                    parts.append(model.forward_head(maps, pre_logits=True).numpy())
                    on_batch(len(labels))
        finally:
            model.train(training)
        self.features = np.concatenate(parts)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.features[index], int(self.targets[index])

    def get_batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.features[indices], self.targets[indices]
