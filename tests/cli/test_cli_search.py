"""`tinygrad-ft search`: trials in folders, resumable, the test images for the winner alone."""

from __future__ import annotations

import json
import shlex
import sys

import pytest
import yaml
from cli_helpers import state

from tinygrad_ft.cli import search as command
from tinygrad_ft.train import predict_scores, trainer

QUICK = ["--epochs", "2", "--batch-size", "8", "--val-fraction", "0.3"]


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna")


def test_a_search_from_start_to_end(tool, optuna, task, pretrained, tmp_path, monkeypatch):
    seen: list[int] = []
    plain = predict_scores

    def watched(model, dataset, *more, **options):
        seen.append(len(dataset))
        return plain(model, dataset, *more, **options)

    monkeypatch.setattr(trainer, "predict_scores", watched)
    out = tmp_path / "s"
    words = ["search", task, "--weights", pretrained / "best.safetensors", *QUICK, "--out", out]
    said = tool(*words, "--trials", "2", "--seed", "5")
    assert said.code == 0, said
    assert said.err == ""
    content = json.loads((out / "search.json").read_text())
    trials = content["trials"]
    assert [t["number"] for t in trials] == [0, 1]
    assert (trials[0]["lr"], trials[0]["weight_decay"], trials[0]["freeze"]) == (0.01, 5e-4, 0)
    # the trials saw validation images only (8 of 24), never the 12 test images
    assert set(seen) == {8}
    for t in trials:
        folder = out / f"trial-{t['number']:03}"
        results = json.loads((folder / "results.json").read_text())
        assert results["judged_on"] == "validation"
        assert results["accuracy"] == t["accuracy"]
        assert yaml.safe_load((folder / "args.yaml").read_text())["lr"] == t["lr"]
    best = max(trials, key=lambda t: (t["accuracy"], -t["loss"]))
    assert content["test"]["trial"] == best["number"]
    assert content["test"]["images"] == 12
    assert f"test: accuracy {content['test']['accuracy']:.2%} (95%: " in said.out
    assert f"best: trial {best['number']}" in said.out
    assert "Trials by validation accuracy" in said.out
    assert (out / "search.png").exists()
    assert len((out / "trials.csv").read_text().splitlines()) == 3
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "All trials, by validation accuracy" in page

    # the winner's command line trains the same bits, and judges them on the same test images
    (line,) = [x for x in said.out.splitlines() if x.startswith("to train it again: ")]
    again = shlex.split(line.removeprefix("to train it again: tinygrad-ft "))
    again[-1] = str(tmp_path / "again")
    assert tool(*again).code == 0
    name = "best.safetensors"
    folder = out / f"trial-{best['number']:03}"
    assert state(tmp_path / "again" / name) == state(folder / name)
    results = json.loads((tmp_path / "again" / "results.json").read_text())
    assert results["accuracy"] == content["test"]["accuracy"]
    assert results["judged_on"] == "test"

    # once more is the same, longer is refused, another one too
    assert tool(*words, "--trials", "2", "--seed", "5", "--resume").code == 0
    assert json.loads((out / "search.json").read_text()) == content
    said = tool(*words, "--trials", "3", "--seed", "5", "--resume")
    assert said.code == 1
    assert "a longer search needs a folder of its own" in said.err
    said = tool(*words, "--trials", "2", "--resume")
    assert said.code == 1
    assert "other settings: seed was 5, now 0" in said.err
    assert "already holds a search" in tool(*words).err


def test_a_stopped_search_goes_on(tool, optuna, task, pretrained, tmp_path, monkeypatch):
    words = ["search", task, "--weights", pretrained / "best.safetensors", *QUICK, "--trials", "2",
             "--freeze-range", "3,4", "--augment", "none"]  # fmt: skip
    assert tool(*words, "--out", tmp_path / "whole").code == 0
    plain = command.execute

    def stops(title, model, card, splits, settings, run, *more, **options):
        if run.path.name == "trial-001":
            calls = iter(range(100))
            options["stop"] = lambda: next(calls) >= 2
        return plain(title, model, card, splits, settings, run, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr(command, "execute", stops)
        said = tool(*words, "--out", tmp_path / "parts")
    assert said.code in (130, 143)
    assert "To go on: tinygrad-ft search" in said.err
    assert (tmp_path / "parts" / "trial-001" / "last.safetensors").exists()
    assert not (tmp_path / "parts" / "search.png").exists()
    assert tool(*words, "--out", tmp_path / "parts", "--resume").code == 0
    for number in range(2):
        name = f"trial-{number:03}/best.safetensors"
        assert state(tmp_path / "parts" / name) == state(tmp_path / "whole" / name)
    trials = [json.loads((tmp_path / n / "search.json").read_text())["trials"]
              for n in ("whole", "parts")]  # fmt: skip
    for t in trials[0] + trials[1]:
        del t["seconds"]
    assert trials[0] == trials[1]


def test_without_optuna(tool, task, pretrained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    said = tool("search", task, "--weights", pretrained / "best.safetensors", "--out",
                tmp_path / "s")  # fmt: skip
    assert said.code == 1
    assert said.err == (
        'error: search needs Optuna, which is not installed: pip install "tinygrad_ft[search]"\n'
    )
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "options, words",
    [
        (["--lr-range", "1"], "'1' is not two numbers like"),
        (["--lr-range", "0.1,0.01"], "--lr-range must be two positive numbers"),
        (["--freeze-range", "0,9"], "whole numbers from 0 to 4"),
        (["--freeze-range", "0.5,2"], "whole numbers"),
        (["--freeze", "7"], "--freeze 7"),
        (["--val-fraction", "0"], "search needs validation images"),
        (["--trials", "0"], "--trials"),
    ],
)
def test_wrong_usage(tool, optuna, task, pretrained, tmp_path, options, words):
    weights = pretrained / "best.safetensors"
    said = tool("search", task, "--weights", weights, *options, "--out", tmp_path / "s")
    assert said.code == 2, said
    assert words in said.err
    assert not (tmp_path / "s").exists()


def test_a_search_where_everything_diverges(tool, optuna, task, pretrained, tmp_path):
    weights, rate = pretrained / "best.safetensors", ["--lr", "1e30", "--lr-range", "1e30,1e30"]
    out = ["--trials", "1", "--out", tmp_path / "s"]
    said = tool("search", task, "--weights", weights, *QUICK, *rate, *out)
    assert said.code == 1
    assert said.err == "error: all trials (1) diverged: search lower --lr-range\n"
