"""Single ops: what is computed together for speed is to be seen one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tinygrad_ft


@contextmanager
def single_ops() -> Iterator[None]:
    """No ops are fused within the `with` block, if this build fuses any."""
    switch = getattr(tinygrad_ft, "set_fusion", None)
    if switch is None:
        yield
        return
    before = tinygrad_ft.fusion_enabled()  # type: ignore[attr-defined]
    switch(False)
    try:
        yield
    finally:
        switch(before)
