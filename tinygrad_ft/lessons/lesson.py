"""What a lesson is: a task, a file to start from, and what a right answer computes.

A lesson's exercise is a small program with a hole. The hole is filled with the learner's code, with
the right answer, or with one of the mistakes that are often made here: a learner's result that is
the result of a known mistake gets the hint that fits it.

What is right is decided by finite differences of the forward formula, not by comparing with the
answer.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ft.tensor import Tensor

HOLE = "HOLE"
#: moves of an element by a finite difference; with float64 its error is some 1e-9
STEP = 1e-6


class Case(NamedTuple):
    """Arguments for the learner's code, the results that it should give, and how it is called."""

    arguments: tuple[Any, ...]
    expected: tuple[np.ndarray, ...]
    about: str


class Mistake(NamedTuple):
    """Something else to fill the hole with, and the hint for one who has it there."""

    answer: str
    hint: str


def call(solution: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """What most lessons do with the learner's code."""
    return solution(*arguments)


@dataclass(frozen=True)
class Lesson:
    """One lesson; `fill` makes its files."""

    number: int
    #: of its page, `NN_slug.md`
    slug: str
    title: str
    #: what to write, in Markdown
    task: str
    #: what the learner's file has to define
    name: str
    #: of a function, as it will be called; None for a class
    arguments: tuple[str, ...] | None
    #: what the results are called in messages
    results: tuple[str, ...]
    template: str
    answer: str
    mistakes: tuple[Mistake, ...]
    cases: Callable[[], list[Case]]
    #: results of the learner's code for the arguments of a case
    run: Callable[[Any, Sequence[Any]], Any] = call
    #: a further proof that a right answer has to pass; AssertionError with the reason
    further: Callable[[Any], None] | None = None
    #: something to tell about a right answer
    report: Callable[[Any], str] | None = None
    #: where the right results come from, for messages
    proof: str = "the finite difference"

    @property
    def page(self) -> str:
        """The file name of its page."""
        return f"{self.number:02}_{self.slug}.md"

    @property
    def starter(self) -> str:
        """The file to start from."""
        return self.fill('raise NotImplementedError("your code goes here, instead of this line")')

    def fill(self, code: str) -> str:
        """The program with `code` in its hole."""
        before, _, after = self.template.partition(HOLE)
        indent = before.rpartition("\n")[2]
        return before + textwrap.indent(code, indent).removeprefix(indent) + after


def finite_differences(
    loss: Callable[..., float], arguments: Sequence[Any], wanted: Sequence[int]
) -> tuple[np.ndarray, ...]:
    """d loss / d argument for each wanted argument, one element at a time.

    (loss(x + h) - loss(x - h)) / 2h. The arguments that are wanted are numbers or float64 arrays.
    """
    found = []
    for position in wanted:
        point = np.array(arguments[position], np.float64)
        gradient = np.empty(point.shape)
        for element in np.ndindex(point.shape):
            values = []
            for step in (STEP, -STEP):
                moved = point.copy()
                moved[element] += step
                values.append(loss(*arguments[:position], moved, *arguments[position + 1 :]))
            gradient[element] = (values[0] - values[1]) / (2 * STEP)
        found.append(gradient)
    return tuple(found)


def case(
    loss: Callable[..., float], arguments: Sequence[Any], wanted: Sequence[int], about: str
) -> Case:
    """The case whose right results are the finite differences of `loss`."""
    return Case(tuple(arguments), finite_differences(loss, arguments, wanted), about)


def shapes(**arrays: np.ndarray) -> str:
    """`x (2, 3), w (3,)`, to call a case by."""
    return ", ".join(f"{name} {array.shape}" for name, array in arrays.items())


def as_array(value: Any) -> np.ndarray:
    """A number, array or tensor as an array."""
    return value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
