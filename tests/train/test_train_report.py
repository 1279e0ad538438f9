"""The report: one page that needs nothing else, whatever classes are called."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinygrad_ft.data import ArrayDataset
from tinygrad_ft.models import create_model
from tinygrad_ft.train import Evaluation, Preprocessing, plots
from tinygrad_ft.train.mistakes import (
    confident_mistakes,
    frequent_confusions,
    spread,
    weakest_classes,
)
from tinygrad_ft.train.report import Report, write_report

ODD = [
    "<b>&\"x'",
    "$a_1$ and $b",
    "猫と犬の写真を集めたフォルダ",
    "قطة",
    "a" * 90,
    "emoji 🐱",
    "</svg><script>alert(1)</script>",
    "{{ 7 * 7 }}",
]


class Reader(HTMLParser):
    """Collects tags, references and the text; checks that tags nest."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def history(epochs: int, validation: bool = True) -> list[dict[str, float]]:
    rows = []
    for e in range(1, epochs + 1):
        row = {"epoch": e, "lr": 0.1, "train_loss": 1 / e, "train_accuracy": 1 - 0.5 / e}
        if validation:
            row |= {"val_loss": 1.1 / e, "val_accuracy": 0.9 - 0.5 / e}
        rows.append({**row, "seconds": 1.0})
    return rows


def page(path: Path, classes: list[str], epochs: int = 3, channels: int = 3, wrong: bool = True,
         **changes: object) -> str:  # fmt: skip
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(len(classes)), 3)
    images = rng.integers(0, 256, (len(labels), 8, 8, channels), dtype=np.uint8)
    scores = np.eye(len(classes), dtype=np.float32)[labels] * 3
    if wrong:
        scores[0], scores[1] = -scores[0], -2 * scores[1]
    values = {
        "title": "Fine-tuned <i>it</i>",
        "facts": [("started from", "<w>.pth")],
        "history": history(epochs),
        "best_epoch": 2,
        "judged_on": "test",
        "evaluation": Evaluation(scores, labels),
        "dataset": ArrayDataset(images, labels, classes),
        "classes": classes,
        "settings": {"lr": 0.1, "augment": "none"},
        "command": "tinygrad-ft finetune '<x>'",
    }
    write_report(path, Report(**{**values, **changes}))
    return path.read_text(encoding="utf-8")


def test_a_page_of_odd_classes_needs_nothing_else(tmp_path):
    text = page(tmp_path / "report.html", ODD)
    found = Reader(text)
    assert not {"script", "i", "link", "iframe", "object"} & {*found.tags}
    assert found.tags.count("b") == 6  # the numbers at the top, with top-5 for eight classes
    for reference in found.references:
        assert reference.startswith(("data:image/png;base64,", "data:image/jpeg;base64,", "#"))
    assert "default-src 'none'" in text, "and a browser is told to load nothing"
    assert text.startswith("<!doctype html>")
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert re.findall("https?:", without_namespaces) == []
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []
    for name in ODD:
        assert name in found.text  # in the table by class, letter for letter
    assert "49" not in found.text.split("By class")[1].split("The run")[0]
    assert "Fine-tuned <i>it</i>" in found.text
    assert "'<x>'" in found.text


def test_pictures_are_the_images(tmp_path):
    for channels in (1, 3):
        text = page(tmp_path / "r.html", ["a", "b"], channels=channels)
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (6, 8, 8, channels), dtype=np.uint8)
        uris = [r for r in Reader(text).references if r.startswith("data:")]
        assert len(uris) == 1 + 2 + 6  # the confusion matrix, mistakes, samples
        pictures = [
            np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
            for uri in uris
        ]
        shown = [p.reshape(8, 8, channels) for p in pictures if p.shape[:2] == (8, 8)]
        # the second one is wrong with more certainty
        assert np.array_equal(shown[0], images[1])
        assert np.array_equal(shown[1], images[0])
        assert np.array_equal(np.stack(shown[2:]), images)


def test_numbers_on_the_page(tmp_path):
    text = Reader(page(tmp_path / "r.html", ["a", "b"])).text
    assert "Judged on 6 test images of 2 classes: 4 right" in text
    assert re.search(r"66\.67%\s*accuracy\s*95%: \d+\.\d–\d+\.\d%", text)
    assert "top-5" not in text, "two classes: everything is among the best five"
    assert "Most frequent confusions" in text
    assert "Most confident mistakes" in text
    perfect = Reader(page(tmp_path / "r.html", ["a", "b"], wrong=False)).text
    assert "Most confident mistakes" not in perfect
    assert "Most frequent confusions" not in perfect
    assert re.search(r"100\.00%\s*accuracy", perfect)


def test_the_fitted_temperature_is_offered(tmp_path):
    plain = Reader(page(tmp_path / "r.html", ["a", "b"])).text
    assert "--temperature" not in plain
    found = Reader(page(tmp_path / "r.html", ["a", "b"], temperature=2.5)).text
    assert "A temperature of 2.500" in found
    assert "at temperature 2.50" in found, "in the diagram"


