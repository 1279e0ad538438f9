"""Rounding error bounds for the tests of products and convolutions.

A sum of K products in float32, rounded at every step in any order, differs from the exact sum by at
most gamma(K) * sum |a||b| with gamma(K) = K u / (1 - K u) and u = 2**-24 (Higham, "Accuracy and
Stability of Numerical Algorithms", section 3.1). Products that are sums of partial sums keep that
bound with K the whole number of terms.
"""

import numpy as np

U = 2.0**-24
TINY = 1e-37
"""Below this size products may lose digits to underflow."""


def gamma(k: int) -> float:
    return k * U / (1 - k * U)


def assert_within(result: np.ndarray, exact: np.ndarray, magnitude: np.ndarray, k: int) -> None:
    """|result - exact| <= gamma(k) * magnitude, everywhere."""
    assert result.dtype == np.float32
    assert result.shape == exact.shape
    error = np.abs(result - exact)
    bad = ~(error <= gamma(k) * magnitude + TINY)
    assert not bad.any(), (
        f"{bad.sum()} of {bad.size} outside the bound, first at {np.argwhere(bad)[0]}"
    )
