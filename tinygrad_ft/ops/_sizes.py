"""Shared by convolution and pooling: settings that are one number or one for each dimension."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Pair = tuple[int, int]
Sizes = int | Sequence[int]
"""An int for all dimensions, or one for each."""


def as_sizes(op: str, name: str, value: Sizes, least: int, count: int) -> tuple[int, ...]:
    """`count` ints from one or from as many; ValueError if one is below `least`."""
    sizes = (value,) * count if isinstance(value, int | np.integer) else value
    if (
        not isinstance(sizes, tuple | list)
        or len(sizes) != count
        or not all(isinstance(s, int | np.integer) for s in sizes)
    ):
        what = {1: "an int", 2: "an int or a pair"}.get(count, f"an int or {count} of them")
        raise ValueError(f"{op}: {name} must be {what}, got {value!r}")
    if min(sizes) < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {value}")
    return tuple(int(s) for s in sizes)


def as_pair(op: str, name: str, value: Sizes, least: int) -> Pair:
    """`as_sizes` of two."""
    a, b = as_sizes(op, name, value, least, 2)
    return a, b


def planar(sizes: Sequence[int], lead: int) -> Pair:
    """The setting of an image: one dimension is an image of height 1, with `lead` vertically."""
    return (lead, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])
