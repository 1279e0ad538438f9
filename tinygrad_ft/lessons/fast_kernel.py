"""Lesson 10, a fast kernel: a matrix product whose inner loop walks along the memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

import kernels
from tinygrad_ft.lessons.lesson import Case, Lesson, Mistake, shapes

TEMPLATE = '''\
"""Lesson 10: c = a @ b for float32 matrices, compiled, with a fast inner loop."""

from numba import njit


@njit(fastmath=True)
def multiply(a, b, c):
    """Write a @ b into c; a (M, K), b (K, N), c (M, N), which may hold anything before."""
    HOLE
'''

_SIZES = "rows, inner = a.shape\ncolumns = b.shape[1]\n"


def _answer(zero: str = "c[i, :] = 0", step: str = "c[i, j] += a[i, k] * b[k, j]") -> str:
    return (
        f"{_SIZES}"
        "for i in range(rows):\n"
        f"    {zero}\n"
        "    for k in range(inner):\n"
        "        for j in range(columns):\n"
        f"            {step}"
    )


ANSWER = _answer()

MISTAKES = (
    Mistake(
        _answer(zero="pass"),
        "c holds something else before: set it to 0 before you add to it",
    ),
    Mistake(
        _answer(step="c[i, j] = a[i, k] * b[k, j]"),
        "each k overwrites the one before it: the products add up (+=)",
    ),
    Mistake(
        _answer(step="c[i, j] += a[i, k] * b[j, k]"),
        "the indices of b are swapped: the sum runs over the columns of a and the rows of b, "
        "a[i, k] * b[k, j]",
    ),
    Mistake(
        f"{_SIZES}"
        "for i in range(0, rows - 3, 4):\n"
        "    c[i : i + 4, :] = 0\n"
        "    for k in range(inner):\n"
        "        for j in range(columns):\n"
        "            for r in range(4):\n"
        "                c[i + r, j] += a[i + r, k] * b[k, j]",
        "the rows that remain after the last full block are missing: sizes are not multiples of "
        "the block",
    ),
)

#: sizes of the cases: the first is square, the others are multiples of nothing
SIZES = ((8, 8, 8), (5, 3, 7), (1, 9, 1), (17, 13, 19))
#: of the matrices that are timed
LARGE = 384


_config: Any = numba.config


def run(solution: Any, arguments: Sequence[Any]) -> np.ndarray:
    """The product by the learner's kernel; an index outside of an array raises."""
    a, b = arguments
    c = np.full((a.shape[0], b.shape[1]), 7, np.float32)
    before = _config.BOUNDSCHECK
    _config.BOUNDSCHECK = 1  # looked at when Numba compiles, which the first call does
    try:
        solution(a, b, c)
    finally:
        _config.BOUNDSCHECK = before
    return c


def cases() -> list[Case]:
    rng = np.random.default_rng(10)
    found = []
    for m, k, n in SIZES:
        # small integers: every order of adding gives the same float32
        a, b = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((m, k), (k, n)))
        product = a.astype(np.float64) @ b.astype(np.float64)
        found.append(Case((a, b), (product,), shapes(a=a, b=b)))
    return found


@numba.njit
def three_loops(a, b, c):  # type: ignore[no-untyped-def]
    """The product as it is written in a textbook."""
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            total = np.float32(0)
            for k in range(a.shape[1]):
                total += a[i, k] * b[k, j]
            c[i, j] = total


def report(solution: Any) -> str:
    """How fast it is on this machine, beside three plain loops and the project's kernel."""
    if not hasattr(solution, "py_func"):
        return "it is not compiled yet: put @njit(fastmath=True) above it and see how fast it gets"
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((LARGE, LARGE), dtype=np.float32) for _ in range(2))
    c = np.empty_like(a)
    # compiled again: the code that was checked looks at every index
    mine = numba.njit(fastmath=True)(solution.py_func)
    threads = kernels.get_num_threads()
    kernels.set_num_threads(1)
    try:
        rows = [
            ("three loops", _rate(lambda: three_loops(a, b, c))),
            ("yours", _rate(lambda: mine(a, b, c))),
            ("kernels.matmul, one thread", _rate(lambda: kernels.matmul(a, b, out=c))),
        ]
    finally:
        kernels.set_num_threads(threads)
    lines = [f"  {rate:8.2f} GFLOP/s  {name}" for name, rate in rows]
    return "\n".join([f"{LARGE} x {LARGE} on this machine, now:", *lines])


def _rate(run: Callable[[], Any]) -> float:
    """Billions of operations a second: the best of some runs after one to compile."""
    run()
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
        if best > 0.3:
            break
    return 2 * LARGE**3 / best / 1e9


LESSON = Lesson(
    number=10,
    slug="fast_kernel",
    title="How a fast kernel works",
    task="Write `multiply(a, b, c)`, compiled by Numba: c = a @ b with the inner loop along the "
    "rows of b and c, where the memory lies in a line. Any sizes. What the right answer reaches on "
    "your machine is shown beside three plain loops and the project's own kernel.",
    name="multiply",
    arguments=("a", "b", "c"),
    results=("c",),
    template=TEMPLATE,
    answer=ANSWER,
    mistakes=MISTAKES,
    cases=cases,
    run=run,
    report=report,
    proof="NumPy",
)
