"""The MNIST family: images and labels in IDX files, gzipped or not.

http://yann.lecun.com/exdb/mnist/: big-endian; images start with magic 2051, count, rows, columns,
labels with magic 2049, count; then bytes.
"""

from __future__ import annotations

import gzip
import os
import string
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from tinygrad_ft.data.datasets import ArrayDataset
from tinygrad_ft.data.errors import DataError, shown

_MAX_BYTES = 1 << 32


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """An IDX file of bytes, gzipped or not: (N,) labels or (N,H,W) images, uint8.

    Raises DataError when the header is not one or the file is shorter or longer than it says.
    """
    path = Path(path)
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:3] != b"\x00\x00\x08" or magic[3] not in (1, 3):
                raise DataError(
                    f"{shown(path)} is not an IDX file of labels or images: it starts with "
                    f"{magic.hex() or 'nothing'}, not 00000801 or 00000803"
                )
            sizes = file.read(4 * magic[3])
            if len(sizes) < 4 * magic[3]:
                raise DataError(f"{shown(path)} ends within its header")
            shape = struct.unpack(f">{magic[3]}I", sizes)
            count = int(np.prod([int(n) for n in shape], dtype=object))
            if count > _MAX_BYTES:
                raise DataError(f"{shown(path)} claims the shape {shape}: a damaged header")
            data = file.read(count + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{shown(path)} cannot be read: {error}") from error
    if len(data) != count:
        state = "more" if len(data) > count else f"{len(data)}"
        raise DataError(f"{shown(path)} has {state} bytes where its header says {count}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _spellings(stem: str) -> list[str]:
    """`train-images-idx3-ubyte` in all the ways it is found."""
    dotted = stem.replace("-idx", ".idx")
    return [stem, f"{stem}.gz", dotted, f"{dotted}.gz"]


def find_idx(folder: Path, stem: str) -> Path | None:
    """The file called `stem`, in one of its spellings, in a folder."""
    return next((folder / s for s in _spellings(stem) if (folder / s).is_file()), None)


class MNISTFamily(ArrayDataset):
    """Grey images with labels, (N,H,W,1), from a pair of IDX files.

    root     the folder with the files, or the one in which torchvision keeps them (NAME/raw)
    train    the training files ("train-..."), else the test files ("t10k-..." or "test-...")
    classes  class names, if not those of the data set
    prefix   what stands before "train-" in the file names, such as "emnist-letters-"

    Raises DataError naming the file.
    """

    name: ClassVar[str] = "MNIST"
    names: ClassVar[Sequence[str] | None] = None

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        *,
        classes: Sequence[str] | None = None,
        prefix: str = "",
    ) -> None:
        self.root, self.train = Path(root), train
        images_path = self._find("images-idx3-ubyte", prefix)
        labels_path = self._find("labels-idx1-ubyte", prefix)
        images, labels = read_idx(images_path), read_idx(labels_path)
        if images.ndim != 3 or labels.ndim != 1:
            raise DataError(
                f"{shown(images_path)} and {shown(labels_path)} must hold images and labels, "
                f"they hold arrays of {images.shape} and {labels.shape}"
            )
        if len(images) != len(labels) or not images.size:
            raise DataError(
                f"{shown(images_path)} has {len(images)} images of "
                f"{images.shape[2]}x{images.shape[1]}, {shown(labels_path)} {len(labels)} labels"
            )
        names = classes if classes is not None else self.names
        if names is not None and labels.max() >= len(names):
            raise DataError(
                f"{shown(labels_path)} has the label {labels.max()}, "
                f"but there are {len(names)} class names"
            )
        super().__init__(images, labels.astype(np.int64), names)

    def _find(self, kind: str, prefix: str) -> Path:
        if not self.root.exists():
            raise DataError(f"{shown(self.root)} does not exist")
        splits = ("train",) if self.train else ("t10k", "test")
        folders = (self.root, self.root / "raw", self.root / self.name / "raw")
        for folder in folders:
            for split in splits:
                if (path := find_idx(folder, f"{prefix}{split}-{kind}")) is not None:
                    return path
        raise DataError(f"{shown(self.root)} has no file '{prefix}{splits[0]}-{kind}' or .gz of it")


_DIGITS = tuple(string.digits)


class MNIST(MNISTFamily):
    """Handwritten digits, 28x28."""

    names = _DIGITS


class FashionMNIST(MNISTFamily):
    """Articles of clothing, 28x28."""

    name = "FashionMNIST"
    names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )


class KMNIST(MNISTFamily):
    """Handwritten hiragana, 28x28."""

    name = "KMNIST"
    names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


# Letters whose upper and lower case look alike share a class in "bymerge" and "balanced".
_MERGED = tuple(c for c in string.ascii_lowercase if c not in "cijklmopsuvwxyz")
_EMNIST: dict[str, tuple[str, ...]] = {
    "byclass": (*_DIGITS, *string.ascii_uppercase, *string.ascii_lowercase),
    "bymerge": (*_DIGITS, *string.ascii_uppercase, *_MERGED),
    "balanced": (*_DIGITS, *string.ascii_uppercase, *_MERGED),
    "letters": ("N/A", *string.ascii_lowercase),  # its labels start at 1
    "digits": _DIGITS,
    "mnist": _DIGITS,
}


class EMNIST(MNISTFamily):
    """Handwritten letters and digits, 28x28. `split`: byclass, bymerge, balanced, letters, digits,
    mnist.

    The files store columns first, so the pictures lie on their side, as torchvision gives them too.
    """

    name = "EMNIST"

    def __init__(self, root: str | os.PathLike[str], split: str, train: bool = True) -> None:
        if split not in _EMNIST:
            raise ValueError(f"EMNIST: split must be one of {', '.join(_EMNIST)}, got {split!r}")
        super().__init__(root, train, classes=_EMNIST[split], prefix=f"emnist-{split}-")
