"""Images that need no download: real handwriting, and drawn characters to pretrain on.

`digits` are the 8x8 handwritten digits that come with scikit-learn (UCI "Optical Recognition of
Handwritten Digits"): each was a 32x32 bitmap of which every 4x4 block was replaced by its count of
ink pixels, 0 to 16. `glyphs` are characters of the DejaVu fonts that come with matplotlib, bent,
shifted and thickened at random and then put through the same process: a 32x32 bitmap, counted in
4x4 blocks. So both have the same polarity (ink is bright), range and blur, and what is learnt on
one serves the other.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tinygrad_ft.data.datasets import ArrayDataset, stratified_split
from tinygrad_ft.data.errors import DataError
from tinygrad_ft.data.randomness import STREAM_GLYPHS, sample_uniform

# Letters that look like a digit or like their other case are left out: I, O, Q, c, i, l, o, ...
GLYPH_CLASSES = "0123456789ABCDEFGHJKLMNPRSTUVWXYZabdefghnrt"

# Each face with the filters that bring its strokes near the pen's: a positive width thickens, a
# negative one thins.
_FACES = {
    "DejaVuSans": (1, 3, 5),
    "DejaVuSans-Oblique": (1, 3, 5),
    "DejaVuSans-Bold": (-5, -3, 1),
    "DejaVuSans-BoldOblique": (-5, -3, 1),
    "DejaVuSansMono": (1, 3, 5),
    "DejaVuSansMono-Oblique": (1, 3, 5),
    "DejaVuSansMono-Bold": (-5, -3, 1),
    "DejaVuSerif": (1, 3, 5),
    "DejaVuSerif-Italic": (1, 3, 5),
}
_MASK = 64  # side of a drawn mask
_INK = 44  # height of a character in it
_BITMAP = 32  # side of the bitmap that is counted in 4x4 blocks
_BLOCK = 4
_THICKNESSES = 3
_BATCH = 2048  # glyphs warped at a time; bounds the memory


def digits(size: int = 16, train: bool = True) -> ArrayDataset:
    """Handwritten digits, (N,size,size,1): 898 for training, 899 for testing, always the same ones.

    size  the 8x8 images are enlarged to it, bicubic
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images = _enlarge(found.images, size)
    everything = ArrayDataset(images, found.target, [str(i) for i in range(10)])
    part = stratified_split(everything, fraction=0.5, seed=0)[0 if train else 1]
    return ArrayDataset(images[part.indices], part.targets, everything.classes)


def glyphs(n: int, size: int = 16, classes: str = GLYPH_CLASSES, seed: int = 0) -> ArrayDataset:
    """`n` drawn characters, (n,size,size,1); glyph i is a function of (seed, i), of class i mod
    classes.

    classes  one character for each class, any that DejaVu Sans has
    """
    if n < 1 or len(classes) < 1 or len(set(classes)) != len(classes):
        raise ValueError(f"glyphs: need n >= 1 and different classes, got n={n}, {classes!r}")
    labels = np.arange(n) % len(classes)
    masks = _masks(classes)
    counts = np.concatenate(
        [
            _draw(masks, np.arange(start, min(start + _BATCH, n)), len(classes), seed)
            for start in range(0, n, _BATCH)
        ]
    )
    return ArrayDataset(_enlarge(counts, size), labels, list(classes))


def _enlarge(counts: np.ndarray, size: int) -> np.ndarray:
    """(N,8,8) counts from 0 to 16 -> (N,size,size,1) uint8 from 0 to 255."""
    if size < 8:
        raise ValueError(f"size must be at least 8, got {size}")
    grey = np.rint(counts * (255 / 16)).astype(np.uint8)
    out = np.empty((len(grey), size, size, 1), dtype=np.uint8)
    for image, target in zip(grey, out, strict=True):
        resized = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
        target[..., 0] = np.asarray(resized)
    return out


@lru_cache(maxsize=4)
def _masks(classes: str) -> np.ndarray:
    """(class, face, thickness, _MASK, _MASK) uint8: characters of one height, in the middle."""
    out = np.zeros((len(classes), len(_FACES), _THICKNESSES, _MASK, _MASK), dtype=np.uint8)
    for f, (face, filters) in enumerate(_FACES.items()):
        font = ImageFont.truetype(str(_font_folder() / f"{face}.ttf"), 96)
        for c, character in enumerate(classes):
            for t, image in enumerate(_thicknesses(character, font, filters)):
                out[c, f, t] = np.asarray(image)
    return out


