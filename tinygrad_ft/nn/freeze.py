"""Freezing a part of a model for fine-tuning."""

from __future__ import annotations

from typing import TypeVar

from tinygrad_ft.nn.module import Module
from tinygrad_ft.nn.norm import RunningNorm

M = TypeVar("M", bound=Module)


def freeze(module: M) -> M:
    """Stop everything in `module` from changing: its parameters get no gradient, and every batch
    norm uses and keeps its running statistics, also after `train()`.

    `module.requires_grad_(False)` alone does only the first half, as in PyTorch: in training mode
    the batch norms of a "frozen" backbone would still normalise by the batch and move their
    statistics, and the backbone would quietly become another one. Dropout is not touched.

    Returns the module.
    """
    return _set_frozen(module, True)


def unfreeze(module: M) -> M:
    """Undo `freeze`: all parameters get gradients, batch norms learn statistics in training
    again."""
    return _set_frozen(module, False)


def _set_frozen(module: M, frozen: bool) -> M:
    module.requires_grad_(not frozen)
    if frozen:
        module.zero_grad()  # a gradient left from before would still move it at the next step
    for child in module.modules():
        if isinstance(child, RunningNorm):
            child.frozen = frozen
    return module
