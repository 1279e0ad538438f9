"""What generated inputs are checked with: NumPy's values, and slopes of NumPy's own function."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis.extra import numpy as hnp

import tinygrad_ft as tg

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
STEP = 1e-6


def values(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Positive and distinct: no pole, no tie."""
    size = math.prod(shape)
    return np.random.default_rng(seed).permutation(size).reshape(shape) * 0.1 + 0.53 + 0.01 * seed


def fractions(shape: tuple[int, ...], signed: bool = True) -> np.ndarray:
    """Between 0.2 and 0.8, of either sign: away from the kinks and poles of most functions."""
    rng = np.random.default_rng(len(shape))
    return rng.uniform(0.2, 0.8, shape) * (rng.choice([-1.0, 1.0], shape) if signed else 1.0)


def listed(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple | list) else [result]


def check(f: Callable, reference: Callable, arrays: Sequence[np.ndarray]) -> None:
    """`f` on tensors equals `reference` on arrays, and so do their slopes in a random direction.

    The gradient g of sum(w * f(x)) is right if <g, d> is the slope of sum(w * reference(x)) in the
    direction d; the slope is a central difference that does not use the engine.
    """
    tensors = [tg.Tensor(a.copy(), requires_grad=True) for a in arrays]
    found, expected = listed(f(*tensors)), listed(reference(*arrays))
    assert len(found) == len(expected)
    for out, e in zip(found, expected, strict=True):
        assert out.shape == np.shape(e)
        np.testing.assert_allclose(out.numpy(), e, rtol=1e-11, atol=1e-12)
    rng = np.random.default_rng(7)
    floats = [i for i, e in enumerate(expected) if np.asarray(e).dtype.kind == "f"]
    weights = [rng.standard_normal(np.shape(expected[i])) for i in floats]
    assert all(found[i].requires_grad for i in floats)
    gradients = tg.autograd.grad([found[i] for i in floats], tensors, weights)
    directions = [rng.standard_normal(a.shape) for a in arrays]

    def moved(step: float) -> list[np.ndarray]:
        out = listed(reference(*(a + step * d for a, d in zip(arrays, directions, strict=True))))
        return [np.asarray(out[i]) for i in floats]

    above, below = moved(STEP), moved(-STEP)
    slopes = [
        float(np.sum(w * (u - v)) / (2 * STEP))
        for w, u, v in zip(weights, above, below, strict=True)
    ]
    along = sum(float(np.sum(g.numpy() * d)) for g, d in zip(gradients, directions, strict=True))
    size = sum(float(np.sum(np.abs(w * u))) for w, u in zip(weights, above, strict=True))
    for g, t in zip(gradients, tensors, strict=True):
        assert g.shape == t.shape
    np.testing.assert_allclose(along, sum(slopes), rtol=1e-5, atol=1e-7 + 1e-8 * size)
