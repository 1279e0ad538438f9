from __future__ import annotations

import os
import sys
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_files import Make, encoded, picture, write_folder, write_zip

from tinygrad_ft.data import DataError, ImageFolder, dataset_splits
from tinygrad_ft.data.sources import FolderSource, ZipSource


def png(seed: int, height: int = 6, width: int = 6) -> bytes:
    return encoded(picture(seed, height, width))


def tree() -> dict[str, bytes | None]:
    return {
        "train/zebra fish/b.png": png(1),
        "train/zebra fish/a.PNG": png(2),
        "train/猫/deep/er/1.bmp": encoded(picture(3), "BMP"),
        "train/猫/notes.txt": b"not an image",
        "train/猫/._1.bmp": b"of a Mac",
        "val/猫/2.png": png(4),
        "words.txt": b"n0 cat",
        "__MACOSX/train/猫/1.png": b"",
    }


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("wrap", ["", "my data/"])
def test_layout_with_splits(make: Make, cache: bool, wrap: str) -> None:
    root = make({wrap + name: data for name, data in tree().items()})
    train = ImageFolder(root, "train", cache=cache)
    assert train.classes == ("zebra fish", "猫")
    assert train.names == [
        f"{wrap}train/zebra fish/a.PNG",
        f"{wrap}train/zebra fish/b.png",
        f"{wrap}train/猫/deep/er/1.bmp",
    ]
    images, labels = train.get_batch([2, 0, 1, -1])
    for image, seed in zip(images, (3, 2, 1, 3), strict=True):
        np.testing.assert_array_equal(image, picture(seed))
    assert labels.tolist() == [1, 0, 0, 1]
    assert labels.dtype == np.int64
    assert train.targets.tolist() == [0, 0, 1]
    image, label = train[2]
    np.testing.assert_array_equal(image, picture(3))
    assert (len(train), label, train.bad_files) == (3, 1, [])
    val = ImageFolder(root, "val", cache=cache)
    assert val.classes == train.classes, "labels of a split are those of train"
    assert val.targets.tolist() == [1]
    assert dataset_splits(root) == ("train", "val")


def test_layout_without_splits(make: Make) -> None:
    root = make({"train/1.png": png(1), "bus/1.png": png(2), "tram/1.png": png(3)})
    found = ImageFolder(root)
    assert found.classes == ("bus", "train", "tram"), "a class may be called train"
    assert dataset_splits(root) == ()


def test_two_spellings_of_one_name_are_one_class(make: Make) -> None:
    composed = "caf\u00e9"
    split = unicodedata.normalize("NFD", composed)
    root = make(
        {f"train/{split}/1.png": png(1), "train/b/1.png": png(2), f"val/{composed}/1.png": png(3)}
    )
    assert ImageFolder(root, "train").classes == ("b", composed)
    assert ImageFolder(root, "val").targets.tolist() == [1]


def test_given_classes_give_the_labels(make: Make) -> None:
    root = make({"a/1.png": png(1), "b/1.png": png(2)})
    found = ImageFolder(root, classes=["c", "b", "a"])
    assert found.classes == ("c", "b", "a")
    assert found.targets.tolist() == [1, 2]
    words = r"class 'a', which is not among the classes asked for \('b', 'c'\)"
    with pytest.raises(DataError, match=words):
        ImageFolder(root, classes=["b", "c"])


