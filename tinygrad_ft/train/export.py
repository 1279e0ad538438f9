"""Trained networks as files for other programs."""

from __future__ import annotations

import json
import os
from typing import Any, Literal

from tinygrad_ft.io import save_onnx
from tinygrad_ft.models import graph_of
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train.model_file import ModelCard, save_model
from tinygrad_ft.version import __version__

Format = Literal["onnx", "safetensors"]


def export_model(
    path: str | os.PathLike[str], model: ImageClassifier, card: ModelCard, form: Format
) -> None:
    """Write the model with its card, atomically: as ONNX (opset 17, needs the package onnx) or as
    .safetensors.

    An ONNX file takes "images" (N, C, H, W), float32, N free, preprocessed as its metadata says,
    and gives "scores" (N, classes), of which the softmax is the probabilities. Raises WriteError.
    """
    if form == "safetensors":
        save_model(path, model, card)
        return
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    graph = graph_of(model, card.preprocessing.size)
    save_onnx(path, graph, weights, _metadata(card), version=__version__)


def _metadata(card: ModelCard) -> dict[str, str]:
    """The card for this program, and the same in a few plain entries for people and others."""
    p = card.preprocessing
    steps: dict[str, Any] = {
        "size": [p.size, p.size],
        "colour": "RGB" if p.channels == 3 else "grey",
        "scale": "pixel / 255",
        "mean": list(p.mean),
        "std": list(p.std),
    }
    return {
        **card.to_metadata(),
        "architecture": card.architecture["name"],
        "classes": json.dumps(card.classes, ensure_ascii=False),
        "preprocessing": json.dumps(steps),
    }
