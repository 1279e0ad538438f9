"""JSON that pytest-benchmark can compare, tables, pictures."""

import json
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.charts import bars_of, draw_ratios, draw_roofline
from benchmarks.machine import commit_facts, machine_facts
from benchmarks.peak import Peaks
from benchmarks.report_json import as_json, statistics_of
from benchmarks.results import Result
from benchmarks.tables import markdown, suite_table, summary_table
from benchmarks.timing import Samples

PEAKS = Peaks(2, 100.0, 200.0, 20.0, 18.0, 30.0)
# what pytest-benchmark 5 writes, and its `compare` reads
BENCHMARK_KEYS = {"group", "name", "fullname", "params", "param", "extra_info", "options", "stats"}
STATS_KEYS = (
    "min max mean stddev rounds median iqr q1 q3 iqr_outliers stddev_outliers outliers ld15iqr "
    "hd15iqr ops total data iterations"
)
MACHINE_KEYS = (
    "node processor machine python_compiler python_implementation python_implementation_version "
    "python_version python_build release system cpu"
)


def samples(*values, calls=1):
    return Samples(list(values), calls, first=1.5)


@pytest.fixture
def results():
    return [
        Result(
            "matmul",
            "square | 512",
            "matmul",
            flops=2e9,
            bytes=1e8,
            samples={"ours": samples(0.02, 0.021, 0.019), "numpy": samples(0.04)},
            checked=["numpy"],
        ),
        Result(
            "matmul",
            "odd",
            "matmul",
            flops=2e9,
            bytes=1e8,
            samples={"ours": samples(0.04), "numpy": samples(0.02)},
            skipped={"torch": "RuntimeError: no memory"},
            checked=["numpy"],
        ),
        Result("matmul", "broken", "matmul", error="wrong: differs by 1 from numpy"),
        Result(
            "memory",
            "training",
            "memory",
            unit="B",
            samples={"ours": samples(2.0**20), "torch eager NCHW": samples(2.0**21)},
        ),
    ]


def test_json_has_pytest_benchmarks_format(results):
    machine = machine_facts()
    text = json.dumps(
        as_json(results, PEAKS, machine, commit_facts(), "python -m benchmarks matmul")
    )
    found = json.loads(text)
    assert found.keys() >= {"machine_info", "commit_info", "benchmarks", "datetime", "version"}
    assert found["machine_info"].keys() >= set(MACHINE_KEYS.split())
    assert found["commit_info"].keys() >= {"id", "time", "dirty", "branch"}
    assert len(found["benchmarks"]) == 4
    for benchmark in found["benchmarks"]:
        assert benchmark.keys() == BENCHMARK_KEYS
        assert benchmark["stats"].keys() == set(STATS_KEYS.split())
    names = [benchmark["fullname"] for benchmark in found["benchmarks"]]
    assert len(set(names)) == 4
    assert names[0] == "matmul: matmul: square | 512 [ours]"
    ours = found["benchmarks"][0]
    assert ours["stats"]["median"] == 0.02
    assert ours["extra_info"]["gflops"] == pytest.approx(100)
    assert ours["extra_info"]["share_of_peak"] == pytest.approx(0.5)
    assert ours["extra_info"]["ratios"] == {"numpy": pytest.approx(0.5)}
    assert found["machine_info"]["peaks"]["gflops"] == 200


def test_bytes_are_not_passed_off_as_seconds(results):
    found = as_json(results, PEAKS, {}, {}, "")
    assert all(benchmark["extra_info"]["suite"] == "matmul" for benchmark in found["benchmarks"])
    assert [(x["name"], x["bytes"]) for x in found["memory"]] == [
        ("memory: memory: training [ours]", 2.0**20),
        ("memory: memory: training [torch eager NCHW]", 2.0**21),
    ]
    assert found["not_timed"] == {"matmul: matmul: broken [ours]": "wrong: differs by 1 from numpy"}
    assert found["skipped"] == {"matmul: matmul: odd [torch]": "RuntimeError: no memory"}


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=30))
def test_statistics_agree_with_numpy(values):
    found = statistics_of(Samples(values, calls=7))
    q1, median, q3 = np.percentile(values, [25, 50, 75])
    for key, expected in (("q1", q1), ("median", median), ("q3", q3), ("mean", np.mean(values))):
        assert found[key] == pytest.approx(expected)
    assert found["stddev"] == pytest.approx(np.std(values, ddof=1) if len(values) > 1 else 0)
    fences = q1 - 1.5 * (q3 - q1) - 1e-12, q3 + 1.5 * (q3 - q1) + 1e-12
    assert fences[0] <= found["ld15iqr"] <= found["hd15iqr"] <= fences[1]
    assert found["iterations"] == 7
    assert found["ops"] == pytest.approx(1 / statistics.fmean(values))


def test_table_of_a_suite(results):
    text = markdown(suite_table("matmul", results, PEAKS.gflops))
    lines = text.splitlines()
    assert lines[2] == "| case | ms | rate | of peak | numpy |"
    assert "| square \\| 512 | 20 | 100 GFLOP/s | 50% | 0.50 |" in lines
    assert "| odd | 40 | 50 GFLOP/s | 25% | 2.00 |" in lines
    assert "| geometric mean |  |  |  | 1.00 |" in lines
    assert "- NOT TIMED  matmul: broken: wrong: differs by 1 from numpy" in lines
    assert "- skipped: torch in odd: RuntimeError: no memory" in lines


def test_table_of_memory_and_the_summary(results):
    assert "| training | 1 | 0.50 |" in markdown(suite_table("memory", results, 200))
    text = markdown(summary_table(results))
    assert "| matmul | numpy | 1.00 | 2 of 3 |" in text
    assert "| memory | torch eager NCHW | 0.50 | 1 |" in text


def test_bars_show_the_best_mode_only():
    labels = ("torch eager NCHW", "torch eager channels_last", "numpy")
    times = {"ours": samples(1.0), **{label: samples(2.0 + i) for i, label in enumerate(labels)}}
    result = Result("conv", "a", "3x3", samples=times)
    assert bars_of([result, result]) == [
        ("3x3", "numpy", [0.25, 0.25]),
        ("3x3", "torch best", [0.5, 0.5]),
    ]


def test_pictures(results, tmp_path):
    for draw, arguments in ((draw_ratios, ()), (draw_roofline, (PEAKS,))):
        path = tmp_path / f"{draw.__name__}.png"
        assert draw(path, results, *arguments, "a machine")
        assert path.read_bytes().startswith(b"\x89PNG")
        assert not draw(tmp_path / "none.png", results[2:3], *arguments, "a machine")
    assert not (tmp_path / "none.png").exists()
