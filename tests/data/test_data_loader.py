from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_ft.data import (
    ArrayDataset,
    BalancedSampler,
    Compose,
    Cutout,
    DataError,
    DataLoader,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
)

RNG = np.random.default_rng(0)
DATA = ArrayDataset(
    RNG.integers(0, 256, (53, 6, 6, 3), dtype=np.uint8), RNG.integers(0, 4, 53), list("abcd")
)
AUGMENT = Compose(
    [RandomCrop(6, 2), RandomHorizontalFlip(), Normalize((0.4,) * 3, (0.2,) * 3), Cutout(2)]
)


def keep(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return images, labels


def loader(**options: Any) -> DataLoader:
    options = {"shuffle": True, "transform": AUGMENT, "collate_fn": keep, "seed": 5} | options
    return DataLoader(DATA, options.pop("batch_size", 8), **options)


def joined(batches: Any) -> tuple[np.ndarray, np.ndarray]:
    parts = list(batches)
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("DataLoader")]


def test_plain_batches() -> None:
    batches = list(DataLoader(DATA, 10, collate_fn=keep))
    assert [len(labels) for _, labels in batches] == [10, 10, 10, 10, 10, 3]
    images, labels = joined(batches)
    assert images.shape == (53, 3, 6, 6)
    assert (images.dtype, labels.dtype) == (np.float32, np.int64)
    np.testing.assert_allclose(images.transpose(0, 2, 3, 1), DATA.images / 255, rtol=2e-7)
    np.testing.assert_array_equal(labels, DATA.targets)
    assert batches[0][0].transpose(0, 2, 3, 1).flags.c_contiguous, "channels last in memory"


def test_length_and_drop_last() -> None:
    for n, drop, length in (
        (8, False, 7),
        (8, True, 6),
        (53, True, 1),
        (60, True, 0),
        (1, False, 53),
    ):
        found = loader(batch_size=n, drop_last=drop)
        assert len(found) == len(list(found)) == length


@settings(max_examples=25, deadline=None)
@given(
    batch_size=st.integers(1, 60),
    num_workers=st.integers(0, 3),
    prefetch=st.integers(1, 4),
    epoch=st.integers(0, 3),
    start=st.floats(0, 1),
)
def test_no_setting_changes_a_bit(
    batch_size: int, num_workers: int, prefetch: int, epoch: int, start: float
) -> None:
    reference = loader(batch_size=53, num_workers=0)
    reference.set_epoch(epoch)
    images, labels = joined(reference)
    other = loader(batch_size=batch_size, num_workers=num_workers, prefetch=prefetch)
    other.set_epoch(epoch)
    first = min(int(start * len(other)), len(other) - 1)
    part = joined(other.iter_from(first))
    np.testing.assert_array_equal(part[0], images[first * batch_size :])
    np.testing.assert_array_equal(part[1], labels[first * batch_size :])


def test_each_loop_is_the_next_epoch() -> None:
    found = loader()
    first, second = joined(found), joined(found)
    assert (first[1] != second[1]).any()
    assert found.epoch == 2
    found.set_epoch(0)
    np.testing.assert_array_equal(joined(found)[0], first[0])
    np.testing.assert_array_equal(joined(found)[0], second[0])


def test_iter_from_the_end_and_beyond() -> None:
    found = loader()
    assert list(found.iter_from(len(found))) == []
    with pytest.raises(ValueError, match="batch 8 is outside this epoch of 7"):
        found.iter_from(8)


def test_batches_are_the_callers_own() -> None:
    for options in ({"transform": None}, {"transform": AUGMENT}):
        before = DATA.images.copy()
        for images, labels in loader(**options):
            images[:] = -1
            labels[:] = -1
        np.testing.assert_array_equal(DATA.images, before)
        assert DATA.targets.min() == 0


def test_a_repeated_sample_is_augmented_anew() -> None:
    one = ArrayDataset(DATA.images[:2], [0, 1])
    found = DataLoader(
        one,
        4,
        sampler=BalancedSampler(one.targets, num_samples=40),
        transform=RandomCrop(6, 3),
        collate_fn=keep,
    )
    images, labels = joined(found)
    assert (labels == 0).sum() == 20
    assert len({image.tobytes() for image in images[labels == 0]}) > 10


