"""Trained models as files: weights, and the card that says what they are."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from tinygrad_ft.io import WeightsError, load_metadata, load_weights, match_weights, save_checkpoint
from tinygrad_ft.models import create_model
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train.preprocessing import Preprocessing
from tinygrad_ft.version import __version__

_KEY = "tinygrad_ft.model"


@dataclass(frozen=True)
class ModelCard:
    """What has to be known to use a model's weights.

    architecture    arguments of `create_model`, with the name
    classes         the class names in the order of the scores
    preprocessing   what the images must go through
    training        facts about how it came to be: command, data, epochs, results
    """

    architecture: dict[str, Any]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    training: dict[str, Any] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """The card as string metadata of a .safetensors file."""
        content = {
            "architecture": self.architecture,
            "classes": list(self.classes),
            "preprocessing": self.preprocessing.as_dict(),
            "training": self.training,
            "version": __version__,
        }
        return {_KEY: json.dumps(content, ensure_ascii=False)}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], source: str) -> ModelCard | None:
        """The card in a file's metadata; None if it has none. WeightsError if it is damaged."""
        if _KEY not in metadata:
            return None
        try:
            content = json.loads(metadata[_KEY])
            return cls(
                architecture=dict(content["architecture"]),
                classes=tuple(str(c) for c in content["classes"]),
                preprocessing=Preprocessing.from_dict(content["preprocessing"]),
                training=dict(content["training"]),
            )
        except (ValueError, KeyError, TypeError) as problem:
            raise WeightsError(f"{source}: its description of the model is damaged") from problem


def read_card(path: str | os.PathLike[str]) -> ModelCard | None:
    """The card of a model file; None for a file of bare weights."""
    return ModelCard.from_metadata(load_metadata(path), str(path))


def save_model(path: str | os.PathLike[str], model: ImageClassifier, card: ModelCard) -> None:
    """Write the weights under their plain names with the card, atomically."""
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    save_checkpoint(path, tensors, card.to_metadata())


def build_model(architecture: dict[str, Any], source: str) -> ImageClassifier:
    """The model that `architecture` describes; WeightsError if there is none such."""
    try:
        return create_model(**architecture)
    except (TypeError, ValueError) as problem:
        raise WeightsError(f"{source}: {problem}") from problem


def load_model(
    path: str | os.PathLike[str], card: ModelCard | None = None
) -> tuple[ImageClassifier, ModelCard]:
    """The model in a file, in evaluation mode, and its card.

    `card` describes a file of bare weights (a .pth, say) and replaces the file's own. Every weight must
    be there and fit: WeightsError says what does not.
    """
    source = str(path)
    card = card or read_card(path)
    if card is None:
        raise WeightsError(
            f"{source} holds bare weights: say what they are with --model and --preprocess"
        )
    model = build_model(card.architecture, source)
    loaded = load_weights(path)
    state = model.state_dict()
    report = match_weights({n: v.shape for n, v in state.items()}, loaded, source=source)
    if report.missing or report.mismatched or report.replaced or report.unexpected:
        raise WeightsError(f"{source} does not fit {card.architecture['name']}: {report.summary()}")
    model.load_state_dict(report.select(loaded), strict=False)
    return model.eval(), card
