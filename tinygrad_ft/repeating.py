"""`repeat`: what an op does in Python and has to do again whenever a recorded forward is repeated
(nn/compiled.py): count, or draw random numbers."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident

from kernels.workers import ahead, begin
from tinygrad_ft.tensor import Tensor

Repeated = list[tuple[Callable[[], object], Tensor | None]]

current: Repeated | None = None
"""What has to be done again in the forward that is being recorded; None if none is."""


def repeat(what: Callable[[], object], changes: Tensor | None = None) -> None:
    """Do something now, and again at the beginning of each call that repeats the one that is being
    recorded, if one is. It must be independent of the values of tensors.

    changes   the tensor that it changes in place, if it does; arrays that it fills must be the
              same each time
    """
    if current is None or ahead.owner != get_ident():
        what()
        return
    recording, ahead.recording = ahead.recording, None
    try:
        what()
    finally:
        ahead.recording = recording
        begin()  # so that who looks at values is noticed, also after `what` did
    current.append((what, changes))