def test_any_dataset_with_samples_will_do() -> None:
    class Plain:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            return np.full((2, 2, 1), index, dtype=np.uint8), index

    images, labels = joined(DataLoader(Plain(), 2, collate_fn=keep))
    np.testing.assert_allclose(images[:, 0, 0, 0] * 255, labels, rtol=1e-6)

    class Vectors(Plain):
        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            return np.full(3, index, dtype=np.float32), index

    images, _ = joined(DataLoader(Vectors(), 2, collate_fn=keep))
    np.testing.assert_array_equal(images, np.arange(5)[:, None].repeat(3, axis=1))

    class Uneven(Plain):
        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            return np.zeros((2, 2 + index, 1), dtype=np.uint8), index

    with pytest.raises(DataError, match=r"sample 1 has shape \(2, 3, 1\), sample 0 has"):
        list(DataLoader(Uneven(), 2, collate_fn=keep))


class Counting(ArrayDataset):
    """Counts the batches that were asked for; the sample `bad` cannot be read."""

    def __init__(self, bad: int = -1) -> None:
        super().__init__(DATA.images, DATA.targets, DATA.classes)
        self.bad, self.asked = bad, 0

    def get_batch(self, indices: Any) -> tuple[np.ndarray, np.ndarray]:
        self.asked += 1
        if self.bad in indices:
            raise DataError("'cat/7.jpg' cannot be decoded")
        return super().get_batch(indices)


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_an_error_comes_at_its_batch_and_names_the_file(num_workers: int) -> None:
    iterator = iter(DataLoader(Counting(bad=20), 8, num_workers=num_workers, collate_fn=keep))
    assert len(next(iterator)[1]) == len(next(iterator)[1]) == 8
    with pytest.raises(DataError, match=r"'cat/7\.jpg' cannot be decoded") as caught:
        next(iterator)
    assert caught.value.__notes__ == [
        "(in batch 2 of epoch 0, samples 16, 17, 18, 19, 20, ... (8))"
    ]
    assert threads() == []


def test_no_more_than_prefetch_batches_ahead() -> None:
    data = Counting()
    iterator = iter(DataLoader(data, 4, prefetch=3, collate_fn=keep))
    assert data.asked == 0
    next(iterator)
    time.sleep(0.1)
    assert data.asked == 4, "the one in use and three ahead"
    next(iterator)
    time.sleep(0.1)
    assert data.asked == 5


def test_batches_are_made_off_the_main_thread() -> None:
    made_in: list[str] = []

    def note(images: np.ndarray, draw: Any = None) -> np.ndarray:
        made_in.append(threading.current_thread().name)
        return images

    list(DataLoader(DATA, 8, transform=note, collate_fn=keep))
    assert made_in
    assert all(name.startswith("DataLoader") for name in made_in)
    made_in.clear()
    list(DataLoader(DATA, 8, transform=note, collate_fn=keep, num_workers=0))
    assert set(made_in) == {threading.current_thread().name}


def test_leaving_the_loop_ends_the_threads() -> None:
    for _ in loader(batch_size=4, num_workers=2):
        assert threads()
        break
    assert threads() == []
    list(loader())
    assert threads() == []
    kept = iter(loader())
    next(kept)
    assert threads()
    del kept
    assert threads() == []


def test_the_interpreter_ends_with_a_loader_in_use() -> None:
    code = (
        "import numpy as np\n"
        "from tinygrad_ft.data import ArrayDataset, DataLoader\n"
        "data = ArrayDataset(np.zeros((1000, 4, 4, 1), np.uint8), np.zeros(1000, int))\n"
        "it = iter(DataLoader(data, 1, collate_fn=lambda x, y: x.shape, num_workers=2))\n"
        "print(next(it))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (out.stdout, out.stderr, out.returncode) == ("(1, 1, 4, 4)\n", "", 0)


def test_batches_are_tensors_by_default() -> None:
    tinygrad_ft = pytest.importorskip("tinygrad_ft")
    images, labels = next(iter(DataLoader(DATA, 8)))
    assert isinstance(images, tinygrad_ft.Tensor)
    assert isinstance(labels, tinygrad_ft.Tensor)
    assert (images.shape, labels.shape) == ((8, 3, 6, 6), (8,))
    assert (images.dtype, labels.dtype) == (np.float32, np.int64)
    assert images.numpy().transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize(
    "options, words",
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"num_workers": -1}, "num_workers must not be negative"),
        ({"prefetch": 0}, "prefetch at least 1"),
        ({"seed": -1}, "seed must be"),
        ({"sampler": BalancedSampler([0])}, "either shuffle=True or a sampler"),
    ],
)
def test_wrong_use(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        loader(**options)
