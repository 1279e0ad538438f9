"""Lesson 7, batch norm: the mean and the variance depend on every example."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.lessons.lesson import Case, Lesson, Mistake, finite_differences, shapes

TEMPLATE = '''\
"""Lesson 7: batch norm of x (N, C): y = gamma * (x - mean) / sqrt(var + eps) + beta."""

import numpy as np


def batch_norm_backward(grad, x, gamma, eps):
    """dL/dx, dL/dgamma and dL/dbeta from grad = dL/dy; mean and var are over the N examples."""
    mean, var = x.mean(axis=0), x.var(axis=0)
    std = np.sqrt(var + eps)
    xhat = (x - mean) / std
    HOLE
    return dx, dgamma, dbeta
'''

_SUMS = "dgamma = (grad * xhat).sum(axis=0)\ndbeta = grad.sum(axis=0)\n"


def _with_dx(dx: str) -> str:
    return _SUMS + dx


ANSWER = _with_dx(
    "g = grad * gamma\ndx = (g - g.mean(axis=0) - xhat * (g * xhat).mean(axis=0)) / std"
)

MISTAKES = (
    Mistake(
        _with_dx("dx = grad * gamma / std"),
        "this takes mean and var for constants; both depend on every x of the column, which takes "
        "two terms away from the gradient",
    ),
    Mistake(
        _with_dx("g = grad * gamma\ndx = (g - g.mean(axis=0)) / std"),
        "the path through the mean is there, the one through the variance is missing: "
        "- xhat * mean(g * xhat)",
    ),
    Mistake(
        _with_dx("g = grad * gamma\ndx = (g - xhat * (g * xhat).mean(axis=0)) / std"),
        "the path through the variance is there, the one through the mean is missing: - mean(g)",
    ),
    Mistake(
        _with_dx("dx = (grad - grad.mean(axis=0) - xhat * (grad * xhat).mean(axis=0)) / std"),
        "gamma is missing in dx: on its way to xhat the gradient is scaled by gamma",
    ),
    Mistake(
        _with_dx(
            "g = grad * gamma\ndx = (g - g.sum(axis=0) - xhat * (g * xhat).sum(axis=0)) / std"
        ),
        "the mean of N numbers gives each of them a share of 1 / N: the two corrections are means, "
        "not sums",
    ),
    Mistake(
        _with_dx("g = grad * gamma\ndx = g - g.mean(axis=0) - xhat * (g * xhat).mean(axis=0)"),
        "dx is not divided by the standard deviation: x was",
    ),
    Mistake(
        ANSWER.replace("(grad * xhat).sum", "(grad * x).sum"),
        "gamma was multiplied with the normalised xhat, not with x",
    ),
    Mistake(
        ANSWER.replace("dbeta = grad.sum(axis=0)", "dbeta = grad"),
        "beta is added to every example: its gradient is the sum over them",
    ),
)


def loss(grad: np.ndarray, x: np.ndarray, gamma: np.ndarray, eps: float, beta: float) -> float:
    """sum of grad * y, whose gradient with respect to y is grad."""
    xhat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps)
    return float((grad * (gamma * xhat + beta)).sum())


def cases() -> list[Case]:
    rng = np.random.default_rng(7)
    found = []
    for n, c, eps in ((4, 4, 1e-5), (5, 3, 1e-5), (6, 2, 0.5)):
        grad, x = rng.standard_normal((n, c)), rng.standard_normal((n, c)) * 2 + 1
        gamma, beta = rng.random(c) + 0.5, np.zeros(c)
        expected = finite_differences(loss, (grad, x, gamma, eps, beta), [1, 2, 4])
        found.append(Case((grad, x, gamma, eps), expected, f"{shapes(x=x)}, eps {eps}"))
    return found


LESSON = Lesson(
    number=7,
    slug="batch_norm",
    title="Batch norm",
    task="Write the rest of `batch_norm_backward(grad, x, gamma, eps)`: `dx`, `dgamma` and "
    "`dbeta`. Mind that mean and variance are made of x as well.",
    name="batch_norm_backward",
    arguments=("grad", "x", "gamma", "eps"),
    results=("dx", "dgamma", "dbeta"),
    template=TEMPLATE,
    answer=ANSWER,
    mistakes=MISTAKES,
    cases=cases,
)
