"""Decoded images on disk: one memory-mapped array for each source, options and state of the source.

An entry is a folder `<key>-<state>` with `images.npy`, `targets.npy` and `entry.json`; `key` hashes
the path and the options, `state` whatever changes when the source does. It is built under another
name and renamed when complete, so what has the right name is whole. Two processes that build the
same entry both succeed: the second to finish uses the first one's. Finishing an entry removes those
of older states.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import platformdirs

from tinygrad_ft.data.datasets import close_fingerprint
from tinygrad_ft.data.errors import DataError, shown

FORMAT = 1
_ABANDONED_SECONDS = 24 * 3600


def cache_dir() -> Path:
    """The cache's place: `datasets` in TINYGRAD_FT_CACHE_DIR, or in the user's cache folder."""
    chosen = os.environ.get("TINYGRAD_FT_CACHE_DIR")
    return Path(chosen or platformdirs.user_cache_dir("tinygrad_ft")) / "datasets"


@dataclass(frozen=True)
class Chunk:
    """A piece of a data set on its way into the cache."""

    images: np.ndarray  # (n,H,W,C) uint8
    targets: np.ndarray  # (n,) int64
    names: list[str]  # n file names
    bad_files: list[tuple[str, str]]  # left out: name, reason


@dataclass(frozen=True)
class CachedImages:
    """A data set as the cache holds it; `images` is memory-mapped and read-only."""

    images: np.ndarray
    targets: np.ndarray
    classes: tuple[str, ...]
    names: list[str]
    bad_files: list[tuple[str, str]]
    fingerprint: str


class ImageCache:
    """One entry of the cache: `load()` gives it or None, `build()` makes it."""

    def __init__(self, directory: str | os.PathLike[str] | None, key: str, state: str) -> None:
        self.directory = Path(directory) if directory is not None else cache_dir()
        self._key = hashlib.blake2b(key.encode("utf-8", "backslashreplace"), digest_size=8)
        # a state may hold file names that are not valid Unicode
        told = hashlib.blake2b(state.encode("utf-8", "backslashreplace"), digest_size=8)
        self.path = self.directory / f"{self._key.hexdigest()}-{told.hexdigest()}"

    def load(self) -> CachedImages | None:
        """The entry, or None when there is no whole one of this format."""
        try:
            entry = json.loads((self.path / "entry.json").read_text(encoding="ascii"))
            if entry["format"] != FORMAT:
                return None
            images = np.load(self.path / "images.npy", mmap_mode="r", allow_pickle=False)
            targets = np.load(self.path / "targets.npy", allow_pickle=False)
            if images.dtype != np.uint8 or list(images.shape) != entry["shape"]:
                return None
            if len(targets) != len(images) or len(entry["names"]) != len(images):
                return None
            return CachedImages(
                images=images.view(np.ndarray),
                targets=targets,
                classes=tuple(entry["classes"]),
                names=entry["names"],
                bad_files=[(name, reason) for name, reason in entry["bad_files"]],
                fingerprint=entry["fingerprint"],
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return None  # absent or damaged: `build` replaces it

    def build(
        self, total: int, classes: Sequence[str], chunks: Generator[Chunk, None, None]
    ) -> CachedImages:
        """Write at most `total` images and load the entry.

        Whatever goes wrong on the way, nothing stays behind. A full disk or a folder that cannot be
        written is a DataError that names the folder.
        """
        folder: Path | None = None
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=f"{self.path.name}.tmp-", dir=self.directory))
            self._write(folder, total, classes, chunks)
            return self._publish(folder)
        except OSError as error:
            raise DataError(
                f"the cache {shown(self.directory)} cannot be written: {error.strerror or error}; "
                "make room there or choose another folder with TINYGRAD_FT_CACHE_DIR"
            ) from error
        finally:
            chunks.close()  # stops the decoding threads now, not when the traceback is dropped
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def _write(
        self, folder: Path, total: int, classes: Sequence[str], chunks: Generator[Chunk, None, None]
    ) -> None:
        digest = hashlib.blake2b(digest_size=16)
        targets: list[np.ndarray] = []
        names: list[str] = []
        bad_files: list[tuple[str, str]] = []
        shape: tuple[int, ...] = ()
        # Plain writes, not a writable memory map: on a full disk a map ends the process with
        # SIGBUS.
        with (folder / "images.npy").open("wb") as file:
            for chunk in chunks:
                bad_files += chunk.bad_files
                if not len(chunk.images):
                    continue
                if not shape:
                    shape = chunk.images.shape[1:]
                    self._check_room(total * int(np.prod(shape)))
                    _write_header(file, (total, *shape))
                pixels = np.ascontiguousarray(chunk.images).data
                digest.update(pixels)
                file.write(pixels)
                targets.append(chunk.targets)
                names += chunk.names
            # NumPy leaves room in the header for any number of rows, so the true one fits
            # afterwards
            file.seek(0)
            shape = (len(names), *shape)
            _write_header(file, shape)
            file.flush()
            os.fsync(file.fileno())
        labels = np.concatenate(targets)
        np.save(folder / "targets.npy", labels, allow_pickle=False)
        entry = {
            "format": FORMAT,
            "shape": shape,
            "classes": list(classes),
            "names": names,
            "bad_files": bad_files,
            "fingerprint": close_fingerprint(digest, shape, labels, classes),
        }
        with (folder / "entry.json").open("w", encoding="ascii") as text:
            json.dump(entry, text)
            text.flush()
            os.fsync(text.fileno())

    def _check_room(self, need: int) -> None:
        free = shutil.disk_usage(self.directory).free
        if need > free:
            raise DataError(
                f"the decoded images need {need / 2**20:,.0f} MB in {shown(self.directory)}, "
                f"where {free / 2**20:,.0f} MB are free; make room there, choose another folder "
                "with TINYGRAD_FT_CACHE_DIR, or a smaller image size"
            )

    def _publish(self, folder: Path) -> CachedImages:
        for _ in range(2):
            try:
                folder.rename(self.path)
            except OSError:
                # someone else was first, or a damaged entry has the name
                if (found := self.load()) is not None:
                    return found
                shutil.rmtree(self.path, ignore_errors=True)
            else:
                break
        found = self.load()
        if found is None:
            raise OSError(f"{self.path.name} cannot be read back")
        self._remove_old()
        return found

    def _remove_old(self) -> None:
        for other in self.directory.glob(f"{self._key.hexdigest()}-*"):
            if other == self.path:
                continue
            # another process may be at work in a young temporary folder
            if ".tmp-" not in other.name or _age(other) > _ABANDONED_SECONDS:
                shutil.rmtree(other, ignore_errors=True)


def _age(path: Path) -> float:
    try:
        return time.time() - max(p.stat().st_mtime for p in (path, *path.iterdir()))
    except OSError:
        return 0.0


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
