"""Explaining a script: it runs as it is, watched, up to its backward() and the step after it."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tinygrad_ft.explain.api import caller_variables
from tinygrad_ft.explain.explanation import Explanation, explanation_of
from tinygrad_ft.explain.fusion import single_ops
from tinygrad_ft.explain.optimizer_step import try_step
from tinygrad_ft.explain.recording import Recording
from tinygrad_ft.observe import observing
from tinygrad_ft.optim.optimizer import Optimizer
from tinygrad_ft.tensor import Tensor


class _Seen(BaseException):
    """Ends the script: what was to be seen has been. No `except Exception` of its own holds it."""


class _ScriptRecording(Recording):
    """Explains the loss at call number `step` of backward(), and the optimizer step after it."""

    def __init__(self, title: str, step: int) -> None:
        super().__init__()
        self.title, self.step, self.calls_seen = title, step, 0
        self.found: Explanation | None = None

    def begins_backward(self, tensors: Tensor | Sequence[Tensor], weights: Any) -> None:
        if self.found is not None:
            raise _Seen
        self.calls_seen += 1
        loss = tensors if isinstance(tensors, Tensor) else tensors[0]
        if self.calls_seen == self.step:
            self.found = explanation_of(loss, self, title=self.title, variables=caller_variables())
        self.forget()

    def begins_step(self, optimizer: Optimizer) -> None:
        if self.found is not None:
            gradients = {p: p.grad for group in optimizer.param_groups for p in group["params"]}
            self.found.optimizer_step = try_step(
                optimizer, lambda p: None if gradients[p] is None else gradients[p]._data
            )
            raise _Seen


def explain_script(path: Path, arguments: Sequence[str] = (), step: int = 1) -> Explanation:
    """Run a script until its backward() number `step` and the optimizer step that follows.

    What the script raises before that comes through. ClickException if there is no such call.
    """
    title = f"{path.name}" + (f", backward {step}" if step > 1 else "")
    watcher = _ScriptRecording(title, step)
    before, sys.argv = sys.argv, [str(path), *arguments]
    sys.path.insert(0, str(path.parent))
    try:
        with single_ops(), observing(watcher):
            runpy.run_path(str(path), run_name="__main__")
    except (_Seen, SystemExit):
        pass
    finally:
        sys.argv = before
        sys.path.remove(str(path.parent))
    if watcher.found is None:
        raise click.ClickException(
            f"{path}: backward() was called {watcher.calls_seen} times, so there is no step {step} "
            "to explain"
        )
    return watcher.found
