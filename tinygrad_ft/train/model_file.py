"""Trained models as files: weights, and the card that says what they are."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

import numpy as np

from tinygrad_ft.io import (
    MatchReport,
    WeightsError,
    load_metadata,
    load_weights,
    match_weights,
    save_checkpoint,
)
from tinygrad_ft.models import create_model
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train.preprocessing import Preprocessing
from tinygrad_ft.train.recipe.non_finite import all_finite
from tinygrad_ft.train.settings import TestTimeAugmentation
from tinygrad_ft.version import __version__

_KEY = "tinygrad_ft.model"


@dataclass(frozen=True)
class ModelCard:
    """What has to be known to use a model's weights.

    architecture    arguments of `create_model`, with the name
    classes         the class names in the order of the scores
    preprocessing   what the images must go through
    training        facts about how it came to be: the data's name, the weights it started from; of
                    a finished run the settings, the chosen epoch and its validation accuracy, too
    temperature     divides the scores so that probabilities fit the validation images best (see
                    `calibration`); used where it is asked for. None: not known
    tta             the test-time augmentation that it was judged with, if any
    """

    architecture: dict[str, Any]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    training: dict[str, Any] = field(default_factory=dict)
    temperature: float | None = None
    tta: TestTimeAugmentation = "none"

    def to_metadata(self) -> dict[str, str]:
        """The card as string metadata of a .safetensors file."""
        content: dict[str, Any] = {
            "architecture": self.architecture,
            "classes": list(self.classes),
            "preprocessing": self.preprocessing.as_dict(),
            "training": self.training,
            "version": __version__,
        }
        if self.temperature is not None:
            content["temperature"] = self.temperature
        if self.tta != "none":
            content["tta"] = self.tta
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
                temperature=_temperature(content.get("temperature")),
                tta=_tta(content.get("tta", "none")),
            )
        except (ValueError, KeyError, TypeError) as problem:
            raise WeightsError(f"{source}: its description of the model is damaged") from problem


def _temperature(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not 0 < float(value) < math.inf:
        raise ValueError("a temperature is a positive number")
    return float(value)


def _tta(value: Any) -> TestTimeAugmentation:
    if value not in get_args(TestTimeAugmentation):
        raise ValueError(f"an unknown test-time augmentation: {value!r}")
    return cast(TestTimeAugmentation, value)


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
    except (TypeError, ValueError, OverflowError) as problem:
        raise WeightsError(f"{source}: {problem}") from problem


def load_model(
    path: str | os.PathLike[str], card: ModelCard | None = None
) -> tuple[ImageClassifier, ModelCard]:
    """The model in a file, in evaluation mode, and its card.

    `card` describes a file of bare weights (a .pth, say) and replaces the file's own. Every weight
    must be there and fit: WeightsError says what does not.
    """
    source = str(path)
    card = card or read_card(path)
    if card is None:
        raise WeightsError(
            f"{source} holds bare weights: it does not say of which architecture they are, for "
            "which classes and images (tinygrad-ft export writes a file that does)"
        )
    model = build_model(card.architecture, source)
    if len(card.classes) != model.num_classes:
        raise WeightsError(
            f"{source}: its description names {len(card.classes)} classes for a model of "
            f"{model.num_classes}"
        )
    loaded = load_weights(path)
    state = model.state_dict()
    report = match_weights({n: v.shape for n, v in state.items()}, loaded, source=source)
    if problem := misfit(report):
        name = card.architecture["name"]
        raise WeightsError(
            f"{source} does not fit {name} with {model.num_classes} classes: {problem}"
        )
    take_over(model, report, loaded)
    return model.eval(), card


def take_over(
    model: ImageClassifier, report: MatchReport, loaded: Mapping[str, np.ndarray]
) -> None:
    """Put the matched ones of the `loaded` weights into `model`. WeightsError, with the model
    unchanged, if one is infinite or NaN: every score would be."""
    for name, file_name in report.matched.items():
        if not all_finite(loaded[file_name]):
            raise WeightsError(
                f"{report.source}: {name} holds infinite numbers or NaN: it is damaged, or of a "
                "run that diverged"
            )
    model.load_state_dict(report.select(loaded), strict=False)


def check_scores(scores: np.ndarray, source: str) -> None:
    """WeightsError if a model of finite weights gave scores (n, k) that are not finite."""
    if bad := int((~np.isfinite(scores).all(axis=1)).sum()):
        raise WeightsError(
            f"{source}: the scores of {bad:,} of {len(scores):,} images are infinite or NaN and "
            "say nothing; its weights are out of proportion"
        )


def misfit(report: MatchReport, *, head: bool = True) -> str | None:
    """The first thing that a model lacks in a file or cannot use of it; None if all fits.

    Without `head` the last layer may be absent, another one, or have another name.
    """
    inside = f"{report.head}."
    differing = {**report.mismatched, **(report.replaced if head else {})}
    for name, (theirs, ours) in differing.items():
        return f"{name} is {theirs} in the file and {ours} in the model"
    for name in report.missing:
        if head or not name.startswith(inside):
            return f"only the model has {name}"
    body = {name.partition(".")[0] for name in report.matched if not name.startswith(inside)}
    for name in report.unexpected:
        if head or name.partition(".")[0] in body:
            return f"only the file has {name}"
    return None
