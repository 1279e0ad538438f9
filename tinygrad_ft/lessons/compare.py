"""What the learner's code gave against what is right: a sentence about the first thing wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_ft.lessons.learner import Problem
from tinygrad_ft.lessons.lesson import as_array

#: allowed are ABSOLUTE + RELATIVE * |right|: the error of a finite difference is far below
ABSOLUTE = 2e-6
RELATIVE = 2e-6


def as_results(given: Any, names: Sequence[str]) -> tuple[np.ndarray, ...]:
    """What was returned as one float array a name. Raises Problem if it is not that."""
    wanted = ", ".join(names)
    if given is None:
        raise Problem(f"it returned None instead of {wanted}: is a `return` missing?")
    values = (given,) if len(names) == 1 and not isinstance(given, tuple | list) else given
    if not isinstance(values, tuple | list):
        raise Problem(
            f"it returned one {type(given).__name__}, but should return {len(names)} results: "
            f"{wanted}"
        )
    if len(values) != len(names):
        raise Problem(f"it returned {len(values)} results instead of {len(names)}: {wanted}")
    return tuple(_as_floats(value, name) for value, name in zip(values, names, strict=True))


def _as_floats(value: Any, name: str) -> np.ndarray:
    if value is None:
        raise Problem(f"{name} is None")
    try:
        array = as_array(value)
    except Exception:
        raise Problem(f"{name} is a {type(value).__name__}, not an array") from None
    if array.dtype.kind not in "fiu":
        raise Problem(f"{name} has dtype {array.dtype}; it should be an array of floats")
    return np.array(array, np.float64)


def refuse_wrong(
    given: Sequence[np.ndarray], right: Sequence[np.ndarray], names: Sequence[str], proof: str
) -> float:
    """Problem for the first result that is wrong; else the largest difference."""
    largest = 0.0
    for mine, truth, name in zip(given, right, names, strict=True):
        if mine.shape != truth.shape:
            raise Problem(f"{name} has shape {mine.shape}, but should have {truth.shape}")
        if not np.isfinite(mine).all():
            wrong = np.argwhere(~np.isfinite(mine))
            element = tuple(int(i) for i in wrong[0])
            raise Problem(
                f"{_place(name, element)} is {mine[element]}, but should be {truth[element]:.6g} "
                f"(by {proof}); {len(wrong)} of {mine.size} elements are not finite"
            )
        difference = np.abs(mine - truth)
        wrong = difference > ABSOLUTE + RELATIVE * np.abs(truth)
        if wrong.any():
            raise Problem(_worst(mine, truth, name, wrong, proof))
        largest = max(largest, float(difference.max(initial=0.0)))
    return largest


def _worst(mine: np.ndarray, truth: np.ndarray, name: str, wrong: np.ndarray, proof: str) -> str:
    difference = np.abs(mine - truth)
    element = tuple(int(i) for i in np.unravel_index(np.argmax(difference), mine.shape))
    more = "too large" if mine[element] > truth[element] else "too small"
    text = (
        f"{_place(name, element)} is {mine[element]:.6g}, but should be {truth[element]:.6g} "
        f"(by {proof}): {difference[element]:.3g} {more}"
    )
    if mine.size > 1:
        count = int(wrong.sum())
        text += f"; {count} of {mine.size} elements {'is' if count == 1 else 'are'} wrong"
    return text


def _place(name: str, element: tuple[int, ...]) -> str:
    return f"{name}[{', '.join(map(str, element))}]" if element else name


def agree(mine: np.ndarray, truth: np.ndarray) -> bool:
    """Whether a result is right."""
    return mine.shape == truth.shape and np.allclose(mine, truth, RELATIVE, ABSOLUTE)


def general_hint(given: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> str | None:
    """What can be said of a wrong result without knowing the lesson."""
    for mine, truth in zip(given, right, strict=True):
        if mine.shape != truth.shape:
            if mine.ndim == 2 and mine.T.shape == truth.shape:
                return "rows and columns are swapped: is it the transpose of what it should be?"
            return "a gradient has the shape of what it is the gradient of"
        if agree(mine, truth):
            continue
        if not mine.any():
            return "it is all zeros: was the result written at all?"
        if agree(mine, -truth):
            return "the sign is wrong, everything else is right"
        if mine.ndim == 2 and agree(mine.T, truth):
            return "rows and columns are swapped: it is the transpose of what it should be"
        nonzero = np.abs(truth) > ABSOLUTE
        ratios = mine[nonzero] / truth[nonzero]
        if mine.size > 1 and ratios.size and np.allclose(ratios, ratios[0], 1e-5, 0):
            return f"every element is {ratios[0]:.4g} times what it should be: one factor is wrong"
        return None
    return None


def same(given: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> bool:
    """Whether two sets of results are the same numbers, NaN included."""
    return all(
        a.shape == b.shape and np.allclose(a, b, 1e-6, 1e-8, equal_nan=True)
        for a, b in zip(given, other, strict=True)
    )
