"""What goes wrong is said in one sentence with the right exit code, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import SMALL, coloured, environment, in_process_of_its_own
from PIL import Image

from tinygrad_ft.cli.main import COMMANDS
from tinygrad_ft.io import load_checkpoint, load_weights, save_checkpoint
from tinygrad_ft.version import __version__


def is_refused(said, code: int, *words: str) -> None:
    """Exit code, nothing but one line on stderr, which holds the words."""
    assert said.code == code, said
    lines = said.err.splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0], lines[0]
    assert "Traceback" not in said.out + said.err


# ---- help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_help(tool, name):
    said = tool(name, "--help")
    assert said.code == 0
    assert said.err == ""
    assert f"Usage: tinygrad-ft {name}" in said.out
    assert said.out == tool(name, "-h").out
    assert len(said.out.splitlines()) >= 5


def test_the_whole(tool):
    said = tool()
    assert said.code == 0
    assert said == tool("--help")
    for name, text in COMMANDS.items():
        assert name in said.out
        assert text in said.out
    assert __version__ in tool("--version").out


def test_help_teaches(tool):
    said = tool("finetune", "--help").out
    for word in ("--freeze", "--head-lr", "backbone", "--weights", "tinygrad-ft finetune photos"):
        assert word in said


def test_help_does_not_load_the_engine():
    code = (
        "import sys; from tinygrad_ft.cli.main import run; run(['--help']);"
        "sys.exit(any(m in sys.modules for m in ('sklearn', 'matplotlib')))"
    )
    said = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment(), capture_output=True, check=False
    )
    assert said.returncode == 0, said


# ---- usage: 2 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["trian"], ["No such command", "trian"]),
        (["pretrain"], ["Missing argument 'DATA'", "see tinygrad-ft pretrain --help"]),
        (["pretrain", "nowhere"], ["nowhere", "does not exist"]),
        (["pretrain", ".", "--lr", "x"], ["--lr", "'x'"]),
        (["pretrain", ".", "--lr", "-0.1"], ["--lr must be a positive number, not -0.1"]),
        (["pretrain", ".", "--epochs", "0"], ["--epochs must be at least 1"]),
        (["pretrain", ".", "--batch-size", "1"], ["--batch-size must be at least 2"]),
        (["pretrain", ".", "--size", "0"], ["--size"]),
        (["pretrain", ".", "--threads", "0"], ["--threads", "from 1 to"]),
        (["pretrain", ".", "--optimizer", "lion"], ["--optimizer", "sgd"]),
        (["pretrain", ".", "--model", "resnet21"], ["--model", "resnet2"]),
        (["pretrain", ".", "--model", "resnet20", "--width", "0"], ["--width 0"]),
        (["pretrain", ".", "--model", "resnet20", "--small-input"], ["--small-input"]),
        (["pretrain", ".", "--freeze", "1"], ["--freeze"]),
        (["pretrain", ".", "--frobnicate"], ["--frobnicate"]),
        (["finetune", "."], ["--weights"]),
        (["finetune", ".", "--weights", "nowhere.pth"], ["nowhere.pth", "does not exist"]),
        (["predict"], ["MODEL"]),
        (["evaluate", "nowhere.pth", "."], ["nowhere.pth"]),
    ],
)
def test_wrong_usage(tool, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    is_refused(tool(*arguments), 2, *words)
    assert os.listdir(tmp_path) == []


def test_the_freeze_option(tool, task, pretrained, tmp_path):
    start = [
        "finetune",
        task,
        "--weights",
        pretrained / "best.safetensors",
        "--out",
        tmp_path / "r",
    ]
    is_refused(tool(*start, "--freeze", "5"), 2, "--freeze 5", "4 stages", "stem, layer1")
    is_refused(tool(*start, "--freeze", "head"), 2, "none, backbone or a number")
    assert os.listdir(tmp_path) == []


def test_options_that_contradict_the_weights(tool, task, pretrained, tmp_path):
    weights = pretrained / "best.safetensors"
    start = ["finetune", task, "--weights", weights, "--out", tmp_path / "r"]
    is_refused(tool(*start, "--size", "32"), 2, "leave out --size")
    is_refused(tool(*start, "--model", "resnet20"), 2, "it is resnet8", "leave out --model")
    is_refused(tool(*start, "--resume", "--overwrite"), 2, "exclude each other")
    assert os.listdir(tmp_path) == []


def test_bare_weights_need_a_description(tool, task, tmp_path):
    weights = tmp_path / "bare.npz"
    np.savez(weights, **{"conv1.weight": np.zeros((4, 3, 3, 3), np.float32)})
    start = ["finetune", task, "--weights", weights, "--out", tmp_path / "r"]
    is_refused(tool(*start), 2, "holds bare weights", "--model", "--preprocess")
    model = ["--model", "resnet8", "--width", "4"]
    is_refused(tool(*start, *model), 2, "does not say how images were normalised")
    is_refused(tool(*start, *model, "--preprocess", "x"), 2, "one of imagenet")
    two_means = [*model, "--mean", "0.5,0.5", "--std", "0.5,0.5"]
    is_refused(tool(*start, *two_means), 2, "one number a channel")
    no_numbers = [*model, "--mean", "a,b,c", "--std", "1,1,1"]
    is_refused(tool(*start, *no_numbers), 2, "'a,b,c' is not a list of numbers")
    is_refused(tool("predict", weights, "x.png"), 1, "holds bare weights")
    assert os.listdir(tmp_path) == ["bare.npz"]


# ---- data: 1, and no run folder ------------------------------------------------------------------


def broken_data(kind: str, root: Path) -> tuple[Path, list[str]]:
    """A data set with one thing wrong, and the words that name it."""
    data = coloured(root / "data", ["ant", "bee"], train=3, test=2)
    file = data / "train" / "bee" / "01.png"
    if kind == "truncated image":
        file.write_bytes(file.read_bytes()[:-30])
        return data, ["bee/01.png", "--skip-bad"]
    if kind == "no image":
        file.write_text("hello")
        return data, ["bee/01.png", "not an image"]
    if kind == "empty class folder":
        (data / "train" / "cow").mkdir()
        return data, ["no images in class folder 'cow'"]
    if kind == "one class":
        shutil.rmtree(data / "train" / "bee")
        shutil.rmtree(data / "test" / "bee")
        return data, ["only the class 'ant'"]
    if kind == "class in the test split only":
        (data / "test" / "cow").mkdir()
        shutil.copy(file, data / "test" / "cow")
        return data, ["'cow'"]
    if kind == "different sizes":
        Image.new("RGB", (9, 9)).save(file)
        return data, ["different sizes", "--size"]
    if kind == "not square":
        for image in data.rglob("*.png"):
            Image.new("RGB", (9, 6)).save(image)
        return data, ["9x6", "--size"]
    if kind == "empty folder":
        shutil.rmtree(data)
        data.mkdir()
        return data, ["no class folders"]
    if kind == "not a zip":
        path = root / "data.zip"
        path.write_text("hello")
        return path, ["data.zip"]
    if kind == "text file":
        path = root / "data.txt"
        path.write_text("hello")
        return path, ["data.txt", "not understood"]
    if kind == "too few images for validation":
        for image in (data / "train" / "bee").iterdir():
            if image != file:
                image.unlink()
        return data, ["--val-fraction 0.1", "'bee' has 1 image"]
    raise ValueError(kind)


KINDS = [
    "truncated image", "no image", "empty class folder", "one class",
    "class in the test split only", "different sizes", "not square", "empty folder", "not a zip",
    "text file", "too few images for validation",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_bad_data(tool, kind, tmp_path):
    data, words = broken_data(kind, tmp_path)
    said = tool("pretrain", data, *SMALL, "--out", tmp_path / "runs" / "r")
    is_refused(said, 1, *words)
    assert not (tmp_path / "runs").exists()


def test_bad_images_can_be_left_out(tool, tmp_path):
    data, _ = broken_data("truncated image", tmp_path)
    out = tmp_path / "r"
    said = tool("pretrain", data, *SMALL, "--epochs", "1", "--skip-bad", "--out", out)
    assert said.code == 0
    assert "left out 1 bad image:" in said.out
    assert "1 that cannot be decoded" in (out / "report.html").read_text(encoding="utf-8")
    assert "bee/01.png" in said.out


def test_data_that_does_not_fit_the_weights(tool, pretrained, photos, task, tmp_path):
    weights = pretrained / "best.safetensors"
    said = tool("evaluate", weights, task)
    is_refused(said, 1, "'test'", "not among the classes asked for ('ant', 'bee', 'cow')")
    said = tool("evaluate", weights, photos, "--split", "val")
    is_refused(said, 1, "no split 'val'", "test", "train")
    idx = tmp_path / "mnist"
    idx.mkdir()
    write_idx(idx)
    said = tool("evaluate", weights, idx)
    is_refused(said, 1, "mnist", "the class '0', which is not among the classes asked for")


def write_idx(folder: Path) -> None:
    """MNIST's four files with two images each."""
    for part in ("train", "t10k"):
        images = bytes([0, 0, 8, 3]) + np.array([2, 28, 28], ">u4").tobytes() + bytes(2 * 28 * 28)
        labels = bytes([0, 0, 8, 1]) + np.array([2], ">u4").tobytes() + bytes([0, 1])
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)


