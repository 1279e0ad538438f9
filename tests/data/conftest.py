"""A cache folder of the test's own, files as folder and as archive, the real data sets."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from image_files import write_folder, write_zip

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


@pytest.fixture(params=["folder", "zip"])
def make(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[dict[str, bytes | None]], Path]:
    """Writes files as a folder, and as a zip archive."""

    def write(files: dict[str, bytes | None]) -> Path:
        number = len(os.listdir(tmp_path))
        if request.param == "folder":
            return write_folder(tmp_path / f"data{number}", files)
        return write_zip(tmp_path / f"data{number}.zip", files)

    return write
