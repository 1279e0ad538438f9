"""Outputs of frozen stages, computed once, and the rest of the network that learns on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from tinygrad_ft import nn
from tinygrad_ft.data import DataLoader, Dataset
from tinygrad_ft.data.datasets import get_batch
from tinygrad_ft.grad_mode import inference_mode
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train.evaluation import Evaluation, arrays
from tinygrad_ft.train.evaluation_batch import evaluation_batch
from tinygrad_ft.train.preprocessing import Preprocessing
from tinygrad_ft.train.recipe.non_finite import NonFiniteValue, all_finite, first_appearance


def forward_to(model: ImageClassifier, stages: int, images: Tensor) -> Tensor:
    """What comes out of the first `stages` stages of `model.stage_modules()`.

    A feature map (N, C, H, W); after all stages but the last layer, pooled features (N, C).
    Relies on what an ImageClassifier is: a stem, stages one after the other, a pooled head.
    """
    with _as_identity(model, model.stage_names[stages - 1 :]):
        maps = model.forward_features(images)
    whole = stages == len(model.stage_modules()) - 1
    return model.forward_head(maps, pre_logits=True) if whole else maps


def forward_from(model: ImageClassifier, stages: int, x: Tensor) -> Tensor:
    """The scores of what `forward_to(model, stages, images)` gave; from 0 stages, of images."""
    if stages == 0:
        scores: Tensor = model(x)
        return scores
    left = model.stage_names[stages - 1 :]
    if not left:
        scores = model.get_classifier()(x)
        return scores
    for name in left:
        x = model.get_submodule(name)(x)
    return model.forward_head(x)


def feature_bytes(model: ImageClassifier, stages: int, dataset: Dataset) -> int:
    """The memory that the features of one image of `dataset` take."""
    images, _ = get_batch(dataset, np.array([0]))
    floats = np.ascontiguousarray(images, np.float32).transpose(0, 3, 1, 2)
    with inference_mode(), _evaluating(model):
        return 4 * math.prod(forward_to(model, stages, Tensor(floats)).shape)


class FrozenFeatures:
    """A data set of what leaves the first `stages` stages, in place of images; same order, same
    labels.

    features   (n, C), or (n, H, W, C) for maps: float32

    Raises NonFiniteValue, naming the layer, for outputs that are not finite.

    Right only while nothing in those stages changes and the images are not augmented: then a pass
    through them in every epoch would compute the same numbers again.
    """

    def __init__(
        self,
        model: ImageClassifier,
        stages: int,
        dataset: Dataset,
        preprocessing: Preprocessing,
        on_batch: Callable[[int], None],
    ) -> None:
        """`on_batch` is told the number of images of each finished batch."""
        self._batch = evaluation_batch(model, preprocessing.shape)
        loader = DataLoader(
            dataset,
            batch_size=self._batch,
            transform=preprocessing.evaluation_transform(),
            collate_fn=arrays,
        )
        self.stages = stages
        self.classes = dataset.classes
        self.targets = dataset.targets
        self.fingerprint = dataset.fingerprint
        self.features = np.empty(0, np.float32)
        done = 0
        with inference_mode(), _evaluating(model):
            for images, labels in loader:
                found = forward_to(model, stages, Tensor(images)).numpy()
                if not all_finite(found):
                    again = partial(forward_to, model, stages, Tensor(images))
                    raise NonFiniteValue(
                        "the output of frozen stages is infinite or NaN",
                        first_appearance(model, again, images),
                    )
                if found.ndim == 4:
                    found = found.transpose(0, 2, 3, 1)  # as a DataLoader takes images
                if not done:  # the one array that all go into, not a second copy at the end
                    self.features = np.empty((len(dataset), *found.shape[1:]), np.float32)
                self.features[done : done + len(labels)] = found
                done += len(labels)
                on_batch(len(labels))

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.features[index], int(self.targets[index])

    def get_batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.features[indices], self.targets[indices]

    def evaluate(self, model: ImageClassifier) -> Evaluation:
        """The scores of the rest of `model`, in evaluation mode."""
        scores = []
        with inference_mode(), _evaluating(model):
            for start in range(0, len(self), self._batch):
                part = self.features[start : start + self._batch]
                x = part.transpose(0, 3, 1, 2) if part.ndim == 4 else part
                scores.append(forward_from(model, self.stages, Tensor(x)).numpy())
        return Evaluation(np.concatenate(scores), self.targets)


@contextmanager
def _evaluating(model: ImageClassifier) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _as_identity(model: ImageClassifier, names: tuple[str, ...]) -> Iterator[None]:
    """Within the `with` block the stages `names` do nothing."""
    own = {name: model.get_submodule(name) for name in names}
    try:
        for name in names:
            setattr(model, name, nn.Identity())
        yield
    finally:
        for name, stage in own.items():
            setattr(model, name, stage)