def test_weights_of_another_architecture(tool, task, pretrained, tmp_path):
    bare = tmp_path / "bare.npz"
    np.savez(bare, **load_weights(pretrained / "best.safetensors"))
    options = ["--model", "resnet20", "--width", "4", "--preprocess", "half", "--size", "8"]
    out = ["--out", tmp_path / "r"]
    said = tool("finetune", task, "--weights", bare, *options, *out)
    is_refused(said, 1, "bare.npz does not fit this model", "another architecture")
    is_refused(tool("evaluate", bare, task, *options), 1, "bare.npz does not fit", "layer1.1")
    assert os.listdir(tmp_path) == ["bare.npz"]


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04c__main__\nx\n.", b"PK\x03\x04"])
def test_damaged_weights(tool, task, tmp_path, content):
    weights = tmp_path / "w.pth"
    weights.write_bytes(content)
    described = ["--model", "resnet8", "--preprocess", "half"]
    said = tool("finetune", task, "--weights", weights, *described, "--out", tmp_path / "r")
    is_refused(said, 1, "w.pth")
    is_refused(tool("predict", weights, "x.png"), 1, "w.pth")
    assert os.listdir(tmp_path) == ["w.pth"]


@pytest.mark.parametrize("command", ["finetune", "search"])
def test_weights_are_refused_before_the_data_is_decoded(tool, tmp_path, command):
    if command == "search":
        pytest.importorskip("optuna")
    data, _ = broken_data("truncated image", tmp_path)
    weights = tmp_path / "w.npz"
    np.savez(weights, **{"conv1.weight": np.zeros((4, 3, 3, 3), np.float32)})
    described = ["--model", "resnet8", "--preprocess", "half"]
    said = tool(command, data, "--weights", weights, *described, "--out", tmp_path / "r")
    is_refused(said, 1, "w.npz does not fit")


