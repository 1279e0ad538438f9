"""The walk as text, and the command."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from tinygrad_ft.cli.main import run
from tinygrad_ft.explain.examples import EXAMPLES, explain_example
from tinygrad_ft.explain.text import walk


def printed(name: str) -> str:
    out = io.StringIO()
    walk(explain_example(name), Console(file=out, width=200, highlight=False, soft_wrap=True))
    return out.getvalue()


def test_the_walk_of_the_layer_is_the_one_on_paper() -> None:
    """delta_z = (a - t) a (1 - a), dW = delta_z x^T: as in examples/backprop_by_hand.py."""
    text = printed("layer")
    assert re.search(r"Forward, 9 ops.*Backward, 8 ops, the last one first", text, re.S)
    assert "grad_x (z) = [-0.118459,  0.062315]" in text
    assert "grad_a (W) = [[-0.118459, -0.236918], [ 0.062315,  0.12463 ]]" in text
    assert "   grad_x = grad_out * out * (1 - out)" in text
    assert "grad_b: none, t is data: it does not require a gradient" in text
    assert "W after    = [[ 0.559229, -0.131541], [ 0.718842,  0.937685]]" in text


def test_sums_and_reasons_are_told() -> None:
    text = printed("shared")
    assert "part 2 of 2 of the gradient of c\n     added up: -10." in text
    assert "c: backprop -10, finite difference -10" in text
    assert "Note: No gradient for conv1.weight" in printed("finetune")


def explain(*words: str | Path) -> int:
    return run(["explain", *map(str, words)])


def test_the_command_writes_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert explain() == 0
    assert "explain-layer.html" in capsys.readouterr().out
    assert (tmp_path / "explain-layer.html").stat().st_size > 100_000
    assert explain("shared", "--out", tmp_path / "a.html") == 0
    assert (tmp_path / "a.html").exists()
    assert explain("shared", "--text") == 0
    assert "A value that is used twice" in capsys.readouterr().out


SCRIPT = """
import sys
import tinygrad_ft as tg
w = tg.tensor([float(sys.argv[1])], requires_grad=True)
optimizer = tg.optim.SGD([w], lr=0.5)
for step in range(5):
    loss = (w * w).sum()
    optimizer.zero_grad()
    loss.backward()
    tg.nn.utils.clip_grad_norm_([w], 1.0)
    optimizer.step()
    print("step", step)
raise SystemExit("the end is never reached")
"""


def test_a_script_is_explained_at_the_step_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    assert explain(script, "3", "--text") == 0
    out = capsys.readouterr().out
    assert "step" not in out.split("train.py")[0]
    assert "a (w) = [3.]" in out and "added up: [6.]" in out
    # the optimizer gets the clipped gradient
    assert re.search(r"w before   = \[3.\]\s+w gradient = \[1.\]\s+w after    = \[2.5\]", out)
    assert explain(script, "3", "--step", "2", "--text") == 0
    out = capsys.readouterr().out
    assert "step 0" in out and "step 1" not in out
    assert "train.py, backward 2" in out and "a (w) = [2.5]" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "'nothing' is no example (layer, shared, moons, cnn, residual, finetune)"),
        (["missing.py"], "there is no file missing.py"),
        (["layer", "3"], "a built-in example takes no arguments"),
    ],
)
def test_wrong_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(*words) == 2
    assert message in capsys.readouterr().err


def test_a_script_without_that_backward(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "none.py"
    script.write_text("x = 1\n", encoding="utf-8")
    assert explain(script) == 1
    assert "backward() was called 0 times, so there is no step 1" in capsys.readouterr().err


def test_the_help_names_every_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain("--help") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in EXAMPLES)
