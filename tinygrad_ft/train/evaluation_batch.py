"""How many images go through a model at a time where nothing is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.nn import Module, Parameter
from tinygrad_ft.observe import Observer, observing
from tinygrad_ft.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_ft.function import Function

LARGEST = 256  # more images at a time make nothing faster
MEMORY = 128 * 2**20  # bytes that the arrays of one op may take


class _LargestOp(Observer):
    """The most bytes that one op reads and writes."""

    def __init__(self) -> None:
        self.bytes = 1

    def ran(
        self,
        node: Function,
        inputs: Sequence[Tensor | None],
        params: dict[str, Any],
        outputs: Sequence[Tensor],
    ) -> None:
        arrays = [t for t in (*inputs, *outputs) if t is not None]
        tensors = [t for t in arrays if t.ndim > 2 and not isinstance(t, Parameter)]
        self.bytes = max(self.bytes, sum(t.numel() * t.dtype.itemsize for t in tensors))


def evaluation_batch(model: Module, shape: Sequence[int]) -> int:
    """The number of images of `shape` (C, H, W) to evaluate at a time: 256, or as many as keep the
    arrays of the largest op of `model` within 128 MB (a pass takes about three times that), or one.

    A function of model and shape alone, never of the memory that happens to be free: another number
    may change the last bits of a score. Leaves the model as it was.
    """
    training = model.training
    model.eval()
    try:
        with no_grad(), observing(_LargestOp()) as largest:
            model(Tensor(np.zeros((1, *shape), np.float32)))
    finally:
        model.train(training)
    return max(1, min(LARGEST, MEMORY // largest.bytes))