def test_what_it_looked_at(tmp_path):
    """Mistakes first, then right answers; each picture twice, the second time with its map."""
    model = {
        "model": create_model("resnet8", num_classes=2, width=4),
        "preprocessing": Preprocessing(8, (0.5,) * 3, (0.25,) * 3),
    }
    text = page(tmp_path / "r.html", ["a", "b"], **model)
    part = text.split("What it looked at")[1].split("<h2>")[0]
    assert part.count("<figure>") == 2 + 4
    assert part.count("data:image/png") == part.count("data:image/jpeg") == 2 + 4
    assert "Grad-CAM (Selvaraju et al. 2017" in part
    classes = re.findall(r'<bdi class="(good|bad)">', part)
    assert classes == ["bad"] * 2 + ["good"] * 4
    assert "What it looked at" not in page(tmp_path / "r.html", ["a", "b"])


@pytest.mark.parametrize("classes, epochs", [(2, 1), (10, 2), (30, 90), (31, 3), (200, 3)])
def test_every_number_of_classes_and_epochs(tmp_path, classes, epochs):
    names = [f"class {i}" for i in range(classes)]
    text = page(tmp_path / "r.html", names, epochs=epochs, best_epoch=1)
    found = Reader(text)
    assert all(name in found.text for name in names)
    assert len(text) < 600_000
    assert ("The weakest" in text) == (classes > 20)


def test_the_size_is_bounded_whatever_the_images(tmp_path):
    """Noise compresses worst."""
    rng = np.random.default_rng(0)
    names = [f"class {i}" for i in range(200)]
    labels = np.arange(200)
    images = rng.integers(0, 256, (200, 224, 224, 3), dtype=np.uint8)
    page(
        tmp_path / "r.html", names, epochs=100,
        evaluation=Evaluation(rng.normal(size=(200, 200)).astype(np.float32), labels),
        dataset=ArrayDataset(images, labels, names),
        model=create_model("resnet8", num_classes=200, width=4),
        preprocessing=Preprocessing(224, (0.5,) * 3, (0.25,) * 3),
    )  # fmt: skip
    assert (tmp_path / "r.html").stat().st_size < 1_000_000


def test_weakest_classes_and_confusions():
    matrix = np.array([[5, 3, 0], [1, 9, 0], [0, 0, 0]])
    found = frequent_confusions(matrix, "abc", 9)
    assert found == [("a", "b", 3, 3 / 8), ("b", "a", 1, 1 / 10)]
    assert frequent_confusions(matrix, "abc", 1) == found[:1]
    assert matrix[0, 0] == 5
    f1, support = np.array([0.5, 0.2, 0.0, 0.2]), np.array([3, 3, 0, 3])
    assert weakest_classes(f1, support, 3).tolist() == [1, 3, 0], "no images, no weakness"


def test_the_most_confident_mistakes():
    scores = np.array([[3, 0], [0, 1], [0, 4], [2, 0], [0, 1]], np.float32)
    found = confident_mistakes(Evaluation(scores, np.array([0, 0, 0, 1, 0])), 3)
    assert found.tolist() == [2, 3, 1], "of equals the first"
    assert spread(np.arange(5), 9).tolist() == [0, 1, 2, 3, 4]
    assert spread(np.arange(100), 3).tolist() == [0, 49, 99]


def test_without_validation_and_with_tables_and_figures(tmp_path):
    more = {
        "history": history(4, validation=False),
        "best_epoch": None,
        "tables": [("Ways", ["way", "accuracy"], [["<head>", "90%"]])],
        "figures": [("Together", plots.compare({"<way>": [history(4)], "other": [history(4)]}))],
    }
    found = Reader(page(tmp_path / "r.html", ["a", "b"], **more))
    assert "<head>" in found.text
    assert "Together" in found.text
    assert "<way>" in found.text
    assert "validation" not in found.text.split("How it learned")[1].split("What is taken")[0]
    assert "chosen" not in found.text


def ticks(svg: str) -> list[int]:
    """The numbers along the x axis."""
    axis = svg.split('id="matplotlib.axis_1"')[1].split('id="matplotlib.axis_2"')[0]
    return [int(t) for t in re.findall(r">(\d+)</text>", axis)]


@pytest.mark.parametrize("epochs", [1, 2, 30, 90])
def test_the_axis_of_epochs_begins_at_the_first(epochs):
    for svg in (*plots.curves(history(epochs), 1), plots.compare({"way": [history(epochs)]})):
        found = ticks(svg)
        assert found
        assert min(found) >= 1
        assert max(found) <= epochs


def test_the_same_run_gives_the_same_figures():
    assert plots.curves(history(5), 2) == plots.curves(history(5), 2)
    matrix = np.array([[3, 1], [0, 4]])
    assert plots.confusion(matrix, ["a", "b"]) == plots.confusion(matrix, ["a", "b"])
