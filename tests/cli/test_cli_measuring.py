"""`evaluate` and `predict` in detail: numbers, temperatures, reports, files that are no images."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import SMALL, coloured, command, environment, in_process_of_its_own

from tinygrad_ft.io import load_weights
from tinygrad_ft.train.model_file import read_card

NAMES = ["golden retriever", "قطة", "猫🐱", "caf\u00e9", "$a_1$", "-x", "#1, 50%"]


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Seven classes with odd names, and a model of them."""
    from tinygrad_ft.cli.main import run

    root = tmp_path_factory.mktemp("odd")
    data = coloured(root / "data", NAMES, train=6, test=3)
    words = ["pretrain", str(data), *SMALL, "--epochs", "3", "--val-fraction", "0.3", "--quiet"]
    assert run([*words, "--out", str(root / "run")]) == 0
    return data, root / "run" / "best.safetensors"


# ---- evaluate ------------------------------------------------------------------------------------


def test_evaluate_prints_and_writes_all_numbers(tool, odd, tmp_path):
    data, model = odd
    said = tool("evaluate", model, data, "--json", tmp_path / "e.json", "--by-class")
    assert said.code == 0
    found = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))
    for name in ("accuracy", "macro_recall", "macro_f1"):
        low, high = found["intervals_95"][name]
        assert low <= found[name] <= high
        assert f"{100 * low:.1f} – {high:.1%}" in said.out
    assert found["accuracy"] <= found["top5_accuracy"] <= 1
    assert f"{found['top5_accuracy']:.2%}" in said.out
    assert found["weighted_recall"] == pytest.approx(found["accuracy"])
    assert sorted(found["classes"]) == sorted(NAMES)
    assert all(name in said.out for name in NAMES)
    assert found["support"] == [3] * 7
    assert sum(found["reliability"]["count"]) == found["images"] == 21
    assert (found["split"], found["left_out"], found["temperature"]) == ("test", 0, 1.0)
    assert f"{found['ece']:.2%}" in said.out
    results = json.loads((model.parent / "results.json").read_text())
    assert results["intervals_95"] == found["intervals_95"]
    assert results["ece"] == found["ece"]
    assert found["weights_fingerprint"] == results["weights_fingerprint"]
    tool("evaluate", model, data, "--json", tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "e.json").read_bytes()


def test_the_temperature_of_a_run(tool, odd, tmp_path):
    """Kept in the card, fitted on validation images, used when it is asked for."""
    data, model = odd
    kept = read_card(model).temperature
    assert kept is not None
    numbers = {}
    for value in ("1", "fitted", "2.5"):
        said = tool("evaluate", model, data, "--temperature", value, "--json", tmp_path / "e.json")
        assert said.code == 0
        assert ("at temperature" in said.out) == (value != "1")
        numbers[value] = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))
    assert numbers["fitted"]["temperature"] == kept
    assert numbers["1"]["loss"] != numbers["fitted"]["loss"] != numbers["2.5"]["loss"]
    assert len({tuple(map(tuple, n["confusion"])) for n in numbers.values()}) == 1

    file = sorted((data / "test").rglob("*.png"))[0]

    def probabilities(*options: str) -> np.ndarray:
        said = tool("predict", model, file, "--format", "json", "--top", "7", *options)
        (row,) = json.loads(said.out)
        return np.array([p["probability"] for p in row["predictions"]])

    plain, fitted = probabilities(), probabilities("--temperature", "fitted")
    expected = np.log(plain) / kept
    expected = np.exp(expected) / np.exp(expected).sum()
    np.testing.assert_allclose(fitted, expected, rtol=1e-3)
    np.testing.assert_allclose(probabilities("--temperature", str(kept)), fitted, rtol=1e-5)


def test_mirror_images_are_looked_at_where_the_run_did(tool, odd, tmp_path):
    """`--tta flip` of a run goes with its file; evaluate and predict can be told otherwise."""
    data, model = odd
    run = tmp_path / "run"
    common = ("--epochs", "1", "--lr", "0.01", "--batch-size", "4", "--quiet", "--out", run)
    assert tool("finetune", data, "--weights", model, "--tta", "flip", *common).code == 0
    best = run / "best.safetensors"
    assert read_card(best).tta == "flip"
    results = json.loads((run / "results.json").read_text())
    numbers = {}
    for words in ((), ("--tta", "flip"), ("--tta", "none")):
        assert tool("evaluate", best, data, *words, "--json", tmp_path / "e.json").code == 0
        numbers[words] = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))
    assert numbers[()] == numbers["--tta", "flip"]
    assert numbers[()]["loss"] == pytest.approx(results["loss"], rel=1e-6)
    assert numbers["--tta", "none"]["loss"] != numbers[()]["loss"]
    assert numbers["--tta", "none"]["tta"] == "none"

    file = sorted((data / "test").rglob("*.png"))[0]
    said = {
        words: tool("predict", best, file, "--format", "json", "--top", "7", *words).out
        for words in numbers
    }
    assert said[()] == said["--tta", "flip"] != said["--tta", "none"]


