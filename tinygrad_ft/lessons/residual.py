"""Lesson 8, residual blocks: the gradient of y = x + W2 relu(W1 x)."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.lessons.lesson import Case, Lesson, Mistake, case, shapes

TEMPLATE = '''\
"""Lesson 8: a residual block, y = x + W2 relu(W1 x), and its way back."""

import numpy as np


def residual_backward(grad, x, W1, W2):
    """dL/dx, dL/dW1 and dL/dW2 from grad = dL/dy; x and y are vectors of the same length."""
    h = W1 @ x
    r = np.maximum(h, 0)
    HOLE
    return dx, dW1, dW2
'''

_WAY = "dh = (W2.T @ grad) * (h >= 0)\n"
_WEIGHTS = "dW1 = np.outer(dh, x)\ndW2 = np.outer(grad, r)"

ANSWER = f"{_WAY}dx = grad + W1.T @ dh\n{_WEIGHTS}"

MISTAKES = (
    Mistake(
        f"{_WAY}dx = W1.T @ dh\n{_WEIGHTS}",
        "x reaches y on two ways; the short one, past the block, gives its gradient on unchanged: "
        "+ grad",
    ),
    Mistake(
        f"{_WAY}dx = grad\n{_WEIGHTS}",
        "x reaches y on two ways; the one through the block is missing in dx: + W1.T @ dh",
    ),
    Mistake(
        f"dh = W2.T @ grad\ndx = grad + W1.T @ dh\n{_WEIGHTS}",
        "the gradient has to pass the ReLU as well: it goes on where h >= 0 and ends elsewhere",
    ),
    Mistake(
        f"dh = (W2.T @ grad) * h\ndx = grad + W1.T @ dh\n{_WEIGHTS}",
        "the slope of the ReLU is 1 or 0, not h: multiply by the mask (h >= 0)",
    ),
    Mistake(
        f"dh = (W2.T @ grad) * r\ndx = grad + W1.T @ dh\n{_WEIGHTS}",
        "the slope of the ReLU is 1 or 0, not its output: multiply by the mask (h >= 0)",
    ),
    Mistake(
        f"dh = (W2 @ grad) * (h >= 0)\ndx = grad + W1 @ dh\n{_WEIGHTS}",
        "on the way back every matrix is transposed: W2.T, then W1.T",
    ),
    Mistake(
        f"{_WAY}dx = grad + W1.T @ dh\ndW1 = np.outer(dh, x)\ndW2 = np.outer(grad, h)",
        "W2 was multiplied with r, behind the ReLU, not with h",
    ),
    Mistake(
        f"{_WAY}dx = grad + W1.T @ dh\ndW1 = np.outer(x, dh)\ndW2 = np.outer(r, grad)",
        "the outer products are turned around: the gradient comes first, what came in second",
    ),
)


def loss(grad: np.ndarray, x: np.ndarray, W1: np.ndarray, W2: np.ndarray) -> float:
    """grad . y, whose gradient with respect to y is grad."""
    return float(grad @ (x + W2 @ np.maximum(W1 @ x, 0)))


def cases() -> list[Case]:
    rng = np.random.default_rng(8)
    found = []
    for n, hidden in ((3, 3), (3, 5), (4, 2)):
        x, grad = rng.standard_normal(n), rng.standard_normal(n)
        W1, W2 = rng.standard_normal((hidden, n)), rng.standard_normal((n, hidden))
        found.append(case(loss, (grad, x, W1, W2), [1, 2, 3], shapes(x=x, W1=W1, W2=W2)))
    return found


LESSON = Lesson(
    number=8,
    slug="residual",
    title="Residual blocks and why they train",
    task="Write the rest of `residual_backward(grad, x, W1, W2)` for the block "
    "y = x + W2 relu(W1 x): `dx`, `dW1` and `dW2`.",
    name="residual_backward",
    arguments=("grad", "x", "W1", "W2"),
    results=("dx", "dW1", "dW2"),
    template=TEMPLATE,
    answer=ANSWER,
    mistakes=MISTAKES,
    cases=cases,
)