@pytest.mark.parametrize("value, words", [(np.nan, "layer1.0.conv1.weight holds"), (3e38, "")])
def test_weights_that_give_no_numbers(tool, pretrained, photos, tmp_path, value, words):
    """Or a class would be named all the same: the first one."""
    tensors, metadata = load_checkpoint(pretrained / "best.safetensors")
    tensors = {name: np.array(array) for name, array in tensors.items()}
    tensors["layer1.0.conv1.weight"][:] = value
    weights, out = tmp_path / "w.safetensors", tmp_path / "r"
    save_checkpoint(weights, tensors, metadata)
    is_refused(tool("evaluate", weights, photos), 1, "w.safetensors", words or "18 of 18 images")
    image = sorted(photos.rglob("*.png"))[0]
    is_refused(tool("predict", weights, image), 1, "w.safetensors", words or "1 of 1 images")
    frozen = ["--freeze", "backbone", "--augment", "none"]
    for more in (frozen, [*frozen, "--find-lr"], []):
        said = tool("finetune", photos, "--weights", weights, *more, "--out", out, "--overwrite"
                    if "--find-lr" not in more else "--quiet")  # fmt: skip
        is_refused(said, 1, words or "in the output of layer1.0.conv1 (Conv2d)")


def test_images_decoded_in_every_epoch(tool, task, pretrained, tmp_path):
    words = ["finetune", task, "--weights", pretrained / "best.safetensors", "--epochs", "2"]
    is_refused(tool(*words, "--no-cache", "--skip-bad"), 2, "--skip-bad", "--no-cache")
    for name, more in (("once", ["--cache"]), ("each", ["--no-cache"])):
        said = tool(*words, *more, "--out", tmp_path / name)
        assert said.code == 0, said
        assert ("decoded in every epoch" in said.out) == (name == "each")
    best = [load_weights(tmp_path / name / "best.safetensors") for name in ("once", "each")]
    for name, value in best[0].items():
        np.testing.assert_array_equal(value, best[1][name])


