"""Small images, folders and zip archives of them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

# What the fixture `make` is.
Make = Callable[[dict[str, bytes | None]], Path]


def picture(seed: int, height: int = 6, width: int = 6) -> np.ndarray:
    """Random pixels (H,W,3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(array: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind, **options)
    return out.getvalue()


def write_folder(root: Path, files: dict[str, bytes | None]) -> Path:
    """A folder of the given files; None makes an empty folder."""
    for name, data in files.items():
        path = root / name
        if data is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return root


def write_zip(path: Path, files: dict[str, bytes | None], compress: bool = True) -> Path:
    """A zip archive of the given files; None makes a folder entry."""
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in files.items():
            archive.writestr(name if data is not None else name.rstrip("/") + "/", data or b"")
    return path
