"""Transforms of whole batches: (N,H,W,C) arrays, uint8 or float32, in and out; vectorised NumPy.

`transform(images, draw)`: `draw` (see `randomness.Draw`) gives each sample its random numbers as a
function of (seed, epoch, sample index), so a picture's augmentation does not depend on the batch it
comes in. Transforms without chance do without it. Names and meaning are torchvision's. Put the
geometric ones first: on uint8 they move a quarter of the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from PIL import Image

from tinygrad_ft.data.randomness import Draw

# Each transform of a Compose has this many random streams of its own.
_STREAMS = 16


class Transform(Protocol):
    """See the head of this file. Must return a new array and leave its input alone."""

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray: ...


def _need(draw: Draw | None, name: str, images: np.ndarray) -> Draw:
    if draw is None:
        raise TypeError(
            f"{name} is random: call it as {name}(...)(images, Draw(seed, epoch, indices))"
        )
    if len(draw.indices) != len(images):
        raise ValueError(f"{name}: {len(images)} images, but {len(draw.indices)} sample indices")
    return draw


def _check_batch(images: np.ndarray, name: str) -> None:
    if images.ndim != 4 or images.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"{name} takes uint8 or float32 images of shape (N, H, W, C), "
            f"got {images.dtype} of {images.shape}"
        )


class Compose:
    """One transform after another. A Compose in a Compose counts as its parts."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms: list[Transform] = []
        for transform in transforms:
            inner = transform.transforms if isinstance(transform, Compose) else [transform]
            self.transforms += inner

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        for number, transform in enumerate(self.transforms):
            own = draw and replace(draw, stream=draw.stream + number * _STREAMS)
            images = transform(images, own)
        return images

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"


class RandomCrop:
    """Pad all sides by `padding` with `fill`, then cut a size x size window at a random place."""

    def __init__(self, size: int, padding: int = 0, fill: float = 0) -> None:
        if size < 1 or padding < 0:
            raise ValueError(
                f"RandomCrop: size must be positive and padding not negative, got {size}, {padding}"
            )
        self.size, self.padding, self.fill = size, padding, fill

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        _check_batch(images, "RandomCrop")
        draw = _need(draw, "RandomCrop", images)
        n, height, width, channels = images.shape
        p, size = self.padding, self.size
        rows, columns = height + 2 * p, width + 2 * p
        if size > rows or size > columns:
            raise ValueError(
                f"RandomCrop: size {size} is larger than the padded images, {rows}x{columns}"
            )
        padded = np.full((n, rows, columns, channels), self.fill, dtype=images.dtype)
        padded[:, p : p + height, p : p + width] = images
        top = (draw.uniform(0) * (rows - size + 1)).astype(np.int64)
        left = (draw.uniform(1) * (columns - size + 1)).astype(np.int64)
        # A row of a window is one run of size * C numbers: gather runs, not pixels.
        runs = np.lib.stride_tricks.sliding_window_view(
            padded.reshape(n, rows, columns * channels), size * channels, axis=2
        )
        window = runs[
            np.arange(n)[:, None], top[:, None] + np.arange(size), left[:, None] * channels
        ]
        return window.reshape(n, size, size, channels)

    def __repr__(self) -> str:
        return f"RandomCrop({self.size}, padding={self.padding})"


