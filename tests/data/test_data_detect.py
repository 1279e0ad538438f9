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
    Subset,
    dataset_splits,
    open_dataset,
)
from tinygrad_ft.data.fitted import fitting

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
    words = r"c\.tar\.gz' has the class 'class_0', which is not among the classes asked for"
    with pytest.raises(DataError, match=rf"{words} \('a', 'b'\)"):
        open_dataset(root, classes=["a", "b"])


def test_archives_are_resized_and_recoloured_as_image_files_are(tmp_path: Path) -> None:
    """The same pixels as a folder of PNG files of the same images."""
    archive = write_tar(tmp_path / "c.tar.gz", cifar_files(10, True))
    plain = open_dataset(archive, "test")
    files = {
        f"test/{plain.classes[label]}/{i}.png": encoded(image)
        for i, (image, label) in enumerate(plain[i] for i in range(len(plain)))
    }
    folder = write_folder(tmp_path / "files", files)
    for size, mode, shape in (
        (64, None, (64, 64, 3)), (20, "L", (20, 20, 1)), (32, "L", (32, 32, 1)),
    ):  # fmt: skip
        found = open_dataset(archive, "test", size=size, mode=mode)
        expected = open_dataset(folder, "test", size=size, mode=mode, classes=plain.classes)
        by_name = dict(zip(expected.names, range(len(expected)), strict=True))
        for i in range(len(found)):
            image, label = found[i]
            same, same_label = expected[by_name[f"test/{plain.classes[label]}/{i}.png"]]
            assert image.shape == shape
            np.testing.assert_array_equal(image, same)
            assert label == same_label
        images, labels = found.get_batch([1, -1])
        np.testing.assert_array_equal(images[1], found[len(found) - 1][0])
        assert labels.tolist() == plain.targets[[1, -1]].tolist()
    prints = {open_dataset(archive, "test", size=s).fingerprint for s in (None, 32, 64, 65)}
    assert len(prints) == 3, "the fingerprint knows the size"
    assert type(open_dataset(archive, "test", size=32, mode="RGB")) is CIFAR10


def test_grey_archives_become_coloured_when_asked(tmp_path: Path) -> None:
    write_idx(tmp_path, "train")
    grey = open_dataset(tmp_path)
    assert grey[0][0].shape[2] == 1
    colour = open_dataset(tmp_path, mode="RGB", size=9)
    assert colour[0][0].shape == (9, 9, 3)
    assert np.ptp(colour[0][0], axis=2).max() == 0
    height, width = grey[0][0].shape[:2]
    words = f"the images of {width}x{height} are made 9x9 and colour"
    assert fitting(colour) == fitting(Subset(colour, [0])) == words
    assert fitting(grey) is None


def test_labels_are_translated_by_name(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "c.tar.gz", cifar_files(10, True))
    plain = open_dataset(archive, "test")
    names = ["further", *reversed(plain.classes)]
    found = open_dataset(archive, "test", classes=names)
    assert found.classes == tuple(names)
    for i in range(len(plain)):
        assert names[found[i][1]] == plain.classes[plain[i][1]]
        np.testing.assert_array_equal(found[i][0], plain[i][0])
    assert open_dataset(archive, "test", classes=plain.classes).classes == plain.classes


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