@pytest.mark.parametrize(
    "files, split, words",
    [
        ({"a.txt": b"x"}, None, "has no class folders"),
        ({"1.png": png(0)}, None, "has no class folders"),
        ({"a/1.png": png(0), "empty": None}, None, "no images in class folder 'empty'"),
        ({"a/1.png": png(0), "b/x.txt": b""}, None, "no images in class folder 'b'"),
        (
            {"a/1.png": png(0), "b/1.png": png(0)},
            "train",
            "no split 'train': its classes lie at the top",
        ),
        ({"train/a/1.png": png(0), "test/a/1.png": png(0)}, "val", "no split 'val': it has"),
        ({"train/a/1.png": png(0), "val/a/1.png": png(0)}, None, "has the splits .*: choose one"),
        (
            {"train/a/1.png": png(0), "train/b/1.png": png(0), "val/c/1.png": png(0)},
            "val",
            r"class 'c', which is not among those of the training split \('a', 'b'\)",
        ),
        (
            {"a/1.png": png(0, 6, 6), "a/2.png": png(0, 5, 8)},
            None,
            "different sizes: 'a/1.png' is 6x6, 'a/2.png' is 8x5",
        ),
        (
            {"a/1.png": png(0), "b/2.png": png(0)[:60]},
            None,
            r"b/2.png' cannot be decoded.*skip_bad",
        ),
        ({"a/1.png": png(0), "b/2.png": b""}, None, r"b/2.png' is empty"),
    ],
)
def test_unusable_folders(
    make: Make, own_cache: Path, files: dict[str, bytes | None], split: str | None, words: str
) -> None:
    root = make(files)
    with pytest.raises(DataError, match=words) as caught:
        ImageFolder(root, split)
    assert str(root) in str(caught.value)
    assert not own_cache.exists() or os.listdir(own_cache) == [], "nothing half-written"


def test_paths_that_are_not_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'.*nowhere' does not exist"):
        ImageFolder(tmp_path / "nowhere")
    (tmp_path / "image.png").write_bytes(png(0))
    with pytest.raises(DataError, match=r"image\.png' is a file, but neither"):
        ImageFolder(tmp_path / "image.png")


def test_size_and_mode(make: Make) -> None:
    root = make({"a/1.png": png(1, 6, 6), "b/2.png": png(2, 20, 30)})
    found = ImageFolder(root, size=6)
    np.testing.assert_array_equal(found[0][0], picture(1))
    assert found[1][0].shape == (6, 6, 3)
    assert ImageFolder(root, size=6, mode="L")[0][0].shape == (6, 6, 1)
    with pytest.raises(ValueError, match="size must be at least 1"):
        ImageFolder(root, size=0)
    with pytest.raises(ValueError, match="mode must be"):
        ImageFolder(root, mode="CMYK")  # type: ignore[arg-type]


def test_without_cache_a_batch_needs_one_size(make: Make) -> None:
    root = make({"a/1.png": png(1, 6, 6), "b/2.png": png(2, 6, 7)})
    found = ImageFolder(root, cache=False)
    assert found[1][0].shape == (6, 7, 3)
    with pytest.raises(DataError, match="different sizes"):
        found.get_batch([0, 1])


