"""Tiny image folders on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_images(root: Path, counts: dict[str, int], size: tuple[int, int] = (8, 8)) -> Path:
    """`counts`: "train/cat" -> number of noise images of that class; `size` is width, height."""
    rng = np.random.default_rng(0)
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number:03}.png")
    return root
