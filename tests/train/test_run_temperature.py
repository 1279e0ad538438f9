"""What a finished run keeps: a temperature of its validation images, never of its test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from train_helpers import arrays, colours, make_card, make_model, same, tensors

from tinygrad_ft.data import ArrayDataset
from tinygrad_ft.io import RunFolder
from tinygrad_ft.train import Settings, load_model, predict_scores
from tinygrad_ft.train import run as module
from tinygrad_ft.train.calibration import fit_temperature
from tinygrad_ft.train.model_file import read_card
from tinygrad_ft.train.progress import Reporter
from tinygrad_ft.train.run import Outcome, execute
from tinygrad_ft.train.splits import Splits


def noisy(seed: int) -> ArrayDataset:
    """Colours of which every third has a wrong label: there is a best temperature then."""
    data = colours(seed=seed)
    labels = np.where(np.arange(24) % 3 == 0, (data.targets + 1) % 3, data.targets)
    return ArrayDataset(data.images, labels, data.classes)


def run(folder: Path, splits: Splits, resume: bool = False) -> Outcome:
    settings = Settings(epochs=2, batch_size=8, lr=0.05, val_fraction=0)
    with RunFolder(folder, resume=resume) as target:
        return execute(
            "A run", make_model(), make_card(splits.train), splits, settings, target,
            Reporter(quiet=True), args={}, command="x", resume=resume,
        )  # fmt: skip


def test_it_is_that_of_the_validation_images(tmp_path):
    val = noisy(1)
    run(tmp_path, Splits(noisy(0), val, noisy(2)))
    model, card = load_model(tmp_path / "best.safetensors")
    scores = predict_scores(model, val, card.preprocessing)
    assert card.temperature is not None
    assert card.temperature == fit_temperature(scores.scores, scores.labels)
    assert f"A temperature of {card.temperature:.3f}" in (tmp_path / "report.html").read_text()


def test_without_validation_there_is_none(tmp_path):
    run(tmp_path, Splits(noisy(0), None, noisy(2)))
    assert read_card(tmp_path / "best.safetensors").temperature is None
    assert "--temperature" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("there_is_a_test", [True, False])
def test_every_set_is_looked_at_once_at_the_end(tmp_path, monkeypatch, there_is_a_test):
    train, val, test = noisy(0), noisy(1), noisy(2)
    seen = []
    plain = module.Trainer.evaluate

    def watched(self, dataset, name, *options):
        seen.append((dataset, name))
        return plain(self, dataset, name, *options)

    monkeypatch.setattr(module.Trainer, "evaluate", watched)
    run(tmp_path, Splits(train, val, test if there_is_a_test else None))
    assert [d is val for d, _ in seen[:3]] == [True] * 3, "after each epoch, and to calibrate"
    assert [d is test for d, _ in seen[3:]] == [True] * there_is_a_test


def test_a_run_killed_before_its_result_keeps_the_same(tmp_path):
    splits = Splits(noisy(0), noisy(1), noisy(2))
    run(tmp_path / "whole", splits)
    run(tmp_path / "parts", splits)
    before = tensors(tmp_path / "parts" / "best.safetensors")
    (tmp_path / "parts" / "results.json").unlink()
    run(tmp_path / "parts", splits, resume=True)
    assert same(tensors(tmp_path / "parts" / "best.safetensors"), before)
    files = [(tmp_path / n / "best.safetensors").read_bytes() for n in ("whole", "parts")]
    assert files[0] == files[1]
    assert same(before, arrays(load_model(tmp_path / "whole" / "best.safetensors")[0]))
