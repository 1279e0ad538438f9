"""Exported files give in onnxruntime what the model gives here, and say what they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_ft import manual_seed, no_grad, tensor
from tinygrad_ft.io import WriteError, load_metadata, load_onnx, load_weights
from tinygrad_ft.models import OnnxClassifier, create_model
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train import ModelCard, Preprocessing, load_model
from tinygrad_ft.train.export import export_model

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

KINDS = {
    "resnet8": ({"width": 4, "in_chans": 1}, 16),
    "resnet20": ({}, 32),
    "resnet18": ({"width": 8}, 64),
    "resnet18 small": ({"width": 8, "small_input": True}, 32),
    "resnet50": ({"width": 8}, 64),
}
CLASSES = ("a b", "猫", "c")


def trained(kind: str) -> tuple[ImageClassifier, ModelCard]:
    """A model whose statistics are not those of a new one."""
    manual_seed(0)
    options, size = KINDS[kind]
    architecture = {"name": kind.split()[0], "num_classes": 3, **options}
    model = create_model(**architecture)
    rng = np.random.default_rng(0)
    for name, buffer in model.named_buffers():
        if buffer.dtype == np.float32:
            low = 0.5 if name.endswith("var") else -0.5
            buffer.copy_(tensor(rng.uniform(low, low + 1, buffer.shape).astype(np.float32)))
    channels = model.input_size[0]
    preprocessing = Preprocessing(size, (0.5,) * channels, (0.25,) * channels)
    return model.eval(), ModelCard(architecture, CLASSES, preprocessing, {"data": "x"}, 1.5)


@pytest.mark.parametrize("kind", KINDS)
def test_onnxruntime_gives_the_same(tmp_path, kind):
    model, card = trained(kind)
    path = tmp_path / "m.onnx"
    export_model(path, model, card, "onnx")
    onnx.checker.check_model(path, full_check=True)
    proto = onnx.load(path)
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 17)]
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    shape = (card.preprocessing.channels, card.preprocessing.size, card.preprocessing.size)
    assert session.get_inputs()[0].shape == ["batch", *shape]
    assert session.get_outputs()[0].shape == ["batch", 3]
    for n in (1, 3):
        x = np.random.default_rng(n).standard_normal((n, *shape)).astype(np.float32)
        with no_grad():
            expected = model(tensor(x)).numpy()
        (found,) = session.run(["scores"], {"images": x})
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
def test_read_back(tmp_path, kind):
    """As what it was, and, without its description, as a network of its own: the same bits."""
    model, card = trained(kind)
    path = tmp_path / "m.onnx"
    export_model(path, model, card, "onnx")
    loaded, found = load_model(path)
    assert found == card
    assert type(loaded) is type(model)
    state = {n: v.numpy() for n, v in model.state_dict().items() if "num_batches" not in n}
    weights = load_weights(path)
    assert weights.keys() == state.keys()
    for name, value in state.items():
        assert np.array_equal(loaded.state_dict()[name].numpy(), value), name
    network = load_onnx(path)
    twin = OnnxClassifier(network.graph, network.num_classes)
    twin.load_state_dict(network.weights)
    export_model(tmp_path / "again.onnx", twin, card, "onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_what_the_metadata_say(tmp_path):
    model, card = trained("resnet20")
    export_model(tmp_path / "m.onnx", model, card, "onnx")
    found = load_metadata(tmp_path / "m.onnx")
    assert json.loads(found["classes"]) == list(CLASSES)
    assert found["architecture"] == "resnet20"
    assert json.loads(found["preprocessing"]) == {
        "size": [32, 32], "colour": "RGB", "scale": "pixel / 255", "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }  # fmt: skip


def test_safetensors(tmp_path):
    model, card = trained("resnet8")
    export_model(tmp_path / "m.safetensors", model, card, "safetensors")
    loaded, found = load_model(tmp_path / "m.safetensors")
    assert found == card
    for name, value in model.state_dict().items():
        assert np.array_equal(loaded.state_dict()[name].numpy(), value.numpy())


def test_what_cannot_be_written(tmp_path, monkeypatch):
    model, card = trained("resnet8")
    with pytest.raises(WriteError, match=r"absent.*cannot be written"):
        export_model(tmp_path / "absent" / "m.onnx", model, card, "onnx")
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnx"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    path: Path = tmp_path / "m.onnx"
    with pytest.raises(WriteError, match=r'not installed: pip install "tinygrad_ft\[onnx\]"'):
        export_model(path, model, card, "onnx")
    assert not path.exists()
