"""`open_dataset`: what lies at a path, opened by the reader for it."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

from tinygrad_ft.data.cifar import CIFAR10, CIFAR100
from tinygrad_ft.data.datasets import Dataset
from tinygrad_ft.data.errors import DataError, shown
from tinygrad_ft.data.folder import ImageFolder
from tinygrad_ft.data.idx import MNISTFamily, find_idx
from tinygrad_ft.data.layout import folder_splits

UNDERSTOOD = (
    "a folder of images (CLASS/*.jpg or train/CLASS/*.jpg), a .zip of one, the CIFAR-10 or CIFAR-100 "
    ".tar.gz (python or binary) or its extracted folder, or a folder with the MNIST family's IDX files"
)

Reader = type[ImageFolder] | type[CIFAR10] | type[CIFAR100] | type[MNISTFamily]


def _reader(path: Path) -> Reader:
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
            return ImageFolder
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
    return ImageFolder


def dataset_splits(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The splits that `open_dataset` can open at `path`; () for an image folder without splits."""
    path = Path(path)
    return folder_splits(path) if _reader(path) is ImageFolder else ("train", "test")


def open_dataset(
    path: str | os.PathLike[str], split: str | None = "train", **options: Any
) -> Dataset:
    """The data set at `path`, whichever of the known kinds it is.

    `split` is "train", "val" or "test"; None for an image folder without splits. `options` are those of
    `ImageFolder` (size, mode, classes, skip_bad, progress, ...); they concern decoding, and the other
    kinds are not decoded. Raises DataError naming the path, with the list of what is understood.
    """
    path = Path(path)
    reader = _reader(path)
    if reader is ImageFolder:
        return ImageFolder(path, split, **options)
    if split not in ("train", "test"):
        raise DataError(f"{shown(path)} has the splits train and test, not {split}")
    return reader(path, train=split == "train")
