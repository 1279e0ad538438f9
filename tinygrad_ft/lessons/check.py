"""Check a learner's file against a lesson: right, or what is wrong and a hint that fits."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ft.anomaly import detect_anomaly
from tinygrad_ft.lessons import compare
from tinygrad_ft.lessons.learner import Problem, check_arguments, execute, load, sentence
from tinygrad_ft.lessons.lesson import Case, Lesson, Mistake

Outcome = tuple[np.ndarray, ...] | Problem


class Verdict(NamedTuple):
    """Whether the answer is right, and what to tell the learner."""

    right: bool
    text: str
    hint: str | None = None


def check(lesson: Lesson, path: Path) -> Verdict:
    """Run the file at `path` on every case of the lesson. Never raises because of the file."""
    cases = lesson.cases()
    # a line of the learner's file is known for every op
    with detect_anomaly(check_nan=False), np.errstate(all="ignore"):
        try:
            solution = load(path, lesson.name)
            if lesson.arguments is not None:
                check_arguments(path, solution, lesson.arguments)
        except Problem as problem:
            return Verdict(False, str(problem))
        outcomes = [outcome(lesson, path, solution, case) for case in cases]
        try:
            largest = max(
                _refuse(lesson, result, case) for result, case in zip(outcomes, cases, strict=True)
            )
            text = (
                f"all {len(cases)} cases agree with {lesson.proof}; the largest difference is "
                f"{largest:.1g}"
            )
            if lesson.further is not None:
                lesson.further(solution)
            if lesson.report is not None:
                report = lesson.report
                text += "\n" + sentence(path, lambda: report(solution))
        except Problem as problem:
            return Verdict(False, str(problem), _hint(lesson, outcomes, cases))
        return Verdict(True, text)


def outcome(lesson: Lesson, path: Path, solution: Any, case: Case) -> Outcome:
    """The results for one case, or why there are none."""
    arguments = copy.deepcopy(case.arguments)
    try:
        given = sentence(path, lambda: lesson.run(solution, arguments))
        results = compare.as_results(given, lesson.results)
        _refuse_changes(lesson, arguments, case.arguments)
    except Problem as problem:
        return problem
    return results


def _refuse(lesson: Lesson, result: Outcome, case: Case) -> float:
    try:
        if isinstance(result, Problem):
            raise result
        return compare.refuse_wrong(result, case.expected, lesson.results, lesson.proof)
    except Problem as problem:
        if problem.kind == NotImplementedError.__name__:
            raise
        raise Problem(f"{problem}\n    (case: {case.about})") from None


def _refuse_changes(lesson: Lesson, now: Sequence[Any], before: Sequence[Any]) -> None:
    for name, a, b in zip(lesson.arguments or (), now, before, strict=False):
        if isinstance(a, np.ndarray) and not np.array_equal(a, b):
            raise Problem(
                f"it changed its argument {name}; others may still need that array, so compute "
                "into a new one"
            )


def _hint(lesson: Lesson, outcomes: Sequence[Outcome], cases: Sequence[Case]) -> str | None:
    """That of the known mistake which gives the same results, or else a general one."""
    made = mistaken_outcomes(lesson)
    for mistake, theirs in made:
        if all(_alike(a, b) for a, b in zip(outcomes, theirs, strict=True)):
            return mistake.hint
    for i, name in enumerate(lesson.results):
        wrong = [_wrong(result, i, case) for result, case in zip(outcomes, cases, strict=True)]
        if not any(wrong):
            continue
        for mistake, theirs in made:
            pairs = zip(outcomes, theirs, wrong, strict=True)
            if all(_alike(_only(a, i), _only(b, i)) for a, b, w in pairs if w):
                return f"{name}: {mistake.hint}" if len(lesson.results) > 1 else mistake.hint
    for result, case in zip(outcomes, cases, strict=True):
        hint = None if isinstance(result, Problem) else compare.general_hint(result, case.expected)
        if hint is not None:
            return hint
    return None


def _wrong(result: Outcome, i: int, case: Case) -> bool:
    """Whether result `i` was computed and is not right."""
    if isinstance(result, Problem):
        return False
    return not compare.agree(result[i], case.expected[i])


def _only(result: Outcome, i: int) -> Outcome:
    return result if isinstance(result, Problem) else (result[i],)


def _alike(mine: Outcome, theirs: Outcome) -> bool:
    if isinstance(mine, Problem) or isinstance(theirs, Problem):
        both = isinstance(mine, Problem) and isinstance(theirs, Problem)
        return both and mine.kind == theirs.kind  # type: ignore[union-attr]
    return compare.same(mine, theirs)


@functools.lru_cache(maxsize=32)
def mistaken_outcomes(lesson: Lesson) -> list[tuple[Mistake, list[Outcome]]]:
    """What each known mistake gives for the lesson's cases."""
    return [(mistake, _outcomes_of(lesson, mistake.answer)) for mistake in lesson.mistakes]


def _outcomes_of(lesson: Lesson, answer: str) -> list[Outcome]:
    """The results with `answer` in the hole of the lesson's program."""
    path = Path(f"<{lesson.slug}>")
    solution = getattr(execute(path, lesson.fill(answer).encode()), lesson.name)
    return [outcome(lesson, path, solution, case) for case in lesson.cases()]
