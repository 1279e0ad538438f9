"""The range test: what it suggests, and that it leaves everything as it was."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from PIL import Image
from train_helpers import arrays, colours, make_card, make_model, same

from tinygrad_ft import random
from tinygrad_ft.data import DataError
from tinygrad_ft.train import Settings
from tinygrad_ft.train.progress import Reporter
from tinygrad_ft.train.recipe import lr_finder
from tinygrad_ft.train.recipe.lr_finder import LrCurve, find_lr, write_curve

QUIET = Reporter(quiet=True)


def test_the_suggestion_is_where_the_loss_falls_fastest():
    rates = np.geomspace(1e-6, 10, 100)
    fall = 2 - 1.5 / (1 + np.exp(-4 * (np.log10(rates) + 2)))  # steepest at 1e-2
    rise = np.maximum(0, rates - 1) * 5
    curve = LrCurve.of(rates, fall + rise)
    # the running mean comes some ten steps late, a factor of 5 in the rate
    assert 1e-2 < curve.suggestion < 1e-1
    assert LrCurve.of(rates, 1 + rates).suggestion is None
    np.testing.assert_allclose(LrCurve.of(rates, np.full(100, 0.7)).smoothed, 0.7)


@pytest.mark.parametrize("freeze", ["none", "backbone"])
def test_it_finds_a_rate_that_works_and_changes_nothing(freeze):
    model, data = make_model(), colours()
    before, state = arrays(model), random.get_rng_state()
    settings = Settings(batch_size=8, freeze=freeze, augment="none", layer_decay=0.5)
    curve = find_lr(model, make_card(data), data, settings, QUIET)
    assert same(arrays(model), before)
    assert random.get_rng_state() == state
    assert all(p.grad is None for p in model.parameters())
    assert 1e-3 <= curve.suggestion <= 5
    np.testing.assert_allclose(curve.rates[:2], [1e-6, 1e-6 * 1e7 ** (1 / 99)])
    again = find_lr(model, make_card(data), data, settings, QUIET)
    np.testing.assert_array_equal(again.losses, curve.losses)


def test_it_ends_when_the_loss_explodes(monkeypatch):
    monkeypatch.setattr(lr_finder, "HIGHEST", 1e30)
    data = colours()
    settings = Settings(batch_size=8, momentum=0.0)
    curve = find_lr(make_model(), make_card(data), data, settings, QUIET)
    assert len(curve.losses) < 100
    assert np.isfinite(curve.losses).all()
    monkeypatch.setattr(lr_finder, "LOWEST", 1e28)
    with pytest.raises(DataError, match="nothing can be said"):
        find_lr(make_model(), make_card(data), data, settings, QUIET)


def test_its_files(tmp_path):
    rates = np.geomspace(1e-6, 10, 50)
    curve = LrCurve.of(rates, 2 - np.tanh(np.log10(rates) + 3))
    assert write_curve(curve, tmp_path) == ["find-lr.png", "find-lr.csv"]
    picture = np.asarray(Image.open(tmp_path / "find-lr.png").convert("L"))
    assert picture.shape[1] > 600
    assert picture.std() > 5
    with open(tmp_path / "find-lr.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["lr"]) for row in rows] == rates.tolist()
    assert math.isclose(float(rows[3]["loss"]), curve.losses[3])
    write_curve(LrCurve.of(rates, 1 + rates), tmp_path)  # with nothing to suggest


def test_the_noise_of_the_first_batches_is_no_fall():
    """The first loss happens to be high: the running mean falls fastest right after it."""
    rates = np.geomspace(1e-6, 10, 100)
    losses = 2 - 1.5 / (1 + np.exp(-4 * (np.log10(rates) + 2)))
    losses[0] += 0.6
    assert 1e-2 < LrCurve.of(rates, losses).suggestion < 1e-1
