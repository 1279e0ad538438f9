"""From uint8 images to what a network was trained on; travels with the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tinygrad_ft.data import (
    Compose,
    Cutout,
    DataError,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    ToFloat,
)
from tinygrad_ft.data.datasets import get_batch
from tinygrad_ft.train.settings import Augmentation, SettingsError

#: channel means and standard deviations that published weights were trained with
NAMED = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}

_PART = 256  # images measured at a time; bounds the memory


@dataclass(frozen=True)
class Preprocessing:
    """Square images of `size` pixels; x = (pixel / 255 - mean) / std for each channel."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise SettingsError(
                f"--mean and --std need one number a channel (1 or 3), got {len(self.mean)} and "
                f"{len(self.std)}"
            )
        if not all(math.isfinite(m) for m in self.mean):
            raise SettingsError(f"--mean must be numbers, not {self.mean}")
        if not all(0 < s < math.inf for s in self.std):
            raise SettingsError(f"--std must be positive numbers, not {self.std}")
        if self.size < 1:
            raise SettingsError(f"--size must be at least 1, not {self.size}")

    @property
    def channels(self) -> int:
        return len(self.mean)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image as the network takes it."""
        return self.channels, self.size, self.size

    @classmethod
    def named(cls, name: str, size: int) -> Preprocessing:
        """One of the published pairs: imagenet, cifar10, cifar100, half."""
        if name not in NAMED:
            raise SettingsError(f"--preprocess must be one of {', '.join(NAMED)}, not {name!r}")
        mean, std = NAMED[name]
        return cls(size, mean, std)

    @classmethod
    def measured(cls, dataset: Any, sample: int = 10_000) -> Preprocessing:
        """The mean and standard deviation of (an even sample of) a data set's own pixels.

        DataError if the images are not square.
        """
        chosen = np.arange(0, len(dataset), max(1, len(dataset) // sample))
        sums = squares = np.zeros(1)
        height = width = pixels = 0
        for part in np.split(chosen, range(_PART, len(chosen), _PART)):
            images, _ = get_batch(dataset, part)
            _, height, width, channels = images.shape
            if height != width:
                raise DataError(f"the images are {width}x{height}: choose a square size (--size)")
            values = images.reshape(-1, channels).astype(np.float64) / 255
            sums = sums + values.sum(axis=0)
            squares = squares + np.square(values).sum(axis=0)
            pixels += len(values)
        mean = sums / pixels
        std = np.maximum(np.sqrt(np.maximum(squares / pixels - mean**2, 0)), 1e-3)
        return cls(
            height,
            tuple(round(float(m), 4) for m in mean),
            tuple(round(float(s), 4) for s in std),
        )

    def evaluation_transform(self) -> Any:
        return Compose([ToFloat(), Normalize(self.mean, self.std)])

    def training_transform(self, augment: Augmentation) -> Any:
        """The evaluation's steps after random changes; crops are padded by 1/8 of the size."""
        steps: list[Any] = []
        if "crop" in augment:
            steps.append(RandomCrop(self.size, padding=max(1, self.size // 8)))
        if "flip" in augment:
            steps.append(RandomHorizontalFlip())
        if "cutout" in augment:
            steps.append(Cutout(max(1, self.size // 4)))
        return Compose([*steps, ToFloat(), Normalize(self.mean, self.std)])

    def check_fits(self, dataset: Any, what: str) -> None:
        """SettingsError if the data set's images have another size or number of channels."""
        image = dataset[0][0]
        if image.shape != (self.size, self.size, self.channels):
            height, width, channels = image.shape
            raise SettingsError(
                f"{what} are {width}x{height} with {_count(channels)}, the weights were trained on "
                f"{self.size}x{self.size} with {_count(self.channels)}"
            )

    def as_dict(self) -> dict[str, Any]:
        values = asdict(self)
        return {**values, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        return cls(int(values["size"]), _floats(values["mean"]), _floats(values["std"]))


def _count(channels: int) -> str:
    return "1 channel" if channels == 1 else f"{channels} channels"


def _floats(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(v) for v in values)
