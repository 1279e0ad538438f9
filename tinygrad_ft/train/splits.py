"""Which images a run trains on, which it chooses the best epoch with, and which it is judged by."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from tinygrad_ft.data import (
    DataError,
    Dataset,
    Subset,
    dataset_splits,
    open_dataset,
    stratified_split,
)
from tinygrad_ft.train.settings import Settings


@dataclass(frozen=True)
class Splits:
    """Training, validation (None: not asked for) and test images (None: the data has none)."""

    train: Dataset
    val: Dataset | None
    test: Dataset | None

    def describe(self) -> str:
        """One line for the user."""
        parts = [f"{len(self.train):,} training"]
        parts += [f"{len(self.val):,} validation"] if self.val is not None else []
        parts += [f"{len(self.test):,} test"] if self.test is not None else []
        return f"{', '.join(parts)} images of {len(self.train.classes)} classes"

    def bad_files(self) -> list[tuple[str, str]]:
        """(name, reason) of the images that were left out because they cannot be decoded."""
        found: dict[str, str] = {}
        for part in (self.train, self.val, self.test):
            found |= dict(getattr(_whole(part), "bad_files", ()))
        return list(found.items())

    def decoded_each_time(self) -> bool:
        """Whether training images are decoded whenever they are asked for."""
        return not getattr(_whole(self.train), "cached", True)


def _whole(part: Any) -> Any:
    """The data set that `part` is, or is a part of."""
    while isinstance(part, Subset):
        part = part.dataset
    return part


def open_splits(path: str | os.PathLike[str], settings: Settings, **options: Any) -> Splits:
    """Open the data at `path`; `options` are `open_dataset`'s (size, mode, progress, ...).

    Fewer labels (`labels_fraction`, `labels_per_class`) are drawn from the training images first;
    without a validation split in the data, `val_fraction` of those is held out. The same seed draws
    the same images, whatever else changes. Raises DataError for data that cannot be used so.
    """
    present = dataset_splits(path)
    train = open_dataset(path, "train" if present else None, **options)
    classes = tuple(train.classes)
    if len(classes) < 2:
        raise DataError(f"{path} has only the class {classes[0]!r}; two are needed")
    if settings.labels_per_class is not None:
        train, _ = _split(
            train, "--labels-per-class", settings.seed, per_class=settings.labels_per_class
        )
    elif settings.labels_fraction < 1:
        train, _ = _split(
            train, "--labels-fraction", settings.seed, fraction=settings.labels_fraction
        )
    val: Dataset | None = None
    if "val" in present:
        val = open_dataset(path, "val", classes=classes, **options)
    elif settings.val_fraction > 0:
        val, train = _split(train, "--val-fraction", settings.seed, fraction=settings.val_fraction)
    test = open_dataset(path, "test", classes=classes, **options) if "test" in present else None
    return Splits(train, val, test)


def _split(dataset: Dataset, option: str, seed: int, **amount: Any) -> tuple[Subset, Subset]:
    try:
        return stratified_split(dataset, seed=seed, **amount)
    except DataError as error:
        (value,) = amount.values()
        raise DataError(f"{option} {value:g} cannot be met: {error}") from None
