"""Lesson 1, derivatives and the chain rule: the slope of sin(x * x)."""

from __future__ import annotations

import math

from tinygrad_ft.lessons.lesson import Case, Lesson, Mistake, case

TEMPLATE = '''\
"""Lesson 1: the derivative of f(x) = sin(x * x), by the chain rule."""

import math


def slope(x):
    """df/dx at the number x."""
    HOLE
'''

ANSWER = "return math.cos(x * x) * 2 * x"

MISTAKES = (
    Mistake(
        "return math.cos(x * x)",
        "this is the outer derivative alone: moving x also moves x * x, 2 * x times as fast, so "
        "multiply by the inner derivative",
    ),
    Mistake(
        "return math.cos(x) * 2 * x",
        "the outer derivative has to be taken where the sine was: at x * x, not at x",
    ),
    Mistake(
        "return math.cos(2 * x)",
        "the inner derivative 2 * x belongs beside the outer one, as a factor, not inside of it",
    ),
    Mistake(
        "return -math.cos(x * x) * 2 * x",
        "the derivative of sin is cos; the minus is that of cos, whose derivative is -sin",
    ),
    Mistake("return math.cos(x * x) * x", "the derivative of x * x is 2 * x"),
    Mistake(
        "return math.sin(x * x) * 2 * x",
        "the sine has to be differentiated as well: the derivative of sin is cos",
    ),
    Mistake(
        "return math.sin(x * x)",
        "this is f itself; its derivative says how fast f changes when x does",
    ),
)


def cases() -> list[Case]:
    return [case(lambda x: math.sin(x * x), (x,), [0], f"x = {x}") for x in (0.7, -1.3, 2.0)]


LESSON = Lesson(
    number=1,
    slug="derivatives",
    title="Derivatives and the chain rule",
    task="Write `slope(x)`: the derivative of f(x) = sin(x * x) at the number x, by the chain "
    "rule. Work it out on paper first.",
    name="slope",
    arguments=("x",),
    results=("slope(x)",),
    template=TEMPLATE,
    answer=ANSWER,
    mistakes=MISTAKES,
    cases=cases,
)