def test_validation_images_offer_a_temperature(tool, pretrained, photos, tmp_path):
    """For weights that do not bring one along."""
    bare = tmp_path / "bare.npz"
    np.savez(bare, **load_weights(pretrained / "best.safetensors"))
    described = ["--model", "resnet8", "--width", "4", "--preprocess", "half", "--size", "8"]
    _copy(photos / "test", tmp_path / "d" / "val")
    said = tool("evaluate", bare, tmp_path / "d", "--split", "val", *described)
    assert said.code == 0, said
    assert "fits these images best" in said.out
    assert "fits these images best" not in tool("evaluate", bare, photos, *described).out
    said = tool("evaluate", bare, photos, *described, "--temperature", "fitted")
    assert said.code == 2
    assert "has no fitted temperature" in said.err
    for value in ("0", "-1", "nan", "inf", "warm"):
        said = tool("predict", pretrained / "best.safetensors", "x", "--temperature", value)
        assert said.code == 2
        assert "neither a positive number nor 'fitted'" in said.err


def _copy(source: Path, target: Path) -> Path:
    """The images of a folder, elsewhere."""
    for file in source.rglob("*.png"):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    return target


def test_evaluate_writes_a_report(tool, odd, tmp_path):
    data, model = odd
    assert tool("evaluate", model, data, "--report", tmp_path / "r.html").code == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "What it looked at" in page
    assert "How it learned" not in page
    assert "A temperature of" in page
    assert "tinygrad-ft evaluate" in page
    assert read_card(model).preprocessing.size == 8


def test_evaluate_leaves_out_bad_images(tool, odd, tmp_path):
    data, model = odd
    copy = _copy(data, tmp_path / "d")
    (copy / "test" / NAMES[0] / "00.png").write_bytes(b"")
    said = tool("evaluate", model, copy)
    assert said.code == 1
    assert "00.png' is empty" in said.err
    assert "--skip-bad" in said.err
    said = tool("evaluate", model, copy, "--skip-bad", "--json", tmp_path / "e.json")
    assert said.code == 0
    assert "left out 1 bad image:" in said.out
    assert json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))["left_out"] == 1


