"""The training images as batches: in which order, how often, mixed or not."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.data import BalancedSampler, DataLoader, Dataset, RandomSampler
from tinygrad_ft.data.mixing import Mix
from tinygrad_ft.data.transforms import Transform
from tinygrad_ft.train.evaluation import arrays
from tinygrad_ft.train.settings import Settings


def update_size(settings: Settings) -> int:
    """Images that one update of the weights comes from."""
    return settings.batch_size * settings.accumulate


def images_per_epoch(images: int, settings: Settings) -> int:
    """How many of `images` an epoch shows: one less if the last batch would have just one, of which
    batch norm has no statistics where the maps are 1x1."""
    return images - int(images % update_size(settings) == 1)


def training_loader(data: Dataset, settings: Settings, transform: Transform | None) -> DataLoader:
    """A loader whose batches are those of whole updates: `batch_size * accumulate` images."""
    labels = np.asarray(data.targets)
    return DataLoader(
        data,
        batch_size=update_size(settings),
        sampler=(
            BalancedSampler(labels, settings.seed)
            if settings.balanced_sampler
            else RandomSampler(data, settings.seed)
        ),
        transform=transform,
        mix=(
            Mix(len(data.classes), settings.mixup, settings.cutmix)
            if settings.mixup or settings.cutmix
            else None
        ),
        collate_fn=arrays,
        drop_last=images_per_epoch(len(data), settings) < len(data),
        seed=settings.seed,
    )


def class_weights(data: Dataset, settings: Settings) -> np.ndarray | None:
    """What an image of each class counts in the loss, (classes,); None: all the same."""
    if settings.class_weights == "none":
        return None
    return balanced_weights(np.asarray(data.targets), len(data.classes))


def balanced_weights(targets: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) float32 weights n / (k n_c): n_c images of class c, n in all, k classes with
    images. Their mean over the images is 1. (scikit-learn's "balanced"; 1 for a class without
    images.)"""
    counts = np.bincount(targets, minlength=classes)
    weights = np.ones(classes)
    present = counts > 0
    weights[present] = len(targets) / (present.sum() * counts[present])
    return weights.astype(np.float32)
