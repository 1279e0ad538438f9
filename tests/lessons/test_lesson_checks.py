"""Exercises: right answers pass, every known mistake gets its hint, nothing ends in a traceback."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from tinygrad_ft import anomaly
from tinygrad_ft.lessons import LESSONS, Lesson
from tinygrad_ft.lessons.check import Verdict, check

SLOPE, VALUE, LAYER, UNBROADCAST, MATMUL, CONV, NORM, RESIDUAL, HEAD, KERNEL = [
    dataclasses.replace(lesson, report=None) for lesson in LESSONS
]
ALL = (SLOPE, VALUE, LAYER, UNBROADCAST, MATMUL, CONV, NORM, RESIDUAL, HEAD, KERNEL)

each = pytest.mark.parametrize("lesson", ALL, ids=lambda lesson: lesson.slug)


def verdict(lesson: Lesson, source: str | bytes, folder: Path) -> Verdict:
    path = folder / "mine.py"
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    found = check(lesson, path)
    assert "Traceback" not in found.text
    assert not anomaly.enabled
    return found


@each
def test_the_answer_is_right(lesson: Lesson, tmp_path: Path) -> None:
    found = verdict(lesson, lesson.fill(lesson.answer), tmp_path)
    assert found.right, found
    assert re.match(rf"all {len(lesson.cases())} cases agree with {lesson.proof}; ", found.text)


@each
def test_the_starter_says_where_to_write(lesson: Lesson, tmp_path: Path) -> None:
    found = verdict(lesson, lesson.starter, tmp_path)
    line = lesson.starter[: lesson.starter.index("raise NotImpl")].count("\n") + 1
    assert found == Verdict(
        False, f"mine.py, line {line}: your code goes here, instead of this line"
    )
    assert "HOLE" not in lesson.starter


MISTAKES = [
    pytest.param(lesson, number, id=f"{lesson.slug}-{number}")
    for lesson in ALL
    for number in range(len(lesson.mistakes))
]


@pytest.mark.parametrize(("lesson", "number"), MISTAKES)
def test_a_known_mistake_gets_its_hint(lesson: Lesson, number: int, tmp_path: Path) -> None:
    mistake = lesson.mistakes[number]
    found = verdict(lesson, lesson.fill(mistake.answer), tmp_path)
    assert (found.right, found.hint) == (False, mistake.hint), found.text


@each
def test_cases_tell_every_answer_apart(lesson: Lesson) -> None:
    answers = [lesson.answer, *(mistake.answer for mistake in lesson.mistakes)]
    assert len(set(answers)) == len(answers)
    assert len(lesson.mistakes) >= 4
    assert len({mistake.hint for mistake in lesson.mistakes}) == len(lesson.mistakes)


# ---- what is said --------------------------------------------------------------------------------


def body(code: str) -> str:
    return "import math\nimport numpy as np\ndef slope(x):\n" + "".join(
        f"    {line}\n" for line in code.splitlines()
    )


SAID = {
    "an element, by how much": (
        "return 2 * x",
        "slope(x) is 1.4, but should be 1.23527 (by the finite difference): 0.165 too large\n"
        "    (case: x = 0.7)",
    ),
    "no return": ("y = x", "it returned None instead of slope(x): is a `return` missing?"),
    "nan": ("return float('nan')", "slope(x) is nan, but should be 1.23527"),
    "infinite": ("return math.inf", "slope(x) is inf, but should be 1.23527"),
    "a string": ("return '1'", "slope(x) has dtype <U1; it should be an array of floats"),
    "complex": ("return 1j", "slope(x) has dtype complex128"),
    "a generator": ("yield x", "slope(x) has dtype object"),
    "too many": ("return x, x", "it returned 2 results instead of 1: slope(x)"),
    "a wrong shape": ("return np.ones((2, 1))", "slope(x) has shape (2, 1), but should have ()"),
    "an error": (
        "y = [1]\nreturn y[3]",
        "mine.py, line 5: IndexError: list index out of range\n    return y[3]",
    ),
    "an error in a library": (
        "return np.ones(2) @ np.ones(3)",
        "mine.py, line 4: ValueError: matmul: Input operand 1 has a mismatch",
    ),
    "exit": ("raise SystemExit(3)", "mine.py, line 4: the program ends itself here (exit 3)"),
    "interrupt": ("raise KeyboardInterrupt", "mine.py, line 4: KeyboardInterrupt"),
    "recursion": ("return slope(x)", "mine.py, line 4: a function calls itself without end"),
    "an error that cannot be shown": (
        "class E(Exception):\n    def __str__(self): return 1 / 0\nraise E",
        "mine.py, line 6: E\n",
    ),
}


@pytest.mark.parametrize("what", SAID)
def test_what_is_said_of_a_result(what: str, tmp_path: Path) -> None:
    code, text = SAID[what]
    found = verdict(SLOPE, body(code), tmp_path)
    assert not found.right
    assert text in found.text


FILES: dict[str, tuple[str | bytes, str]] = {
    "syntax": (
        "x = 1\ndef slope(x)\n    pass\n",
        "mine.py, line 2: Python cannot read this: expected ':'\n    def slope(x)",
    ),
    "indentation": ("def slope(x):\nreturn 1\n", "mine.py, line 2: Python cannot read this: "),
    "null bytes": (b"x = 1\0", "mine.py: Python cannot read this: source code string cannot"),
    "not text": (b"\xff\xfe", "mine.py, line 1: Python cannot read this: (unicode error)"),
    "empty": ("", "mine.py does not define 'slope'"),
    "misspelt": ("def slop(x): ...", "does not define 'slope'; is 'slop' meant to be it?"),
    "no function": ("slope = 3", "mine.py: 'slope' is of type int, not a function"),
    "too few arguments": (
        "def slope(): ...",
        "mine.py, line 1: it is written as slope(), but will be called as slope(x)",
    ),
    "too many arguments": (
        "\ndef slope(x, y): ...",
        "mine.py, line 2: it is written as slope(x, y), but will be called as slope(x)",
    ),
    "an error while it loads": (
        "import math\nmath.sqrt(-1)",
        "mine.py, line 2: ValueError: math domain error\n    math.sqrt(-1)",
    ),
    "a module that is not there": (
        "import no_such_module",
        "mine.py, line 1: ModuleNotFoundError: No module named 'no_such_module'",
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_what_is_said_of_a_file(what: str, tmp_path: Path) -> None:
    source, text = FILES[what]
    found = verdict(SLOPE, source, tmp_path)
    assert not found.right
    assert text in found.text


def test_other_ways_of_writing_it_are_right(tmp_path: Path) -> None:
    other = "x = np.float64(x)\nreturn (2 * x * np.cos(x**2)).astype(np.float32)"
    assert verdict(SLOPE, body(other), tmp_path).right
    by_differences = "f = lambda t: math.sin(t * t)\nreturn (f(x + 1e-5) - f(x - 1e-5)) / 2e-5"
    assert verdict(SLOPE, body(by_differences), tmp_path).right


def test_which_element_of_an_array(tmp_path: Path) -> None:
    broken = f"{LAYER.answer}\ndW[1, 0] += 0.25"
    found = verdict(LAYER, LAYER.fill(broken), tmp_path)
    assert re.match(
        r"dW\[1, 0\] is \S+, but should be \S+ \(by the finite difference\): 0.25 too large; "
        r"1 of 4 elements is wrong\n    \(case: W \(2, 2\), x \(2,\)\)$",
        found.text,
    )
    assert found.hint is None


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ("dW = -dW", "the sign is wrong"),
        ("dW = dW * 3", "every element is 3 times what it should be"),
        ("dW = dW * 0", "it is all zeros"),
        ("dW = dW.reshape(-1)", "a gradient has the shape of what it is the gradient of"),
    ],
)
def test_a_hint_where_no_mistake_is_known(change: str, hint: str, tmp_path: Path) -> None:
    found = verdict(LAYER, LAYER.fill(f"{LAYER.answer}\n{change}"), tmp_path)
    assert found.hint is not None
    assert hint in found.hint


def test_of_two_mistakes_the_first_gets_its_hint(tmp_path: Path) -> None:
    two = NORM.mistakes[0].answer.replace("dbeta = grad.sum", "dbeta = 3 * grad.sum")
    found = verdict(NORM, NORM.fill(two), tmp_path)
    assert found.hint == f"dx: {NORM.mistakes[0].hint}"


def test_arguments_must_stay_as_they_are(tmp_path: Path) -> None:
    found = verdict(UNBROADCAST, UNBROADCAST.fill("grad += 1\nreturn grad"), tmp_path)
    assert "it changed its argument grad" in found.text
    assert "case: (4,) broadcast to (3, 4)" in found.text


def test_an_op_that_did_not_save_what_it_needs(tmp_path: Path) -> None:
    source = MATMUL.fill(MATMUL.answer).replace("        self.save_input(1)\n", "")
    found = verdict(MATMUL, source, tmp_path)
    line = source[: source.index("a, b = self.input(0)")].count("\n") + 1
    assert f"mine.py, line {line}: RuntimeError: MatMul: 'input 1' was not saved" in found.text


def test_an_index_outside_of_an_array_in_compiled_code(tmp_path: Path) -> None:
    found = verdict(KERNEL, KERNEL.fill("c[a.shape[0], 0] = 1"), tmp_path)
    assert "IndexError: index is out of bounds, in compiled code" in found.text


def test_what_the_compiler_refuses_is_named_with_its_line(tmp_path: Path) -> None:
    source = KERNEL.fill('c[0, 0] = a[0, 0] + "a"')
    found = verdict(KERNEL, source, tmp_path)
    line = source[: source.index("c[0, 0]")].count("\n") + 1
    assert f"mine.py, line {line}: TypingError: " in found.text
    assert len(found.text.splitlines()) < 8
    assert "\x1b" not in found.text


def test_a_right_kernel_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinygrad_ft.lessons import fast_kernel

    monkeypatch.setattr(fast_kernel, "LARGE", 48)
    found = verdict(LESSONS[9], KERNEL.fill(KERNEL.answer), tmp_path)
    assert found.right
    rates = re.findall(r"([\d.]+) GFLOP/s  (.+)", found.text)
    assert [name for _, name in rates] == ["three loops", "yours", "kernels.matmul, one thread"]
    assert all(float(rate) > 0 for rate, _ in rates)


def test_a_kernel_that_is_not_compiled_is_right_and_told_so(tmp_path: Path) -> None:
    source = KERNEL.fill("c[:] = a @ b").replace("@njit(fastmath=True)\n", "")
    found = verdict(LESSONS[9], source, tmp_path)
    assert found.right
    assert "it is not compiled yet" in found.text


@each
def test_right_results_come_from_finite_differences_of_good_steps(lesson: Lesson) -> None:
    for case in lesson.cases():
        assert len(case.expected) == len(lesson.results)
        assert all(np.isfinite(right).all() for right in case.expected)
        assert case.about
