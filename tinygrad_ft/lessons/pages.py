"""Where the lessons' pages lie: in `docs/learn` of a checkout, beside this file once installed."""

from __future__ import annotations

from pathlib import Path

INSTALLED = Path(__file__).parent / "pages"
CHECKOUT = Path(__file__).parents[2] / "docs" / "learn"


def folder() -> Path:
    """The folder of the pages and their pictures."""
    return INSTALLED if INSTALLED.is_dir() else CHECKOUT
