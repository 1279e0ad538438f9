"""A tiny task, a tiny model, and a trainer of the one on the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_ft import manual_seed
from tinygrad_ft.data import ArrayDataset, Subset
from tinygrad_ft.io import RunFolder, load_checkpoint
from tinygrad_ft.models import create_model
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train import ModelCard, Preprocessing, Settings, Trainer
from tinygrad_ft.train.progress import Reporter

CLASSES = ("red", "green", "blue")
ARCHITECTURE: dict[str, Any] = {"name": "resnet8", "in_chans": 3, "width": 4, "num_classes": 3}


def colours(per_class: int = 8, size: int = 8, seed: int = 0) -> ArrayDataset:
    """Noise in which one channel is brighter: red, green or blue."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(3), per_class)
    images = rng.integers(0, 160, (len(labels), size, size, 3))
    images[np.arange(len(labels)), :, :, labels] += 60
    return ArrayDataset(images.astype(np.uint8), labels, CLASSES)


def make_model(seed: int = 0) -> ImageClassifier:
    manual_seed(seed)
    return create_model(**ARCHITECTURE)


def make_card(dataset: ArrayDataset | Subset) -> ModelCard:
    return ModelCard(ARCHITECTURE, CLASSES, Preprocessing.measured(dataset))


def make_trainer(
    folder: Path | RunFolder,
    settings: Settings,
    *,
    train: ArrayDataset | Subset | None = None,
    val: ArrayDataset | None = None,
    model: ImageClassifier | None = None,
    stop: Callable[[], bool] = lambda: False,
    resume: bool = False,
    **options: Any,
) -> Trainer:
    """A quiet trainer; `train` is `colours()` unless told."""
    train = colours() if train is None else train
    run = folder if isinstance(folder, RunFolder) else RunFolder(folder, resume=resume)
    model = make_model() if model is None else model
    reporter = Reporter(quiet=True)
    return Trainer(model, make_card(train), train, val, settings, run, reporter, stop, **options)


def arrays(model: ImageClassifier) -> dict[str, np.ndarray]:
    """Copies of all weights and statistics."""
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Equal names, types, shapes and bits."""
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and a[n].tobytes() == b[n].tobytes()
        for n in a
    )


def tensors(path: Path) -> dict[str, np.ndarray]:
    return load_checkpoint(path)[0]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but its lock."""
    return {name: (folder / name).read_bytes() for name in os.listdir(folder) if name != ".lock"}
