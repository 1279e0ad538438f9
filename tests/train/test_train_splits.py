"""Which images a run gets, for every layout of the data and every amount of labels."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_tree import write_images

from tinygrad_ft.data import DataError, Subset
from tinygrad_ft.train import Settings
from tinygrad_ft.train.splits import Splits, open_splits


def names(part: Any) -> list[str]:
    """The file names of a split."""
    if isinstance(part, Subset):
        below = names(part.dataset)
        return [below[i] for i in part.indices]
    return list(part.names)


def opened(root: Path, **settings: Any) -> Splits:
    return open_splits(root, Settings(**settings), cache_dir=root.parent / "cache")


def test_a_folder_of_classes_without_splits(tmp_path):
    root = write_images(tmp_path / "d", {"cat": 10, "dog": 20})
    splits = opened(root)
    assert splits.test is None
    assert np.bincount(splits.val.targets).tolist() == [1, 2]
    assert np.bincount(splits.train.targets).tolist() == [9, 18]
    assert not set(names(splits.train)) & set(names(splits.val))
    assert splits.describe() == "27 training, 3 validation images of 2 classes"


def test_the_data_s_own_validation_split_is_used(tmp_path):
    counts = {"train/cat": 5, "train/dog": 5, "val/cat": 2, "val/dog": 1, "test/cat": 4}
    splits = opened(write_images(tmp_path / "d", counts), val_fraction=0.5)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (10, 3, 4)
    assert splits.describe() == "10 training, 3 validation, 4 test images of 2 classes"
    assert splits.test.classes == ("cat", "dog")


def test_no_validation(tmp_path):
    splits = opened(write_images(tmp_path / "d", {"a": 2, "b": 3}), val_fraction=0)
    assert splits.val is None
    assert len(splits.train) == 5


def test_a_tiny_validation_set_has_each_class(tmp_path):
    """A tenth of 3 images is none, but each class gives one and keeps two."""
    splits = opened(write_images(tmp_path / "d", {"a": 3, "b": 3, "c": 3}))
    assert splits.val.targets.tolist() == [0, 1, 2]
    assert np.bincount(splits.train.targets).tolist() == [2, 2, 2]


def test_fewer_labels_are_part_of_more_labels(tmp_path):
    root = write_images(tmp_path / "d", {"train/a": 20, "train/b": 40, "test/a": 1, "test/b": 1})
    shares = [set(names(opened(root, labels_fraction=f, val_fraction=0).train))
              for f in (0.1, 0.25, 0.5, 1.0)]  # fmt: skip
    assert [len(s) for s in shares] == [6, 15, 30, 60]
    counts = [set(names(opened(root, labels_per_class=n, val_fraction=0).train))
              for n in (1, 2, 7, 20)]  # fmt: skip
    assert [len(c) for c in counts] == [2, 4, 14, 40]
    for nested in (shares, counts):
        assert all(small < large for small, large in pairwise(nested))
    other = set(names(opened(root, labels_fraction=0.25, val_fraction=0, seed=1).train))
    assert len(other) == 15
    assert other != shares[1]


def test_the_validation_images_come_out_of_the_labelled_ones(tmp_path):
    root = write_images(tmp_path / "d", {"train/a": 20, "train/b": 20})
    labelled = set(names(opened(root, labels_fraction=0.5, val_fraction=0).train))
    splits = opened(root, labels_fraction=0.5, val_fraction=0.2)
    train, val = set(names(splits.train)), set(names(splits.val))
    assert (len(train), len(val)) == (16, 4)
    assert train | val == labelled
    assert not train & val


@pytest.mark.parametrize(
    "counts, settings, message",
    [
        ({"train/a": 3}, {}, "has only the class 'a'; two are needed"),
        ({"a": 3}, {}, "has only the class 'a'; two are needed"),
        ({"val/a": 3, "val/b": 3}, {}, "no split 'train': it has val"),
        ({"train/a": 3, "train/b": 0}, {}, "no images in class folder 'b'"),
        ({"train/a": 3, "train/b": 3, "test/c": 1}, {}, "class 'c', which is not among"),
        ({"a": 3, "b": 1}, {}, "--val-fraction 0.1 cannot be met: class 'b' has 1 image"),
        (
            {"a": 3, "b": 4},
            {"labels_per_class": 4},
            "--labels-per-class 4 cannot be met: class 'a'",
        ),
        ({"a": 3, "b": 1}, {"labels_fraction": 0.5}, "--labels-fraction 0.5 cannot be met"),
    ],
)
def test_data_that_cannot_be_used(tmp_path, counts, settings, message):
    with pytest.raises(DataError, match=message):
        opened(write_images(tmp_path / "d", counts), **settings)


def test_bad_files_of_every_split_are_known(tmp_path):
    root = write_images(tmp_path / "d", {"train/a": 4, "train/b": 4, "test/a": 2, "test/b": 2})
    (root / "train/a/bad.png").write_bytes(b"no image")
    (root / "test/b/bad.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"bad.png.*--skip-bad"):
        opened(root)
    splits = open_splits(
        root, Settings(labels_fraction=0.5), skip_bad=True, cache_dir=tmp_path / "cache"
    )
    found = splits.bad_files()
    assert sorted(name for name, _ in found) == ["test/b/bad.png", "train/a/bad.png"]
    assert all("bad.png" in reason for _, reason in found)
