"""The one random generator behind initialisation, dropout and `randn`; seeded by `manual_seed`."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.workers import cannot_repeat

_generator = np.random.Generator(np.random.PCG64(0))


def manual_seed(seed: int) -> np.random.Generator:
    """Start the generator anew from `seed` (any non-negative integer) and return it."""
    if seed < 0:
        raise ValueError(f"manual_seed: the seed must not be negative, got {seed}")
    _generator.bit_generator.state = np.random.PCG64(seed).state
    return _generator


def generator() -> np.random.Generator:
    """The generator itself, for code that draws its own numbers."""
    cannot_repeat("random numbers are drawn")
    return _generator


def get_rng_state() -> dict[str, Any]:
    """The generator's state: plain integers and strings, fit for JSON."""
    return dict(_generator.bit_generator.state)


def set_rng_state(state: dict[str, Any]) -> None:
    """Put back a state that `get_rng_state` gave."""
    _generator.bit_generator.state = state
