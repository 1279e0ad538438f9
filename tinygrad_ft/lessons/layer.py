"""Lesson 3, one layer by hand: the gradients of a = sigmoid(W x + b)."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.lessons.lesson import Case, Lesson, Mistake, case, shapes

TEMPLATE = '''\
"""Lesson 3: one layer, z = W x + b, a = sigmoid(z), L = sum (a - t)^2 / 2, by hand."""

import numpy as np


def layer_backward(W, x, b, t):
    """dL/dW, dL/db and dL/dx; W has shape (out, in), x (in), b and t (out)."""
    z = W @ x + b
    a = 1 / (1 + np.exp(-z))
    delta = a - t  # dL/da
    HOLE
    return dW, db, dx
'''

ANSWER = """\
delta_z = delta * a * (1 - a)
dW = np.outer(delta_z, x)
db = delta_z
dx = W.T @ delta_z"""

_SLOPE = "delta_z = delta * a * (1 - a)\n"

MISTAKES = (
    Mistake(
        "dW = np.outer(delta, x)\ndb = delta\ndx = W.T @ delta",
        "delta is dL/da; on the way to z it has to pass the sigmoid: multiply by its slope, "
        "a * (1 - a)",
    ),
    Mistake(
        "delta_z = delta * z * (1 - z)\n"
        "dW = np.outer(delta_z, x)\ndb = delta_z\ndx = W.T @ delta_z",
        "the slope of the sigmoid is a * (1 - a), with its output a, not its input z",
    ),
    Mistake(
        _SLOPE + "dW = np.outer(x, delta_z)\ndb = delta_z\ndx = W.T @ delta_z",
        "dW is delta_z x^T: row i belongs to output i, so delta_z comes first in the outer product",
    ),
    Mistake(
        _SLOPE + "dW = np.outer(delta_z, x)\ndb = delta_z\ndx = W @ delta_z",
        "W took x to z; the way back is the transpose, W.T",
    ),
    Mistake(
        _SLOPE + "dW = np.outer(delta_z, x)\ndb = delta\ndx = W.T @ delta_z",
        "b is added to z, so its gradient is that of z, delta_z, and not that of a",
    ),
    Mistake(
        _SLOPE + "dW = delta_z * x\ndb = delta_z\ndx = W.T @ delta_z",
        "every output meets every input: dW[i, j] = delta_z[i] * x[j], an outer product",
    ),
)


def loss(W: np.ndarray, x: np.ndarray, b: np.ndarray, t: np.ndarray) -> float:
    a = 1 / (1 + np.exp(-(W @ x + b)))
    return float(((a - t) ** 2).sum() / 2)


def cases() -> list[Case]:
    rng = np.random.default_rng(3)
    found = []
    for out, inputs in ((2, 2), (3, 2), (1, 4)):
        W, x = rng.standard_normal((out, inputs)), rng.standard_normal(inputs)
        b, t = rng.standard_normal(out), rng.random(out)
        found.append(case(loss, (W, x, b, t), [0, 2, 1], shapes(W=W, x=x)))
    return found


LESSON = Lesson(
    number=3,
    slug="layer",
    title="One layer by hand",
    task="`layer_backward(W, x, b, t)` already goes forward through one layer and has delta = "
    "dL/da. Write the way back: `dW`, `db` and `dx`.",
    name="layer_backward",
    arguments=("W", "x", "b", "t"),
    results=("dW", "db", "dx"),
    template=TEMPLATE,
    answer=ANSWER,
    mistakes=MISTAKES,
    cases=cases,
)
