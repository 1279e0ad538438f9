"""PyTorch's ways to do the same work: {eager, compile} x {NCHW, channels_last}."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Mode:
    """One of them.

    layout    "NCHW" or "channels_last"
    compiled  through torch.compile
    """

    layout: str
    compiled: bool = False

    @property
    def label(self) -> str:
        return f"torch {'compile' if self.compiled else 'eager'} {self.layout}"

    def place(self, value: Any) -> Any:
        """A tensor, or a module, with images in this mode's memory format."""
        nchw = self.layout == "NCHW"
        layout = torch.contiguous_format if nchw else torch.channels_last
        if isinstance(value, torch.Tensor):
            return value.contiguous(memory_format=layout) if value.ndim == 4 else value
        return value.to(memory_format=layout)


def modes(compiled: bool) -> Iterator[Mode]:
    """All modes, those of torch.compile only if wanted."""
    for use_compiler in (False, True) if compiled else (False,):
        for layout in ("NCHW", "channels_last"):
            yield Mode(layout, use_compiler)
