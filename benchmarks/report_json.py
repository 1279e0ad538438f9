"""Results in pytest-benchmark's format: `pytest-benchmark compare FILE` reads them.

Each contender of a case is one benchmark; those of one case share a group. What the format has no
place for is in `extra_info`. Probes of bytes would be taken for seconds, so they stand apart, under
"memory"."""

import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks.case import OURS
from benchmarks.peak import Peaks
from benchmarks.results import Result, group_ratios
from benchmarks.timing import Samples

FORMAT_VERSION = "5.1.0"
"""The version of pytest-benchmark whose format this is."""


def as_json(
    results: Sequence[Result],
    peaks: Peaks,
    machine: dict[str, Any],
    commit: dict[str, Any],
    command: str,
) -> dict[str, Any]:
    """Everything about a run, ready for json.dump."""
    timed = [result for result in results if result.unit == "s"]
    return {
        "machine_info": {**machine, "peaks": peaks.as_dict()},
        "commit_info": commit,
        "benchmarks": [
            _benchmark(result, label, samples, peaks)
            for result in timed
            for label, samples in result.samples.items()
        ],
        "memory": [
            {"name": _name(result, label), "bytes": samples.median, "data": samples.values}
            for result in results
            if result.unit == "B"
            for label, samples in result.samples.items()
        ],
        "group_ratios": [vars(row) for row in group_ratios(results)],
        "not_timed": {_name(result, OURS): result.error for result in results if result.error},
        "skipped": {
            _name(result, label): reason
            for result in results
            for label, reason in result.skipped.items()
        },
        "command": command,
        "datetime": datetime.now(UTC).isoformat(),
        "version": FORMAT_VERSION,
    }


def _name(result: Result, label: str) -> str:
    return f"{result.suite}: {result.group}: {result.name} [{label}]"


def _benchmark(result: Result, label: str, samples: Samples, peaks: Peaks) -> dict[str, Any]:
    extra: dict[str, Any] = {
        "suite": result.suite,
        "group": result.group,
        "contender": label,
        "first_call_seconds": samples.first,
    }
    if result.flops:
        gflops = result.flops / samples.median / 1e9
        extra |= {
            "flops": result.flops,
            "bytes": result.bytes,
            "gflops": gflops,
            "share_of_peak": gflops / peaks.gflops,
        }
    if result.items:
        extra[f"{result.item}_per_second"] = result.items / samples.median
    if label == OURS:
        extra |= {"ratios": result.ratios(), "checked_against": result.checked}
    return {
        "group": f"{result.suite}: {result.group}: {result.name}",
        "name": _name(result, label),
        "fullname": _name(result, label),
        "params": None,
        "param": None,
        "extra_info": extra,
        "options": {
            "disable_gc": False,
            "timer": "perf_counter",
            "min_rounds": len(samples.values),
            "max_time": 0,
            "min_time": 0,
            "warmup": True,
        },
        "stats": statistics_of(samples),
    }


def statistics_of(samples: Samples) -> dict[str, Any]:
    """The fields of pytest-benchmark's "stats", over the samples."""
    values = sorted(samples.values)
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    if len(values) > 1:
        q1, _, q3 = statistics.quantiles(values, n=4, method="inclusive")
    else:
        q1 = q3 = values[0]
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    inside = [value for value in values if low <= value <= high]
    beyond_spread = sum(not mean - spread <= value <= mean + spread for value in values)
    beyond_quartiles = len(values) - len(inside)
    return {
        "min": values[0],
        "max": values[-1],
        "mean": mean,
        "stddev": spread,
        "rounds": len(values),
        "median": statistics.median(values),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": beyond_quartiles,
        "stddev_outliers": beyond_spread,
        "outliers": f"{beyond_spread};{beyond_quartiles}",
        "ld15iqr": inside[0],
        "hd15iqr": inside[-1],
        "ops": 1 / mean,
        "total": sum(values),
        "data": samples.values,
        "iterations": samples.calls,
    }