def test_an_archive_of_other_size_and_colour_is_made_to_fit_when_asked(tool, tmp_path):
    """MNIST's files are 28x28 and grey; the network wants 8x8 and colour, as of image files."""
    idx = tmp_path / "mnist"
    idx.mkdir()
    rng = np.random.default_rng(0)
    for part, n in (("train", 40), ("t10k", 20)):
        images = bytes([0, 0, 8, 3]) + np.array([n, 28, 28], ">u4").tobytes()
        images += rng.integers(0, 256, (n, 28, 28), np.uint8).tobytes()
        labels = (
            bytes([0, 0, 8, 1]) + np.array([n], ">u4").tobytes() + bytes(i % 2 for i in range(n))
        )
        (idx / f"{part}-images-idx3-ubyte").write_bytes(images)
        (idx / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    data = coloured(tmp_path / "d", ["0", "1"])
    run = tmp_path / "r"
    assert tool("pretrain", data, *SMALL, "--epochs", "1", "--out", run).code == 0
    weights = run / "best.safetensors"
    for words in (("evaluate", weights, idx), ("finetune", idx, "--weights", weights)):
        said = tool(*words)
        assert said.code != 0
        assert "mnist is not what the weights were trained on: the images of 28x28 are" in said.err
        assert "made 8x8 and colour if you give --fit" in said.err
    said = tool("evaluate", weights, idx, "--fit")
    assert said.code == 0, said
    assert "of 20 right" in said.out
    assert "the images of 28x28 are made 8x8 and colour" in said.out
    words = ("finetune", idx, "--weights", weights, "--fit", "--epochs", "1")
    said = tool(*words, "--out", tmp_path / "f")
    assert said.code == 0, said
    assert "the images of 28x28 are made 8x8 and colour" in said.out
    assert read_card(tmp_path / "f" / "best.safetensors").preprocessing.channels == 3
    said = tool("pretrain", idx, *SMALL, "--epochs", "1", "--out", tmp_path / "p")
    assert said.code == 0
    assert "are made" not in said.out
    own = read_card(tmp_path / "p" / "best.safetensors").preprocessing
    assert (own.size, own.channels) == (28, 1), "pretraining takes images as they are"


# ---- predict -------------------------------------------------------------------------------------


@pytest.fixture
def album(odd, tmp_path):
    """Two images and six other things."""
    data, _ = odd
    good = sorted((data / "test").rglob("*.png"))[0].read_bytes()
    root = tmp_path / "album"
    (root / "folder.jpg").mkdir(parents=True)
    (root / "good 猫.png").write_bytes(good)
    (root / "folder.jpg" / "inside.PNG").write_bytes(good)
    (root / "empty.jpg").write_bytes(b"")
    (root / "short.png").write_bytes(good[:-30])
    (root / "text.jpg").write_text("hello")
    (root / "notes.txt").write_text("not asked for")
    (root / ".hidden.png").write_bytes(good)
    return root


def test_predict_names_and_counts_what_is_no_image(tool, odd, album):
    model = odd[1]
    said = tool("predict", model, album, "--format", "csv")
    assert said.code == 1
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "--skip-bad" in said.err
    said = tool("predict", model, album, "--format", "csv", "--skip-bad")
    assert said.code == 0
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert [Path(r["file"]).name for r in rows] == ["inside.PNG", "good 猫.png"]
    lines = said.err.splitlines()
    assert lines[-1] == "left out 3 of 5 files"
    for line, name in zip(lines, ("empty.jpg", "short.png", "text.jpg"), strict=False):
        assert line.startswith("left out: ")
        assert name in line


def test_predict_ends_with_1_if_nothing_is_an_image(tool, odd, album):
    said = tool("predict", odd[1], album / "empty.jpg", album / "text.jpg", "--skip-bad")
    assert said.code == 1
    assert said.out == ""
    assert said.err.splitlines()[-1].startswith("error: none of the files is an image")
    said = tool("predict", odd[1], album / "gone.jpg", album, "--skip-bad")
    assert said.code == 1, "an argument that names nothing is a mistake of the user's"
    assert "names no image file" in said.err


def test_predict_follows_links_once_and_names_broken_ones(tool, odd, album):
    try:
        (album / "loop").symlink_to(album, target_is_directory=True)
        (album / "gone.png").symlink_to(album / "nowhere.png")
    except OSError:
        pytest.skip("no symbolic links here")
    said = tool("predict", odd[1], album, "--format", "csv", "--skip-bad")
    assert said.code == 0
    assert len(said.out.splitlines()) == 1 + 2
    assert "gone.png' cannot be read" in said.err


def test_patterns_leave_folders_out(tool, odd, album):
    said = tool("predict", odd[1], album / "*", "--format", "csv", "--skip-bad")
    assert said.code == 0
    assert [Path(r["file"]).name for r in csv.DictReader(io.StringIO(said.out))] == ["good 猫.png"]
    assert "notes.txt" in said.err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_from_a_pipe_that_are_not_unicode(odd, album):
    name = os.fsencode(album) + b"/\xff.png"
    with open(name, "wb") as file:
        file.write((album / "good 猫.png").read_bytes())
    said = subprocess.run(
        command("predict", odd[1], "-", "--format", "json"),
        input=name + b"\n", capture_output=True, env=environment(), timeout=300, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    (row,) = json.loads(said.stdout)
    assert row["file"].endswith("\udcff.png")


def test_an_image_from_a_pipe_and_names_that_end_with_nul(odd, album):
    good = album / "good 猫.png"

    def told(piped: bytes) -> list[dict]:
        said = subprocess.run(
            command("predict", odd[1], "-", "--format", "json"),
            input=piped, capture_output=True, env=environment(), timeout=300, check=False,
        )  # fmt: skip
        assert said.returncode == 0, said.stderr
        return json.loads(said.stdout)

    (named,) = told(os.fsencode(good) + b"\0")
    assert named["file"] == str(good)
    (piped,) = told(good.read_bytes())
    assert piped == {"file": "-", "predictions": named["predictions"]}


def test_json_where_the_output_has_no_such_letters(odd, album):
    said = in_process_of_its_own(
        "predict", odd[1], album / "good 猫.png", "--format", "json", "--top", "7",
        PYTHONIOENCODING="ascii",
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    (row,) = json.loads(said.stdout)
    assert sorted(p["class"] for p in row["predictions"]) == sorted(NAMES)
    assert Path(row["file"]).name == "good 猫.png"


def test_class_names_travel_composed_whatever_the_file_system_says(tool, tmp_path):
    """macOS hands names out decomposed: the model's classes and the data's still agree."""
    composed = coloured(tmp_path / "c", ["caf\u00e9", "b"])
    split = coloured(tmp_path / "d", [unicodedata.normalize("NFD", "caf\u00e9"), "b"])
    run = tmp_path / "r"
    assert tool("pretrain", composed, *SMALL, "--epochs", "1", "--out", run).code == 0
    said = tool("evaluate", run / "best.safetensors", split, "--by-class")
    assert said.code == 0, said
    assert "caf\u00e9" in said.out


def test_a_pattern_of_folders_stands_for_their_images(tool, odd, album):
    model = odd[1]
    said = tool("predict", model, album.parent / "al*", "--format", "csv", "--skip-bad")
    again = tool("predict", model, album, "--format", "csv", "--skip-bad")
    assert said.code == 0
    assert said.out == again.out


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_a_place_that_is_not_there_is_said_before_the_work(tool, odd, tmp_path, option):
    data, model = odd
    said = tool("evaluate", model, data, option, tmp_path / "absent" / "x")
    assert said.code == 1
    assert said.out == ""
    assert "there is no folder" in said.err
