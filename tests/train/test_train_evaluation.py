"""Scores of a data set, and the numbers made of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sklearn.metrics as reference
from train_helpers import CLASSES, colours, make_card, make_model

from tinygrad_ft.data import ArrayDataset
from tinygrad_ft.grad_mode import inference_mode, is_grad_enabled
from tinygrad_ft.models import create_model
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train import Evaluation, predict_scores
from tinygrad_ft.train.assessment import assess
from tinygrad_ft.train.bootstrap import bootstrap
from tinygrad_ft.train.evaluation_batch import LARGEST, MEMORY, evaluation_batch
from tinygrad_ft.train.metrics import measure
from tinygrad_ft.train.recipe.memory import _peak


@pytest.mark.parametrize("seed", range(4))
def test_metrics_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, 5, 60), rng.integers(0, 5, 60)
    found = measure(labels, predicted, 5)
    assert found.accuracy == reference.accuracy_score(labels, predicted)
    recall = reference.recall_score(labels, predicted, average="macro", zero_division=0)
    assert found.macro_recall == pytest.approx(recall)
    f1 = reference.f1_score(labels, predicted, average="macro", zero_division=0)
    assert found.macro_f1 == pytest.approx(f1)
    assert np.array_equal(found.confusion, reference.confusion_matrix(labels, predicted))
    for name in ("precision", "recall", "f1"):
        score = getattr(reference, f"{name}_score")
        np.testing.assert_allclose(
            getattr(found, name), score(labels, predicted, average=None, zero_division=0)
        )
        for average in ("macro", "weighted"):
            expected = score(labels, predicted, average=average, zero_division=0)
            assert getattr(found, f"{average}_{name}") == pytest.approx(expected)
    assert found.weighted_recall == pytest.approx(found.accuracy)


def test_metrics_by_hand():
    """Class 2 is never predicted, class 3 has no image."""
    found = measure(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0]), 4)
    assert found.accuracy == 4 / 6
    np.testing.assert_allclose(found.recall, [2 / 3, 1, 0, 0])
    np.testing.assert_allclose(found.precision, [2 / 3, 2 / 3, 0, 0])
    assert found.macro_recall == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found.macro_f1 == pytest.approx((2 / 3 + 0.8 + 0) / 3)
    assert found.support.tolist() == [3, 2, 1, 0]
    assert found.confusion.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    with pytest.raises(ValueError, match="no image to measure"):
        measure(np.zeros(0, np.int64), np.zeros(0, np.int64), 3)


@pytest.mark.parametrize("classes", [2, 5, 6, 40])
def test_top_five(classes):
    rng = np.random.default_rng(classes)
    scores = rng.normal(size=(200, classes)).astype(np.float32)
    labels = rng.integers(0, classes - 1, 200)  # the last class has no image
    found = Evaluation(scores, labels).top5()
    if classes <= 5:
        assert found is None
        return
    best = np.argsort(-scores, axis=1)[:, :5]
    assert found == pytest.approx(np.mean([y in row for y, row in zip(labels, best, strict=True)]))


def test_a_temperature_changes_sureness_and_nothing_else():
    rng = np.random.default_rng(0)
    found = Evaluation(rng.normal(0, 3, (20, 4)).astype(np.float32), rng.integers(0, 4, 20))
    warm = found.at(2.5)
    halved = Evaluation(found.scores / 2.5, found.labels)
    np.testing.assert_allclose(warm.probabilities, halved.probabilities, rtol=1e-5)
    assert warm.loss == pytest.approx(halved.loss, rel=1e-5)
    assert np.array_equal(warm.predicted, found.predicted)
    assert warm.probabilities.max() < found.probabilities.max()
    assert np.array_equal(warm.at(1.0).probabilities, found.probabilities)


def test_all_numbers_together():
    rng = np.random.default_rng(1)
    found = Evaluation(rng.normal(size=(50, 7)).astype(np.float32), rng.integers(0, 7, 50))
    numbers = assess(found).as_dict([str(i) for i in range(7)])
    assert json.loads(json.dumps(numbers)) == numbers, "plain values"
    m = found.metrics()
    assert numbers["accuracy"] == m.accuracy == numbers["right"] / 50
    assert numbers["intervals_95"]["macro_f1"] == [
        getattr(bootstrap(m.confusion).macro_f1, end) for end in ("low", "high")
    ]
    assert numbers["ece"] == found.reliability().ece
    assert numbers["top5_accuracy"] == found.top5()


def test_loss_and_probabilities():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(0, 9, (20, 4)).astype(np.float32), rng.integers(0, 4, 20)
    found = Evaluation(scores, labels)
    powers = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, shares, rtol=1e-4, atol=1e-7)
    assert found.loss == pytest.approx(-np.log(shares[np.arange(20), labels]).mean(), rel=1e-5)
    assert np.array_equal(found.predicted, scores.argmax(axis=1))
    huge = Evaluation(np.array([[1e30, -1e30]], np.float32), np.array([0]))
    assert huge.loss == 0.0


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("batch_size", [1, 5, 24, 1000])
def test_scores_do_not_depend_on_the_batches(batch_size, training):
    data = colours()
    preprocessing = make_card(data).preprocessing
    model = make_model().train(training)
    told: list[int] = []
    found = predict_scores(model, data, preprocessing, batch_size=batch_size, on_batch=told.append)
    assert sum(told) == 24
    assert len(told) == -(-24 // batch_size)
    assert np.array_equal(found.labels, data.targets)
    assert model.training == training
    assert is_grad_enabled()
    model.eval()
    mean, std = (np.array(v, np.float32) for v in (preprocessing.mean, preprocessing.std))
    images = ((data.images / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found.scores, model(Tensor(images)).numpy(), rtol=1e-3, atol=1e-4)


def test_an_image_and_its_mirror_image():
    data = colours()
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, data.images.shape, dtype=np.uint8)
    mirrored = ArrayDataset(images[:, :, ::-1].copy(), data.targets, CLASSES)
    data = ArrayDataset(images, data.targets, CLASSES)
    model, preprocessing = make_model(), make_card(data).preprocessing
    both = predict_scores(model, data, preprocessing, tta="flip", batch_size=5).scores
    ways = [predict_scores(model, d, preprocessing).scores for d in (data, mirrored)]
    assert both.dtype == np.float32
    assert np.abs(ways[0] - ways[1]).max() > 0.01
    np.testing.assert_allclose(both, (ways[0] + ways[1]) / 2, rtol=1e-4, atol=1e-5)


def test_the_mode_is_put_back_after_an_error():
    data = ArrayDataset(colours().images[..., :1], colours().targets, CLASSES)
    model = make_model().train()
    with pytest.raises(ValueError, match="1"):
        predict_scores(model, data, make_card(data).preprocessing)
    assert model.training


def test_large_images_go_through_in_small_batches():
    model = make_model().train()
    assert evaluation_batch(model, (3, 8, 8)) == LARGEST
    assert model.training
    assert evaluation_batch(model, (3, 20_000, 20)) < LARGEST
    images = evaluation_batch(model, (3, 256, 256))
    # the sum at the end of a block: twice 4 channels of float32 go in, 4 come out
    assert MEMORY / 2 <= images * (4 + 4 + 4) * 4 * 256 * 256 <= MEMORY
    assert evaluation_batch(model.eval(), (3, 256, 256)) == images, "a function of model and shape"


def test_a_pass_stays_within_the_bound():
    """What is allocated in truth, for a network with a stem that makes large maps."""
    model = create_model("resnet18", num_classes=2).eval()
    images = np.zeros((evaluation_batch(model, (3, 128, 128)), 3, 128, 128), np.float32)
    weights = sum(p.numel() * 4 for p in model.parameters())

    def look() -> None:
        with inference_mode():
            model(Tensor(images))

    look()
    assert 30 <= len(images) < LARGEST
    assert _peak(look) < 3 * MEMORY + 5 * weights
