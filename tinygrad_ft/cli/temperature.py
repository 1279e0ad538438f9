"""`--temperature`: what scores are divided by before they become probabilities."""

from __future__ import annotations

import math
from typing import Any

import click

from tinygrad_ft.train import ModelCard, SettingsError

FITTED = "fitted"


def _parse(ctx: click.Context, param: click.Parameter, value: str) -> Any:
    if value == FITTED:
        return FITTED
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise click.BadParameter(f"{value!r} is neither a positive number nor '{FITTED}'")
    return number


temperature_option = click.option(
    "--temperature",
    metavar="T",
    default="1",
    show_default=True,
    callback=_parse,
    help=f"Divide the scores by this number; '{FITTED}': by what fits the validation images of "
    "the run best, so that probabilities mean what they say.",
)


def chosen_temperature(value: float | str, card: ModelCard, path: str) -> float:
    """The number that the option means for this model file. SettingsError if it has none."""
    if value != FITTED:
        return float(value)
    if card.temperature is None:
        raise SettingsError(
            f"{path} has no fitted temperature: runs with validation images keep one, unless they "
            "are all right; evaluate --split val finds one for other weights"
        )
    return card.temperature