def _font_folder() -> Path:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    if not (folder / "DejaVuSans.ttf").is_file():
        raise DataError(f"matplotlib's fonts are not in {folder}: install matplotlib again")
    return folder


def _thicknesses(
    character: str, font: ImageFont.FreeTypeFont, filters: tuple[int, ...]
) -> list[Image.Image]:
    """The character fitted into the mask, once for each filter."""
    large = Image.new("L", (288, 288))
    ImageDraw.Draw(large).text((144, 144), character, fill=255, font=font, anchor="mm")
    box = large.getbbox()
    if box is None:
        raise ValueError(f"glyphs: nothing to draw for the class {character!r}")
    # the height fills the mask; what is wider than high is fitted by its width
    factor = _INK / max(box[3] - box[1], box[2] - box[0])
    inner = (round((box[2] - box[0]) * factor), round((box[3] - box[1]) * factor))
    middle = (_MASK - inner[0]) // 2, (_MASK - inner[1]) // 2
    plain = Image.new("L", (_MASK, _MASK))
    plain.paste(large.crop(box).resize(inner, Image.Resampling.BOX), middle)
    return [
        plain.filter(ImageFilter.MaxFilter(f) if f > 0 else ImageFilter.MinFilter(-f))
        for f in filters
    ]


def _draw(masks: np.ndarray, index: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Ink counts (n,8,8) of the glyphs `index`."""
    numbers = iter(range(STREAM_GLYPHS, STREAM_GLYPHS + 64))

    def uniform(low: float, high: float) -> np.ndarray:
        return low + (high - low) * sample_uniform(seed, 0, index, next(numbers))

    face = (uniform(0, masks.shape[1])).astype(np.int64)
    thickness = (uniform(0, _THICKNESSES)).astype(np.int64)
    angle, slant = np.deg2rad(uniform(-15, 15)), uniform(-0.35, 0.35)
    wide, high = uniform(0.65, 1.0), uniform(0.92, 1.08)
    right, down = uniform(-0.1, 0.1), uniform(-0.06, 0.06)
    taper, belly = uniform(-0.3, 0.3), uniform(-0.25, 0.25)
    bend_x, bend_y = uniform(-0.22, 0.22), uniform(-0.2, 0.2)
    phase_x, phase_y = uniform(0, 2 * np.pi), uniform(0, 2 * np.pi)
    threshold = uniform(50, 150)

    # from the pixels (u, v) of the bitmap, -1..1, to the point of the mask that each shows
    grid = (np.arange(_BITMAP) + 0.5) / _BITMAP * 2 - 1
    v, u = (a[None] for a in np.meshgrid(grid, grid, indexing="ij"))  # (1,32,32)
    u, v = (u - _each(right)) / _each(wide), (v - _each(down)) / _each(high)
    u, v = (
        u + _each(bend_x) * np.sin(2.5 * v + _each(phase_x)),
        v + _each(bend_y) * np.sin(2.5 * u + _each(phase_y)),
    )
    cos, sin = _each(np.cos(angle)), _each(np.sin(angle))
    u, v = cos * u + sin * v, cos * v - sin * u
    # wider above than below; the middle of the character higher or lower
    u, v = u * (1 + _each(taper) * v) + _each(slant) * v, v + _each(belly) * (1 - v * v)
    scale = _INK / 2  # the character's half height is 1
    column = np.clip(np.rint(u * scale + (_MASK - 1) / 2), 0, _MASK - 1).astype(np.int64)
    row = np.clip(np.rint(v * scale + (_MASK - 1) / 2), 0, _MASK - 1).astype(np.int64)
    which = _each(((index % classes) * masks.shape[1] + face) * _THICKNESSES + thickness)
    ink = masks.reshape(-1)[(which * _MASK + row) * _MASK + column]  # (n,32,32)
    bitmap = ink > _each(threshold)
    blocks = _BITMAP // _BLOCK
    counts = bitmap.reshape(-1, blocks, _BLOCK, blocks, _BLOCK).sum(axis=(2, 4))
    # a ragged edge: blocks that are partly ink get one pixel more or less
    places = index[:, None] * blocks**2 + np.arange(blocks**2)
    drawn = sample_uniform(seed, 0, places.reshape(-1), next(numbers)).reshape(counts.shape)
    partly = (counts > 0) & (counts < _BLOCK**2)
    return counts + partly * np.floor(drawn * 3 - 1).astype(np.int64)


def _each(values: np.ndarray) -> np.ndarray:
    return values[:, None, None]
