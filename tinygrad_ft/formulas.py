"""The formulas that stand in docstrings, and the language they are written in.

Where formulas are: in a paragraph of a docstring, from a line that starts with `name = ` on (in the
docstring of a function with `out... = ` or `grad_... = `). `;` separates formulas, and so does a
comma before the next `name = `. A line continues the one before it if it is indented deeper, if a
bracket is still open, if either side of the line break is an operator, or if it starts with `where`
or `else`; any other line ends the formulas of its paragraph.

The language, tightest first; spaces separate names and mean nothing else:

    x   grad_out   grad_x   x'         names; grad_out, x_i, W_ih are set with a subscript
    alpha  eps  Phi  pi  inf           Greek letters and infinity by name; xhat, xbar with accents
    2   0.5   1e-5                     numbers
    (a + b)   (i, j)   [h, x]          brackets
    |x|   ||x||_2   sqrt(x)   floor(x)   ceil(x)
    x[n, c, i * s]   x[..., ::2]       an element or a part, written as in code
    f(x, y)                            any function; sin x, ln x, e^x need no brackets
    x^n   e^-x   x^T   a^b^c           powers, from right to left; ^T transposes
    -x                                 -x^2 is -(x^2)
    a * b   a / b   a @ b   i mod n    products from left to right, / is set as a fraction
    sum_i x[i] * y[i]                  holds a whole product and ends before + and -; also
                                       sum_{i < j}, sum_{i=1}^n, prod_i, max_j, argmax_j, mean_i
    a + b - c
    a < b   <=  >  >=  =  !=  ->       comparisons
    p and q,  p or q,  not p
    x in the order dims                a phrase, where no formula exists: values side by side with
                                       one of the connecting words (the, of, in, with, at, for, ...)
    a where p, else b where q, else c  cases; the comma may be left out
    a, b                               several values

Multiplication is always written: `2 * x`. Two names side by side without a connecting word are a
forgotten operator, and an error. `mathml.to_mathml` is the parser.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from tinygrad_ft.function import Function

_INDEX = r"\[(?:[^\[\]=]|\[[^\[\]=]*\])*\]"
_LEFT = rf"[A-Za-z]\w*'*(?:{_INDEX})*"
_BEGINS = re.compile(rf"{_LEFT} = ")
_RESULT_BEGINS = re.compile(rf"(?:out|grad_)\w*(?:{_INDEX})* = ")
_SEPARATOR = re.compile(rf"\s*(?:;|,(?=\s*{_LEFT} = ))\s*")
_GOES_ON = re.compile(r"(?:[-+*/^@=<>,(\[{]|\b(?:where|else|and|or|mod))$")
_RESUMES = re.compile(r"[-+*/^@=<>)\]}]|(?:where|else|and|or|mod)\b")


class Formula(NamedTuple):
    """`left = right`, both as text of the formula language."""

    left: str
    right: str

    def __str__(self) -> str:
        return f"{self.left} = {self.right}"

    @property
    def is_gradient(self) -> bool:
        return self.left.startswith("grad_")


def formulas_of(op: type[Function] | Callable[..., Any]) -> list[Formula]:
    """The formulas of an op class, or of a public function: its own, else those of its op classes.

    In the order of the docstring. ValueError if a part of it is no formula; whether `to_mathml`
    can read both sides is not checked here.
    """
    if isinstance(op, type):
        return _formulas_in(op, _BEGINS)
    own = own_formulas_of(op)
    if own:
        return own
    return [f for cls in op_classes_of(op) for f in formulas_of(cls)]


def own_formulas_of(function: Callable[..., Any]) -> list[Formula]:
    """The formulas in a function's own docstring; empty if it leaves them to its op classes."""
    return _formulas_in(function, _RESULT_BEGINS)


def _formulas_in(op: Any, begins: re.Pattern[str]) -> list[Formula]:
    found: list[Formula] = []
    for paragraph in inspect.cleandoc(op.__doc__ or "").split("\n\n"):
        for statement in _statements(paragraph.split("\n"), begins):
            for text in _split(statement):
                left, sign, right = text.partition(" = ")
                if not sign or not re.fullmatch(_LEFT, left):
                    raise ValueError(
                        f"{op.__name__}: {text!r} in its docstring is no formula left = right"
                    )
                found.append(Formula(left, right))
    return found


def _statements(lines: list[str], begins: re.Pattern[str]) -> Iterator[str]:
    """The lines of a paragraph that hold formulas, each joined with its continuations."""
    current = ""
    for line in lines:
        text = line.strip()
        if current and not _BEGINS.match(text):
            depth = sum(current.count(b) for b in "([{") - sum(current.count(b) for b in ")]}")
            deeper = line[:1] == " "
            if deeper or depth > 0 or _GOES_ON.search(current) or _RESUMES.match(text):
                current += " " + text
                continue
            break
        if current:
            yield current
            current = ""
        if begins.match(text):
            current, begins = text, _BEGINS
    if current:
        yield current


def _split(statement: str) -> list[str]:
    """At semicolons, and at commas before the next formula, outside of brackets."""
    parts, start, depth, place = [], 0, 0, 0
    while place < len(statement):
        character = statement[place]
        depth += (character in "([{") - (character in ")]}")
        separator = _SEPARATOR.match(statement, place) if depth == 0 else None
        if separator:
            parts.append(statement[start:place])
            place = start = separator.end()
        else:
            place += 1
    return [p for p in (*parts, statement[start:].rstrip(",; ")) if p]


def op_classes_of(function: Callable[..., Any]) -> list[type[Function]]:
    """The op classes that a public function applies, itself or in its private helpers.

    Read from the names in its code and in its closure, in the order they are met. Public functions
    that it calls have formulas of their own and are not followed.
    """
    found: list[type[Function]] = []
    queue, seen = [function], {function}
    while queue:
        for value in _mentioned(queue.pop(0)):
            if isinstance(value, type):
                if issubclass(value, Function) and value is not Function and value not in found:
                    found.append(value)
            elif isinstance(value, FunctionType) and value not in seen and _is_helper(value):
                seen.add(value)
                queue.append(value)
    return found


def _is_helper(function: FunctionType) -> bool:
    private = function.__name__.startswith("_")
    shared = function.__module__.endswith("._operands")
    return private and not shared and function.__module__.startswith("tinygrad_ft.ops.")


def _mentioned(function: Callable[..., Any]) -> Iterator[Any]:
    """The values that a function's code names: globals, and what its closure holds."""
    if not isinstance(function, FunctionType):
        return
    for cell in function.__closure__ or ():
        yield cell.cell_contents
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield function.__globals__[name]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
