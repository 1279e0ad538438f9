from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_ft.data import sample_uniform
from tinygrad_ft.data.randomness import permutation, philox4x32, sample_bits


@pytest.mark.parametrize(
    "counter, key, expected",
    [
        # known answers of the authors' Random123 library (kat_vectors)
        (
            (0, 0, 0, 0),
            (0, 0),
            (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
        ),
        (
            (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
            (0xFFFFFFFF, 0xFFFFFFFF),
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(
    counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    words = tuple(np.array([c], dtype=np.uint64) for c in counter)
    out = philox4x32(words, key)  # type: ignore[arg-type]
    assert tuple(int(word[0]) for word in out) == expected


SEEDS = st.integers(0, 2**64 - 1)
SMALL = st.integers(0, 2**32 - 1)


@given(SEEDS, SMALL, SMALL, st.lists(st.integers(0, 2**62), min_size=1, max_size=20))
def test_a_number_does_not_depend_on_its_batch(
    seed: int, epoch: int, stream: int, indices: list[int]
) -> None:
    together = sample_uniform(seed, epoch, indices, stream)
    alone = [sample_uniform(seed, epoch, [i], stream)[0] for i in indices]
    np.testing.assert_array_equal(together, alone)
    assert ((together >= 0) & (together < 1)).all()


def test_numbers_are_uniform() -> None:
    n = 200_000
    u = sample_uniform(1, 2, np.arange(n), 3)
    counts = np.bincount((u * 100).astype(int), minlength=100)
    chi2 = ((counts - n / 100) ** 2 / (n / 100)).sum()
    assert 50 < chi2 < 160, "99 degrees of freedom"
    bits = sample_bits(1, 2, np.arange(n), 3)
    shares = [((bits >> np.uint64(b)) & np.uint64(1)).mean() for b in range(64)]
    assert np.abs(np.array(shares) - 0.5).max() < 5 * 0.5 / np.sqrt(n)


def test_seed_epoch_index_and_stream_are_independent() -> None:
    n = 100_000
    index = np.arange(n)
    base = sample_uniform(0, 0, index, 0)
    others = {
        "seed": sample_uniform(1, 0, index, 0),
        "seed's upper half": sample_uniform(1 << 32, 0, index, 0),
        "epoch": sample_uniform(0, 1, index, 0),
        "stream": sample_uniform(0, 0, index, 1),
        "next index": sample_uniform(0, 0, index + 1, 0),
        "index's upper half": sample_uniform(0, 0, index + (1 << 32), 0),
    }
    for name, other in others.items():
        assert abs(np.corrcoef(base, other)[0, 1]) < 5 / np.sqrt(n), name
        # pairs fill the square evenly
        cells = np.bincount((base * 8).astype(int) * 8 + (other * 8).astype(int), minlength=64)
        chi2 = ((cells - n / 64) ** 2 / (n / 64)).sum()
        assert chi2 < 120, (name, chi2)


@given(st.integers(0, 300), SEEDS, SMALL)
def test_permutation(n: int, seed: int, epoch: int) -> None:
    order = permutation(n, seed, epoch)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    np.testing.assert_array_equal(order, permutation(n, seed, epoch))


@pytest.mark.parametrize(
    "seed, epoch, stream", [(-1, 0, 0), (2**64, 0, 0), (0, -1, 0), (0, 2**32, 0), (0, 0, 2**32)]
)
def test_numbers_out_of_range(seed: int, epoch: int, stream: int) -> None:
    with pytest.raises(ValueError, match="must be from 0 to"):
        sample_uniform(seed, epoch, [0], stream)
