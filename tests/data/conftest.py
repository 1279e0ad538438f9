"""Small images on disk and in archives, a cache folder of the test's own, the real data sets."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has its own, empty cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TINYGRAD_FT_CACHE_DIR", str(folder))
    return folder / "datasets"


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """The path of a real data set; skips the test where it is not there."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"shared/data/{name} is not here")
        return path

    return find


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


Make = Callable[[dict[str, bytes | None]], Path]


@pytest.fixture(params=["folder", "zip"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Writes files as a folder, and as a zip archive."""

    def write(files: dict[str, bytes | None]) -> Path:
        number = len(os.listdir(tmp_path))
        if request.param == "folder":
            return write_folder(tmp_path / f"data{number}", files)
        return write_zip(tmp_path / f"data{number}.zip", files)

    return write
