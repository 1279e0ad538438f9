"""Single ops: what is computed together for speed is to be seen one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tinygrad_ft.ops.fusion import fusion_enabled, set_fusion


@contextmanager
def single_ops() -> Iterator[None]:
    """No ops are fused within the `with` block."""
    before = fusion_enabled()
    set_fusion(False)
    try:
        yield
    finally:
        set_fusion(before)
