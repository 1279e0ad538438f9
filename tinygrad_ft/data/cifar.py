"""CIFAR-10 and CIFAR-100 from the official archives, packed or extracted, Python or binary version.

https://www.cs.toronto.edu/~kriz/cifar.html: an image is 3072 bytes, three planes of 32x32 (red,
green, blue). The binary version puts one label byte (CIFAR-100: coarse, then fine) before each
image.
"""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from tinygrad_ft.data.cifar_pickle import load_cifar_pickle
from tinygrad_ft.data.datasets import ArrayDataset
from tinygrad_ft.data.errors import DataError, shown

_PIXELS = 3 * 32 * 32
_MAX_FILE_BYTES = 1 << 28


@dataclass(frozen=True)
class Version:
    """One archive: its file names, and where a row keeps its label."""

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    binary: bool
    label_bytes: int = 0

    def files(self, train: bool) -> tuple[str, ...]:
        return (*(self.train if train else self.test), self.meta)


def find_version(names: set[str], versions: tuple[Version, ...]) -> Version | None:
    """The version that has a file among `names`."""
    for version in versions:
        if names & {*version.train, *version.test, version.meta}:
            return version
    return None


class _CIFAR(ArrayDataset):
    """`root` is the archive, the extracted folder, or a folder that holds either of them."""

    name: ClassVar[str]
    versions: ClassVar[tuple[Version, ...]]
    archives: ClassVar[tuple[str, ...]]
    num_classes: ClassVar[int]
    label_key: ClassVar[str]
    names_key: ClassVar[str]
    train_rows: ClassVar[int] = 50_000
    test_rows: ClassVar[int] = 10_000

    def __init__(self, root: str | os.PathLike[str], train: bool = True) -> None:
        self.root, self.train = Path(root), train
        version, files = self._read_files(self.root)
        missing = [name for name in version.files(train) if name not in files]
        if missing:
            raise DataError(
                f"{shown(self.root)} lacks {shown(missing[0])} of {self.name} "
                f"({'binary' if version.binary else 'python'} version): not a whole copy"
            )
        parts = [
            self._binary(files[name], name, version)
            if version.binary
            else self._pickled(files[name], name)
            for name in (version.train if train else version.test)
        ]
        pixels = np.concatenate([part[0] for part in parts])
        labels = np.concatenate([part[1] for part in parts])
        rows = self.train_rows if train else self.test_rows
        if len(pixels) != rows:
            raise DataError(
                f"{shown(self.root)} has {len(pixels)} images where {self.name} has {rows}: "
                "a damaged copy"
            )
        # planes -> pixels
        images = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        super().__init__(images, labels, self._class_names(files[version.meta], version))

    # ---- files -----------------------------------------------------------------------------------

    @classmethod
    def recognise(cls, root: Path) -> bool:
        """Whether `root` looks like this data set, by the first names in it."""
        if root.is_dir():
            return cls._find(root) is not None
        try:
            with tarfile.open(root, "r|*") as archive:
                for member in islice(archive, 8):
                    if PurePosixPath(member.name).parts[:1] in [(v.folder,) for v in cls.versions]:
                        return True
        except (tarfile.TarError, OSError, EOFError, zlib.error):
            pass
        return False

    @classmethod
    def _find(cls, root: Path) -> Path | None:
        """The extracted folder or the archive at or in folder `root`."""
        for version in cls.versions:
            for folder in (root, root / version.folder):
                named = folder.name == version.folder and folder.is_dir()
                if named or all((folder / name).is_file() for name in version.files(train=False)):
                    return folder
        return next((root / name for name in cls.archives if (root / name).is_file()), None)

    def _read_files(self, root: Path) -> tuple[Version, dict[str, bytes]]:
        if not root.exists():
            raise DataError(f"{shown(root)} does not exist")
        found = self._find(root) if root.is_dir() else root
        wanted = {name for v in self.versions for name in v.files(self.train)}
        files: dict[str, bytes] = {}
        if found is not None and found.is_dir():
            for name in wanted:
                if (found / name).is_file():
                    files[name] = _read_limited(found / name)
        elif found is not None:
            files = self._read_archive(found, wanted)
        version = find_version(set(files), self.versions)
        if version is None:
            folders = " or ".join(v.folder for v in self.versions)
            raise DataError(
                f"{shown(root)} does not hold {self.name}: expected {' or '.join(self.archives)}, "
                f"or the extracted folder {folders}"
            )
        return version, files

    def _read_archive(self, path: Path, wanted: set[str]) -> dict[str, bytes]:
        """The wanted members by their last name; nothing is written to disk."""
        files = {}
        try:
            with tarfile.open(path, "r|*") as archive:
                for member in archive:
                    name = PurePosixPath(member.name).name
                    if name not in wanted or not member.isfile():
                        continue
                    if member.size > _MAX_FILE_BYTES:
                        raise DataError(f"{shown(path)}: {shown(member.name)} is too large")
                    file = archive.extractfile(member)
                    assert file is not None  # isfile()
                    files[name] = file.read()
                    if len(files[name]) != member.size:
                        raise EOFError("the archive ends early")
        except (tarfile.TarError, OSError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{shown(path)} cannot be read as a tar archive: {error} (an interrupted download?)"
            ) from error
        return files

    # ---- contents --------------------------------------------------------------------------------

    def _binary(self, data: bytes, name: str, version: Version) -> tuple[np.ndarray, np.ndarray]:
        row = version.label_bytes + _PIXELS
        if not data or len(data) % row:
            raise DataError(
                f"{shown(self.root)}: {shown(name)} has {len(data)} bytes, not a multiple of {row}"
            )
        rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, row)
        labels = rows[:, version.label_bytes - 1].astype(np.int64)
        return rows[:, version.label_bytes :], self._checked(labels, name)

    def _pickled(self, data: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
        where = f"{self.root}/{name}"
        found = load_cifar_pickle(data, where)
        pixels, labels = found.get("data"), found.get(self.label_key)
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
            raise DataError(f"{shown(where)} has no array 'data' of rows of {_PIXELS} bytes")
        if not isinstance(labels, list) or len(labels) != len(pixels):
            raise DataError(
                f"{shown(where)} has no list {self.label_key!r} of {len(pixels)} labels"
            )
        if not all(isinstance(label, int) for label in labels):
            raise DataError(f"{shown(where)} has labels that are not integers")
        return pixels, self._checked(np.asarray(labels), name)

    def _checked(self, labels: np.ndarray, name: str) -> np.ndarray:
        if len(labels) and (labels.min() < 0 or labels.max() >= self.num_classes):
            raise DataError(
                f"{shown(self.root)}: {shown(name)} has labels outside 0..{self.num_classes - 1}"
            )
        return labels.astype(np.int64)

    def _class_names(self, data: bytes, version: Version) -> list[str]:
        if version.binary:
            names: Any = data.decode("utf-8", "backslashreplace").split("\n")
            names = [name.strip() for name in names if name.strip()]
        else:
            found = load_cifar_pickle(data, f"{self.root}/{version.meta}").get(self.names_key)
            names = [
                name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
                for name in (found if isinstance(found, list) else [])
            ]
        if len(names) != self.num_classes:
            raise DataError(
                f"{shown(self.root)}: {shown(version.meta)} names {len(names)} classes, "
                f"{self.name} has {self.num_classes}"
            )
        return list(names)


def _read_limited(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise DataError(f"{shown(path)} is too large")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror or error}") from None


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))


