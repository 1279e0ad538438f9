"""Preprocessing that travels with weights, and model files: good, damaged and foreign ones."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file
from train_helpers import ARCHITECTURE, CLASSES, arrays, colours, make_card, make_model, same

from tinygrad_ft import manual_seed
from tinygrad_ft.data import ArrayDataset, DataError
from tinygrad_ft.data.randomness import Draw
from tinygrad_ft.io import WeightsError, load_checkpoint, save_checkpoint
from tinygrad_ft.models import create_model
from tinygrad_ft.train import ModelCard, Preprocessing, SettingsError, load_model, save_model
from tinygrad_ft.train.model_file import read_card

KEY = "tinygrad_ft.model"


def test_the_published_means():
    found = Preprocessing.named("imagenet", 224)
    assert found.mean == (0.485, 0.456, 0.406)
    assert found.std == (0.229, 0.224, 0.225)
    assert found.size == 224
    assert found.channels == 3
    with pytest.raises(SettingsError, match="one of imagenet, cifar10, cifar100, half, not 'x'"):
        Preprocessing.named("x", 32)


@pytest.mark.parametrize("channels", [1, 3])
def test_measured(channels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 6, 6, channels), dtype=np.uint8)
    images[..., 0] //= 4
    found = Preprocessing.measured(ArrayDataset(images, np.zeros(50, np.int64)))
    assert (found.size, found.channels) == (6, channels)
    np.testing.assert_allclose(found.mean, images.mean(axis=(0, 1, 2)) / 255, atol=1e-4)
    np.testing.assert_allclose(found.std, images.std(axis=(0, 1, 2)) / 255, atol=1e-4)
    data = found.evaluation_transform()(images)
    np.testing.assert_allclose(data.mean(axis=(0, 1, 2)), 0, atol=1e-2)
    np.testing.assert_allclose(data.std(axis=(0, 1, 2)), 1, atol=1e-2)
    few = Preprocessing.measured(ArrayDataset(images, np.zeros(50, np.int64)), sample=10)
    np.testing.assert_allclose(few.mean, images[::5].mean(axis=(0, 1, 2)) / 255, atol=1e-4)


def test_images_of_one_colour_have_a_std():
    black = ArrayDataset(np.zeros((4, 8, 8, 3), np.uint8), [0, 0, 1, 1])
    found = Preprocessing.measured(black)
    assert found.mean == (0, 0, 0)
    assert min(found.std) > 0


def test_images_that_are_not_square():
    wide = ArrayDataset(np.zeros((4, 8, 12, 3), np.uint8), [0, 0, 1, 1])
    with pytest.raises(DataError, match=r"the images are 12x8: choose a square size \(--size\)"):
        Preprocessing.measured(wide)


@pytest.mark.parametrize(
    "size, mean, std",
    [
        (0, (0.5,), (0.5,)),
        (8, (0.5, 0.5), (0.5, 0.5)),
        (8, (0.5,) * 3, (0.5,)),
        (8, (0.5,), (0.0,)),
        (8, (0.5,), (float("nan"),)),
        (8, (float("inf"),), (0.5,)),
    ],
)
def test_wrong_preprocessing(size, mean, std):
    with pytest.raises(SettingsError, match="--"):
        Preprocessing(size, mean, std)


def test_images_that_do_not_fit():
    small = Preprocessing(8, (0.5,) * 3, (0.5,) * 3)
    small.check_fits(colours(), "mine")
    grey = ArrayDataset(np.zeros((2, 8, 10, 1), np.uint8), [0, 1])
    message = "mine are 10x8 with 1 channel, the weights were trained on 8x8 with 3 channels"
    with pytest.raises(SettingsError, match=message):
        small.check_fits(grey, "mine")


@pytest.mark.parametrize("augment", ["none", "flip", "crop", "crop-flip", "crop-flip-cutout"])
@pytest.mark.parametrize("size", [1, 2, 8])
def test_augmentation_keeps_shape_and_is_a_function_of_the_sample(augment, size):
    preprocessing = Preprocessing(size, (0.5,) * 3, (0.25,) * 3)
    images = np.random.default_rng(0).integers(0, 256, (6, size, size, 3), dtype=np.uint8)
    transform = preprocessing.training_transform(augment)
    whole = transform(images, Draw(0, 0, np.arange(6)))
    assert whole.shape == images.shape
    assert whole.dtype == np.float32
    part = transform(images[4:], Draw(0, 0, np.array([4, 5])))
    assert np.array_equal(part, whole[4:])
    same_as_evaluation = np.array_equal(whole, preprocessing.evaluation_transform()(images))
    assert same_as_evaluation == (augment == "none") or size == 1


def test_a_model_file_round_trip(tmp_path):
    model = make_model()
    card = ModelCard(
        ARCHITECTURE, ("<b>", "猫", "c"), make_card(colours()).preprocessing, {"data": "x"}
    )
    save_model(tmp_path / "m.safetensors", model, card)
    loaded, found = load_model(tmp_path / "m.safetensors")
    assert found == card == read_card(tmp_path / "m.safetensors")
    assert same(arrays(loaded), arrays(model))
    assert not loaded.training


def test_a_card_keeps_its_temperature(tmp_path):
    path, card = tmp_path / "m.safetensors", make_card(colours())
    assert card.temperature is None
    save_model(path, make_model(), replace(card, temperature=1.37))
    assert read_card(path) == replace(card, temperature=1.37)
    tensors, metadata = load_checkpoint(path)
    good = json.loads(metadata[KEY])
    for value in (0, -1, "warm", [1], True, float("inf"), float("nan")):
        text = json.dumps({**good, "temperature": value})
        save_checkpoint(path, tensors, {KEY: text})
        with pytest.raises(WeightsError, match=r"m\.safetensors: its description"):
            read_card(path)


def test_bare_weights(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, **arrays(make_model()))
    assert read_card(path) is None
    with pytest.raises(WeightsError, match="holds bare weights"):
        load_model(path)
    card = make_card(colours())
    model, found = load_model(path, card)
    assert found is card
    assert same(arrays(model), arrays(make_model()))
    four = ModelCard({**ARCHITECTURE, "num_classes": 4}, (*CLASSES, "d"), card.preprocessing)
    message = (
        r"does not fit resnet8 with 4 classes: linear.weight is \(3, 16\) in the file and \(4, 16\)"
    )
    with pytest.raises(WeightsError, match=message) as error:
        load_model(path, four)
    assert "\n" not in str(error.value)


def test_bare_safetensors_as_timm_and_torchvision_name_them(tmp_path):
    """timm's ResNets have torchvision's names; its files say nothing but {"format": "pt"}."""
    manual_seed(0)
    model = create_model("resnet50", width=2, num_classes=3)
    names = {name.rpartition(".")[0] for name in model.state_dict()}
    assert {"conv1", "bn1", "layer1.0.downsample.1", "layer4.2.bn3", "fc"} <= names
    path = tmp_path / "model.safetensors"
    save_file(arrays(model), path, {"format": "pt"})
    with pytest.raises(WeightsError, match="holds bare weights"):
        load_model(path)
    architecture = {"name": "resnet50", "width": 2, "num_classes": 3}
    card = ModelCard(architecture, CLASSES, Preprocessing.named("imagenet", 224))
    assert same(arrays(load_model(path, card)[0]), arrays(model))


@pytest.mark.parametrize("change", ["missing", "further", "shape"])
def test_files_that_do_not_fit(tmp_path, change):
    values = arrays(make_model())
    if change == "missing":
        del values["layer2.0.bn1.running_var"]
    elif change == "further":
        values["layer9.weight"] = np.zeros(3, np.float32)
    else:
        values["bn1.weight"] = np.zeros(7, np.float32)
    np.savez(tmp_path / "w.npz", **values)
    with pytest.raises(WeightsError, match=r"does not fit resnet8 with 3 classes: .*(layer|bn1)"):
        load_model(tmp_path / "w.npz", make_card(colours()))


def test_damaged_descriptions(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(path, make_model(), make_card(colours()))
    tensors, metadata = load_checkpoint(path)
    good = json.loads(metadata[KEY])

    def refused(text: str) -> None:
        save_checkpoint(path, tensors, {KEY: text})
        with pytest.raises(WeightsError, match=r"m\.safetensors"):
            load_model(path)

    for text in ("", "{", "[]", "null", '"x"', "7"):
        refused(text)
    for name in good.keys() - {"version"}:
        refused(json.dumps({k: v for k, v in good.items() if k != name}))
        for value in (None, 3, "x", [], [1, 2], {}):
            if (name, value) != ("training", {}) and (name, value) != ("training", []):
                refused(json.dumps({**good, name: value}))
    for architecture in (
        {"name": "nothing"},
        {"name": "resnet8", "depth": 3},
        {**ARCHITECTURE, "width": "x"},
        {**ARCHITECTURE, "width": -1},
        {**ARCHITECTURE, "num_classes": -3},
    ):
        refused(json.dumps({**good, "architecture": architecture}))
    for preprocessing in ({"size": 8}, {"size": 0, "mean": [0.5], "std": [0.5]},
                          {"size": 8, "mean": [0.5], "std": [0.0]}):  # fmt: skip
        refused(json.dumps({**good, "preprocessing": preprocessing}))
    for tta in ("x", None, 3, []):
        refused(json.dumps({**good, "tta": tta}))
    save_checkpoint(path, tensors, {KEY: json.dumps(good)})
    load_model(path)


def test_damaged_and_foreign_files(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(path, make_model(), make_card(colours()))
    good = path.read_bytes()
    for content in (b"", good[:9], good[:500], good[:-1], b"PK\x03\x04" + good, b"\x80\x04N."):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"m\.safetensors"):
            load_model(path, make_card(colours()))
    with pytest.raises(WeightsError, match=r"absent"):
        load_model(tmp_path / "absent.pth", make_card(colours()))