def test_images_that_cannot_be_predicted(tool, pretrained, tmp_path):
    weights = pretrained / "best.safetensors"
    good = coloured(tmp_path / "album", ["ant"], train=1, test=None) / "ant" / "00.png"
    (tmp_path / "bad.png").write_bytes(good.read_bytes()[:-40])
    (tmp_path / "empty").mkdir()
    is_refused(tool("predict", weights, tmp_path / "absent.png"), 1, "absent.png", "names no image")
    is_refused(tool("predict", weights, tmp_path / "*.jpg"), 1, "*.jpg")
    is_refused(tool("predict", weights, tmp_path / "empty"), 1, "empty", "names no image")
    is_refused(tool("predict", weights, "x" * 5000), 1)
    said = tool("predict", weights, good, tmp_path / "bad.png")
    is_refused(said, 1, "bad.png", "cannot be decoded")
    assert said.out == ""


# ---- places --------------------------------------------------------------------------------------


def test_a_run_is_not_overwritten(tool, photos, pretrained, tmp_path):
    before = {p: p.read_bytes() for p in pretrained.iterdir()}
    said = tool("pretrain", photos, *SMALL, "--epochs", "1", "--out", pretrained)
    is_refused(said, 1, "already holds a run", "args.yaml")
    weights = pretrained / "best.safetensors"
    said = tool("finetune", photos, "--weights", weights, "--overwrite", "--out", pretrained)
    is_refused(said, 2, "--overwrite would remove", "best.safetensors")
    said = tool("finetune", photos, "--weights", weights, "--resume", "--out", pretrained)
    is_refused(said, 1, "cannot be resumed with other")
    assert {p: p.read_bytes() for p in pretrained.iterdir() if p.name != ".lock"} == {
        p: content for p, content in before.items() if p.name != ".lock"
    }


def test_an_occupied_folder_is_said_before_the_data_is_read(tool, pretrained, tmp_path):
    """A long decoding in vain would be a pity: here the data could not even be opened."""
    (tmp_path / "empty").mkdir()
    said = tool("pretrain", tmp_path / "empty", "--out", pretrained)
    is_refused(said, 1, "already holds a run")


def test_nothing_to_resume(tool, photos, tmp_path):
    said = tool("pretrain", photos, *SMALL, "--resume", "--out", tmp_path / "r")
    is_refused(said, 1, "does not exist: there is no run to resume")
    (tmp_path / "r").mkdir()
    said = tool("pretrain", photos, *SMALL, "--resume", "--out", tmp_path / "r")
    is_refused(said, 1, "holds no run to resume")
    assert os.listdir(tmp_path / "r") == []


def test_out_is_a_file(tool, photos, tmp_path):
    (tmp_path / "file").write_text("kept")
    is_refused(tool("pretrain", photos, "--out", tmp_path / "file"), 2, "--out", "is a file")
    said = tool("pretrain", photos, *SMALL, "--out", tmp_path / "file" / "run")
    is_refused(said, 1, "cannot be made")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_place_that_cannot_be_written(tool, photos, pretrained, tmp_path):
    report = tmp_path / "no" / "such" / "folder.json"
    said = tool("evaluate", pretrained / "best.safetensors", photos, "--json", report)
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert "folder.json" in said.err


# ---- a process of its own ------------------------------------------------------------------------


def test_errors_as_the_shell_sees_them(tmp_path):
    said = in_process_of_its_own("pretrain", tmp_path, "--lr", "-1")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == "error: --lr must be a positive number, not -1.0\n"
    said = in_process_of_its_own("pretrain", tmp_path, "--out", tmp_path / "r")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("error: ")
    assert said.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []
