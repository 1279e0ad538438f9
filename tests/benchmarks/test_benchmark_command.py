"""The command line, from the arguments to the files."""

import json
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

import benchmarks.cases
from benchmarks import __main__ as command
from benchmarks.cases._convolutions import GROUPS
from benchmarks.networks import RESNET20
from benchmarks.peak import Peaks
from benchmarks.processes import train_in_process

SUITE = """
from benchmarks.case import Case


def cases(settings):
    yield Case("right", "group", lambda: 1.0, {"numpy": lambda: 1.0}, flops=10, bytes=10)
    yield Case("wrong", "group", lambda: 2.0, {"numpy": lambda: 1.0})
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Calls the command with a suite of the test's own, and gives back its result."""
    suites = tmp_path / "suites"
    suites.mkdir()
    (suites / "mine.py").write_text(SUITE, encoding="utf-8")
    monkeypatch.setattr(benchmarks.cases, "__path__", [*benchmarks.cases.__path__, str(suites)])
    monkeypatch.setattr(command, "measure_peaks", lambda *_: Peaks(1, 1, 1, 1, 1, 1))
    argument = next(p for p in command.main.params if p.name == "suites")
    monkeypatch.setattr(argument.type, "choices", [*argument.type.choices, "mine"])

    def invoke(*more):
        words = ["mine", "--quick", "--threads", "1", "--out", str(tmp_path / "out"), *more]
        monkeypatch.setattr(sys, "argv", ["benchmarks", *words])
        return CliRunner().invoke(command.main, words)

    yield invoke
    sys.modules.pop("benchmarks.cases.mine", None)


def test_files_and_exit_code(run, tmp_path):
    done = run()
    assert done.exit_code == 1  # one case is wrong
    assert "not for quoting" in done.stdout
    assert "NOT TIMED  group: wrong" in done.stdout
    files = {path.name[16:]: path for path in (tmp_path / "out").iterdir()}
    assert set(files) == {"mine.json", "mine-ratios.png", "mine-roofline.png"}
    found = json.loads(files["mine.json"].read_text(encoding="utf-8"))
    contenders = [x["extra_info"]["contender"] for x in found["benchmarks"]]
    assert contenders == ["ours", "numpy"]


def test_match_and_markdown(run):
    done = run("--match", "right", "--markdown", "--peers", "numpy,no_such_library")
    assert done.exit_code == 0
    assert done.stdout.startswith("```\npython -m benchmarks mine --quick ")
    assert "| mine |" not in done.stdout
    assert "no case of these suites compares with no_such_library" in done.stdout


def test_bad_arguments_are_usage_errors(run):
    for wrong in (["--threads", "0"], ["--threads", "9999"], ["no-such-suite"]):
        done = run(*wrong)
        assert done.exit_code == 2, wrong
        assert "Error" in done.stderr


def test_an_error_in_a_suite_keeps_what_was_measured(run, tmp_path):
    path = next(tmp_path.glob("suites/*.py"))
    path.write_text(SUITE + "    raise RuntimeError('broken suite')\n", encoding="utf-8")
    done = run("--match", "right")
    assert str(done.exception) == "broken suite"
    assert list((tmp_path / "out").glob("*-mine.json"))


def test_convolutions_of_the_table():
    stride_one = GROUPS["3x3 stride 1"]
    assert len(stride_one) == 11
    assert all(shape.x_shape[2:] == shape.out_shape[2:] for shape in stride_one)
    stem = GROUPS["strided, 1x1, stem"][-1]
    assert (stem.name, stem.out_shape) == ("7x7 3>64@224 s2 b4", (4, 64, 112, 112))


def test_process_is_watched():
    found = train_in_process("ours", replace(RESNET20, batch=4), threads=1, steps=1)
    assert found.first_step_seconds > 0.1
    if sys.platform.startswith("linux"):
        assert 50 * 2**20 < found.peak_bytes < 4 * 2**30


def test_failing_process_says_why():
    with pytest.raises(RuntimeError, match=r"trainee ours resnet20 failed: .*set_num_threads"):
        train_in_process("ours", RESNET20, threads=9999, steps=1)
