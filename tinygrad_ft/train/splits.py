"""Which images a run trains on, which it chooses the best epoch with, and which it is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinygrad_ft.data import DataError, dataset_splits, open_dataset, stratified_split
from tinygrad_ft.train.settings import Settings


@dataclass(frozen=True)
class Splits:
    """Training, validation (None: not asked for) and test images (None: the data has none)."""

    train: Any
    val: Any | None
    test: Any | None

    def describe(self) -> str:
        """One line for the user."""
        parts = [f"{len(self.train):,} training"]
        parts += [f"{len(self.val):,} validation"] if self.val is not None else []
        parts += [f"{len(self.test):,} test"] if self.test is not None else []
        return f"{', '.join(parts)} images of {len(self.train.classes)} classes"


def open_splits(path: str, settings: Settings, **options: Any) -> Splits:
    """Open the data at `path`; `options` are `open_dataset`'s (size, mode, progress, ...).

    Fewer labels (`labels_fraction`, `labels_per_class`) are drawn from the training images first; without
    a validation split in the data, `val_fraction` of those is held out. The same seed draws the same
    images, whatever else changes.
    """
    present = dataset_splits(path)
    train = open_dataset(path, "train" if present else None, **options)
    if present and "train" not in present:
        raise DataError(f"{path} has no train folder, only {', '.join(present)}")
    classes = tuple(train.classes)
    if settings.labels_per_class is not None:
        train, _ = stratified_split(train, per_class=settings.labels_per_class, seed=settings.seed)
    elif settings.labels_fraction < 1:
        train, _ = stratified_split(train, settings.labels_fraction, seed=settings.seed)
    val = None
    if "val" in present:
        val = open_dataset(path, "val", classes=classes, **options)
    elif settings.val_fraction > 0:
        val, train = stratified_split(train, settings.val_fraction, seed=settings.seed)
    test = open_dataset(path, "test", classes=classes, **options) if "test" in present else None
    return Splits(train, val, test)
