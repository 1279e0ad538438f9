"""pretrain -> finetune -> evaluate -> predict, as a user types them."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as reference
import yaml
from cli_helpers import SMALL, coloured, in_process_of_its_own, state, zipped
from PIL import Image

from tinygrad_ft.cli.main import run
from tinygrad_ft.io import RUN_FILES, load_weights
from tinygrad_ft.models import create_model
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train import load_model
from tinygrad_ft.train.model_file import read_card

NAMES = ["tom & jerry", "猫"]


def test_what_pretrain_leaves(tool, photos, tmp_path):
    out = tmp_path / "runs" / "r"
    words = ["pretrain", photos, *SMALL, "--epochs", "3", "--lr", "0.05", "--out", out]
    said = tool(*words)
    assert said.code == 0
    assert said.err == ""
    # a machine that is slow, or compiles its kernels first, also tells of progress within an epoch
    lines = [line for line in said.out.splitlines() if " left, " not in line]
    assert lines[0].endswith(": 33 training, 3 validation, 18 test images of 3 classes")
    assert lines.pop(1) == "note: only 12 steps in all; with few images choose more --epochs"
    assert lines.pop(1).startswith("memory: about ")
    assert [line.split(":")[0] for line in lines[1:4]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all("images/s" in line and "accuracy" in line for line in lines[1:4])
    assert lines[4].startswith("test: accuracy ")
    assert "on 18 images" in lines[4]
    assert lines[5] == f"in {out}: best.safetensors, report.html, summary.csv"
    assert sorted(os.listdir(out)) == sorted([*RUN_FILES, ".lock"])

    args = yaml.safe_load((out / "args.yaml").read_text(encoding="utf-8"))
    expected = {"command": "pretrain", "data": str(photos), "out": str(out), "model": "resnet8",
                "width": 4, "epochs": 3, "lr": 0.05, "batch_size": 8, "seed": 0}  # fmt: skip
    assert args.items() >= expected.items()
    with open(out / "summary.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert list(rows[0]) == [
        "epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy",
        "val_macro_recall", "val_macro_f1", "seconds",
    ]  # fmt: skip
    assert float(rows[0]["lr"]) == 0.05
    results = json.loads((out / "results.json").read_text())
    assert f"{results['accuracy']:.2%}" in lines[4]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Pretrained resnet8 on photos" in page
    assert shlex.join(map(str, words)) in page
    card = read_card(out / "best.safetensors")
    assert card.classes == ("ant", "bee", "cow")
    assert (card.preprocessing.size, card.preprocessing.channels) == (8, 3)
    facts = card.training
    assert facts["pretrained_on"] == "photos"
    assert (facts["training_images"], facts["epochs_trained"]) == (33, 3)
    assert facts["training_images_fingerprint"] == results["data_fingerprint"]
    assert facts["best_epoch"] == results["best_epoch"]
    assert facts["validation_accuracy"] == float(rows[facts["best_epoch"] - 1]["val_accuracy"])
    assert facts["settings"].items() >= {"epochs": 3, "lr": 0.05, "batch_size": 8}.items()


@pytest.mark.parametrize("freeze", ["none", "backbone", "2"])
@pytest.mark.parametrize("packed", [False, True])
def test_finetune_evaluate_predict(tool, task, pretrained, tmp_path, freeze, packed):
    data = zipped(task, tmp_path / "task.zip") if packed else task
    out = tmp_path / "r"
    weights = pretrained / "best.safetensors"
    options = ["--epochs", "3", "--batch-size", "8", "--head-lr", "0.2", "--freeze", freeze]
    said = tool("finetune", data, "--weights", weights, *options, "--out", out)
    assert said.code == 0
    assert said.err == ""
    assert "replaced    linear.weight: (3, 16) in the file, (2, 16) in the model" in said.out
    assert ("frozen: stem, layer1" in said.out) == (freeze != "none")

    frozen = {"none": (), "2": ("conv1", "bn1", "layer1"),
              "backbone": ("conv1", "bn1", "layer1", "layer2", "layer3")}[freeze]  # fmt: skip
    before, after = load_weights(weights), load_weights(out / "best.safetensors")
    for name, value in after.items():
        unchanged = before[name].shape == value.shape and np.array_equal(before[name], value)
        assert unchanged == name.startswith(frozen) if frozen else not unchanged, name

    card = read_card(out / "best.safetensors")
    assert list(card.classes) == NAMES
    assert card.preprocessing == read_card(weights).preprocessing
    assert card.training["from"] == "best.safetensors"

    said = tool("evaluate", out / "best.safetensors", data, "--json", tmp_path / "e.json",
                "--by-class")  # fmt: skip
    assert said.code == 0
    assert said.err == ""
    results = json.loads((out / "results.json").read_text())
    found = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))
    for name in ("images", "accuracy", "macro_recall", "macro_f1", "loss"):
        assert found[name] == results[name], name
    assert found["right"] == round(found["accuracy"] * 12)
    assert found["classes"] == NAMES
    assert f"{found['right']} of 12 right" in said.out
    assert all(name in said.out for name in NAMES)

    said = tool("predict", out / "best.safetensors", task / "test", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    true = [Path(row["file"]).parent.name for row in rows]
    predicted = [row["class"] for row in rows]
    assert reference.accuracy_score(true, predicted) == found["accuracy"]
    assert np.array_equal(
        reference.confusion_matrix(true, predicted, labels=NAMES), found["confusion"]
    )


def test_the_report_of_odd_names(tool, task, pretrained, tmp_path):
    """From an archive: not every file system takes such names."""
    odd = '<b>tom & "x"'
    archive = tmp_path / "odd.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for file in sorted(task.rglob("*.png")):
            parts = [odd if part == NAMES[0] else part for part in file.relative_to(task).parts]
            target.writestr("/".join(parts), file.read_bytes())
    options = ["--epochs", "1", "--out", tmp_path / "r", "--quiet"]
    weights = pretrained / "best.safetensors"
    said = tool("finetune", archive, "--weights", weights, *options)
    assert said.code == 0
    assert said.err == ""
    assert said.out.startswith("test: accuracy ")
    assert len(said.out.splitlines()) == 1
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;tom &amp; &#34;x&#34;" in page
    assert "<b>tom" not in page
    assert "猫" in page
    said = tool("evaluate", tmp_path / "r" / "best.safetensors", archive, "--by-class")
    assert odd in said.out


def test_the_head_is_kept_or_drawn_anew(tool, photos, pretrained, tmp_path):
    weights = pretrained / "best.safetensors"
    start = ["finetune", photos, "--weights", weights, "--lr", "1e-20", "--epochs", "1"]
    assert "anew" not in tool(*start, "--out", tmp_path / "kept").out
    assert "the last layer starts anew" in tool(*start, "--new-head", "--out", tmp_path / "new").out
    before = load_weights(weights)["linear.weight"]
    kept = load_weights(tmp_path / "kept" / "best.safetensors")["linear.weight"]
    new = load_weights(tmp_path / "new" / "best.safetensors")["linear.weight"]
    np.testing.assert_allclose(kept, before, atol=1e-6)
    assert np.abs(new - before).max() > 1e-2


def test_as_many_other_classes_start_a_new_head(tool, pretrained, tmp_path):
    data = coloured(tmp_path / "d", ["x", "y", "z"], seed=3)
    said = tool("finetune", data, "--weights", pretrained / "last.safetensors", "--epochs", "1",
                "--lr", "1e-20", "--out", tmp_path / "r")  # fmt: skip
    assert said.code == 0
    assert "the last layer starts anew" in said.out
    before = load_weights(pretrained / "last.safetensors")["linear.weight"]
    after = load_weights(tmp_path / "r" / "best.safetensors")["linear.weight"]
    assert np.abs(after - before).max() > 1e-2


def test_bare_weights_with_a_description(tool, task, tmp_path):
    bare = tmp_path / "bare.npz"
    model = create_model("resnet8", width=4, num_classes=2)
    np.savez(bare, **{n: v.numpy() for n, v in model.state_dict().items()})
    described = ["--model", "resnet8", "--width", "4", "--preprocess", "half", "--size", "8"]
    said = tool("evaluate", bare, task, *described)
    assert said.code == 0
    assert "of 12 right" in said.out
    out = tmp_path / "r"
    said = tool("finetune", task, "--weights", bare, *described, "--epochs", "1", "--out", out)
    assert said.code == 0
    assert "the last layer fits and is kept" in said.out
    preprocessing = read_card(out / "best.safetensors").preprocessing
    assert (preprocessing.mean, preprocessing.size) == ((0.5,) * 3, 8)
    by_numbers = ["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]
    assert tool("evaluate", bare, task, *described[:4], *by_numbers, "--size", "8").code == 0
    assert tool("evaluate", bare, task, *described, "--mean", "0.5,0.5,0.5").code == 2


def test_classes_without_splits_grey_and_resized(tool, tmp_path):
    data = coloured(tmp_path / "d", ["a", "b"], test=None, size=11)
    out = tmp_path / "r"
    said = tool("pretrain", data, *SMALL, "--grey", "--size", "8", "--epochs", "1", "--out", out)
    assert said.code == 0
    assert "22 training, 2 validation images of 2 classes" in said.out
    assert "validation: accuracy" in said.out
    card = read_card(out / "best.safetensors")
    assert (card.preprocessing.size, card.preprocessing.channels) == (8, 1)
    assert tool("evaluate", out / "best.safetensors", data).code == 0
    assert tool("predict", out / "best.safetensors", data / "a").code == 0
    # grey files are read as colour images where a network wants those, and the other way round
    grey = coloured(tmp_path / "g", ["a", "b"], mode="L")
    assert tool("evaluate", out / "best.safetensors", grey).code == 0
    said = tool("pretrain", grey, *SMALL, "--epochs", "1", "--out", tmp_path / "r2")
    assert said.code == 0
    assert read_card(tmp_path / "r2" / "best.safetensors").preprocessing.channels == 3


def test_a_batch_larger_than_the_data_and_no_validation(tool, tmp_path):
    data = coloured(tmp_path / "d", ["a", "b"], train=2, test=None)
    said = tool("pretrain", data, *SMALL[:4], "--batch-size", "512", "--val-fraction", "0",
                "--epochs", "2", "--out", tmp_path / "r")  # fmt: skip
    assert said.code == 0
    assert "4 training images of 2 classes" in said.out
    assert "training: accuracy" in said.out
    assert "(epoch 2" in said.out


def test_the_same_command_gives_the_same_bits_and_another_seed_others(tool, photos, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        options = ["--epochs", "2", "--seed", seed, "--out", tmp_path / name]
        assert tool("pretrain", photos, *SMALL, *options).code == 0
    files = [(tmp_path / name / "best.safetensors").read_bytes() for name in "abc"]
    assert files[0] == files[1] != files[2]


def test_a_finished_run_prints_its_result_again(tool, photos, pretrained):
    words = ["pretrain", photos, *SMALL, "--epochs", "4", "--out", pretrained]
    before = {p.name: p.read_bytes() for p in pretrained.iterdir() if p.name != ".lock"}
    said = tool(*words, "--resume", "--quiet")
    assert said.code == 0
    assert said.err == ""
    result = json.loads(before["results.json"])
    assert f"test: accuracy {result['accuracy']:.2%}" in said.out
    after = {p.name: p.read_bytes() for p in pretrained.iterdir() if p.name != ".lock"}
    assert after == before


def test_overwrite(tool, photos, tmp_path):
    out = tmp_path / "r"
    start = ["pretrain", photos, *SMALL, "--out", out]
    assert tool(*start, "--epochs", "2").code == 0
    (out / "notes.txt").write_text("mine")
    assert tool(*start, "--epochs", "1", "--overwrite").code == 0
    assert yaml.safe_load((out / "args.yaml").read_text())["epochs"] == 1
    assert (out / "notes.txt").read_text() == "mine"
    assert "--overwrite" not in (out / "report.html").read_text(encoding="utf-8")


def test_a_recipe_with_everything(tool, task, pretrained, tmp_path):
    """Every option reaches the run, and args.yaml."""
    out = tmp_path / "r"
    words = {
        "--epochs": "6", "--batch-size": "4", "--accumulate": "2", "--layer-decay": "0.7",
        "--mixup": "0.2", "--cutmix": "1", "--ema": "0.9", "--patience": "9", "--clip-grad": "1",
        "--freeze": "backbone", "--unfreeze-every": "2", "--class-weights": "balanced",
        "--label-smoothing": "0.1", "--feature-cache-mb": "7", "--tta": "flip",
    }  # fmt: skip
    flat = [word for pair in words.items() for word in pair]
    start = ["finetune", task, "--weights", pretrained / "best.safetensors", "--out", out]
    said = tool(*start, *flat, "--freeze-norms")
    assert said.code == 0, said
    assert "frozen: stem, layer1, layer2, layer3; stem, layer1, layer2 from epoch 3; " in said.out
    args = yaml.safe_load((out / "args.yaml").read_text(encoding="utf-8"))
    for option, value in words.items():
        assert str(args[option.removeprefix("--").replace("-", "_")]) in (value, f"{value}.0")
    assert args["freeze_norms"] is True
    with open(out / "summary.csv", newline="", encoding="utf-8") as file:
        assert [row["frozen_stages"] for row in csv.DictReader(file)] == list("443322")
    assert json.loads((out / "results.json").read_text())["epochs_trained"] == 6
    said = tool(*start, *flat, "--resume")  # without --freeze-norms
    assert said.code == 1
    assert "cannot be resumed with other settings: freeze_norms was True, now False" in said.err


def test_patience_ends_a_run(tool, task, pretrained, tmp_path):
    out = tmp_path / "r"
    start = ["finetune", task, "--weights", pretrained / "best.safetensors", "--out", out]
    said = tool(*start, "--epochs", "40", "--patience", "2", "--lr", "1e-20")
    assert said.code == 0
    assert "ends here: no better epoch than 1 in 2" in said.out
    results = json.loads((out / "results.json").read_text())
    assert (results["best_epoch"], results["epochs_trained"]) == (1, 3)


def test_a_run_that_does_not_fit_into_memory_does_not_start(tool, task, pretrained, tmp_path,
                                                            monkeypatch):  # fmt: skip
    out = tmp_path / "r"
    start = ["finetune", task, "--weights", pretrained / "best.safetensors", "--out", out]
    with monkeypatch.context() as patch:
        patch.setattr("tinygrad_ft.train.run.available_memory", lambda: 90 << 20)
        said = tool(*start, "--batch-size", "20000")
    assert said.code == 1
    assert "error: the run needs about " in said.err
    assert "90 MB are free, and " in said.err
    assert not out.exists(), "nothing is left of a run that did not start"
    assert tool(*start, "--epochs", "1").code == 0


def test_find_lr(tool, task, pretrained, tmp_path):
    out = tmp_path / "r"
    weights = pretrained / "best.safetensors"
    start = ["finetune", task, "--weights", weights, "--batch-size", "8", "--out", out]
    before = weights.read_bytes()
    said = tool(*start, "--find-lr")
    assert (said.code, said.err) == (0, "")
    assert "the loss falls fastest at --lr " in said.out
    assert sorted(os.listdir(out)) == ["find-lr.csv", "find-lr.png"]
    assert weights.read_bytes() == before
    assert tool(*start, "--find-lr", "--resume").code == 2
    # the folder is still free for the run
    assert tool(*start, "--epochs", "1").code == 0
    assert tool(*start, "--find-lr").code == 0


# ---- predict -------------------------------------------------------------------------------------


def expected(pretrained: Path, files: list[Path]) -> list[str]:
    """The class of each file, from the model itself."""
    model, card = load_model(pretrained / "best.safetensors")
    images = np.stack([np.asarray(Image.open(f)) for f in files])
    x = (images / 255 - card.preprocessing.mean) / card.preprocessing.std
    scores = model(Tensor(x.transpose(0, 3, 1, 2).astype(np.float32))).numpy()
    return [card.classes[i] for i in scores.argmax(axis=1)]


def test_predict_formats(tool, pretrained, photos):
    model = pretrained / "best.safetensors"
    files = sorted((photos / "test" / "bee").iterdir())
    names = expected(pretrained, files)
    said = tool("predict", model, *files, "--format", "csv", "--top", "2")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert list(rows[0]) == ["file", "rank", "class", "probability"]
    assert [r["file"] for r in rows[::2]] == [str(f) for f in files]
    assert [r["class"] for r in rows[::2]] == names
    assert [r["rank"] for r in rows] == ["1", "2"] * len(files)
    assert all(float(a["probability"]) >= float(b["probability"])
               for a, b in zip(rows[::2], rows[1::2], strict=True))  # fmt: skip

    said = tool("predict", model, *files, "--format", "json", "--top", "9")
    content = json.loads(said.out)
    assert [item["file"] for item in content] == [str(f) for f in files]
    assert [item["predictions"][0]["class"] for item in content] == names
    for item in content:
        assert len(item["predictions"]) == 3
        assert sum(p["probability"] for p in item["predictions"]) == pytest.approx(1)

    said = tool("predict", model, *files)
    lines = [line for line in said.out.splitlines() if ".png" in line]
    assert [line.split("│")[2].strip() for line in lines] == names
    assert [line.split("│")[1].strip() for line in lines] == [str(f) for f in files]


def test_predict_sources(tool, pretrained, photos, monkeypatch):
    model = pretrained / "best.safetensors"
    files = sorted((photos / "test" / "ant").iterdir())

    def names(*arguments: str | Path) -> list[str]:
        said = tool("predict", model, *arguments, "--format", "csv")
        assert said.code == 0, said
        return [row["file"] for row in csv.DictReader(io.StringIO(said.out))]

    everything = [str(f) for f in files]
    assert names(photos / "test" / "ant") == everything
    assert names(photos / "test" / "ant" / "*.png") == everything
    assert len(names(photos / "**" / "*.png")) == 54
    assert len(names(photos)) == 54
    piped = io.BytesIO(("\n".join(everything[:2]) + "\r\n\n").encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(piped))
    assert names("-") == everything[:2]
    assert names(files[3], files[0]) == [str(files[3]), str(files[0])]


def test_predict_names_with_brackets(tool, pretrained, photos, tmp_path):
    """Neither a pattern nor markup, when a file of that name is there."""
    target = tmp_path / "[red]cat[1].png"
    target.write_bytes((photos / "test" / "ant" / "00.png").read_bytes())
    said = tool("predict", pretrained / "best.safetensors", target)
    assert said.code == 0
    assert "[red]cat[1].png" in said.out


# ---- a process of its own ------------------------------------------------------------------------


def test_predict_from_a_pipe(pretrained, photos):
    files = sorted((photos / "test" / "cow").iterdir())
    said = in_process_of_its_own(
        "predict", pretrained / "best.safetensors", "-", "--format", "csv",
        stdin="".join(f"{f}\n" for f in files),
    )  # fmt: skip
    assert (said.returncode, said.stderr) == (0, "")
    rows = list(csv.DictReader(io.StringIO(said.stdout)))
    assert [row["class"] for row in rows] == expected(pretrained, files)


def test_info():
    said = in_process_of_its_own("info")
    assert (said.returncode, said.stderr) == (0, "")
    for word in ("tinygrad_ft", "Python", "numba", "threads", "kernel cache", "processor"):
        assert word in said.stdout
    assert "\x1b" not in said.stdout


def test_resnet_from_a_torch_file(tool, task, tmp_path):
    torch = pytest.importorskip("torch")
    model = create_model("resnet8", width=4, num_classes=7)
    values = {f"module.{n}": torch.tensor(v.numpy()) for n, v in model.state_dict().items()}
    torch.save({"state_dict": values, "epoch": 3}, tmp_path / "w.pth")
    options = ["--model", "resnet8", "--width", "4", "--preprocess", "cifar10", "--size", "8"]
    said = tool("finetune", task, "--weights", tmp_path / "w.pth", *options, "--epochs", "1",
                "--freeze", "backbone", "--augment", "none", "--out", tmp_path / "r")  # fmt: skip
    assert said.code == 0
    after = load_weights(tmp_path / "r" / "best.safetensors")
    for name, value in model.state_dict().items():
        if not name.startswith("linear."):
            assert np.array_equal(after[name], value.numpy()), name


def test_state_helper_sees_a_bit(pretrained):
    """The comparison that other tests rest on."""
    found = state(pretrained / "best.safetensors")
    assert found == state(pretrained / "best.safetensors")
    assert found["conv1.weight"][2] != bytes(len(found["conv1.weight"][2]))


def test_run_gives_codes_to_other_programs(capsys):
    assert run(["--version"]) == 0
    assert run(["nothing"]) == 2
    capsys.readouterr()
