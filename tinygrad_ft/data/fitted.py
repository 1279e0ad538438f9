"""Images of an array dataset in the size and mode that a network wants."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image

from tinygrad_ft.data.datasets import ArrayDataset, Subset, check_indices
from tinygrad_ft.data.decode import Mode, centre_square, to_pixels


def fitting(dataset: object) -> str | None:
    """What is done to the images of `dataset`, or of what it is a part of; None for nothing."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    if not isinstance(dataset, FittedImages):
        return None
    height, width, channels = dataset.dataset.images.shape[1:]
    side = dataset.size
    to = [] if side in (None, height) and height == width else [f"{side}x{side}"]
    colours: dict[int, Mode] = {1: "L", 3: "RGB"}
    if colours[channels] != dataset.mode:
        to.append("colour" if dataset.mode == "RGB" else "grey")
    return f"the images of {width}x{height} are made {' and '.join(to)}" if to else None


class FittedImages:
    """The images of `dataset`, each made `size` x `size` and of `mode` when it is asked for, by the
    same rule as an image file (see `decode`): 50,000 small images enlarged all at once would fill
    the memory.

    size     None keeps theirs
    classes  names in another order or with further ones; labels are translated by name. All of
             `dataset.classes` must be among them: ValueError
    """

    def __init__(
        self,
        dataset: ArrayDataset,
        size: int | None,
        mode: Mode,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.dataset, self.size, self.mode = dataset, size, mode
        self.classes = dataset.classes if classes is None else tuple(classes)
        place = np.array([self.classes.index(name) for name in dataset.classes], dtype=np.int64)
        self.targets = place[dataset.targets]

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(self.dataset.fingerprint.encode(), digest_size=16)
        digest.update(repr((self.size, self.mode, self.classes)).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        images, labels = self.get_batch([index])
        return images[0], int(labels[0])

    def get_batch(self, indices: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Samples `indices`: (N,H,W,C) uint8, (N,) int64."""
        index = check_indices(indices, len(self))
        return np.stack([self._fit(self.dataset.images[i]) for i in index]), self.targets[index]

    def _fit(self, pixels: np.ndarray) -> np.ndarray:
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        if image.mode != self.mode:
            image = image.convert(self.mode)
        return to_pixels(image if self.size is None else centre_square(image, self.size))
