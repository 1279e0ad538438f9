"""The data, a pretrained model, and a way to run a command line and see all it says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cli_helpers import SMALL, coloured

from kernels import cache_info
from tinygrad_ft.cli.main import run


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for all tests and their processes, which begins with the kernels of the user's."""
    before = os.environ.get("TINYGRAD_FT_CACHE_DIR")
    folder, compiled = tmp_path_factory.mktemp("cache"), Path(cache_info()["directory"])
    if compiled.is_dir():
        no_images = shutil.ignore_patterns("datasets")
        shutil.copytree(compiled, folder, dirs_exist_ok=True, ignore=no_images)
    os.environ["TINYGRAD_FT_CACHE_DIR"] = str(folder)
    yield
    if before is None:
        del os.environ["TINYGRAD_FT_CACHE_DIR"]
    else:
        os.environ["TINYGRAD_FT_CACHE_DIR"] = before


class Said(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs a command line in this process."""

    def call(*arguments: str | Path) -> Said:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes to pretrain on."""
    return coloured(tmp_path_factory.mktemp("photos") / "photos", ["ant", "bee", "cow"])


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two other classes."""
    folder = tmp_path_factory.mktemp("task") / "task"
    return coloured(folder, ["tom & jerry", "猫"], seed=1)


@pytest.fixture(scope="session")
def pretrained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on `photos`."""
    out = tmp_path_factory.mktemp("runs") / "pretrained"
    assert (
        run(["pretrain", str(photos), *SMALL, "--epochs", "4", "--quiet", "--out", str(out)]) == 0
    )
    return out
