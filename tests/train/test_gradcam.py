"""Grad-CAM against finite differences and, for a linear head, against the weights themselves."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from train_helpers import make_model

from tinygrad_ft import manual_seed, nn
from tinygrad_ft.models import create_model, list_models, model_info
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train.gradcam import grad_cam
from tinygrad_ft.train.pictures import SIDE, overlay_uri, picture_uri


def images(n: int = 3, side: int = 16, seed: int = 0, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, channels, side, side)).astype(np.float32)


def by_differences(model, x: np.ndarray, classes: list[int]) -> np.ndarray:
    """The formula in the head of gradcam.py, its gradient by central differences in float64."""
    model = model.eval()
    found = []
    for image, c in zip(x, classes, strict=True):
        features = model.forward_features(Tensor(image[None])).numpy().astype(np.float64)
        alpha = np.zeros(features.shape[1])
        for k in range(features.shape[1]):
            for place in np.ndindex(*features.shape[2:]):
                step = np.zeros_like(features)
                step[(0, k, *place)] = 1e-4
                up, down = (
                    model.forward_head(Tensor(features + s)).numpy()[0, c] for s in (step, -step)
                )
                alpha[k] += (up - down) / 2e-4
        alpha /= features.shape[2] * features.shape[3]
        heat = np.maximum(np.einsum("k,khw->hw", alpha, features[0]), 0)
        found.append(heat / (heat.max() or 1))
    return np.stack(found)


def test_the_formula():
    model = make_model().to(np.float64)
    x = images().astype(np.float64)
    found = grad_cam(model, x, [0, 2, 1])
    np.testing.assert_allclose(found, by_differences(model, x, [0, 2, 1]), rtol=1e-5, atol=1e-7)
    assert found.shape == (3, 4, 4)
    assert found.max(axis=(1, 2)) == pytest.approx([1, 1, 1])


def test_with_a_pooled_linear_head_it_is_class_activation_mapping():
    """Zhou et al. 2016: then alpha_k is the head's weight over the number of places."""
    model, x = make_model(), images(2)
    features = model.eval().forward_features(Tensor(x)).numpy()
    weight = model.get_classifier().weight.numpy()
    expected = np.maximum(np.einsum("k,nkhw->nhw", weight[1], features), 0)
    expected /= expected.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(grad_cam(model, x, [1, 1]), expected, rtol=1e-4, atol=1e-5)


def test_it_finds_the_place():
    """A head that only looks at the brightness of one feature map, lit in one corner."""

    class Eye(type(make_model())):
        def forward_features(self, x: Tensor) -> Tensor:
            return x  # what is seen is what there is

    model = make_model()
    model.__class__ = Eye
    model.linear = nn.Linear(3, 2)
    model.linear.load_state_dict(
        {"weight": np.array([[1, 0, 0], [0, -1, 0]], np.float32), "bias": np.zeros(2, np.float32)}
    )
    x = np.zeros((1, 3, 4, 4), np.float32)
    x[0, 0, 3, 1] = 5
    x[0, 1, 0, 0] = 5
    lit = grad_cam(model, x, [0])
    assert np.argwhere(lit).tolist() == [[0, 3, 1]]
    assert grad_cam(model, x, [1]).max() == 0, "what speaks against the class is not shown"


@pytest.mark.parametrize("name", list_models())
def test_every_model(name):
    manual_seed(0)
    channels, side, _ = model_info(name).input_size
    model = create_model(name, num_classes=3)
    found = grad_cam(model, images(1, side=min(side, 64), channels=channels), [2])
    assert found is not None
    assert found.shape[0] == 1
    assert min(found.shape[1:]) >= 2
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() in (0, pytest.approx(1))


def test_it_leaves_the_model_as_it_was():
    model = make_model().train()
    nn.freeze(model.layer1)
    before = {n: v.numpy().copy() for n, v in model.state_dict().items()}
    model.conv1.weight.grad = Tensor(np.ones(model.conv1.weight.shape, np.float32))
    assert grad_cam(model, images(20), np.arange(20) % 3).shape[0] == 20
    assert model.training
    assert all(np.array_equal(v.numpy(), before[n]) for n, v in model.state_dict().items())
    assert model.conv1.weight.grad.numpy().min() == 1
    assert model.layer2[0].conv1.weight.grad is None


def test_batches_change_nothing():
    model, x = make_model(), images(20)
    classes = np.arange(20) % 3
    whole = grad_cam(model, x, classes)
    single = np.concatenate([grad_cam(model, x[i : i + 1], classes[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(whole, single, rtol=1e-3, atol=1e-4)


def test_without_places_there_is_no_map():
    assert grad_cam(make_model(), images(side=4), [0, 1, 2]) is None
    with pytest.raises(ValueError, match=r"a class for each, got \(3, 3, 16, 16\) and \(2,\)"):
        grad_cam(make_model(), images(), [0, 1])


# ---- the pictures --------------------------------------------------------------------------------


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_are_exact_and_large_ones_bounded(channels):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (64, 40, channels), dtype=np.uint8)
    assert np.array_equal(pixels(picture_uri(small)).reshape(small.shape), small)
    large = rng.integers(0, 256, (600, 300, channels), dtype=np.uint8)
    assert pixels(picture_uri(large)).shape[:2] == (SIDE, SIDE // 2)
    assert len(picture_uri(large)) < 30_000


@pytest.mark.parametrize("side", [8, 300])
def test_the_heat_lies_where_the_map_is_high(side):
    grey = np.full((side, side, 3), 90, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[3, 0] = 1
    found = pixels(overlay_uri(grey, heat)).astype(int)
    assert found.shape == (SIDE, SIDE, 3)
    hot, cold = found[-8, 8], found[8, -8]
    assert hot[0] - hot[2] > 40, "bright and yellow"
    assert np.abs(cold - 90).max() < 12, "the image itself"
