"""Random numbers that are a function of (seed, epoch, index, stream) and of nothing else.

The generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC
2011), a block cipher applied to a counter: there is no state to carry, so batch size, worker count,
the order of calls and a resume in mid-epoch cannot change a number. It is written out in integer
NumPy, so its bits are the same on every machine and in every NumPy version.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Streams 0, 1, 2, ... belong to transforms (`Draw.stream`); the users below take theirs from the
# top.
STREAM_SHUFFLE = 0xFFFF_0000
STREAM_BALANCE = 0xFFFF_0001
STREAM_BALANCE_CLASS = 0xFFFE_0000  # + number of the class
STREAM_SPLIT = 0xFFFF_0002
STREAM_GLYPHS = 0xFFFF_0100

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFF_FFFF)
_HALF = np.uint64(32)

Words = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def philox4x32(counter: Words, key: tuple[int, int]) -> Words:
    """Ten rounds of Philox4x32 on four arrays of 32-bit words (kept in uint64), elementwise."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (
            (p1 >> _HALF) ^ c1 ^ np.uint64(k0),
            p1 & _LOW,
            (p0 >> _HALF) ^ c3 ^ np.uint64(k1),
            p0 & _LOW,
        )
        k0, k1 = (k0 + _W0) & 0xFFFF_FFFF, (k1 + _W1) & 0xFFFF_FFFF
    return c0, c1, c2, c3


def check_seed(seed: int, epoch: int = 0, stream: int = 0) -> None:
    """Refuse what does not fit into the counter and the key."""
    if not 0 <= seed < 2**64:
        raise ValueError(f"the seed must be from 0 to 2**64 - 1, got {seed}")
    if not 0 <= epoch < 2**32:
        raise ValueError(f"the epoch must be from 0 to 2**32 - 1, got {epoch}")
    if not 0 <= stream < 2**32:
        raise ValueError(f"the stream must be from 0 to 2**32 - 1, got {stream}")


def sample_bits(seed: int, epoch: int, indices: npt.ArrayLike, stream: int = 0) -> np.ndarray:
    """64 random bits for each index: (N,) uint64."""
    check_seed(seed, epoch, stream)
    # the index fills the counter's first two words, epoch and stream the others
    index = np.asarray(indices, dtype=np.int64).astype(np.uint64)
    counter = (
        index & _LOW,
        index >> _HALF,
        np.full_like(index, epoch),
        np.full_like(index, stream),
    )
    high, low, _, _ = philox4x32(counter, (seed & 0xFFFF_FFFF, seed >> 32))
    return (high << _HALF) | low


def sample_uniform(seed: int, epoch: int, indices: npt.ArrayLike, stream: int = 0) -> np.ndarray:
    """One number in [0, 1) for each index: (N,) float64, a multiple of 2**-53."""
    return (sample_bits(seed, epoch, indices, stream) >> np.uint64(11)) * 2.0**-53


def permutation(n: int, seed: int, epoch: int, stream: int = STREAM_SHUFFLE) -> np.ndarray:
    """A permutation of 0..n-1, (n,) int64: the order of the indices' random bits."""
    return np.argsort(sample_bits(seed, epoch, np.arange(n), stream), kind="stable")


@dataclass(frozen=True)
class Draw:
    """What a random transform draws from: the batch's sample indices (N,), the seed, the epoch, and
    the first stream that is the transform's own.
    """

    seed: int
    epoch: int
    indices: np.ndarray
    stream: int = 0

    def uniform(self, number: int = 0) -> np.ndarray:
        """The transform's `number`-th uniform per sample: (N,) float64 in [0, 1)."""
        return sample_uniform(self.seed, self.epoch, self.indices, self.stream + number)
