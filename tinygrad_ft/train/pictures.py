"""Images as the report embeds them: data URIs of bounded size."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

EXACT = 64  # images up to this side are embedded as they are, as PNG
SIDE = 128  # larger ones, and overlays, get this side at most, as JPEG of about 6 KB

# From the colour of no evidence to that of the most: dark red, orange, light yellow. In grey print
# and to colour-blind eyes it is still from dark to light.
_HEAT = np.array([(90, 0, 40), (214, 51, 36), (250, 160, 40), (255, 250, 190)], np.float64)


def picture_uri(image: np.ndarray) -> str:
    """(H, W, 1 or 3) uint8 as a data URI."""
    picture = _picture(image)
    if max(picture.size) <= EXACT:
        return _uri(picture, "PNG")
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return _uri(picture, "JPEG", quality=80)


def overlay_uri(image: np.ndarray, heat: np.ndarray) -> str:
    """An image with a map (h, w) of 0 to 1 laid over it, the map enlarged smoothly."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller = scale < 1
    resampling = Image.Resampling.LANCZOS if smaller else Image.Resampling.NEAREST
    base = np.asarray(_picture(image).convert("RGB").resize(size, resampling), np.float64)
    large = Image.fromarray(np.asarray(heat, np.float32)).resize(size, Image.Resampling.BICUBIC)
    amount = np.clip(np.asarray(large, np.float64), 0, 1)[..., None]
    grey = base.mean(axis=2, keepdims=True)  # less colour below: the heat's own is seen better
    mixed = (0.5 * base + 0.5 * grey) * (1 - 0.75 * amount) + _colour(amount) * 0.75 * amount
    return _uri(Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8)), "JPEG", quality=80)


def _colour(amount: np.ndarray) -> np.ndarray:
    places = np.linspace(0, 1, len(_HEAT))
    return np.concatenate([np.interp(amount, places, _HEAT[:, c]) for c in range(3)], axis=-1)


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _uri(picture: Image.Image, kind: str, **options: int) -> str:
    data = io.BytesIO()
    picture.save(data, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"
