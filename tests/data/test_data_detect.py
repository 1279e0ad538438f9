from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from cifar_files import ROWS, cifar_files, write_tar
from image_files import encoded, picture, write_folder, write_zip
from test_data_idx import write as write_idx

from tinygrad_ft.data import (
    CIFAR10,
    CIFAR100,
    DataError,
    ImageFolder,
    MNISTFamily,
    dataset_splits,
    open_dataset,
)

PNG = encoded(picture(0))
SPLITS: dict[str, bytes | None] = {
    f"{split}/{name}/1.png": PNG for split in ("train", "val", "extra") for name in "ab"
}


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for reader in (CIFAR10, CIFAR100):
        monkeypatch.setattr(reader, "train_rows", 5 * ROWS)
        monkeypatch.setattr(reader, "test_rows", ROWS)


def test_image_folders(tmp_path: Path) -> None:
    for root in (
        write_folder(tmp_path / "d", SPLITS),
        write_zip(tmp_path / "d.zip", SPLITS),
    ):
        data = open_dataset(root, "val", size=3, mode="L", classes=["b", "a"], skip_bad=True)
        assert isinstance(data, ImageFolder)
        assert data[0][0].shape == (3, 3, 1)
        assert data.classes == ("b", "a")
        assert dataset_splits(root) == ("train", "val", "extra")
    plain = write_folder(tmp_path / "plain", {"a/1.png": PNG, "b/1.png": PNG})
    assert len(open_dataset(plain, None)) == 2
    assert dataset_splits(plain) == ()


@pytest.mark.parametrize("kind", [10, 100])
@pytest.mark.parametrize("binary", [True, False])
def test_cifar(tmp_path: Path, kind: int, binary: bool) -> None:
    files = cifar_files(kind, binary)
    for root in (
        write_tar(tmp_path / "any name.tgz", files),
        write_folder(tmp_path / "extracted", dict(files)),
    ):
        data = open_dataset(root, "test", size=32)
        assert type(data) is {10: CIFAR10, 100: CIFAR100}[kind]
        assert len(data) == ROWS
        assert dataset_splits(root) == ("train", "test")


def test_idx(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "raw"):
        write_idx(folder, "train", ".gz")
        data = open_dataset(tmp_path)
        assert isinstance(data, MNISTFamily)
        assert len(data) == 11
        assert dataset_splits(tmp_path) == ("train", "test")
        for file in folder.glob("*.gz"):
            file.unlink()


def test_wishes_that_a_kind_cannot_meet(tmp_path: Path) -> None:
    root = write_tar(tmp_path / "c.tar.gz", cifar_files(10, True))
    with pytest.raises(DataError, match="has the splits train and test, not val"):
        open_dataset(root, "val")
    with pytest.raises(DataError, match=r"images of 32x32, asked for 64x64: .* Resize"):
        open_dataset(root, size=64)
    with pytest.raises(DataError, match="colour images, asked for grey"):
        open_dataset(root, mode="L")
    with pytest.raises(DataError, match=r"has the classes class_0, .*asked for a, b"):
        open_dataset(root, classes=["a", "b"])


@pytest.mark.parametrize(
    "name", ["nowhere", "text.txt", "text.tar.gz", "other.tar.gz", "pixels.npy"]
)
def test_what_is_not_understood_says_what_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "text.tar.gz").write_bytes(gzip.compress(b"hello"))
    write_tar(tmp_path / "other.tar.gz", {"a/1.png": PNG})
    np.save(tmp_path / "pixels.npy", np.zeros(3))
    with pytest.raises(
        DataError, match=r"What can be opened: a folder of images .*CIFAR.*IDX"
    ) as caught:
        open_dataset(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_damaged_zip(tmp_path: Path) -> None:
    (tmp_path / "d.zip").write_bytes(b"PK not really")
    for call in (open_dataset, dataset_splits):
        with pytest.raises(DataError, match=r"d\.zip'"):
            call(tmp_path / "d.zip")
