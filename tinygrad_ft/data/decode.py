"""One image file into one uint8 array.

Pillow does the decoding; this file holds what has to be decided around it:

- turned upright by its EXIF orientation; an EXIF block that cannot be read counts as absent;
- transparent pixels are laid on white;
- 16 bits per channel become 8 by dropping the low byte; floating-point and 32-bit pixels have no
  known range and are refused;
- of an animation the first frame is taken;
- `size`: the largest centred square is resized to size x size, bilinear with antialiasing. That is
  torchvision's Resize(size) + CenterCrop(size) without the rounding of the longer side in between,
  and without ever holding the enlarged picture of a very wide image;
- a large JPEG is decoded at a half, quarter or eighth of its size if that leaves twice `size`;
- more than Pillow's limit of 178,956,970 pixels is refused (a decompression bomb). Pictures of
  more than 2^25 are decoded one at a time, whatever the number of threads: it bounds the memory.
"""

from __future__ import annotations

import io
import threading
from contextlib import nullcontext
from typing import Literal

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from tinygrad_ft.data.errors import DataError, shown

Mode = Literal["RGB", "L"]

# fmt: off
EXTENSIONS = frozenset({
    ".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".gif",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
})
# fmt: on
# Only plain decoders: Pillow would also hand a file to Ghostscript. Imported here, because Pillow
# imports them on first use, and a second thread would find the list half filled. A phone's MPO is
# opened as the JPEG that it starts with.
_FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        BmpImagePlugin.BmpImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        TiffImagePlugin.TiffImageFile,
        PpmImagePlugin.PpmImageFile,
    )
)
_LARGE_PIXELS = 1 << 25
_ONE_LARGE_AT_A_TIME = threading.Lock()
# A change of this number says that the same file may now give other pixels: caches are made anew.
DECODER_VERSION = 1


def looks_like_image(data: bytes) -> bool:
    """Whether bytes begin as an image file does, and no list of names."""
    return (
        data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"))
        or (data.startswith(b"RIFF") and data[8:12] == b"WEBP")
        or (data.startswith(b"BM") and data[6:10] == bytes(4))  # reserved
    )


def decode_image(data: bytes, name: str, mode: Mode = "RGB", size: int | None = None) -> np.ndarray:
    """Decode a file's bytes to (H,W,3) for mode "RGB" or (H,W,1) for "L", uint8.

    `name` is the file's name in messages. `size` as in the head of this file; None keeps the size.
    Raises DataError naming the file when it is not a whole image.
    """
    if not data:
        raise DataError(f"{shown(name)} is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if size is not None:
                image.draft(None, (2 * size, 2 * size))
            large = image.width * image.height > _LARGE_PIXELS
            with _ONE_LARGE_AT_A_TIME if large else nullcontext():
                image.load()
                return _to_array(image, mode, size)
    except Image.UnidentifiedImageError:
        raise DataError(f"{shown(name)} is not an image in a known format") from None
    except Exception as error:
        # Pillow's readers answer a damaged file with whatever their parsing stumbled over (OSError,
        # SyntaxError, struct.error, KeyError, ...): for the caller all of it is a bad image.
        raise DataError(f"{shown(name)} cannot be decoded: {error}") from error


def _to_array(image: Image.Image, mode: Mode, size: int | None) -> np.ndarray:
    image = _to_mode(_upright(image), mode)
    return to_pixels(image if size is None else centre_square(image, size))


def centre_square(image: Image.Image, size: int) -> Image.Image:
    """The largest centred square as size x size; the image itself if it is that."""
    width, height = image.size
    if (width, height) == (size, size):
        return image
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )


def to_pixels(image: Image.Image) -> np.ndarray:
    """An image of mode RGB or L as (H,W,3) or (H,W,1) uint8."""
    array = np.array(image, dtype=np.uint8)
    return array if array.ndim == 3 else array[..., None]


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # see the head: unreadable EXIF says nothing about the pixels
        return image
    return ImageOps.exif_transpose(image) if orientation in range(2, 9) else image


def _to_mode(image: Image.Image, mode: Mode) -> Image.Image:
    if image.mode == "F":
        raise DataError("floating-point pixels have no known range; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;"):
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 0xFFFF):
            raise DataError("32-bit pixels have no known range; save it with 8 or 16 bits")
        image = Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode == mode else image.convert(mode)
