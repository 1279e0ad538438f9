"""Anomaly detection: where each op was made, and the first op whose gradient is not a number.

    with tg.autograd.detect_anomaly():
        loss = F.cross_entropy(model(images), labels)   # grad_fn=<NllLoss at train.py:12>
        loss.backward()                                 # an error names the op and that line

The line that made an op is always looked up, so that an error in a backward can name it: 0.3 to 2
microseconds an op, the more the deeper modules are nested, which is some 5% of the product of two
numbers and 0.2% of a training step of a small ResNet. The switch, PyTorch's, is for the rest:
`repr` names the line, and a backward that gives NaN raises.
"""

from __future__ import annotations

import linecache
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import kernels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType, TracebackType

    from tinygrad_ft.function import Function
    from tinygrad_ft.tensor import Tensor

#: looked at by `repr` and by the walk for every backward
enabled = False
check_nan = True

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_KERNELS = os.path.dirname(os.path.abspath(kernels.__file__)) + os.sep
# networks are written in ops and layers as a user's are: their lines say more than `model(x)` does
_NETWORKS = os.path.join(_PACKAGE, "models") + os.sep


class Place(NamedTuple):
    """A line of a program."""

    file: str
    line: int

    @property
    def source(self) -> str:
        """The line's text, empty where it is not to be had."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}"


@cache
def _is_users(file: str) -> bool:
    return not file.startswith((_PACKAGE, _KERNELS)) or file.startswith(_NETWORKS)


def user_line() -> Place | None:
    """The innermost line that is being run and is not the engine's or a layer's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return None if frame is None else Place(frame.f_code.co_filename, frame.f_lineno)


def origin(node: Function) -> str:
    """For an error message: the line that made an op."""
    place = node.made_at
    if place is None:
        return "made by the package itself"
    line = f'made at File "{place.file}", line {place.line}'
    return f"{line}: {place.source}" if place.source else line


def refuse_nan(
    node: Function, incoming: Sequence[Tensor], outgoing: Sequence[Tensor | None]
) -> None:
    """RuntimeError if a gradient that an op's backward gave holds a NaN."""
    for i, gradient in enumerate(outgoing):
        if gradient is None or gradient.dtype.kind != "f":
            continue
        wrong = int(np.isnan(gradient.data).sum())
        if wrong:
            finite = all(bool(np.isfinite(g.data).all()) for g in incoming)
            came = "finite" if finite else "not finite either"
            raise RuntimeError(
                f"{node.name}: backward gave {wrong} NaN among the {gradient.numel()} elements of "
                f"the gradient of input {i}, of shape {gradient.shape}; the gradient that came in "
                f"was {came}"
            )


class set_detect_anomaly:
    """Switch anomaly detection on or off: from the call on, or within a `with` block.

    While it is on, `repr` of a result names the line that made it, and, unless `check_nan` is
    False, a backward that gives NaN raises RuntimeError. It is on for all threads.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = _switch(bool(mode), bool(check_nan))

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _switch(*self._before)


class detect_anomaly:
    """`set_detect_anomaly(True)` within a `with` block."""

    def __init__(self, check_nan: bool = True) -> None:
        self._check_nan = bool(check_nan)
        self._before: list[tuple[bool, bool]] = []

    def __enter__(self) -> None:
        self._before.append(_switch(True, self._check_nan))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _switch(*self._before.pop())


def _switch(mode: bool, nan: bool) -> tuple[bool, bool]:
    """Set both, give what they were."""
    global enabled, check_nan
    before = enabled, check_nan
    enabled, check_nan = mode, nan
    return before
