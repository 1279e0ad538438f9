"""Fusion without gradients: a convolution and what follows it, in one call of the kernel.

Where nothing is recorded, `relu(bn(conv(x)) + residual)` needs none of the results in between. A
convolution is then deferred (`deferred.py`), with a bias, a batch norm in evaluation, and a
residual after it, until a relu or somebody who wants the values comes. The kernel then finishes
each piece of its result while that is in the cache.

If one of the results in between is still held by somebody, it is computed, and the ops after it
start from there: a convolution is never computed twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

import numpy as np

import kernels
from tinygrad_ft import observe
from tinygrad_ft.deferred import Deferred
from tinygrad_ft.grad_mode import is_grad_enabled, kept_for_inference
from tinygrad_ft.ops.activation import ReLU
from tinygrad_ft.ops.elementwise import Add
from tinygrad_ft.ops.fusion import fusion_enabled
from tinygrad_ft.ops.norm import ChannelAffine
from tinygrad_ft.tensor import Tensor

Step = Callable[[Tensor], Tensor]


class DeferredConv(Deferred):
    """conv(x, weight) * scale + shift + residual, each part if there is one."""

    __slots__ = ("ancestors", "convolve", "finish", "inputs", "steps")

    def __init__(
        self,
        shape: tuple[int, ...],
        inputs: tuple[Tensor, ...],
        convolve: Callable[[kernels.Finish], np.ndarray],
        finish: kernels.Finish,
        ancestors: tuple[ref[DeferredConv], ...] = (),
        steps: tuple[Step, ...] = (),
    ) -> None:
        super().__init__(shape, inputs[0].dtype, inputs)
        self.inputs, self.convolve, self.finish = inputs, convolve, finish
        self.ancestors, self.steps = ancestors, steps

    def compute(self) -> Tensor:
        out = self.run(self.finish)
        return self.walk() if out is None else out

    def run(self, finish: kernels.Finish) -> Tensor | None:
        """The kernel's result, or None if a result in between is held by somebody."""
        if any(ancestor() is not None for ancestor in self.ancestors):
            return None
        return Tensor._wrap(self.convolve(finish))

    def walk(self) -> Tensor:
        """Step by step, from the last result in between that somebody holds."""
        for done in reversed(range(len(self.ancestors))):
            ancestor = self.ancestors[done]()
            if ancestor is not None:
                out: Tensor = ancestor
                for step in self.steps[done:]:
                    out = step(out)
                return out.plain() if isinstance(out, Deferred) else out
        raise AssertionError("walk() without a result to start from")

    def forget(self) -> None:
        self.inputs, self.steps, self.ancestors = (), (), ()

    def then(self, step: Step, inputs: tuple[Tensor, ...], **finish: Any) -> DeferredConv:
        """The same with one step more."""
        return DeferredConv(
            self.shape,
            (*self.inputs, *inputs),
            self.convolve,
            self.finish._replace(**finish),
            (*self.ancestors, ref(self)),
            (*self.steps, step),
        )

    def then_affine(self, scale: Tensor, shift: Tensor) -> Tensor | None:
        """This * scale + shift, one number a channel each."""
        if not self.can_join or self.finish.residual is not None or scale.dtype != self.dtype:
            return None
        factor, term = scale._data, shift._data
        if self.finish.shift is not None:  # (conv + bias) * scale + shift
            term = self.finish.shift * factor + term
        if self.finish.scale is not None:
            factor = self.finish.scale * factor
        return self.then(
            lambda y: ChannelAffine.apply(y, scale, shift), (scale, shift), scale=factor, shift=term
        )

    def then_add(self, other: Any) -> Tensor | None:
        if not isinstance(other, Tensor) or other.dtype != self.dtype or not self.can_join:
            return None
        if other.shape != self.shape or self.finish.residual is not None or other is self:
            return None
        return self.then(lambda y: Add.apply(y, other), (other,), residual=other._data)

    def then_relu(self) -> Tensor | None:
        if not self.can_join:
            return None
        out = self.run(self.finish._replace(relu=True))
        return ReLU.apply(self) if out is None else out


def prepared_for(weight: Tensor) -> kernels.Prepared | None:
    """The place for a weight's packed form, within `inference_mode`."""
    kept = kept_for_inference()
    if kept is None:
        return None
    found = kept.get(id(weight))
    if found is None or found[1] != weight._version.count or found[2] is not weight._data:
        found = kept[id(weight)] = (weight, weight._version.count, weight._data, kernels.Prepared())
    prepared: kernels.Prepared = found[3]
    return prepared


def deferred_conv(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Any) -> Tensor | None:
    """conv(x, weight) + bias, deferred; None where that is not possible: with gradients, in other
    dtypes than float32, with fusion off, or while somebody watches, who is to see every op."""
    if is_grad_enabled() or not fusion_enabled() or x.dtype != np.float32:
        return None
    if observe.current is not None:
        return None
    arrays = x._data, weight._data
    prepared = prepared_for(weight)

    def convolve(finish: kernels.Finish) -> np.ndarray:
        return kernels.conv2d_forward(*arrays, *geometry, finish=finish, prepared=prepared)

    inputs = (x, weight) if bias is None else (x, weight, bias)
    shift = None if bias is None else bias._data
    shape = kernels.conv2d_shape(x.shape, weight.shape, *geometry)
    return DeferredConv(shape, inputs, convolve, kernels.Finish(shift=shift))
