"""`DataLoader`: batches of a dataset, made ahead of time off the main thread."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from tinygrad_ft.data.datasets import get_batch
from tinygrad_ft.data.mixing import Mix
from tinygrad_ft.data.randomness import Draw, check_seed
from tinygrad_ft.data.sampling import RandomSampler, Sampler, SequentialSampler
from tinygrad_ft.data.transforms import ToFloat, Transform

Collate = Callable[[np.ndarray, np.ndarray], Any]


def to_tensors(images: np.ndarray, labels: np.ndarray) -> Any:
    """The default `collate_fn`: both arrays as Tensors."""
    # imported here: nothing else in this package needs the engine
    from tinygrad_ft.tensor import Tensor

    return Tensor(images), Tensor(labels)


class DataLoader:
    """Iterates over (images, labels) batches.

    images  float32, shape (N,C,H,W) with channels-last memory; what the transform leaves as uint8
            is divided by 255. Samples that are not images (no H,W,C) are stacked as they are
    labels  (N,) int64 (but see `mix`)

    dataset      anything with `__len__` and `__getitem__ -> (image HWC, label)`; `get_batch` is
                 faster
    shuffle      a new order each epoch; or give a `sampler`
    num_workers  threads that make batches ahead of time; 0 makes them in the caller's thread when
                 asked. Neither this nor `prefetch` changes a bit of any batch
    collate_fn   called with (images, labels) as ndarrays; what it returns is the batch. By default
                 both become Tensors
    drop_last    leave out a last batch that is not full
    transform    of batches, see `transforms`
    mix          after the transform, images and labels of a batch with each other's; the labels are
                 then (N, classes) float32
    seed         of the order and the transforms
    prefetch     batches made ahead, at most

    Each `for` over the loader is the next epoch: the first is `epoch` 0, `set_epoch(e)` chooses it,
    and `iter_from(b)` starts at batch b of it with the bits that a full epoch has there. An error
    in a worker is raised at the batch it belongs to. Leaving the loop early ends the workers.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Sampler | None = None,
        *,
        num_workers: int = 1,
        collate_fn: Collate | None = None,
        drop_last: bool = False,
        transform: Transform | None = None,
        mix: Mix | None = None,
        seed: int = 0,
        prefetch: int = 2,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be at least 1, got {batch_size}")
        if num_workers < 0 or prefetch < 1:
            raise ValueError(
                f"DataLoader: num_workers must not be negative and prefetch at least 1, "
                f"got {num_workers} and {prefetch}"
            )
        if shuffle and sampler is not None:
            raise ValueError("DataLoader: give either shuffle=True or a sampler")
        check_seed(seed)
        if sampler is None:
            sampler = RandomSampler(dataset, seed) if shuffle else SequentialSampler(dataset)
        self.dataset, self.sampler = dataset, sampler
        self.batch_size, self.drop_last = batch_size, drop_last
        self.num_workers, self.prefetch = num_workers, prefetch
        self.collate_fn: Collate = collate_fn or to_tensors
        self.transform, self.mix, self.seed = transform, mix, seed
        self.epoch = 0

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        batches = len(self.sampler) / self.batch_size
        return math.floor(batches) if self.drop_last else math.ceil(batches)

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration is."""
        check_seed(self.seed, epoch)
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        return self.iter_from(0)

    def iter_from(self, batch_index: int) -> Iterator[Any]:
        """The current epoch from batch `batch_index` on; counts as its iteration."""
        if not 0 <= batch_index <= len(self):
            raise ValueError(
                f"iter_from: batch {batch_index} is outside this epoch of {len(self)} batches"
            )
        epoch, self.epoch = self.epoch, self.epoch + 1
        order = np.asarray(self.sampler.indices(epoch), dtype=np.int64)
        keys = _distinct(order, len(self.dataset))
        numbers = iter(range(batch_index, len(self)))

        def make(number: int) -> tuple[np.ndarray, np.ndarray]:
            part = slice(number * self.batch_size, (number + 1) * self.batch_size)
            return self._make(epoch, number, order[part], keys[part])

        arrays = self._ahead(make, numbers) if self.num_workers else map(make, numbers)
        return self._collated(arrays)

    def _make(
        self, epoch: int, number: int, indices: np.ndarray, keys: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        try:
            images, labels = get_batch(self.dataset, indices)
            draw = Draw(self.seed, epoch, keys)
            if self.transform is not None:
                images = self.transform(images, draw)
            if self.mix is not None:
                images, labels = self.mix(ToFloat()(images), labels, draw)
            if images.ndim == 4:
                # N,C,H,W for the eye, N,H,W,C in memory
                images = np.ascontiguousarray(ToFloat()(images)).transpose(0, 3, 1, 2)
            return images, labels
        except Exception as error:
            error.add_note(f"(in batch {number} of epoch {epoch}, samples {_brief(indices)})")
            raise

    def _collated(self, arrays: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[Any]:
        for images, labels in arrays:
            yield self.collate_fn(images, labels)

    def _ahead(
        self, make: Callable[[int], tuple[np.ndarray, np.ndarray]], numbers: Iterator[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """`map(make, numbers)`, with up to `prefetch` results made ahead in threads."""
        pending: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="DataLoader")
        try:
            while True:
                while len(pending) < self.prefetch and (number := next(numbers, None)) is not None:
                    pending.append(pool.submit(make, number))
                if not pending:
                    return
                result = pending.popleft().result()
                # the next one starts before the caller is busy with this one
                if (number := next(numbers, None)) is not None:
                    pending.append(pool.submit(make, number))
                yield result
        finally:
            # reached at the end, on an error, and when the loop is left and this generator dropped
            pool.shutdown(wait=True, cancel_futures=True)


def _distinct(order: np.ndarray, length: int) -> np.ndarray:
    """The key of each sample for its random numbers: its index, plus `length` for each time that
    the index came before in this epoch, so that a repeated image is not augmented the same way
    twice.
    """
    sorting = np.argsort(order, kind="stable")
    ordered = order[sorting]
    new = np.ones(len(order), dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    if new.all():
        return order
    at = np.arange(len(order))
    seen_before = at - np.maximum.accumulate(np.where(new, at, 0))
    keys = np.empty_like(order)
    keys[sorting] = ordered + length * seen_before
    return keys


def _brief(indices: np.ndarray) -> str:
    text = ", ".join(map(str, indices[:5]))
    return f"{text}, ... ({len(indices)})" if len(indices) > 5 else text
