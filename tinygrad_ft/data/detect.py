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
from tinygrad_ft.data.folder import ImageFolder
from tinygrad_ft.data.idx import MNISTFamily, find_idx
from tinygrad_ft.data.layout import folder_splits

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
    mode: Mode = "RGB",
    classes: Sequence[str] | None = None,
    **folder_options: Any,
) -> Dataset:
    """The data set at `path`, whichever of the known kinds it is.

    `split` is "train", "val" or "test"; None for an image folder without splits. `size`, `mode` and
    `classes` are made so by `ImageFolder`; the other kinds come as they are, and a wish that they
    do not meet is a DataError. `folder_options` are `ImageFolder`'s further ones (cache_dir,
    skip_bad, progress, ...) and mean nothing to the others. Raises DataError naming the path.
    """
    path = Path(path)
    reader = _reader(path)
    if reader is None:
        return ImageFolder(path, split, size=size, mode=mode, classes=classes, **folder_options)
    if split not in ("train", "test"):
        raise DataError(f"{shown(path)} has the splits train and test, not {split}")
    dataset = reader(path, train=split == "train")
    _, height, width, channels = dataset.images.shape
    if size is not None and (height, width) != (size, size):
        raise DataError(
            f"{shown(path)} has images of {width}x{height}, asked for {size}x{size}: "
            "resize them with the transform Resize"
        )
    if mode != "RGB" and channels == 3:
        raise DataError(f"{shown(path)} has colour images, asked for grey ones")
    if classes is not None and tuple(classes) != dataset.classes:
        raise DataError(
            f"{shown(path)} has the classes {', '.join(dataset.classes[:5])}, ...; "
            f"asked for {', '.join(list(classes)[:5])}, ..."
        )
    return dataset