class RandomHorizontalFlip:
    """Mirror left and right with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p must be from 0 to 1, got {p}")
        self.p = p

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        _check_batch(images, "RandomHorizontalFlip")
        draw = _need(draw, "RandomHorizontalFlip", images)
        flip = draw.uniform() < self.p
        out = images.copy()
        out[flip] = images[flip, :, ::-1]
        return out

    def __repr__(self) -> str:
        return f"RandomHorizontalFlip({self.p})"


class Cutout:
    """Fill one size x size square around a random pixel; over the edge it is cut off.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
    2017. After `Normalize` the fill 0 is the mean colour, as in the paper; on uint8 it is black.
    """

    def __init__(self, size: int, fill: float = 0) -> None:
        if size < 1:
            raise ValueError(f"Cutout: size must be at least 1, got {size}")
        self.size, self.fill = size, fill

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        _check_batch(images, "Cutout")
        draw = _need(draw, "Cutout", images)
        inside = []  # (N,H) and (N,W): is this row, this column, in the square
        for number, length in enumerate(images.shape[1:3]):
            start = (draw.uniform(number) * length).astype(np.int64)[:, None] - self.size // 2
            at = np.arange(length)
            inside.append((at >= start) & (at < start + self.size))
        out = images.copy()
        out[inside[0][:, :, None] & inside[1][:, None, :]] = self.fill
        return out

    def __repr__(self) -> str:
        return f"Cutout({self.size})"


class CenterCrop:
    """The size x size window in the middle; the images must be at least as large."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"CenterCrop: size must be at least 1, got {size}")
        self.size = size

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        _check_batch(images, "CenterCrop")
        height, width = images.shape[1:3]
        if self.size > min(height, width):
            raise ValueError(
                f"CenterCrop: size {self.size} is larger than the images, {height}x{width}"
            )
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return images[:, top : top + self.size, left : left + self.size].copy()

    def __repr__(self) -> str:
        return f"CenterCrop({self.size})"


class Resize:
    """Resize to size x size, bilinear with antialiasing (Pillow); uint8 images of any shape.

    An image folder resizes once, when it decodes (`ImageFolder(size=)`); this is for arrays.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"Resize: size must be at least 1, got {size}")
        self.size = size

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        if images.ndim != 4 or images.dtype != np.uint8:
            raise ValueError(
                f"Resize takes uint8 images of shape (N, H, W, C), got {images.dtype} of "
                f"{images.shape}: put it before ToFloat and Normalize"
            )
        n, _, _, channels = images.shape
        out = np.empty((n, self.size, self.size, channels), dtype=np.uint8)
        for image, target in zip(images, out, strict=True):
            for c in range(channels):
                plane = Image.fromarray(np.ascontiguousarray(image[..., c]))
                resized = plane.resize((self.size, self.size), Image.Resampling.BILINEAR)
                target[..., c] = np.asarray(resized)
        return out

    def __repr__(self) -> str:
        return f"Resize({self.size})"


class ToFloat:
    """uint8 0..255 -> float32 0..1, as torchvision's ToTensor; float32 passes."""

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        _check_batch(images, "ToFloat")
        if images.dtype == np.uint8:
            return np.multiply(images, np.float32(1 / 255), dtype=np.float32)
        return images

    def __repr__(self) -> str:
        return "ToFloat()"


class Normalize:
    """(x - mean) / std for each channel, x in 0..1: uint8 images are divided by 255 in the same
    pass.

    mean, std: one number for each channel, in units of 0..1.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ValueError(
                f"Normalize: mean and std need one number for each channel, std above 0; "
                f"got {self.mean} and {self.std}"
            )

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        _check_batch(images, "Normalize")
        n, height, width, channels = images.shape
        if channels != len(self.mean):
            raise ValueError(
                f"Normalize has numbers for {len(self.mean)} channels, the images have {channels}"
            )
        unit = 255.0 if images.dtype == np.uint8 else 1.0
        scale = np.asarray([1 / (s * unit) for s in self.std], dtype=np.float32)
        shift = np.asarray(
            [-m / s for m, s in zip(self.mean, self.std, strict=True)], dtype=np.float32
        )
        # Whole rows, since an inner loop over three channels would cost ten times as much.
        rows = images.reshape(n, height, width * channels)
        out = np.multiply(rows, np.tile(scale, width), dtype=np.float32)
        out += np.tile(shift, width)
        return out.reshape(images.shape)

    def __repr__(self) -> str:
        return f"Normalize({self.mean}, {self.std})"
