"""Tiny image folders, and the command line run on them in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tinygrad_ft.io import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--model", "resnet8", "--width", "4", "--batch-size", "8"]


def coloured(
    root: Path,
    classes: Sequence[str],
    train: int = 12,
    test: int | None = 6,
    size: int = 8,
    seed: int = 0,
    mode: str = "RGB",
) -> Path:
    """train/CLASS and test/CLASS (test None: CLASS alone), each class with a brightness pattern."""
    rng = np.random.default_rng(seed)
    parts = {"": train} if test is None else {"train": train, "test": test}
    for part, count in parts.items():
        for number, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            pattern = np.random.default_rng(number + 100).integers(0, 150, (1, 1, 3))
            for i in range(count):
                pixels = (rng.integers(0, 100, (size, size, 3)) + pattern).astype(np.uint8)
                Image.fromarray(pixels).convert(mode).save(folder / f"{i:02}.png")
    return root


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder.parent))
    return path


def environment(**more: str) -> dict[str, str]:
    """That of this process, with this checkout to import from, and plain text output."""
    places = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return os.environ | {"PYTHONPATH": places, "PYTHONIOENCODING": "utf-8"} | more


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-P", "-m", "tinygrad_ft", *map(str, arguments)]


def in_process_of_its_own(
    *arguments: str | Path, stdin: str | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        env=environment(**more),
        timeout=300,
        check=False,
    )


def state(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Every tensor of a checkpoint, to the bit."""
    return {n: (v.dtype.str, v.shape, v.tobytes()) for n, v in load_checkpoint(path)[0].items()}
