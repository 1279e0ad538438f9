from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from tinygrad_ft.data import EMNIST, KMNIST, MNIST, DataError, FashionMNIST, MNISTFamily


def idx(array: np.ndarray) -> bytes:
    magic = 0x0800 + array.ndim
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (11, 5, 4), dtype=np.uint8)
LABELS = (np.arange(11) % 10).astype(np.uint8)


def write(
    root: Path, stem: str = "train", suffix: str = "", images: bytes = b"", labels: bytes = b""
) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    pack = gzip.compress if suffix.endswith(".gz") else bytes
    for kind, data in (
        ("images-idx3-ubyte", images or idx(IMAGES)),
        ("labels-idx1-ubyte", labels or idx(LABELS)),
    ):
        name = f"{stem}-{kind}"
        if suffix.startswith("dot"):
            name = name.replace("-idx", ".idx")
        (root / (name + suffix.removeprefix("dot"))).write_bytes(pack(data))
    return root


@pytest.mark.parametrize("suffix", ["", ".gz", "dot", "dot.gz"])
@pytest.mark.parametrize("inside", [".", "raw", "MNIST/raw"])
def test_readers(tmp_path: Path, suffix: str, inside: str) -> None:
    write(tmp_path / inside, "train", suffix)
    write(tmp_path / inside, "t10k", suffix, idx(IMAGES[:4]), idx(LABELS[:4]))
    train, test = MNIST(tmp_path), MNIST(tmp_path, train=False)
    np.testing.assert_array_equal(train.images, IMAGES[..., None])
    np.testing.assert_array_equal(train.targets, LABELS)
    assert train.classes == tuple("0123456789")
    assert len(test) == 4


def test_the_families_class_names(tmp_path: Path) -> None:
    write(tmp_path)
    assert FashionMNIST(tmp_path).classes[9] == "Ankle boot"
    assert KMNIST(tmp_path).classes[1] == "ki"
    assert MNISTFamily(tmp_path, classes=list("abcdefghij")).classes[0] == "a"
    assert MNISTFamily(tmp_path).classes == tuple("0123456789")


def test_emnist(tmp_path: Path) -> None:
    counts = {
        "byclass": 62,
        "bymerge": 47,
        "balanced": 47,
        "letters": 27,
        "digits": 10,
        "mnist": 10,
    }
    for split, count in counts.items():
        write(tmp_path, f"emnist-{split}-train", ".gz")
        write(tmp_path, f"emnist-{split}-test", ".gz")
        assert len(EMNIST(tmp_path, split).classes) == count
        assert len(EMNIST(tmp_path, split, train=False)) == 11
    assert EMNIST(tmp_path, "balanced").classes[36:] == tuple("abdefghnqrt")
    with pytest.raises(ValueError, match="split must be one of byclass"):
        EMNIST(tmp_path, "train")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    "images, labels, words",
    [
        (idx(LABELS), b"", "must hold images and labels"),
        (b"\x89PNG...........", b"", "images-.*starts with 89504e47"),
        (b"\0", b"", "images-.*starts with 00"),
        (idx(IMAGES)[:9], b"", "images-.*ends within its header"),
        (idx(IMAGES)[:-1], b"", "images-.*has 219 bytes where its header says 220"),
        (idx(IMAGES) + b"x", b"", "images-.*has more bytes where its header says 220"),
        (struct.pack(">4I", 0x803, 2**31, 2**31, 2**31), b"", "images-.*claims the shape"),
        (struct.pack(">4I", 0x803, 0, 5, 4), struct.pack(">2I", 0x801, 0), "has 0 images"),
        (b"", idx(LABELS[:-2]), "has 11 images of 4x5, .* 9 labels"),
        (b"", idx(LABELS + 1), "has the label 10, but there are 10 class names"),
        (b"", idx(IMAGES), "must hold images and labels"),
    ],
)
def test_damaged_files(
    tmp_path: Path, images: bytes, labels: bytes, words: str, suffix: str
) -> None:
    write(tmp_path, "train", suffix, images, labels)
    with pytest.raises(DataError, match=words) as caught:
        MNIST(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_truncated_gzip(tmp_path: Path) -> None:
    write(tmp_path, "train", ".gz")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"images-idx3-ubyte\.gz' cannot be read"):
        MNIST(tmp_path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no file 'train-images-idx3-ubyte'"):
        MNIST(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        MNIST(tmp_path / "nowhere")
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="has no file 'train-labels-idx1-ubyte'"):
        MNIST(tmp_path)
