"""Lesson 5, matmul: a matrix product as an op of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_ft.autograd import grad
from tinygrad_ft.gradcheck import GradcheckError, gradcheck
from tinygrad_ft.lessons.learner import Problem
from tinygrad_ft.lessons.lesson import Case, Lesson, Mistake, case, shapes
from tinygrad_ft.tensor import Tensor

TEMPLATE = '''\
"""Lesson 5: the matrix product as an op of the engine."""

from tinygrad_ft.autograd import Function


class MatMul(Function):
    """out = a @ b, with a (M, K) and b (K, N)."""

    def forward(self, a, b):  # with ndarrays
        self.save_input(0)
        self.save_input(1)
        return a @ b

    def backward(self, grad_out):  # with Tensors
        a, b = self.input(0), self.input(1)
        HOLE
        return grad_a, grad_b
'''

ANSWER = """\
grad_a = grad_out @ b.T
grad_b = a.T @ grad_out"""

MISTAKES = (
    Mistake(
        "grad_a = grad_out @ b\ngrad_b = a @ grad_out",
        "the other factor comes back transposed: grad_a is made of b.T, grad_b of a.T",
    ),
    Mistake(
        "grad_a = b.T @ grad_out\ngrad_b = grad_out @ a.T",
        "the order matters: b stood on the right of a, so b.T stands on the right in grad_a, and "
        "a.T on the left in grad_b",
    ),
    Mistake(
        "grad_a = a.T @ grad_out\ngrad_b = grad_out @ b.T",
        "these are the two gradients, but given to the wrong inputs: backward returns them in the "
        "order of forward's arguments, a first",
    ),
    Mistake(
        "grad_a = grad_out * b\ngrad_b = grad_out * a",
        "this is the gradient of the elementwise product; here whole rows met whole columns, and "
        "so they do on the way back (@)",
    ),
    Mistake(
        "grad_a = (grad_out @ b.T).detach()\ngrad_b = (a.T @ grad_out).detach()",
        "the numbers are right but they have lost their history (detach, .data, numpy()): compute "
        "with the Tensors themselves and the second derivative comes for free",
    ),
)


def run(solution: Any, arguments: Sequence[Any]) -> tuple[Tensor | None, ...]:
    """Both gradients by the learner's op, in the engine."""
    a, b, weights = arguments
    a, b = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    return grad(solution.apply(a, b), (a, b), Tensor(weights))


def further(solution: Any) -> None:
    """The derivative of the derivative is right as well."""
    rng = np.random.default_rng(5)
    a, b = (Tensor(rng.standard_normal(shape), requires_grad=True) for shape in ((2, 3), (3, 2)))
    try:
        gradcheck(solution.apply, (a, b), order=2)
    except (GradcheckError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise Problem(f"the gradients are right, their own gradients are not: {reason}") from None


def loss(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    return float(((a @ b) * weights).sum())


def cases() -> list[Case]:
    rng = np.random.default_rng(5)
    found = []
    for m, k, n in ((2, 2, 2), (2, 3, 4), (3, 1, 2)):
        a, b, weights = (rng.standard_normal(s) for s in ((m, k), (k, n), (m, n)))
        found.append(case(loss, (a, b, weights), [0, 1], shapes(a=a, b=b)))
    return found


LESSON = Lesson(
    number=5,
    slug="matrix_product",
    title="The matrix product",
    task="Write the backward of `MatMul`, an op of the engine: `grad_a` and `grad_b` from "
    "`grad_out`, `a` and `b`, in Tensor operations. The second derivative is checked as well.",
    name="MatMul",
    arguments=None,
    results=("grad_a", "grad_b"),
    template=TEMPLATE,
    answer=ANSWER,
    mistakes=MISTAKES,
    cases=cases,
    run=run,
    further=further,
)
