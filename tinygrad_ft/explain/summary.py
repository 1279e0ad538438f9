"""Arrays for the page: numbers where they are few, else a picture, a histogram and four numbers.

A picture is a row of tiles of one byte a pixel: 127 is 0, 0 and 254 are -scale and +scale, 255 is
not a number. The page chooses the colours, for a light and a dark screen.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

#: so many elements are given as numbers, exactly; more than FEW have a picture as well
NUMBERS, FEW = 256, 64
#: so many bytes of picture for all arrays of a page, and for one
PICTURES, PICTURE = 1_300_000, 9_000
BINS = 31


class Summaries:
    """The arrays of a page, each once. `expected` is how many there will be, to share the space."""

    def __init__(self, expected: int) -> None:
        self.items: list[dict[str, Any]] = []
        self._pixels = max(256, min(PICTURE, PICTURES // max(expected, 1)))
        self._known: dict[tuple[int, bool], tuple[int, np.ndarray]] = {}

    def add(self, array: np.ndarray | None, image: bool = False) -> int | None:
        """The position of an array's summary among `items`; None for an array that is not known."""
        if array is None:
            return None
        key = id(array), image
        if key not in self._known:
            # the array is kept: its id stays its own
            self._known[key] = len(self.items), array
            self.items.append(summary(array, self._pixels, image))
        return self._known[key][0]


def number(value: Any) -> Any:
    """For JSON: the shortest text that reads back as the same number; NaN, infinities as text."""
    if isinstance(value, np.floating):
        value = float(str(value)) if math.isfinite(value) else float(value)
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def numbers(array: np.ndarray) -> list[Any]:
    """All elements in row-major order."""
    return [number(v) for v in array.reshape(-1)]


def summary(array: np.ndarray, pixels: int = PICTURE, image: bool = False) -> dict[str, Any]:
    """Shape, dtype, four numbers; then the numbers themselves, or a picture and a histogram."""
    found: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype)}
    if array.size == 0:
        return found | {"numbers": []}
    small = array.size <= NUMBERS
    if array.dtype.kind == "f" or not small:
        found |= _statistics(array)
    if small:
        found["numbers"] = numbers(array)
    if array.size > FEW or (image and array.ndim == 4) or _is_stack(array):
        found["picture"] = picture(array, pixels, image)
    if array.size > FEW:
        found["histogram"] = histogram(array)
    return found


def _is_stack(array: np.ndarray) -> bool:
    return array.ndim == 4 and min(array.shape[2:]) > 1


def _statistics(array: np.ndarray) -> dict[str, Any]:
    flat = array.astype(np.float64).reshape(-1)
    good = flat[np.isfinite(flat)]
    found: dict[str, Any] = {}
    if good.size:
        found = {
            "min": good.min(),
            "mean": good.mean(),
            "max": good.max(),
            "norm": np.sqrt(np.square(good).sum()),
        }
    if good.size < flat.size:
        found["odd"] = flat.size - good.size
    if (flat == 0).any():
        found["zeros"] = float((flat == 0).mean())
    return {key: float(f"{value:.6g}") for key, value in found.items()}


def histogram(array: np.ndarray, bins: int = BINS) -> dict[str, Any]:
    """Counts of the finite elements in equal bins from `low` to `high`."""
    flat = array.astype(np.float64).reshape(-1)
    flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        return {"low": 0.0, "high": 0.0, "counts": []}
    low, high = float(flat.min()), float(flat.max())
    counts = np.histogram(flat, bins, (low, high if high > low else low + 1))[0]
    return {
        "low": float(f"{low:.6g}"),
        "high": float(f"{high:.6g}"),
        "counts": [int(c) for c in counts],
    }


def picture(array: np.ndarray, pixels: int = PICTURE, image: bool = False) -> dict[str, Any]:
    """Tiles of one height and width: channels of the first sample, filters, or the whole matrix.

    `shown` says in words what the tiles are; `image` that they are pixels of a photograph.
    """
    tiles, shown, colour = _tiles(array, image)
    height, width = tiles.shape[1:]
    step = 1
    while -(-height // step) * -(-width // step) > pixels:
        step += 1
    tiles = tiles[:, ::step, ::step]
    fit = max(1, pixels // (tiles.shape[1] * tiles.shape[2]))
    fit = len(tiles) if colour else min(len(tiles), fit, 64)
    if step > 1:
        shown += f", 1 in {step} of them"
    if fit < len(tiles):
        shown += f", the first {fit} of {len(tiles)}"
    data, scale = quantised(tiles[:fit])
    return {
        "tiles": fit,
        "height": tiles.shape[1],
        "width": tiles.shape[2],
        "scale": scale,
        "data": data,
        "shown": shown,
        "image": ("colour" if colour else "grey") if image else "",
    }


def _tiles(array: np.ndarray, image: bool) -> tuple[np.ndarray, str, bool]:
    """(tiles, height, width), what they are, and whether three of them are one colour image."""
    if array.ndim == 4 and array.shape[2:] == (1, 1):
        array = array[:, :, 0, 0]
    if array.ndim == 4 and image:
        count, channels = array.shape[:2]
        if channels == 3:
            return array[0], f"image 1 of {count}", True
        return array[:, 0], "the images", False
    if array.ndim == 4:
        if array.shape[0] == 1 or array.shape[2] * array.shape[3] > 49:
            return array[0], f"channels of sample 1 of {array.shape[0]}", False
        return array.reshape(-1, *array.shape[2:]), "one tile for each pair of channels", False
    if array.ndim == 3:
        return array, "one tile for each first index", False
    if array.ndim == 2 and array.shape[0] > 3 * array.shape[1]:
        return array.T[None], "the matrix lying on its side: one row a column", False
    if array.ndim == 2:
        return array[None], "rows and columns of the matrix", False
    flat = array.reshape(-1)
    width = min(flat.size, max(1, math.ceil(math.sqrt(flat.size * 4))))
    padded = np.full(-(-flat.size // width) * width, np.nan)
    padded[: flat.size] = flat
    return padded.reshape(1, -1, width), "the elements, row by row", False


def quantised(tiles: np.ndarray) -> tuple[str, float]:
    """One byte an element, in base64, and the value that 254 stands for."""
    values = tiles.astype(np.float64)
    good = np.isfinite(values)
    scale = float(np.abs(values[good]).max()) if good.any() else 0.0
    levels = np.round(np.where(good, values, 0.0) / (scale or 1.0) * 127) + 127
    data = np.where(good, levels, 255).astype(np.uint8)
    return base64.b64encode(data.tobytes()).decode(), float(f"{scale:.6g}")
