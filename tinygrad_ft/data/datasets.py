"""What a dataset is; datasets in memory; parts of datasets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tinygrad_ft.data.errors import DataError, shown
from tinygrad_ft.data.randomness import STREAM_SPLIT, permutation


@runtime_checkable
class Dataset(Protocol):
    """Labelled images. Everything in this package that takes a dataset takes anything of this
    shape.

    classes      the class names; a label is a position in it
    targets      (N,) int64, the labels of all samples, known without reading an image
    fingerprint  a short text that changes when images, labels or class names change

    `get_batch(indices)`, (N,H,W,C) uint8 and (N,) int64, is used where a dataset has it;
    `DataLoader` manages with `__len__` and `__getitem__` alone.
    """

    @property
    def classes(self) -> Sequence[str]: ...

    @property
    def targets(self) -> np.ndarray: ...

    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]: ...


def get_batch(dataset: Any, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples `indices` of any dataset, stacked: (N,H,W,C) and (N,) int64."""
    if hasattr(dataset, "get_batch"):
        images, labels = dataset.get_batch(indices)
        return images, labels
    samples = [dataset[int(i)] for i in indices]
    arrays = [np.asarray(sample[0]) for sample in samples]
    for i, array in zip(indices, arrays, strict=True):
        if array.shape != arrays[0].shape:
            raise DataError(
                f"sample {i} has shape {array.shape}, sample {indices[0]} has {arrays[0].shape}; "
                "a batch needs one shape: resize them"
            )
    return np.stack(arrays), np.asarray([sample[1] for sample in samples], dtype=np.int64)


def content_fingerprint(images: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> str:
    """A hash of every pixel, label and class name; 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, len(images), 4096):
        digest.update(np.ascontiguousarray(images[start : start + 4096]).data)
    return close_fingerprint(digest, images.shape, targets, classes)


def close_fingerprint(
    digest: Any, shape: Sequence[int], targets: np.ndarray, classes: Sequence[str]
) -> str:
    """Finish a hash that has seen all pixels."""
    digest.update(targets.astype("<i8").tobytes())
    digest.update(repr((tuple(int(n) for n in shape), list(classes))).encode())
    return str(digest.hexdigest())


def check_indices(indices: npt.ArrayLike, length: int) -> np.ndarray:
    """Indices as int64, negative ones counted from the end; IndexError outside the dataset."""
    index = np.asarray(indices)
    if index.size == 0:
        return np.zeros(0, dtype=np.int64)
    if index.dtype.kind not in "iu" or index.ndim != 1:
        raise TypeError(f"indices must be a list of integers, got {index.dtype} of {index.shape}")
    index = index.astype(np.int64)
    if index.min() < -length or index.max() >= length:
        raise IndexError(f"index {index.min()}..{index.max()} outside a dataset of {length}")
    return np.where(index < 0, index + length, index)


class ArrayDataset:
    """Images in one array, in memory or memory-mapped.

    images   (N,H,W,C) uint8; (N,H,W) counts as one channel
    labels   (N,) integers, positions in `classes`
    classes  names; by default "0", "1", ... up to the highest label
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: npt.ArrayLike,
        classes: Sequence[str] | None = None,
        fingerprint: str | None = None,
    ) -> None:
        images = np.asarray(images)
        if images.ndim == 3:
            images = images[..., None]
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(
                f"images must be uint8 of shape (N, H, W, C) or (N, H, W), "
                f"got {images.dtype} of {images.shape}"
            )
        targets = np.asarray(labels)
        if targets.shape != (len(images),) or (targets.dtype.kind not in "iu" and len(images)):
            raise DataError(
                f"labels must be {len(images)} integers, one for each image, "
                f"got {targets.dtype} of {targets.shape}"
            )
        top = int(targets.max()) + 1 if targets.size else 0
        self.classes = (
            tuple(str(i) for i in range(top)) if classes is None else tuple(map(str, classes))
        )
        if targets.size and (targets.min() < 0 or top > len(self.classes)):
            raise DataError(
                f"labels go from {targets.min()} to {targets.max()}, "
                f"but there are {len(self.classes)} classes"
            )
        self.images = images
        self.targets = targets.astype(np.int64)
        self._fingerprint = fingerprint

    @cached_property
    def fingerprint(self) -> str:
        return self._fingerprint or content_fingerprint(self.images, self.targets, self.classes)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        i = int(check_indices([index], len(self))[0])
        return np.array(self.images[i]), int(self.targets[i])

    def get_batch(self, indices: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Copies of samples `indices`: (N,H,W,C) uint8, (N,) int64."""
        index = check_indices(indices, len(self))
        return self.images[index], self.targets[index]


class Subset:
    """The samples `indices` of a dataset, in that order."""

    def __init__(self, dataset: Any, indices: npt.ArrayLike) -> None:
        self.dataset = dataset
        self.indices = check_indices(indices, len(dataset))
        self.classes = tuple(dataset.classes)
        self.targets = np.asarray(dataset.targets)[self.indices]

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(self.dataset.fingerprint.encode(), digest_size=16)
        digest.update(self.indices.astype("<i8").tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        i = check_indices([index], len(self))[0]
        image, label = self.dataset[int(self.indices[i])]
        return image, label

    def get_batch(self, indices: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Samples `indices` of the subset: (N,H,W,C) uint8, (N,) int64."""
        return get_batch(self.dataset, self.indices[check_indices(indices, len(self))])


def stratified_split(
    dataset: Any, fraction: float | None = None, per_class: int | None = None, seed: int = 0
) -> tuple[Subset, Subset]:
    """Split into (chosen, rest), class by class: `fraction` of each class, or `per_class` images of
    it.

    A fraction is rounded for each class and never empties either side. With one seed a smaller
    choice is part of every larger one, so a curve over the number of labels adds images and swaps
    none. Both parts keep the dataset's order. Raises DataError naming a class with too few images.
    """
    if (fraction is None) == (per_class is None):
        raise ValueError("stratified_split: give either fraction or per_class")
    if fraction is not None and not 0 < fraction < 1:
        raise ValueError(f"stratified_split: fraction must be between 0 and 1, got {fraction}")
    if per_class is not None and per_class < 1:
        raise ValueError(f"stratified_split: per_class must be at least 1, got {per_class}")
    targets = np.asarray(dataset.targets)
    order = permutation(len(targets), seed, 0, STREAM_SPLIT)
    chosen = np.zeros(len(targets), dtype=bool)
    for label, name in enumerate(dataset.classes):
        members = order[targets[order] == label]
        if not len(members):
            continue  # a class of the list that this split has no image of
        if per_class is not None:
            need, take = per_class, per_class
        else:
            assert fraction is not None
            need, take = 2, min(max(round(fraction * len(members)), 1), len(members) - 1)
        if len(members) < need:
            raise DataError(f"class {shown(name)} has {len(members)} images, {need} are needed")
        chosen[members[:take]] = True
    return Subset(dataset, np.flatnonzero(chosen)), Subset(dataset, np.flatnonzero(~chosen))
