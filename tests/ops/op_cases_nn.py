"""Cases of matrix products."""

import numpy as np
from op_case import (
    case,
    real,
)

PRODUCTS = [
    case("matmul", [real(2, 3), real(3, 4)], np.matmul, order=3),
    case("__matmul__", [real(2, 3), real(3, 4)], np.matmul),
    case("__rmatmul__", [real(2, 3), real(4, 2)], lambda b, a: a @ b),
    case("matmul", [real(3), real(3)], np.matmul, note="vectors"),
    case("matmul", [real(2, 3), real(3)], np.matmul, note="matrix vector"),
    case("matmul", [real(3), real(2, 3, 2)], np.matmul, note="vector stack"),
    case("matmul", [real(2, 2, 3), real(3, 2)], np.matmul, note="stack matrix"),
    case("matmul", [real(2, 3), real(2, 3, 2)], np.matmul, note="matrix stack"),
    case("matmul", [real(2, 1, 2, 3), real(3, 3, 1)], np.matmul, note="broadcast"),
    case("matmul", [real(2, 0), real(0, 3)], np.matmul, note="empty inner"),
    case("matmul", [real(2, 0, 3), real(2, 3, 4)], np.matmul, note="empty stack"),
    case("matmul", [real(2, 0, 3), real(3, 4)], np.matmul, note="empty rows"),
    case("linear", [real(2, 3), real(4, 3), real(4)], lambda x, w, b: x @ w.T + b, order=3),
    case("linear", [real(2, 3, 2), real(4, 2)], lambda x, w: x @ w.T, note="no bias"),
    case("linear", [real(3), real(4, 3), real(4)], lambda x, w, b: w @ x + b, note="vector"),
    case("linear", [real(0, 3), real(4, 3)], lambda x, w: np.zeros((0, 4)), note="empty"),
]
