"""What everyone trains on: the same images in the same order, from the same weights."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import tinygrad_ft as tg
from benchmarks import our_network
from benchmarks.networks import RESNET20, Network
from tinygrad_ft.data import (
    DataError,
    DataLoader,
    Dataset,
    Normalize,
    dataset_splits,
    open_dataset,
)
from tinygrad_ft.data.datasets import get_batch

Batch = tuple[NDArray[np.float32], NDArray[np.int64]]
Weights = our_network.Weights

SIZE = 32
SAMPLE = 5000
"""Training images, at most, from which mean and deviation of the colours are taken."""
AT_ONCE = 250
"""Images of a batch in the evaluation."""


@dataclass(frozen=True)
class Problem:
    """ResNet-20 on a data set, as everyone sees it.

    train, test  images of 32x32 pixels in colour
    transform    to float32; there is no augmentation
    """

    train: Dataset
    test: Dataset
    transform: Normalize
    steps: int
    lr: float
    batch: int
    seed: int

    @property
    def network(self) -> Network:
        return replace(RESNET20, options={"num_classes": len(self.train.classes)})

    def batches(self) -> Iterator[Batch]:
        """The training batches: images (batch, 3, 32, 32) and labels; the same at each call."""
        loader = DataLoader(
            self.train,
            self.batch,
            shuffle=True,
            seed=self.seed,
            drop_last=True,
            transform=self.transform,
            collate_fn=lambda images, labels: (images, labels),
        )
        done = 0
        while done < self.steps:
            for batch in loader:
                yield batch
                done += 1
                if done == self.steps:
                    return

    def test_batches(self) -> Iterator[Batch]:
        """All test images."""
        yield from DataLoader(
            self.test,
            AT_ONCE,
            transform=self.transform,
            collate_fn=lambda images, labels: (images, labels),
        )

    def initial_weights(self) -> Weights:
        """Parameters and buffers before the first step, by their names in the state_dict."""
        tg.manual_seed(self.seed)
        model = tg.models.create_model(self.network.model, **self.network.options)
        return our_network.weights_of(model)


def open_problem(path: Path, steps: int, lr: float, batch: int, seed: int) -> Problem:
    """The problem on the data set at a path, which needs images for training and for a test (or
    for validation). Raises DataError."""
    splits = dataset_splits(path)
    held_out = next((split for split in ("test", "val") if split in splits), None)
    if held_out is None or "train" not in splits:
        has = ", ".join(splits) or "none"
        raise DataError(f"{path} needs the splits train and test, it has {has}")
    train = open_dataset(path, "train", size=SIZE, mode="RGB")
    if len(train) < batch:
        raise DataError(f"{path} has {len(train)} training images, fewer than a batch of {batch}")
    test = open_dataset(path, held_out, size=SIZE, mode="RGB", classes=train.classes)
    some = np.linspace(0, len(train) - 1, min(len(train), SAMPLE)).astype(np.int64)
    colours = get_batch(train, some)[0].reshape(-1, 3) / 255
    deviation = np.maximum(colours.std(0), 1e-3)
    transform = Normalize(colours.mean(0).tolist(), deviation.tolist())
    return Problem(train, test, transform, steps, lr, batch, seed)
