"""A whole run in its folder, and what becomes of it when it is done again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from train_helpers import colours, contents, make_card, make_model

from tinygrad_ft.io import RUN_FILES, CheckpointError, RunFolder, RunFolderError, fingerprint_state
from tinygrad_ft.train import Settings, load_model
from tinygrad_ft.train.progress import Reporter
from tinygrad_ft.train.run import Outcome, execute
from tinygrad_ft.train.splits import Splits

SETTINGS = Settings(epochs=2, batch_size=8)


def run(folder: Path, settings: Settings = SETTINGS, val: bool = True, test: bool = True,
        resume: bool = False, **options: Any) -> Outcome:  # fmt: skip
    splits = Splits(
        colours(), colours(3, seed=1) if val else None, colours(5, seed=2) if test else None
    )
    args = {"command": "pretrain", "data": "colours"}
    with RunFolder(folder, resume=resume) as place:
        return execute(
            "Pretrained resnet8", make_model(), make_card(colours()), splits, settings, place,
            Reporter(quiet=True), args=args, command="tinygrad-ft pretrain colours",
            resume=resume, **options,
        )  # fmt: skip


@pytest.mark.parametrize(
    "val, test, judged_on, images",
    [(True, True, "test", 15), (True, False, "validation", 9), (False, False, "training", 24)],
)
def test_what_a_run_leaves(tmp_path, val, test, judged_on, images):
    outcome = run(tmp_path, val=val, test=test)
    assert sorted(os.listdir(tmp_path)) == sorted([*RUN_FILES, ".lock"])
    assert (outcome.judged_on, outcome.images) == (judged_on, images)
    assert json.loads((tmp_path / "results.json").read_text()) == vars(outcome)
    model, _ = load_model(tmp_path / "best.safetensors")
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    assert outcome.weights_fingerprint == fingerprint_state(weights)
    assert outcome.data_fingerprint == colours().fingerprint
    args = yaml.safe_load((tmp_path / "args.yaml").read_text())
    assert args.items() >= {"command": "pretrain", "data": "colours", **SETTINGS.as_dict()}.items()
    assert args["training_images"] == colours().fingerprint
    assert f"Judged on {images} {judged_on} images" in (tmp_path / "report.html").read_text()


def test_a_finished_run_is_only_read(tmp_path, monkeypatch):
    outcome = run(tmp_path)
    before = contents(tmp_path)
    monkeypatch.setattr("tinygrad_ft.train.trainer.Trainer.fit", None)
    assert run(tmp_path, resume=True) == outcome
    assert contents(tmp_path) == before


def test_a_run_killed_between_its_last_epoch_and_its_result_is_judged(tmp_path):
    outcome = run(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "results.json").unlink()
    (tmp_path / "report.html").unlink()
    assert run(tmp_path, resume=True) == outcome
    after = contents(tmp_path)
    assert {n: after[n] for n in after if n != "report.html"} == {
        n: before[n] for n in before if n != "report.html"
    }


@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_are_refused_and_nothing_changes(tmp_path, finished):
    """Also while there is no checkpoint yet, only args.yaml."""
    run(tmp_path)
    if not finished:
        for name in set(RUN_FILES) - {"args.yaml"}:
            (tmp_path / name).unlink()
    before = contents(tmp_path)
    other = Settings(epochs=3, batch_size=8, freeze="1")
    message = "cannot be resumed with other settings: epochs was 2, now 3, freeze was 'none'"
    with pytest.raises(CheckpointError, match=message):
        run(tmp_path, other, resume=True)
    message = r"with other validation images: they were '.*now None"
    with pytest.raises(CheckpointError, match=message):
        run(tmp_path, val=False, resume=True)
    assert contents(tmp_path) == before


def test_a_run_without_a_checkpoint_starts_over(tmp_path):
    outcome = run(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "args.yaml").write_bytes((tmp_path / "a" / "args.yaml").read_bytes())
    again = run(tmp_path / "b", resume=True)
    assert vars(again) | {"training_seconds": 0} == vars(outcome) | {"training_seconds": 0}


def test_a_damaged_result_is_said(tmp_path):
    run(tmp_path)
    for text in ("", "{", "[]", "{}", '{"accuracy": 1}'):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(RunFolderError, match=r"results\.json is damaged: remove it"):
            run(tmp_path, resume=True)
