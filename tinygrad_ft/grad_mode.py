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
    kept: dict[Any, Any] | None = None


_mode = _Mode()


def kept_for_inference() -> dict[Any, Any] | None:
    """What ops keep for each other within an `inference_mode` block; None outside."""
    return _mode.kept


def is_inference_mode_enabled() -> bool:
    """True within an `inference_mode` block of this thread."""
    return _mode.kept is not None


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


class inference_mode(GradMode):
    """`no_grad` for many batches in a row: the form in which the kernels read a weight is worked
    out once and kept until the block ends.

    In-place changes of a weight by operations on its Tensor are noticed; writing into its ndarray
    inside the block is not.
    """

    def __init__(self, mode: bool = True) -> None:
        super().__init__(not mode and is_grad_enabled())
        self._inference = bool(mode)
        self._kept_before: list[dict[Any, Any] | None] = []

    def _recreate_cm(self) -> inference_mode:
        return inference_mode(self._inference)

    def __enter__(self) -> None:
        if not self._inference:
            self._target = _mode.enabled
        super().__enter__()
        self._kept_before.append(_mode.kept)
        if self._inference and _mode.kept is None:
            _mode.kept = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _mode.kept = self._kept_before.pop()
        super().__exit__(kind, error, trace)
