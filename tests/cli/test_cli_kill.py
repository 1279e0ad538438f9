"""Killed at any moment and resumed, a run ends with the bits of an uninterrupted one.

With everything on that has a state: accumulation, mixing, the average of the weights, unfreezing,
early stopping, the balanced order.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_helpers import coloured, environment, state

from tinygrad_ft.cli.main import run
from tinygrad_ft.io import RUN_FILES

DRIVER = Path(__file__).with_name("saving_each_step.py")
OPTIONS = [
    "--epochs", "5", "--batch-size", "4", "--accumulate", "2", "--optimizer", "adamw",
    "--lr", "0.01", "--freeze", "3", "--unfreeze-every", "1", "--layer-decay", "0.8",
    "--mixup", "0.2", "--cutmix", "1", "--balanced-sampler", "--clip-grad", "1",
    "--ema", "0.9", "--patience", "3", "--quiet",
]  # fmt: skip
KILLS = 3
FILES = ("last.safetensors", "best.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    data = coloured(tmp_path_factory.mktemp("kill") / "data", ["a", "b", "c"], train=30)
    for number in range(12, 30):  # one class is rare
        (data / "train" / "c" / f"{number}.png").unlink()
    return data


@pytest.fixture(scope="module")
def words(data, pretrained):
    """The command, but for its folder."""
    return ["finetune", str(data), "--weights", str(pretrained / "best.safetensors"), *OPTIONS]


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    """The folder of the uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run([*words, "--out", str(out)]) == 0
    with open(out / "summary.csv", newline="") as file:
        frozen = [row["frozen_stages"] for row in csv.DictReader(file)]
    assert frozen[:4] == list("3210")  # everything is on
    return out


def start(words: list[str], out: Path, *more: str) -> subprocess.Popen[str]:
    words = [*words, "--out", str(out), *more]
    return subprocess.Popen(
        [sys.executable, "-P", str(DRIVER), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        encoding="utf-8",
    )


def stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def wait_for_a_save(process: subprocess.Popen[str], out: Path) -> bool:
    """True when the process has saved a checkpoint, False when it has ended."""
    before = stamp(out / "last.safetensors")
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if stamp(out / "last.safetensors") != before:
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.0005)
    raise TimeoutError("the run neither saves nor ends")


def finish(words: list[str], out: Path) -> None:
    """Resume to the end, in this process: it is quicker."""
    assert run([*words, "--out", str(out), "--resume"]) == 0


def same_end(out: Path, whole: Path) -> None:
    for name in FILES:
        assert state(out / name) == state(whole / name), name
    assert (out / FILES[1]).read_bytes() == (whole / FILES[1]).read_bytes()
    assert sorted(os.listdir(out)) == sorted([*RUN_FILES, ".lock"])  # and no temporary file


def wait_for_half_a_save(process: subprocess.Popen[str], out: Path) -> None:
    """Until there is a file that is being written, or has just been."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if any(name.endswith(".tmp") for name in os.listdir(out)):
            return


def test_killed_many_times(words, whole, tmp_path):
    """Each process after its first save: at a random moment, or while it saves again."""
    out = tmp_path / "run"
    chance = random.Random(0)
    killed = 0
    for number in range(KILLS):
        with start(words, out, *(["--resume"] if number else [])) as process:
            if wait_for_a_save(process, out):
                if number % 2:
                    wait_for_half_a_save(process, out)
                else:
                    time.sleep(chance.uniform(0, 0.06))
                process.kill()
            process.communicate(timeout=120)
        if process.returncode == 0:
            break
        killed += 1
        state(out / "last.safetensors")  # whole at every moment
    assert killed >= 2
    finish(words, out)
    same_end(out, whole)


def test_killed_before_the_first_checkpoint(words, whole, tmp_path):
    """From the moment that the folder is there, `--resume` starts the run if it must."""
    out = tmp_path / "run"
    with start(words, out) as process:
        end = time.monotonic() + 120
        while not (out / ".lock").exists() and time.monotonic() < end:
            time.sleep(0.0005)
        process.kill()
        process.communicate(timeout=120)
    assert not (out / "results.json").exists()
    finish(words, out)
    same_end(out, whole)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_stop(data, words, whole, tmp_path, number, code):
    out = tmp_path / "run"
    with start(words, out) as process:
        assert wait_for_a_save(process, out)
        process.send_signal(number)
        said, error = process.communicate(timeout=120)
    assert process.returncode == code
    assert said == ""
    lines = error.strip().splitlines()
    assert lines[0] == "stopping after this step (again: at once) ..."
    assert lines[1].startswith("stopped in epoch ")
    assert f"saved in {out}. To go on: tinygrad-ft finetune {data}" in lines[1]
    assert lines[1].endswith(" --resume")
    assert len(lines) == 2
    finish(words, out)
    same_end(out, whole)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_told_twice(words, whole, tmp_path):
    """The second Ctrl-C does not wait; whatever it hits, the checkpoint is whole."""
    out = tmp_path / "run"
    with start(words, out) as process:
        assert wait_for_a_save(process, out)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in error
    state(out / "last.safetensors")
    finish(words, out)
    same_end(out, whole)
