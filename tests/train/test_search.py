"""What a search tries and keeps: a function of seed and results, refused when it is another one."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tinygrad_ft.io import CheckpointError, RunFolderError
from tinygrad_ft.train import NonFiniteLoss, Settings, SettingsError
from tinygrad_ft.train.search import (
    SearchFolder,
    Space,
    Trial,
    best_trial,
    possible_depths,
    propose,
    run_trials,
)
from tinygrad_ft.train.search_plot import trials_svg, write_trials_png

SPACE = Space(lr=(1e-4, 1.0), weight_decay=(1e-6, 1e-2), freeze=(0, 4))
FIRST = Trial(0, 0.01, 5e-4, 0)
IDENTITY = {"settings": {"epochs": 3}, "weights": "abc"}


def quality(trial: Trial) -> float:
    """Best at lr 0.03, no matter what else."""
    return 1 / (1 + (math.log10(trial.lr) - math.log10(0.03)) ** 2)


def outcome(trial: Trial) -> Any:
    return SimpleNamespace(
        accuracy=quality(trial), loss=1 - quality(trial), best_epoch=2, training_seconds=1.5
    )


def search(path: Path, count: int, resume: bool = False, seed: int = 0, run: Any = outcome) -> list:
    with SearchFolder(path, IDENTITY, resume=resume) as folder:
        run_trials(folder, count, SPACE, FIRST, seed, run)
        return list(folder.trials)


@pytest.fixture
def optuna() -> Any:
    return pytest.importorskip("optuna")


def test_what_is_tried_lies_in_the_space(optuna: Any, tmp_path: Path) -> None:
    found = search(tmp_path, 12)
    assert [t.number for t in found] == list(range(12))
    assert (found[0].lr, found[0].weight_decay, found[0].freeze) == (0.01, 5e-4, 0)
    for t in found:
        assert SPACE.lr[0] <= t.lr <= SPACE.lr[1]
        assert SPACE.weight_decay[0] <= t.weight_decay <= SPACE.weight_decay[1]
        assert t.freeze in range(5)
        assert t.lr == float(f"{t.lr:.3g}"), "a number that can be typed"
    assert len({t.lr for t in found}) > 8
    assert len({t.freeze for t in found}) > 2


def test_it_looks_where_it_was_good(optuna: Any, tmp_path: Path) -> None:
    found = search(tmp_path, 30)
    late = [abs(math.log10(t.lr / 0.03)) for t in found[20:]]
    early = [abs(math.log10(t.lr / 0.03)) for t in found[1:11]]
    assert sum(late) / 10 < 0.7 * sum(early) / 10
    best = best_trial(found)
    assert best is not None
    assert quality(best) > 0.9


def test_a_stopped_search_goes_on_as_if_it_had_not_been(optuna: Any, tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", 14)

    def stops(trial: Trial) -> Any:
        if trial.number == 11:
            raise KeyboardInterrupt
        return outcome(trial)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "parts", 14, run=stops)
    assert search(tmp_path / "parts", 14, resume=True) == whole
    content = [(tmp_path / n / "search.json").read_bytes() for n in ("whole", "parts")]
    assert content[0] == content[1]
    assert search(tmp_path / "other", 3, seed=1)[1:] != whole[1:3]


def test_bounds_that_are_one_number_and_a_first_trial_outside(optuna: Any) -> None:
    one = Space(lr=(0.2, 0.2), weight_decay=(1e-3, 1e-3), freeze=(2, 2))
    first = propose(one, FIRST, [], 0)
    assert (first.lr, first.weight_decay, first.freeze) == (0.2, 1e-3, 2)
    second = propose(one, FIRST, [replace(first, accuracy=0.5, loss=1.0)], 0)
    assert (second.number, second.lr, second.freeze) == (1, 0.2, 2)


def test_a_trial_that_diverges_is_kept_and_not_the_best(optuna: Any, tmp_path: Path) -> None:
    def some(trial: Trial) -> Any:
        if trial.number in (0, 2):
            raise NonFiniteLoss("infinite")
        return outcome(trial)

    found = search(tmp_path, 4, run=some)
    assert [t.accuracy is None for t in found] == [True, False, True, False]
    best = best_trial(found)
    assert best is not None
    assert best.number in (1, 3)
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["accuracy"] == "" for row in rows] == [True, False, True, False]
    assert best_trial(found[:1]) is None
    assert "best" not in trials_svg(found[:1]), "a picture without points"


def test_of_equals_the_lower_loss_wins() -> None:
    trials = [Trial(i, 0.1, 0.1, 0, 0.9, loss) for i, loss in enumerate((0.5, 0.3, 0.3))]
    assert best_trial(trials) == trials[1]


def test_the_test_images_end_a_search(tmp_path: Path) -> None:
    with SearchFolder(tmp_path, IDENTITY, resume=False) as folder:
        folder.trials.append(Trial(0, 0.1, 0.1, 0, 0.9, 0.5))
        folder.test = {"accuracy": 0.8}
        folder.write()
        run_trials(folder, 1, SPACE, FIRST, 0, outcome)
        with pytest.raises(RunFolderError, match="was judged on test images: a longer search"):
            run_trials(folder, 2, SPACE, FIRST, 0, outcome)


def test_another_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no search to resume"):
        SearchFolder(tmp_path / "new", IDENTITY, resume=True)
    assert not (tmp_path / "new").exists()
    SearchFolder(tmp_path, IDENTITY, resume=False).close()
    with pytest.raises(RunFolderError, match="already holds a search"):
        SearchFolder(tmp_path, IDENTITY, resume=False)
    other = {**IDENTITY, "settings": {"epochs": 4}}
    with pytest.raises(CheckpointError, match="other settings: epochs was 3, now 4"):
        SearchFolder(tmp_path, other, resume=True)
    with (
        SearchFolder(tmp_path, IDENTITY, resume=True),
        pytest.raises(RunFolderError, match="in use by another"),
    ):
        SearchFolder(tmp_path, IDENTITY, resume=True)
    for text in ("", "[]", '{"identity": {}}', json.dumps({"identity": {}, "trials": [{}]})):
        (tmp_path / "search.json").write_text(text)
        with pytest.raises(RunFolderError, match="does not hold a search"):
            SearchFolder(tmp_path, IDENTITY, resume=True)


@pytest.mark.parametrize(
    "bounds, words",
    [
        ({"lr": (0.1, 0.01)}, "--lr-range must be two positive numbers"),
        ({"lr": (0.0, 0.1)}, "--lr-range"),
        ({"weight_decay": (-1.0, 0.1)}, "--weight-decay-range must be .* not -1,0.1"),
        ({"weight_decay": (0.1, math.inf)}, "--weight-decay-range"),
        ({"lr": (math.nan, 0.1)}, "--lr-range"),
        ({"freeze": (3, 1)}, "--freeze-range must be two numbers of stages"),
    ],
)
def test_bounds_without_sense(bounds: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Space(**{"lr": (0.1, 1.0), "weight_decay": (0.1, 1.0), "freeze": (0, 1), **bounds})


def test_depths_that_go_with_the_other_settings() -> None:
    assert possible_depths(Settings(), 4) == (0, 4)
    assert possible_depths(Settings(head_epochs=2), 4) == (0, 3)
    unfreezing = Settings(freeze="backbone", unfreeze_every=2)
    assert possible_depths(unfreezing, 4) == (1, 4)
    assert Trial(0, 0.1, 0.1, 0).settings(Settings(), 4).freeze == "none"
    assert Trial(0, 0.1, 0.1, 2).settings(Settings(), 4).freeze == "2"
    assert Trial(0, 0.1, 0.1, 4).settings(Settings(), 4).freeze == "backbone"


def test_the_picture(tmp_path: Path) -> None:
    trials = [Trial(i, 10 ** -(i / 3), 1e-4, i % 3, i / 10, 1.0) for i in range(9)]
    write_trials_png(tmp_path / "s.png", [*trials, Trial(9, 0.1, 0.1, 0)])
    assert (tmp_path / "s.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "best: trial 8" in trials_svg(trials)
