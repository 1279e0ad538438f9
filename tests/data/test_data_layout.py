"""Names in any script, split folders as people call them, and folders with very many files."""

from __future__ import annotations

import os
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_files import Make, encoded, picture, write_folder

from tinygrad_ft.data import DataError, ImageFolder, dataset_splits, folder, open_dataset
from tinygrad_ft.data.sources import FolderSource

PNG = encoded(picture(0))
# as a Linux or Windows user types them, composed
NAMES = [
    "golden retriever",
    "caf\u00e9",
    "قطة",
    "猫と犬",
    "Ναι-όχι",
    "🐱 emoji 👩‍🚀",
    "$a_1$",
    "#1, 50%",
]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("cache", [True, False])
def test_class_names_of_any_script(make: Make, form: str, cache: bool) -> None:
    """macOS hands names out decomposed: the classes are the same."""
    files: dict[str, bytes | None] = {}
    for i, name in enumerate(NAMES):
        for part, seed in (("train", i), ("val", 50 + i)):
            shape = unicodedata.normalize(form, name)
            files[f"{part}/{shape}/{shape} 1.png"] = encoded(picture(seed))
    root = make(files)
    train = ImageFolder(root, "train", cache=cache)
    assert train.classes == tuple(sorted(NAMES))
    val = ImageFolder(root, "val", cache=cache, classes=NAMES)
    for i in range(len(NAMES)):
        image, label = val[i]
        np.testing.assert_array_equal(image, picture(50 + label))


def test_a_zip_whose_names_lack_the_flag_for_utf8(tmp_path: Path) -> None:
    """As macOS's Archive Utility writes them."""
    path = tmp_path / "mac.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("caf\u00e9", "猫", "plain"):
            archive.writestr(f"{name}/1.png", PNG)
    raw = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(signature)
        while at >= 0:
            raw[at + flags + 1] &= ~0x08  # bit 11: the name is UTF-8
            at = raw.find(signature, at + 4)
    path.write_bytes(raw)
    with zipfile.ZipFile(path) as archive:
        assert "猫/1.png" not in archive.namelist(), "Python alone does not see it"
    found = ImageFolder(path)
    assert found.classes == ("caf\u00e9", "plain", "猫")
    np.testing.assert_array_equal(found[2][0], picture(0))


def test_classes_that_differ_in_case_alone(tmp_path: Path) -> None:
    """Two classes where the file system keeps them apart, as a zip always does."""
    path = tmp_path / "d.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("cat/1.PNG", "Cat/1.Png", "Cat/2.png"):
            archive.writestr(name, PNG)
    found = ImageFolder(path)
    assert found.classes == ("Cat", "cat")
    assert found.targets.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "names",
    [("Train", "Test"), ("TRAINING", "Validation"), ("train", "valid"), ("training", "testing")],
)
def test_split_folders_as_people_call_them(make: Make, names: tuple[str, str]) -> None:
    """Taken for classes they would give a useless network without a word."""
    root = make({f"{part}/{c}/1.png": PNG for part in names for c in "ab"})
    second = "val" if "val" in names[1].lower() else "test"
    assert dataset_splits(root) == ("train", second)
    found = open_dataset(root, second)
    assert found.classes == ("a", "b")
    assert found.names == [f"{names[1]}/a/1.png", f"{names[1]}/b/1.png"]


def test_two_folders_for_one_split(make: Make) -> None:
    root = make({f"{part}/{c}/1.png": PNG for part in ("train", "val", "valid") for c in "ab"})
    with pytest.raises(DataError, match="two folders for the split 'val': 'val' and 'valid'"):
        dataset_splits(root)


# ---- very many files -----------------------------------------------------------------------------


def test_more_than_the_limit_is_decoded_when_asked(
    make: Make, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    root = make({f"{c}/{i}.png": encoded(picture(i)) for c in "ab" for i in range(5)})
    need = 10 * 6 * 6 * 3
    monkeypatch.setattr(folder, "CACHE_LIMIT", need - 1)
    for size in (6, None):
        found = ImageFolder(root, size=size)
        assert not own_cache.exists(), "nothing was kept"
        images, labels = found.get_batch([7, 0])
        np.testing.assert_array_equal(images, np.stack([picture(2), picture(0)]))
        assert labels.tolist() == [1, 0]
    assert len(ImageFolder(root, cache=True)) == 10
    assert len(os.listdir(own_cache)) == 1, "asked for, it is kept whatever it takes"
    assert ImageFolder(root, size=6, skip_bad=True).bad_files == []
    assert len(os.listdir(own_cache)) == 2, "so is what has to be read beforehand anyway"
    monkeypatch.setattr(folder, "CACHE_LIMIT", need)
    assert ImageFolder(root, size=6).cached
    assert len(os.listdir(own_cache)) == 3


@pytest.mark.parametrize("limit", ["CACHE_LIMIT", "CACHE_FILES"])
def test_a_huge_folder_opens_without_reading_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """As `finetune` opens it: no file is read, and class folders are gone through once."""
    classes, each = 20, 30
    names = [f"{part}/c{c:02}/{i:02}.png" for part in ("train", "val", "test")
             for c in range(classes) for i in range(each)]  # fmt: skip
    root = write_folder(tmp_path / "d", dict.fromkeys(names, b"x"))
    entries = 0
    plain = os.scandir

    class Counting:
        def __init__(self, path: str) -> None:
            self.inner = plain(path)

        def __enter__(self) -> Counting:
            return self

        def __exit__(self, *error: object) -> None:
            self.inner.close()

        def __iter__(self) -> Counting:
            return self

        def __next__(self) -> os.DirEntry[str]:
            nonlocal entries
            entries += 1
            return next(self.inner)

    def refuse(self: object, name: str) -> bytes:
        raise AssertionError(f"{name} was read")

    monkeypatch.setattr(os, "scandir", Counting)
    monkeypatch.setattr(FolderSource, "read", refuse)
    monkeypatch.setattr(folder, limit, 0)
    assert dataset_splits(root) == ("train", "val", "test")
    opened = [open_dataset(root, split, size=224) for split in ("train", "val", "test")]
    assert [len(part) for part in opened] == [classes * each] * 3
    folders = 3 * classes
    assert entries < len(names) + 20 * folders
    assert len(opened[0].fingerprint) == 32
    assert not any(part.cached for part in opened)
