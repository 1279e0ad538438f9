"""Starting from trained weights: loading them under a new head, freezing a part of the model."""

from __future__ import annotations

import os

from tinygrad_ft import nn
from tinygrad_ft.io import MatchReport, WeightsError, load_weights, match_weights
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train.model_file import misfit, take_over
from tinygrad_ft.train.recipe.freezing import frozen_stages


def load_pretrained(model: ImageClassifier, path: str | os.PathLike[str]) -> MatchReport:
    """Put a file's weights into `model`, except a head made for other classes; say what was done.

    Everything outside the head must be in the file and fit, and the file must not have more of it:
    WeightsError, for a half-loaded network would train all the same.
    """
    loaded = load_weights(path)
    expected = {name: value.shape for name, value in model.state_dict().items()}
    report = match_weights(expected, loaded, source=str(path))
    if problem := misfit(report, head=False):
        raise WeightsError(
            f"{path} does not fit this model: {problem} (was it made for another architecture?)"
        )
    take_over(model, report, loaded)
    return report


def apply_freeze(model: ImageClassifier, freeze: str) -> list[str]:
    """Freeze what a setting names and return the names of the frozen stages.

    "none", "backbone" (all but the last layer), or a number of stages counted from the image's
    side. A frozen stage gets no gradient and its batch norms keep their statistics. SettingsError
    for more stages than there are.
    """
    frozen = model.stage_modules()[: frozen_stages(model, freeze)]
    for _, stage in frozen:
        nn.freeze(stage)
    return [name for name, _ in frozen]
