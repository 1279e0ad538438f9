"""The moving average of the weights, and that it is what a run evaluates and keeps."""

from __future__ import annotations

import numpy as np
import pytest
from train_helpers import arrays, colours, make_model, make_trainer, same, tensors

from tinygrad_ft.io import load_checkpoint
from tinygrad_ft.train import Interrupted, Settings
from tinygrad_ft.train.recipe.ema import WeightAverage


def drift(model, rng: np.random.Generator) -> None:
    model.load_state_dict(
        {
            name: value + rng.normal(size=value.shape).astype(value.dtype)
            if value.dtype.kind == "f"
            else value + 1
            for name, value in arrays(model).items()
        }
    )


def test_it_follows_the_formula():
    model, rng = make_model(), np.random.default_rng(0)
    average = WeightAverage(model, 0.7)
    expected = {n: v.astype(np.float64) for n, v in arrays(model).items()}
    for t in range(30):
        drift(model, rng)
        average.update(model)
        decay = min(0.7, (1 + t) / (10 + t))
        for name, value in arrays(model).items():
            expected[name] = decay * expected[name] + (1 - decay) * value
    for name, value in average.tensors.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5)
        else:
            assert value == 30  # a counter
    assert average.tensors.keys() == arrays(model).keys()
    assert any("running_var" in name for name in average.tensors)


def test_what_does_not_change_keeps_its_bits():
    model, average = make_model(), WeightAverage(make_model(), 0.999)
    before = arrays(model)
    for _ in range(50):
        average.update(model)
    assert same(average.tensors, before)


def test_it_lends_itself_to_the_model():
    model = make_model()
    average = WeightAverage(model, 0.9)
    drift(model, np.random.default_rng(0))
    own = arrays(model)
    with average.applied(model):
        assert same(arrays(model), average.tensors)
    assert same(arrays(model), own)

    def fail() -> None:
        with average.applied(model):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert same(arrays(model), own)
    drift(model, np.random.default_rng(1))
    assert not same(arrays(model), own)
    assert not same(average.tensors, own)


def test_state():
    model, rng = make_model(), np.random.default_rng(0)
    first = WeightAverage(model, 0.9)
    drift(model, rng)
    first.update(model)
    second = WeightAverage(make_model(3), 0.9)
    second.load_state_dict(first.state_dict())
    for average in (first, second):
        drift(model, np.random.default_rng(1))
        average.update(model)
        drift(model, np.random.default_rng(1))
    assert first.updates == second.updates == 2
    with pytest.raises(ValueError, match="of another model"):
        second.load_state_dict({"updates": 1, "tensors": {}})
    assert second.updates == 2
    with pytest.raises(ValueError, match="between 0 and 1"):
        WeightAverage(model, 1.0)


@pytest.mark.parametrize("freeze", ["none", "backbone"])
def test_the_average_is_evaluated_and_kept(tmp_path, freeze):
    val = colours(4, seed=1)
    settings = Settings(epochs=4, batch_size=8, ema=0.8, augment="none", freeze=freeze)
    trainer = make_trainer(tmp_path, settings, val=val)
    history = trainer.fit()
    last, _ = load_checkpoint(tmp_path / "last.safetensors")
    raw = {n.removeprefix("model/"): v for n, v in last.items() if n.startswith("model/")}
    averaged = {
        n.removeprefix("average/tensors/"): v for n, v in last.items() if "average/tensors/" in n
    }
    assert same(raw, arrays(trainer.model))
    assert same(averaged, trainer.average.tensors)
    assert not same(raw, averaged)
    best = tensors(tmp_path / "best.safetensors")
    if trainer.position.best_epoch == 4:
        assert same(best, averaged)
    trainer.best_model()
    found = trainer.evaluate(val, "")
    row = history[trainer.position.best_epoch - 1]
    assert found.metrics().accuracy == row["val_accuracy"]
    assert found.loss == pytest.approx(row["val_loss"], rel=1e-4)


def test_a_stop_while_the_average_is_evaluated_saves_the_weights_themselves(tmp_path):
    """Batches of training: 3 an epoch; the fourth question is asked within validation."""
    questions = iter([False] * 3 + [True])
    settings = Settings(epochs=2, batch_size=8, ema=0.5)
    val = colours(4, seed=1)
    trainer = make_trainer(tmp_path, settings, val=val, stop=lambda: next(questions))
    with pytest.raises(Interrupted, match="epoch 1 after batch 3"):
        trainer.fit()
    trainer.run.close()
    last, _ = load_checkpoint(tmp_path / "last.safetensors")
    raw = {n.removeprefix("model/"): v for n, v in last.items() if n.startswith("model/")}
    assert same(raw, arrays(trainer.model))
    assert not same(raw, trainer.average.tensors)
