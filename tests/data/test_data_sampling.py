from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_ft.data import BalancedSampler, DataError, RandomSampler, SequentialSampler


def test_sequential() -> None:
    sampler = SequentialSampler(range(5))
    assert len(sampler) == 5
    assert sampler.indices(3).tolist() == [0, 1, 2, 3, 4]


def test_random_orders() -> None:
    sampler = RandomSampler(range(100), seed=1)
    orders = [sampler.indices(epoch).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert orders == [RandomSampler(range(100), seed=1).indices(e).tolist() for e in range(3)]
    assert orders[0] != RandomSampler(range(100), seed=2).indices(0).tolist()


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60),
    st.integers(0, 2**64 - 1),
    st.integers(0, 9),
    st.one_of(st.none(), st.integers(1, 200)),
)
def test_balanced(labels: list[int], seed: int, epoch: int, num_samples: int | None) -> None:
    targets = np.array(labels)
    sampler = BalancedSampler(targets, seed, num_samples)
    order = sampler.indices(epoch)
    assert len(order) == len(sampler) == (num_samples or len(labels))
    np.testing.assert_array_equal(order, BalancedSampler(targets, seed, num_samples).indices(epoch))
    present = np.unique(targets)
    per_class = np.array([(targets[order] == label).sum() for label in present])
    assert per_class.max() - per_class.min() <= 1
    for label, drawn in zip(present, per_class, strict=True):
        members = np.flatnonzero(targets == label)
        times = np.bincount(order, minlength=len(targets))[members]
        assert times.max() - times.min() <= 1, "no sample again before all have been"
        assert times.sum() == drawn


def test_balanced_shows_other_samples_of_a_large_class_each_epoch() -> None:
    targets = np.array([0] * 1000 + [1] * 10)
    sampler = BalancedSampler(targets, seed=3, num_samples=100)
    first, second = (set(sampler.indices(e)[sampler.indices(e) < 1000].tolist()) for e in (0, 1))
    assert len(first) == len(second) == 50
    assert len(first & second) < 15


def test_wrong_use() -> None:
    with pytest.raises(DataError, match="needs the labels"):
        BalancedSampler([])
    with pytest.raises(ValueError, match="num_samples must be positive"):
        BalancedSampler([0, 1], num_samples=0)
    with pytest.raises(ValueError, match="seed must be"):
        RandomSampler(range(3), seed=-1)
