"""Whether operations are recorded: `no_grad`, `enable_grad`, per thread as in PyTorch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from types import TracebackType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class _Mode(threading.local):
    enabled = True


_mode = _Mode()


def is_grad_enabled() -> bool:
    """True while operations on tensors that require grad are recorded in this thread."""
    return _mode.enabled


class GradMode(ContextDecorator):
    """Recording on or off within a `with` block, or within each call of a decorated function."""

    def __init__(self, mode: bool) -> None:
        self._target = bool(mode)
        self._previous: list[bool] = []

    def _recreate_cm(self) -> GradMode:
        # one for each call of a decorated function, which several threads may run at once
        return GradMode(self._target)

    def __enter__(self) -> None:
        self._previous.append(_mode.enabled)
        _mode.enabled = self._target

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _mode.enabled = self._previous.pop()


class no_grad(GradMode):
    """Do not record: for evaluation and for changing parameters."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(GradMode):
    """Record again inside a `no_grad` block."""

    def __init__(self) -> None:
        super().__init__(True)


class set_grad_enabled(GradMode):
    """Record or not: from the call on, or as a context manager or a decorator."""

    def __init__(self, mode: bool) -> None:
        super().__init__(mode)
        self._before = _mode.enabled
        _mode.enabled = self._target

    def __enter__(self) -> None:
        self._previous.append(self._before)
        _mode.enabled = self._target

    def __call__(self, func: F) -> F:
        # as a decorator it concerns the function alone
        _mode.enabled = self._before
        return super().__call__(func)
