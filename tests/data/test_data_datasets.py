from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_ft.data import ArrayDataset, DataError, Dataset, Subset, stratified_split


def arrays(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(n).integers(0, 256, (n, 4, 5, 3), dtype=np.uint8)
    return images, np.arange(n) % 3


def test_array_dataset() -> None:
    images, labels = arrays()
    data = ArrayDataset(images, labels, ["a", "b", "c"])
    assert isinstance(data, Dataset)
    assert (len(data), data.classes) == (12, ("a", "b", "c"))
    image, label = data[-1]
    np.testing.assert_array_equal(image, images[11])
    assert label == 2
    found, found_labels = data.get_batch([3, 0, 3])
    np.testing.assert_array_equal(found, images[[3, 0, 3]])
    assert found_labels.tolist() == [0, 0, 0]
    found[:] = 0
    image[:] = 0
    assert data.images[3].any(), "a batch is a copy"
    assert data.images[11].any(), "an image is a copy"
    assert ArrayDataset(images[..., 0], labels).images.shape == (12, 4, 5, 1)
    assert ArrayDataset(images, labels).classes == ("0", "1", "2")
    assert data.get_batch([])[0].shape == (0, 4, 5, 3)


def test_fingerprints() -> None:
    images, labels = arrays()
    base = ArrayDataset(images, labels, "abc").fingerprint
    assert base == ArrayDataset(images.copy(), labels.astype(np.int32), "abc").fingerprint
    other = images.copy()
    other[7, 3, 4, 2] ^= 1
    changed = [
        ArrayDataset(other, labels, "abc"),
        ArrayDataset(images, labels[::-1], "abc"),
        ArrayDataset(images, labels, "abd"),
        ArrayDataset(images.reshape(12, 5, 4, 3), labels, "abc"),
        Subset(ArrayDataset(images, labels, "abc"), range(12)),
        Subset(ArrayDataset(images, labels, "abc"), range(11)),
    ]
    assert len({base, *(data.fingerprint for data in changed)}) == 7


@pytest.mark.parametrize(
    "images, labels, classes, words",
    [
        (np.zeros((2, 3, 3, 1)), [0, 1], None, "must be uint8 of shape"),
        (np.zeros((2, 3), np.uint8), [0, 1], None, "must be uint8 of shape"),
        (np.zeros((2, 3, 3), np.uint8), [0], None, "labels must be 2 integers"),
        (np.zeros((2, 3, 3), np.uint8), [0.5, 1], None, "labels must be 2 integers"),
        (np.zeros((2, 3, 3), np.uint8), [0, -1], None, "labels go from -1 to 0"),
        (np.zeros((2, 3, 3), np.uint8), [0, 2], ["a", "b"], "from 0 to 2, but there are 2 classes"),
    ],
)
def test_unusable_arrays(images: Any, labels: Any, classes: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        ArrayDataset(images, labels, classes)


def test_indices_are_checked() -> None:
    data = ArrayDataset(*arrays())
    for bad in ([12], [-13]):
        with pytest.raises(IndexError, match="outside a dataset of 12"):
            data.get_batch(bad)
    with pytest.raises(IndexError, match="outside a dataset of 12"):
        data[12]
    with pytest.raises(TypeError, match="list of integers"):
        data.get_batch([0.5])


def test_subset_of_a_subset() -> None:
    images, labels = arrays()
    data = Subset(Subset(ArrayDataset(images, labels, "abc"), [9, 7, 5, 3]), [2, 0])
    np.testing.assert_array_equal(data.get_batch([0, 1])[0], images[[5, 9]])
    assert data.targets.tolist() == [labels[5], labels[9]]
    np.testing.assert_array_equal(data[1][0], images[9])
    assert (len(data), data.classes) == (2, ("a", "b", "c"))
    assert [label for _, label in data] == [2, 0], "a plain loop ends"


COUNTS = st.lists(st.integers(2, 40), min_size=1, max_size=5)


def labelled(counts: list[int]) -> ArrayDataset:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.zeros((len(labels), 1, 1, 1), np.uint8)
    return ArrayDataset(images, labels, [f"class {i}" for i in range(len(counts))])


@given(COUNTS, st.floats(0.01, 0.99), st.integers(0, 2**64 - 1))
def test_a_fraction_of_each_class(counts: list[int], fraction: float, seed: int) -> None:
    data = labelled(counts)
    chosen, rest = stratified_split(data, fraction, seed=seed)
    both = np.concatenate([chosen.indices, rest.indices])
    np.testing.assert_array_equal(np.sort(both), np.arange(len(data)))
    assert (np.diff(chosen.indices) > 0).all()
    for label, count in enumerate(counts):
        share = int((chosen.targets == label).sum())
        assert 1 <= share <= count - 1
        assert share == np.clip(round(count * fraction), 1, count - 1)
    again = stratified_split(data, fraction, seed=seed)[0]
    np.testing.assert_array_equal(chosen.indices, again.indices)


@given(COUNTS, st.integers(0, 1000))
def test_smaller_choices_are_part_of_larger_ones(counts: list[int], seed: int) -> None:
    data = labelled(counts)
    before: set[int] = set()
    for n in range(1, min(counts) + 1):
        chosen = stratified_split(data, per_class=n, seed=seed)[0]
        assert np.bincount(chosen.targets).tolist() == [n] * len(counts)
        assert before < set(chosen.indices.tolist())
        before = set(chosen.indices.tolist())


def test_seeds_choose_differently() -> None:
    data = labelled([40, 40])
    first, second = (stratified_split(data, 0.5, seed=s)[0].indices for s in (0, 1))
    assert set(first) != set(second)


def test_splits_that_cannot_be_made() -> None:
    data = labelled([5, 2])
    with pytest.raises(DataError, match="class 'class 1' has 2 images, 3 are needed"):
        stratified_split(data, per_class=3)
    with pytest.raises(DataError, match="class 'class 0' has 1 images, 2 are needed"):
        stratified_split(labelled([1]), 0.5)
    for wrong in ({}, {"fraction": 0.5, "per_class": 1}, {"fraction": 1.0}, {"per_class": 0}):
        with pytest.raises(ValueError, match="stratified_split: "):
            stratified_split(data, **wrong)  # type: ignore[arg-type]
