"""`export`, and what ONNX files are good for on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import state
from test_cli_errors import is_refused

from tinygrad_ft.io import load_metadata, load_weights
from tinygrad_ft.train.model_file import read_card

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def best(pretrained: Path) -> Path:
    return pretrained / "best.safetensors"


def without_card(path: Path, target: Path) -> Path:
    """The same network as another program would have written it."""
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, target)
    return target


@pytest.fixture
def own(tool, best, tmp_path) -> Path:
    """Exported by this program."""
    assert tool("export", best, "-o", tmp_path / "own.onnx").code == 0
    return tmp_path / "own.onnx"


@pytest.fixture
def foreign(own, tmp_path) -> Path:
    return without_card(own, tmp_path / "foreign.onnx")


def test_an_exported_file_is_used_like_the_original(tool, photos, best, own, tmp_path):
    assert read_card(own) == read_card(best)
    predictions, accuracies = [], []
    for path in (best, own):
        said = tool("predict", path, photos / "test" / "ant", "--format", "csv")
        assert said.code == 0
        predictions.append(said.out)
        numbers = tmp_path / f"{path.stem}.json"
        assert tool("evaluate", path, photos, "--json", numbers).code == 0
        accuracies.append(json.loads(numbers.read_text(encoding="utf-8"))["accuracy"])
    assert predictions[0] == predictions[1]
    assert accuracies[0] == accuracies[1]


def test_there_and_back(tool, best, own, tmp_path):
    back = tmp_path / "back.safetensors"
    said = tool("export", own, "-o", back)
    assert said.code == 0
    assert "resnet8, 3 classes, images of 8x8 with 3 channels" in said.out + said.err
    before, after = state(best), state(back)
    for name in before.keys() - after.keys():
        assert name.endswith("num_batches_tracked")
    counters = {name for name in after if name.endswith("num_batches_tracked")}
    assert all(after[name] == before[name] for name in after.keys() - counters)
    assert read_card(back) == read_card(best)


def test_a_foreign_network_is_fine_tuned(tool, task, foreign, tmp_path):
    """Its last Gemm is replaced, the rest of it starts from the file; no ONNX is needed after."""
    how = ["--preprocess", "half", "--epochs", "1", "--batch-size", "8"]
    run = tmp_path / "run"
    said = tool("finetune", task, "--weights", foreign, *how, "--freeze", "backbone",
                "--augment", "none", "--out", run)  # fmt: skip
    assert said.code == 0, said.err
    text = " ".join((said.out + said.err).split())
    assert "(100.0% of the model without its head)" in text
    assert "replaced linear.weight: (3, 16) in the file, (2, 16) in the model" in text
    assert "frozen: stem, layer1, layer2, layer3" in text
    before, after = load_weights(foreign), load_weights(run / "best.safetensors")
    for name, value in before.items():
        assert np.array_equal(after[name], value) == (not name.startswith("linear.")), name
    assert tool("evaluate", run / "best.safetensors", task).code == 0
    assert tool("predict", run / "best.safetensors", task / "test").code == 0
    again = tmp_path / "tuned.onnx"
    assert tool("export", run / "best.safetensors", "-o", again).code == 0
    assert json.loads(load_metadata(again)["classes"]) == ["tom & jerry", "猫"]
    stages = tool("finetune", task, "--weights", again, "--freeze", "2", "--epochs", "1",
                  "--out", tmp_path / "more", "--batch-size", "8")  # fmt: skip
    assert stages.code == 0, stages.err


def test_a_foreign_network_is_evaluated_and_described(tool, photos, foreign, tmp_path):
    is_refused(tool("predict", foreign, photos), 1, "holds bare weights", "tinygrad-ft export")
    is_refused(tool("evaluate", foreign, photos), 2, "does not say how images were normalised")
    assert tool("evaluate", foreign, photos, "--preprocess", "half").code == 0
    names = tmp_path / "names.txt"
    names.write_text("\ufeffant\n猫 2\n\ncow\n", encoding="utf-8")
    described = tmp_path / "described.safetensors"
    said = tool("export", foreign, "-o", described, "--preprocess", "half", "--classes", names)
    assert said.code == 0
    card = read_card(described)
    assert card is not None
    assert card.classes == ("ant", "猫 2", "cow")
    assert tool("predict", described, photos / "test" / "ant").code == 0


def test_bare_weights_are_described(tool, best, tmp_path):
    bare = tmp_path / "bare.npz"
    np.savez(bare, **load_weights(best))
    how = ["--model", "resnet8", "--width", "4", "--preprocess", "half", "--size", "8"]
    assert tool("export", bare, "-o", tmp_path / "m.onnx", *how).code == 0
    card = read_card(tmp_path / "m.onnx")
    assert card is not None
    assert card.classes == ("0", "1", "2")


def test_options_that_contradict_an_onnx_file(tool, task, foreign, tmp_path):
    start = ["finetune", task, "--weights", foreign, "--out", tmp_path / "r"]
    half = ["--preprocess", "half"]
    is_refused(tool(*start, "--model", "resnet8", *half), 2, "says itself", "leave out --model")
    is_refused(tool(*start, "--size", "32", *half), 2, "images of 8 pixels: leave out --size 32")
    grey = ["--mean", "0.5", "--std", "0.5"]
    is_refused(tool(*start, *grey), 2, "images of 3 channels: give 3 numbers")
    model = onnx.load(foreign)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[3].dim_value = 16
    onnx.save(model, foreign)
    is_refused(tool(*start, *half), 2, "images of 16x8: only square ones")
    for dim in (dims[2], dims[3]):
        dim.dim_param = "any"
    onnx.save(model, foreign)
    is_refused(tool(*start, *half), 2, "does not say how large images are: give --size")
    assert not (tmp_path / "r").exists()


def test_what_export_refuses(tool, best, own, tmp_path, monkeypatch):
    target = tmp_path / "m.onnx"
    is_refused(tool("export", best, "-o", tmp_path / "m.bin"), 2, "say --format")
    wrong = tool("export", best, "-o", target, "--format", "safetensors")
    is_refused(wrong, 2, "the ending of another format")
    is_refused(tool("export", best, "-o", own), 2, "exists: choose another -o, or --overwrite")
    assert tool("export", best, "-o", own, "--overwrite").code == 0
    is_refused(tool("export", own, "-o", own, "--overwrite"), 2, "is the file to export")
    names = tmp_path / "names.txt"
    names.write_text("a\nb\n", encoding="utf-8")
    start = ["export", best, "-o", target, "--classes", names]
    is_refused(tool(*start), 2, "names its classes itself")
    bare = without_card(own, tmp_path / "f.onnx")
    start = ["export", bare, "-o", target, "--preprocess", "half", "--classes", names]
    is_refused(tool(*start), 2, "names 2 classes", "has 3")
    names.write_text("a\nb\na\n", encoding="utf-8")
    is_refused(tool(*start), 2, "names a class twice")
    names.write_bytes(b"\xff\xfea\n")
    is_refused(tool(*start), 2, "no text in UTF-8")
    assert not os.path.exists(target)
    monkeypatch.setitem(__import__("sys").modules, "onnx.helper", None)
    is_refused(tool("export", best, "-o", target), 1, "not installed", "tinygrad_ft[onnx]")
    assert not os.path.exists(target)
