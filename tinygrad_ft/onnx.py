"""ONNX in two functions: `load` a network of the ResNet kind to train on, `export` one.

    model = tinygrad_ft.onnx.load("resnet18.onnx")
    model.reset_classifier(10)
    ...
    tinygrad_ft.onnx.export(model, "mine.onnx")

Both need the package onnx: pip install "tinygrad_ft[onnx]". docs/weights.md says what is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from tinygrad_ft.io import load_onnx, save_onnx
from tinygrad_ft.models import OnnxClassifier, create_model, graph_of
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.version import __version__

__all__ = ["export", "load"]


def load(path: str | os.PathLike[str]) -> OnnxClassifier:
    """The network in an ONNX file as a trainable module, in evaluation mode.

    Raises WeightsError, with one sentence that names the file and what in it cannot be read.
    """
    network = load_onnx(path)
    model = create_model("onnx", graph=network.graph, num_classes=network.num_classes)
    assert isinstance(model, OnnxClassifier)
    model.load_state_dict(network.weights)
    model.eval()
    return model


def export(
    model: ImageClassifier,
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write what `model` computes in evaluation mode (opset 17, number of images left open).

    size: height and width of the images; default: those of `model.input_size`.
    metadata: strings to keep in the file.
    Raises WriteError, TypeError for a model that is no ResNet of `models` nor came from `load`.
    """
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    save_onnx(path, graph_of(model, size), weights, metadata or {}, version=__version__)
