"""Whether operations are recorded: `no_grad`, `enable_grad`, per thread as in PyTorch."""

from __future__ import annotations

import threading
from contextlib import ContextDecorator
from types import TracebackType


class _Mode(threading.local):
    enabled = True


_mode = _Mode()


def is_grad_enabled() -> bool:
    """True while operations on tensors that require grad are recorded in this thread."""
    return _mode.enabled


class set_grad_enabled(ContextDecorator):
    """Switch recording on or off, as a context manager or a decorator."""

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self._previous: list[bool] = []

    def __enter__(self) -> None:
        self._previous.append(_mode.enabled)
        _mode.enabled = self.mode

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _mode.enabled = self._previous.pop()


class no_grad(set_grad_enabled):
    """Do not record: for evaluation and for changing parameters."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(set_grad_enabled):
    """Record again inside a `no_grad` block."""

    def __init__(self) -> None:
        super().__init__(True)
