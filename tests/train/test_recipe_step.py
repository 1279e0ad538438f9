"""One step: accumulation, weights of classes and parameters, which images an epoch shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from train_helpers import arrays, colours, make_model, make_trainer, same

from tinygrad_ft import nn
from tinygrad_ft.data import Subset
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train import Settings
from tinygrad_ft.train.optimization import make_optimizer
from tinygrad_ft.train.recipe.batches import balanced_weights, training_loader
from tinygrad_ft.train.recipe.step import Step, _parts

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(19, 3, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 3, 19)
SHARES = RNG.dirichlet([1, 1, 1], 19).astype(np.float32)


@given(st.integers(2, 500), st.integers(2, 64))
def test_parts_cover_a_batch_and_leave_no_image_alone(images, batch_size):
    parts = _parts(images, batch_size)
    assert [i for part in parts for i in range(images)[part]] == list(range(images))
    sizes = [part.stop - part.start for part in parts]
    assert min(sizes) >= 2
    assert max(sizes) <= batch_size + 1
    assert len(parts) <= -(-images // batch_size)


def after_a_step(
    targets: np.ndarray, weights: np.ndarray | None = None, norms: bool = True, **settings: Any
) -> tuple[float, int, ImageClassifier]:
    model = make_model().train()
    if norms:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.frozen = True
    chosen = Settings(**{"lr": 0.05, "momentum": 0.0, "label_smoothing": 0.1} | settings)
    step = Step(model, make_optimizer(model, chosen), chosen, weights)
    return *step(IMAGES, targets), model


@pytest.mark.parametrize("targets", [LABELS, SHARES], ids=["labels", "shares"])
@pytest.mark.parametrize("weights", [None, np.array([0.5, 3.0, 1.0], np.float32)])
@pytest.mark.parametrize("clip_grad", [None, 0.1])
def test_accumulation_is_the_large_batch_where_batch_norm_is_frozen(targets, weights, clip_grad):
    whole = after_a_step(targets, weights, batch_size=19, clip_grad=clip_grad)
    parts = after_a_step(targets, weights, batch_size=5, accumulate=4, clip_grad=clip_grad)
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    assert parts[1] == whole[1]
    before = arrays(make_model())
    moved = {n: v - before[n] for n, v in arrays(whole[2]).items()}
    assert sum(np.abs(v).sum() for v in moved.values()) > 0.1
    for name, value in arrays(parts[2]).items():
        np.testing.assert_allclose(value - before[name], moved[name], rtol=1e-3, atol=2e-6)


def test_batch_norm_that_learns_sees_the_parts():
    """What the docs warn of; and a test that the one above tests something."""
    whole = after_a_step(LABELS, batch_size=19, norms=False)
    parts = after_a_step(LABELS, batch_size=5, accumulate=4, norms=False)
    assert abs(parts[0] - whole[0]) > 1e-3


@pytest.mark.parametrize("targets", [LABELS, SHARES], ids=["labels", "shares"])
@pytest.mark.parametrize("weights", [None, np.array([0.5, 3.0, 1.0], np.float32)])
def test_the_loss_is_pytorchs(targets, weights):
    torch = pytest.importorskip("torch")
    model = make_model().train()
    settings = Settings(batch_size=19, label_smoothing=0.1)
    scores: list[np.ndarray] = []
    model.register_forward_hook(lambda m, a, out: scores.append(out.numpy().copy()))
    step = Step(model, make_optimizer(model, settings), settings, weights)
    loss, _ = step(IMAGES, targets)
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(scores[0]), torch.tensor(targets), label_smoothing=0.1,
        weight=None if weights is None else torch.tensor(weights),
    )  # fmt: skip
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_balanced_weights_are_scikit_learns():
    labels = np.repeat([0, 1, 3], [5, 1, 14])
    found = balanced_weights(labels, 5)
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels)
    np.testing.assert_allclose(found[[0, 1, 3]], expected, rtol=1e-6)
    assert found[[2, 4]].tolist() == [1, 1]
    assert found.dtype == np.float32
    assert found[labels].mean() == pytest.approx(1)


def rare() -> Subset:
    """18 images of two classes, 2 of the third."""
    data = colours(9)
    return Subset(data, [i for i in range(27) if i % 3 or i < 6])


def test_the_balanced_sampler_shows_every_class_equally_often():
    settings = Settings(batch_size=5, balanced_sampler=True)
    loader = training_loader(rare(), settings, None)
    for _ in range(2):
        labels = np.concatenate([y for _, y in loader])
        assert np.ptp(np.bincount(labels)) <= 1
        assert len(labels) == 20
    plain = training_loader(rare(), Settings(batch_size=5), None)
    assert np.bincount(np.concatenate([y for _, y in plain])).tolist() == [2, 9, 9]


@pytest.mark.parametrize("option", [{"class_weights": "balanced"}, {"balanced_sampler": True}])
def test_rare_classes_count_more(tmp_path, option):
    """A head with nothing but a bias learns how often the classes count: all the same."""
    biases = {}
    for name, chosen in (("plain", {}), ("balanced", option)):
        settings = Settings(
            epochs=60, batch_size=20, lr=0.5, momentum=0.0, schedule="constant", weight_decay=0.0,
            freeze="backbone", augment="none", **chosen,
        )  # fmt: skip
        model = make_model()
        model.layer3[0].bn2.weight.data[:] = 0  # features that know nothing
        model.layer3[0].bn2.bias.data[:] = -9
        trainer = make_trainer(tmp_path / name, settings, train=rare(), model=model)
        trainer.fit()
        scores = trainer.evaluate(rare(), "").scores.astype(np.float64)
        p = np.exp(scores[0]) / np.exp(scores[0]).sum()
        biases[name] = p[0]
    assert biases["plain"] == pytest.approx(2 / 20, abs=0.02)
    assert biases["balanced"] == pytest.approx(1 / 3, abs=0.03)


def test_stages_learn_at_decaying_rates():
    model = make_model()
    settings = Settings(lr=0.2, layer_decay=0.5, head_lr=0.7)
    optimizer = make_optimizer(model, settings)
    rate = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    found = {
        name: {round(rate[id(p)], 9) for p in stage.parameters()}
        for name, stage in model.stage_modules()
    }
    assert found == {
        "stem": {0.0125}, "layer1": {0.025}, "layer2": {0.05}, "layer3": {0.1}, "linear": {0.7},
    }  # fmt: skip
    assert {g["lr"] / g["scale"] for g in optimizer.param_groups[:-2]} == {0.2}


def test_the_recorded_rate_is_that_of_lr_whatever_the_decay(tmp_path):
    settings = Settings(epochs=2, batch_size=8, lr=0.2, layer_decay=0.5, schedule="constant")
    history = make_trainer(tmp_path, settings).fit()
    assert [row["lr"] for row in history] == [0.2, 0.2]


def test_mixed_images_train(tmp_path):
    settings = Settings(epochs=8, batch_size=8, mixup=0.2, cutmix=0.5, lr=0.1)
    trainer = make_trainer(tmp_path, settings, val=colours(4, seed=1))
    history = trainer.fit()
    assert history[-1]["val_accuracy"] > 0.8
    assert history[-1]["train_loss"] > history[-1]["val_loss"]  # the mixtures are harder
    again = make_trainer(tmp_path / "b", settings, val=colours(4, seed=1))
    again.fit()
    assert same(arrays(again.model), arrays(trainer.model))
