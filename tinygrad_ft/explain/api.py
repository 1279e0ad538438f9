"""`explain(loss)`: write the page of a computation."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from tinygrad_ft import observe
from tinygrad_ft.explain.recording import Recording, recording
from tinygrad_ft.optim.optimizer import Optimizer
from tinygrad_ft.tensor import Tensor


def explain(
    loss: Tensor | Callable[[], Tensor],
    path: str | os.PathLike[str] = "explain.html",
    *,
    title: str = "Backprop, step by step",
    optimizer: Optimizer | None = None,
) -> Path:
    """Write a page that shows how `loss` (one number) was computed and differentiated.

    One self-contained HTML file: the graph, each op forward and then backward with its formula, the
    real arrays, and for chosen elements the derivative by finite difference beside the one by
    backprop. The engine's own backward runs for it; no `.grad` changes and nothing is freed, so
    `loss.backward()` can follow. Hooks of tensors run as in any backward.

    loss       a Tensor, or a function that computes it: then every op is recorded as it runs. Of a
               Tensor computed outside of `recording()` the page shows what its graph kept for
               backward, without finite differences, and says so.
    path       where to write it; an existing file is replaced
    optimizer  adds the step it would take, tried on copies

    Tensors are called by the names of the caller's variables. Returns the path. Raises ValueError
    if `loss` is not one number, RuntimeError if it has no graph or backward() has freed it.
    """
    from tinygrad_ft.explain.explanation import explanation_of  # pages are written seldom
    from tinygrad_ft.explain.page import html
    from tinygrad_ft.io import atomic_write

    recorded = observe.current if isinstance(observe.current, Recording) else None
    variables = caller_variables()
    if not isinstance(loss, Tensor):
        with recording() if recorded is None else nullcontext(recorded) as recorded:
            loss = loss()
        if not isinstance(loss, Tensor):
            raise TypeError(f"explain: the function must give a Tensor, not {type(loss).__name__}")
    found = explanation_of(loss, recorded, title=title, variables=variables, optimizer=optimizer)
    target = Path(path)
    atomic_write(target, html(found).encode())
    return target


def caller_variables() -> dict[str, Any]:
    """The variables of the code outside of this package that is running now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("tinygrad_ft."):
        frame = frame.f_back
    return {} if frame is None else {**frame.f_globals, **frame.f_locals}
