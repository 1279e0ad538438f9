"""Our own variants: Winograd and fusion, on or off for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import kernels
import tinygrad_ft as tg


@contextmanager
def switched(winograd: bool = True, fusion: bool = True) -> Iterator[None]:
    """Winograd and fusion on or off within a `with` block."""
    before = kernels.winograd_enabled(), tg.fusion_enabled()
    kernels.set_winograd(winograd)
    tg.set_fusion(fusion)
    try:
        yield
    finally:
        kernels.set_winograd(before[0])
        tg.set_fusion(before[1])