def test_without_cache_no_file_is_read_at_opening(
    make: Make, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    root = make({"a/1.png": png(1), "b/2.png": b"damaged"})

    def refuse(self: object, name: str) -> bytes:
        raise AssertionError(f"{name} was read")

    with monkeypatch.context() as patch:
        patch.setattr(FolderSource, "read", refuse)
        patch.setattr(ZipSource, "read", refuse)
        found = ImageFolder(root, cache=False)
        assert len(found) == 2
        assert len(found.fingerprint) == 32
    np.testing.assert_array_equal(found[0][0], picture(1))
    with pytest.raises(DataError, match=r"b/2\.png' is not an image"):
        found[1]
    assert not own_cache.exists()


def test_skip_bad_counts_and_lists(make: Make) -> None:
    files: dict[str, bytes | None] = {f"a/{i}.png": png(i) for i in range(4)}
    files |= {"a/0.png": b"", "a/2.png": png(2)[:50], "b/9.png": png(9)}
    found = ImageFolder(make(files), skip_bad=True)
    assert [name for name, _ in found.bad_files] == ["a/0.png", "a/2.png"]
    assert "empty" in found.bad_files[0][1]
    assert found.names == ["a/1.png", "a/3.png", "b/9.png"]
    assert found.targets.tolist() == [0, 0, 1]
    for i, seed in enumerate((1, 3, 9)):
        np.testing.assert_array_equal(found[i][0], picture(seed))
    with pytest.raises(DataError, match="none of the 1 images of class 'b'"):
        ImageFolder(make({"a/1.png": png(1), "b/1.png": b"x"}), skip_bad=True)
    with pytest.raises(ValueError, match="skip_bad needs the cache"):
        ImageFolder(make(files), skip_bad=True, cache=False)


def test_many_files_many_workers_and_progress(make: Make) -> None:
    files: dict[str, bytes | None] = {f"{'ab'[i % 2]}/{i:04}.png": png(i) for i in range(700)}
    root = make(files)
    calls: list[tuple[int, int]] = []
    one = ImageFolder(root, num_workers=1, cache_dir=root.parent / "one")
    many = ImageFolder(
        root, num_workers=7, cache_dir=root.parent / "many", progress=lambda *c: calls.append(c)
    )
    assert one.fingerprint == many.fingerprint
    np.testing.assert_array_equal(one.get_batch(range(700))[0], many.get_batch(range(700))[0])
    assert calls[-1] == (700, 700)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert one.names[351] == "b/0003.png"
    np.testing.assert_array_equal(one[351][0], picture(3))


def test_a_folder_linked_into_itself_ends(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "d", {"a/1.png": png(1), "b/1.png": png(2)})
    try:
        (root / "a" / "loop").symlink_to(root / "a", target_is_directory=True)
    except OSError:
        pytest.skip("no symbolic links here")
    assert len(ImageFolder(root)) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "d", {"a/1.png": png(1), "b/1.png": png(2)})
    (root / "b" / os.fsdecode(b"\xff.png")).write_bytes(png(3))
    assert len(ImageFolder(root)) == 3
    assert len(ImageFolder(root)) == 3, "from the cache"
    (root / "b" / os.fsdecode(b"\xff.png")).write_bytes(b"broken")
    with pytest.raises(DataError) as caught:
        ImageFolder(root)
    str(caught.value).encode("utf-8")  # it can be printed


@pytest.mark.parametrize(
    "name", ["../a/1.png", "/a/1.png", "a/../../1.png", "C:/a/1.png", "..\\a\\1.png"]
)
def test_zip_names_that_point_outside(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "evil.zip", {"a/1.png": png(1), name: png(2)})
    with pytest.raises(DataError, match=r"evil\.zip' holds the name .* points out of the archive"):
        ImageFolder(path)


def test_encrypted_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "locked.zip", {"a/1.png": png(1), "b/1.png": png(2)})
    raw = bytearray(path.read_bytes())
    at = raw.find(b"PK\x01\x02")
    raw[at + 8] |= 1  # the flag that zip tools set
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"locked\.zip' is encrypted"):
        ImageFolder(path)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.99])
def test_truncated_zip(tmp_path: Path, keep: float) -> None:
    path = write_zip(tmp_path / "part.zip", {f"a/{i}.png": png(i) for i in range(9)})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(DataError, match=r"part\.zip'"):
        ImageFolder(path)


def test_zip_member_with_damaged_bytes(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "bad.zip", {"a/1.png": png(1), "b/1.png": png(2)}, compress=False)
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        raw[archive.getinfo("b/1.png").header_offset + 60] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"b/1\.png' cannot be read from the archive: Bad CRC"):
        ImageFolder(path)
    path2 = write_zip(tmp_path / "lie.zip", {"a/1.png": png(1), "b/1.png": png(2)})
    raw = bytearray(path2.read_bytes())
    at = raw.rfind(b"PK\x01\x02")
    raw[at + 24 : at + 28] = (0xFFFFFFF0).to_bytes(4, "little")  # claims 4 GB
    path2.write_bytes(raw)
    with pytest.raises(DataError, match=r"b/1\.png' is larger than"):
        ImageFolder(path2)
