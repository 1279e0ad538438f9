"""Backward of a batch norm and of the convolution before it, together.

Without a recording, the gradient that a batch norm sends down is deferred: a convolution that
receives it computes it piece by piece inside of its own two gradients
(kernels/winograd_backward.py). Whoever else receives it sees a tensor. It belongs to fusion.py and
is switched off with it; the bits are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import kernels
from kernels.norm import NormGradient, batch_norm_backward_later
from kernels.winograd_backward import conv2d_backward, conv2d_backward_pays
from tinygrad_ft.deferred import Deferred
from tinygrad_ft.tensor import Tensor


class DeferredNormGradient(Deferred):
    """grad_x of a batch norm.

    reads   the gradient that came in, the batch norm's input, its weight and its bias
    """

    __slots__ = ("normed",)

    def __init__(self, normed: NormGradient, reads: Sequence[Tensor]) -> None:
        super().__init__(normed.shape, np.dtype(np.float32), reads)
        self._requires_grad = False
        self.normed: NormGradient | None = normed

    def compute(self) -> Tensor:
        assert self.normed is not None
        return Tensor._wrap(self.normed.array())

    def forget(self) -> None:
        self.normed = None


def norm_gradients(
    grad_out: Tensor, inputs: tuple[Tensor, Tensor, Tensor], *rest: Any
) -> tuple[Tensor, ...]:
    """Those of `kernels.batch_norm_backward`, the first one deferred, given x, weight and bias, and
    the further arguments of `batch_norm_backward_later`."""
    x, weight, _ = inputs
    normed, *arrays = batch_norm_backward_later(grad_out._array, x._array, weight._array, *rest)
    others = [Tensor._wrap(array) for array in arrays]
    incoming = others[2] if len(others) > 2 else grad_out
    return DeferredNormGradient(normed, (incoming, *inputs)), *others


def conv_gradients(
    grad_y: Tensor, x: Tensor, w: Tensor, geometry: tuple[Any, ...], so_far: Tensor | None
) -> tuple[Tensor, Tensor] | None:
    """Both gradients of a convolution, computed together with the batch norm's that came in; None
    if it is no such gradient, or not worth it. `so_far` is added to in place."""
    if not (isinstance(grad_y, DeferredNormGradient) and grad_y.can_join):
        return None
    normed, image, weight = grad_y.normed, x._array, w._array
    assert normed is not None
    if not conv2d_backward_pays(normed, image, weight, *geometry):
        return None
    if so_far is None:
        place = kernels.empty_nhwc(*image.shape, later=True)
    else:
        place = so_far._array
        if place.strides[1] != place.itemsize or place.dtype != np.float32:
            return None
        so_far._version.change()
        if not grad_y.can_join:  # it had to read what is changed now
            return None
    grad_w = conv2d_backward(normed, image, weight, place, so_far is not None)
    grad_x = Tensor._wrap(place) if so_far is None else so_far
    return grad_x, Tensor._wrap(grad_w)
