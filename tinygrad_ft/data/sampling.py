"""In which order the samples of an epoch come.

A sampler's `indices(epoch)` is the whole order of an epoch, (n,) int64, a function of its seed and
the epoch alone: resuming in mid-epoch is taking it from there.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tinygrad_ft.data.errors import DataError
from tinygrad_ft.data.randomness import (
    STREAM_BALANCE,
    STREAM_BALANCE_CLASS,
    check_seed,
    permutation,
)


class Sampler(Protocol):
    """See the head of this file."""

    def __len__(self) -> int: ...

    def indices(self, epoch: int) -> np.ndarray: ...


class SequentialSampler:
    """0, 1, 2, ... in every epoch."""

    def __init__(self, data_source: Sized) -> None:
        self._length = len(data_source)

    def __len__(self) -> int:
        return self._length

    def indices(self, epoch: int) -> np.ndarray:
        return np.arange(self._length)


class RandomSampler:
    """Each sample once, in an order drawn anew for each epoch."""

    def __init__(self, data_source: Sized, seed: int = 0) -> None:
        check_seed(seed)
        self._length, self.seed = len(data_source), seed

    def __len__(self) -> int:
        return self._length

    def indices(self, epoch: int) -> np.ndarray:
        return permutation(self._length, self.seed, epoch)


class BalancedSampler:
    """Every class equally often, for data sets with rare classes.

    Of `num_samples` (by default the number of targets) each class that has samples gets the same
    share, give or take one. Within a class the share runs through whole permutations of its
    samples, so none is repeated before all have been seen, and those of a large class that are left
    out change by epoch.

    targets  (N,) integers, the labels (`dataset.targets`)
    """

    def __init__(
        self, targets: npt.ArrayLike, seed: int = 0, num_samples: int | None = None
    ) -> None:
        check_seed(seed)
        labels = np.asarray(targets)
        if labels.ndim != 1 or not labels.size:
            raise DataError(f"BalancedSampler needs the labels of a data set, got {labels.shape}")
        if num_samples is not None and num_samples < 1:
            raise ValueError(f"BalancedSampler: num_samples must be positive, got {num_samples}")
        self._members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self._length, self.seed = num_samples or len(labels), seed

    def __len__(self) -> int:
        return self._length

    def indices(self, epoch: int) -> np.ndarray:
        classes = len(self._members)
        share, left = divmod(self._length, classes)
        # which classes get one more is drawn too
        more = permutation(classes, self.seed, epoch, STREAM_BALANCE) < left
        drawn = []
        for number, members in enumerate(self._members):
            need = share + int(more[number])
            rounds = -(-need // len(members))
            stream = STREAM_BALANCE_CLASS + number % 0x1_0000
            # all rounds of a class in one permutation: positions r*len .. r*len+len-1 are round r
            order = permutation(rounds * len(members), self.seed, epoch, stream)
            round_of, position = order // len(members), order % len(members)
            drawn.append(members[position[np.argsort(round_of, kind="stable")]][:need])
        return np.concatenate(drawn)[permutation(self._length, self.seed, epoch)]