class CIFAR10(_CIFAR):
    """CIFAR-10: 50,000 training and 10,000 test images of 32x32 in 10 classes.

    `root` is the official archive (python or binary version), the extracted folder, or a folder
    that holds one of them. Raises DataError naming the file.
    """

    name = "CIFAR-10"
    versions = (
        Version("cifar-10-batches-py", _BATCHES, ("test_batch",), "batches.meta", False),
        Version(
            "cifar-10-batches-bin",
            tuple(f"{name}.bin" for name in _BATCHES),
            ("test_batch.bin",),
            "batches.meta.txt",
            True,
            label_bytes=1,
        ),
    )
    archives = ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz")
    num_classes = 10
    label_key, names_key = "labels", "label_names"


class CIFAR100(_CIFAR):
    """CIFAR-100: 50,000 training and 10,000 test images of 32x32 in 100 classes (the fine labels).

    `root` as for `CIFAR10`.
    """

    name = "CIFAR-100"
    versions = (
        Version("cifar-100-python", ("train",), ("test",), "meta", False),
        Version(
            "cifar-100-binary",
            ("train.bin",),
            ("test.bin",),
            "fine_label_names.txt",
            True,
            label_bytes=2,
        ),
    )
    archives = ("cifar-100-python.tar.gz", "cifar-100-binary.tar.gz")
    num_classes = 100
    label_key, names_key = "fine_labels", "fine_label_names"
