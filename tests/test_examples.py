"""The examples run as a reader would run them, and say what they should."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(name: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_training_loop_learns_digits() -> None:
    found = re.search(r"accuracy on the test half: ([\d.]+)%", run("training_loop.py"))
    assert found is not None
    assert float(found[1]) > 93


def test_backprop_by_hand_agrees() -> None:
    out = run("backprop_by_hand.py")
    assert out.count("by engine") == 6
    by_hand = re.findall(r"by hand +(.*)", out)
    by_engine = re.findall(r"by engine +(.*)", out)
    assert by_hand == by_engine


def test_mlp_separates_the_moons() -> None:
    found = re.findall(r"accuracy ([\d.]+)%", run("mlp.py"))
    assert float(found[-1]) > 97


def test_transformer_sorts_new_sequences() -> None:
    out = run("sort_transformer.py")
    found = re.search(r"sorted without a mistake: ([\d.]+)%", out)
    assert found is not None
    assert float(found[1]) > 90
