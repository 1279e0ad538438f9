"""One case or probe from its definition to its result: call, compare, time."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.case import OURS, Case, Probe
from benchmarks.results import Result
from benchmarks.timing import Effort, Samples, interleave


def run(suite: str, source: Case | Probe, effort: Effort) -> Result:
    """The result of a case or probe."""
    if isinstance(source, Probe):
        return run_probe(suite, source, effort)
    return run_case(suite, source, effort)


def run_case(suite: str, case: Case, effort: Effort) -> Result:
    """Time a case. A peer that fails is left out by name; a case in which ours fails, or disagrees
    with a peer, is not timed at all."""
    result = Result.of(suite, case)
    try:
        outputs, first = _call(case.ours, case.calls_compared)
    except Exception as error:
        result.error = _sentence(error)
        return result
    contenders = {OURS: case.ours}
    seconds = {OURS: first}
    for label, peer in case.peers.items():
        try:
            expected, seconds[label] = _call(peer, case.calls_compared)
        except Exception as error:  # a peer may fail in any way: no C++ compiler, no memory
            result.skipped[label] = _sentence(error)
            continue
        if case.tolerance is not None:
            problem = difference(outputs, expected, case.tolerance)
            if problem:
                result.error = f"wrong: {problem} from {label}"
                return result
            result.checked.append(label)
        contenders[label] = peer
    del outputs
    result.samples = interleave(contenders, effort)
    for label, samples in result.samples.items():
        samples.first = seconds[label]
    return result


def run_probe(suite: str, probe: Probe, effort: Effort) -> Result:
    """Ask everyone in turns. Who fails once is left out."""
    result = Result.of(suite, probe)
    contenders = {OURS: probe.ours, **probe.peers}
    for _ in range(min(probe.rounds, effort.rounds)):
        for label in list(contenders):
            try:
                value = contenders[label]()
            except Exception as error:
                result.samples.pop(label, None)
                del contenders[label]
                if label == OURS:
                    result.error = _sentence(error)
                    return result
                result.skipped[label] = _sentence(error)
                continue
            result.samples.setdefault(label, Samples()).values.append(value)
    return result


def _call(call: Callable[[], Any], times: int) -> tuple[list[Any], float]:
    """The results of some calls, and the seconds of the first."""
    before = time.perf_counter()
    outputs = [np.array(call())]
    seconds = time.perf_counter() - before
    outputs += [np.array(call()) for _ in range(times - 1)]
    return outputs, seconds


def difference(ours: list[Any], expected: list[Any], tolerance: float) -> str:
    """What is wrong with results, as the beginning of a sentence; empty if nothing is."""
    for mine, theirs in zip(ours, expected, strict=True):
        if mine.shape != theirs.shape:
            return f"shape {mine.shape} differs from {theirs.shape}"
        if not theirs.size:
            continue
        largest = float(np.abs(theirs).max())
        distance = float(np.abs(mine - theirs).max())
        if not distance <= tolerance * largest:  # also refuses NaN
            return (
                f"differs by {distance:.2g} where the greatest value is {largest:.2g} "
                f"(allowed: {tolerance:g} of it)"
            )
    return ""


def _sentence(error: Exception) -> str:
    """An exception in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
