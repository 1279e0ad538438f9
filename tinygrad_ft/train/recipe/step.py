"""One training step: from a batch to new weights."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn.utils import clip_grad_norm_
from tinygrad_ft.optim import Optimizer
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train.frozen_features import forward_from
from tinygrad_ft.train.recipe.non_finite import NonFiniteValue, check_gradients, first_appearance
from tinygrad_ft.train.settings import Settings


class Step:
    """Called with a batch it computes the loss, walks back, clips, and lets `optimizer` update the
    weights: (mean loss, number of images classified right before the update).

    inputs    images (n, C, H, W); with `first_stage` k > 0, what `forward_to(model, k, images)`
              gave
    targets   (n,) class indices, or (n, classes) shares: then the class with the largest one counts
              as right

    With `accumulate` the batch goes through the model in parts of at most `batch_size` images (or
    one more, so that none is alone), and the gradients add up to those of the whole: each part's
    loss is its share of the mean. Only batch norm sees the difference, as it normalises by the part
    it is given; frozen ones do not.

    class_weights   (classes,) what an image of each class counts in the loss

    Raises NonFiniteValue, before the weights are touched, when the loss or a gradient is not
    finite.
    """

    def __init__(
        self,
        model: ImageClassifier,
        optimizer: Optimizer,
        settings: Settings,
        class_weights: np.ndarray | None = None,
    ) -> None:
        self.model, self.optimizer, self.settings = model, optimizer, settings
        self.class_weights = class_weights
        self.first_stage = 0

    def __call__(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, int]:
        self.optimizer.zero_grad()
        total = self._total_weight(targets)
        mean_loss, right = 0.0, 0
        for part in _parts(len(inputs), self.settings.batch_size):
            scores = forward_from(self.model, self.first_stage, Tensor(inputs[part]))
            loss = self._loss(scores, targets[part]) / total
            value = float(loss.item())
            if not math.isfinite(value):
                raise NonFiniteValue(f"the loss became {value}", self._explain(inputs[part]))
            loss.backward()
            mean_loss += value
            right += int((scores.numpy().argmax(axis=1) == _classes(targets[part])).sum())
        check_gradients(self.model)
        if self.settings.clip_grad is not None:
            clip_grad_norm_(self.model.parameters(), self.settings.clip_grad)
        self.optimizer.step()
        return mean_loss, right

    def _loss(self, scores: Tensor, targets: np.ndarray) -> Tensor:
        """The sum over the images."""
        return F.cross_entropy(
            scores,
            Tensor(targets),
            weight=None if self.class_weights is None else Tensor(self.class_weights),
            reduction="sum",
            label_smoothing=self.settings.label_smoothing,
        )

    def _total_weight(self, targets: np.ndarray) -> float:
        """What the sum of the losses is divided by: PyTorch's rule for a weighted mean."""
        if self.class_weights is None or targets.ndim == 2:
            return float(len(targets))
        return float(self.class_weights[targets].sum(dtype=np.float64))

    def _explain(self, inputs: np.ndarray) -> str:
        def forward() -> Tensor:
            return forward_from(self.model, self.first_stage, Tensor(inputs))

        return first_appearance(self.model, forward, inputs)


def _parts(images: int, batch_size: int) -> list[slice]:
    """Nearly equal slices of at most `batch_size` images, or one more where the last would be
    alone."""
    count = max(1, min(math.ceil(images / batch_size), images // 2))
    edges = np.linspace(0, images, count + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]


def _classes(targets: np.ndarray) -> np.ndarray:
    found: np.ndarray = targets.argmax(axis=1) if targets.ndim == 2 else targets
    return found
