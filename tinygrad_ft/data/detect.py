"""`open_dataset`: what lies at a path, opened by the reader for it."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinygrad_ft.data.cifar import CIFAR10, CIFAR100
from tinygrad_ft.data.datasets import Dataset
from tinygrad_ft.data.decode import Mode
from tinygrad_ft.data.errors import DataError, shown
from tinygrad_ft.data.fitted import FittedImages
from tinygrad_ft.data.folder import ImageFolder
from tinygrad_ft.data.idx import MNISTFamily, find_idx
from tinygrad_ft.data.layout import folder_splits, unknown_class

UNDERSTOOD = (
    "a folder of images (CLASS/*.jpg or train/CLASS/*.jpg), a .zip of one, the CIFAR-10 or "
    "CIFAR-100 .tar.gz (python or binary) or its extracted folder, or a folder with the MNIST "
    "family's IDX files"
)

Reader = type[CIFAR10] | type[CIFAR100] | type[MNISTFamily]


def _reader(path: Path) -> Reader | None:
    """The reader for what lies at `path`; None for a folder of images, which is the rest."""
    if not path.exists():
        raise DataError(f"{shown(path)} does not exist. What can be opened: {UNDERSTOOD}")
    if path.is_file():
        try:
            packed = tarfile.is_tarfile(path)
        except OSError as error:
            raise DataError(f"{shown(path)} cannot be read: {error.strerror or error}") from None
        if packed or path.name.endswith((".tar.gz", ".tgz", ".tar")):
            for reader in (CIFAR10, CIFAR100):
                if reader.recognise(path):
                    return reader
        elif path.suffix.lower() == ".zip":
            return None
        raise DataError(f"{shown(path)} is not understood. What can be opened: {UNDERSTOOD}")
    for reader in (CIFAR10, CIFAR100):
        if reader.recognise(path):
            return reader
    if any(
        find_idx(folder, f"{split}-images-idx3-ubyte")
        for folder in (path, path / "raw")
        for split in ("train", "t10k", "test")
    ):
        return MNISTFamily
    return None


def dataset_splits(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The splits that `open_dataset` can open at `path`; () for an image folder without splits."""
    path = Path(path)
    return folder_splits(path) if _reader(path) is None else ("train", "test")


def open_dataset(
    path: str | os.PathLike[str],
    split: str | None = "train",
    *,
    size: int | None = None,
    mode: Mode | None = None,
    classes: Sequence[str] | None = None,
    **folder_options: Any,
) -> Dataset:
    """The data set at `path`, whichever of the known kinds it is.

    split    "train", "val" or "test"; None for an image folder without splits
    size     every image becomes size x size, as `ImageFolder` makes it; None: as they are
    mode     "RGB" or "L"; None: colour for image files, the others as they are
    classes  names in the order of the labels; those of the data must be among them

    `folder_options` are `ImageFolder`'s further ones (cache_dir, skip_bad, progress, ...) and mean
    nothing to the other kinds. Raises DataError naming the path.
    """
    path = Path(path)
    reader = _reader(path)
    if reader is None:
        return ImageFolder(
            path, split, size=size, mode=mode or "RGB", classes=classes, **folder_options
        )
    if split not in ("train", "test"):
        raise DataError(f"{shown(path)} has the splits train and test, not {split}")
    dataset = reader(path, train=split == "train")
    if classes is not None and (unknown := set(dataset.classes) - set(classes)):
        raise DataError(f"{shown(path)} has {unknown_class(min(unknown), classes, True)}")
    height, width, channels = dataset.images.shape[1:]
    own: Mode = "L" if channels == 1 else "RGB"
    as_it_is = (
        size in (None, height)
        and (size is None or height == width)
        and mode in (None, own)
        and (classes is None or tuple(classes) == dataset.classes)
    )
    return dataset if as_it_is else FittedImages(dataset, size, mode or own, classes)
