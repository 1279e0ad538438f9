"""Lesson 2, a tensor that remembers: the product of two remembered numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_ft.lessons.lesson import Case, Lesson, Mistake, case

TEMPLATE = '''\
"""Lesson 2: a number that remembers how it was made learns to multiply."""


class Value:
    def __init__(self, data, parents=()):
        self.data = data
        self.grad = 0.0
        self.parents = parents
        self.send = lambda: None  # gives this value's gradient on to its parents

    def __add__(self, other):
        out = Value(self.data + other.data, (self, other))

        def send():
            self.grad += out.grad
            other.grad += out.grad

        out.send = send
        return out

    def __mul__(self, other):
        out = Value(self.data * other.data, (self, other))

        def send():
            HOLE

        out.send = send
        return out

    def backward(self):
        order, seen = [], set()

        def visit(value):
            if value not in seen:
                seen.add(value)
                for parent in value.parents:
                    visit(parent)
                order.append(value)

        visit(self)
        self.grad = 1.0
        for value in reversed(order):
            value.send()
'''

ANSWER = """\
self.grad += other.data * out.grad
other.grad += self.data * out.grad"""

MISTAKES = (
    Mistake(
        "self.grad = other.data * out.grad\nother.grad = self.data * out.grad",
        "`=` overwrites what another use of the same value has already sent; gradients add up: "
        "`+=`",
    ),
    Mistake(
        "self.grad += self.data * out.grad\nother.grad += other.data * out.grad",
        "the two factors are swapped: if a grows by 1, a * b grows by b, so a's gradient has b in "
        "it",
    ),
    Mistake(
        "self.grad += other.data\nother.grad += self.data",
        "these are the local slopes; the chain rule multiplies them by what came in, out.grad",
    ),
    Mistake(
        "self.grad += other.data * out.grad",
        "only the left factor gets a gradient; the right one, `other`, needs its own",
    ),
    Mistake(
        "self.grad += out.grad\nother.grad += out.grad",
        "this is what a sum sends; in a product each factor scales the change of the other one",
    ),
)

EXPRESSIONS = ("a * b + c", "(a * b) * c", "a * a + b * c", "(a * b + c) * (a * b)")
POINT = (2.0, -3.0, 0.5)


def run(solution: Any, arguments: Sequence[Any]) -> tuple[float, ...]:
    """The gradients by the learner's class."""
    expression, *numbers = arguments
    values = [solution(number) for number in numbers]
    evaluate(expression, *values).backward()
    return tuple(value.grad for value in values)


def evaluate(expression: str, a: Any, b: Any, c: Any) -> Any:
    return eval(expression, {}, {"a": a, "b": b, "c": c})


def cases() -> list[Case]:
    return [case(evaluate, (e, *POINT), [1, 2, 3], e) for e in EXPRESSIONS]


LESSON = Lesson(
    number=2,
    slug="remembering",
    title="A tensor that remembers",
    task="The class `Value` can add. Teach it to multiply: write what `send` does in `__mul__`, "
    "where `out.grad` is the gradient of the product. It is checked on expressions of a = 2, "
    "b = -3 and c = 0.5, among them some that use a value twice.",
    name="Value",
    arguments=None,
    results=("a.grad", "b.grad", "c.grad"),
    template=TEMPLATE,
    answer=ANSWER,
    mistakes=MISTAKES,
    cases=cases,
    run=run,
)
