"""Finite differences: the recorded ops run again, in float64, with one number moved.

Nothing is differentiated here. The ops that ran are run again with the arguments they had (random
masks are arguments, so they are the same ones), from a value whose element e is moved by +-eps:

    d loss / d v[e] = (loss(v[e] + eps) - loss(v[e] - eps)) / (2 * eps)
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import kernels
from kernels.norm import Statistics
from tinygrad_ft.explain.graph import Graph, Op, Value
from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.observe import Observer, observing
from tinygrad_ft.tensor import Tensor

EPS = 1e-6
#: so many multiplications are spent on all checks of a page (some seconds), and so many parameters
#: along the depth come first
WORK, SPREAD = 1_500_000_000, 6
#: one-sided slopes that differ by more than this share are no rounding
CORNER = 1e-2
Element = tuple[int, ...]


@dataclass
class Check:
    """One element of a value: its derivative by backprop and by finite difference.

    corner  the slopes to the left and to the right of it differ (a ReLU at 0, a tie of maxima):
            there is no derivative, backprop takes that of one side
    """

    element: Element
    backprop: float
    difference: float
    corner: bool = False

    @property
    def apart(self) -> float:
        return abs(self.backprop - self.difference)


class Replay:
    """A recorded computation that can be run again. ValueError if it gives another loss then."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.base: dict[int, np.ndarray] = {}
        for value in graph.values:
            # a detached value is a constant to what follows
            if (value.maker is None or value.detached) and value.array is not None:
                self.base[value.number] = _double(value.array)
        for op in graph.ops:
            self.base.update(self._run(op, self.base))
        again = self.base[graph.loss.number]
        assert graph.loss.array is not None
        if not np.allclose(again, graph.loss.array, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise ValueError("the recorded ops gave another loss when they were run again")

    def _run(self, op: Op, values: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        assert op.call is not None
        inputs = [None if v is None else Tensor._wrap(values[v.number]) for v in op.inputs]
        params = {key: _again(value, inputs) for key, value in op.call.params.items()}
        with no_grad(), observing(Observer()):
            result = type(op.node).apply(*inputs, **params)
        results = result if isinstance(result, tuple) else (result,)
        return {v.number: _double(t._data) for v, t in zip(op.outputs, results, strict=True)}

    def check(self, value: Value, element: Element, backprop: float) -> Check:
        """The central difference quotient of the loss in one element of a value."""
        eps = EPS * max(1.0, abs(float(self.base[value.number][element])))
        above, below = (self._moved(value, element, step) for step in (eps, -eps))
        middle = float(self.base[self.graph.loss.number].item())
        right, left = (above - middle) / eps, (middle - below) / eps
        corner = abs(right - left) > CORNER * max(abs(right), abs(left), CORNER)
        return Check(element, backprop, (above - below) / (2 * eps), corner)

    def affordable(self, values: list[Value], count: int) -> list[Value]:
        """Those of `values` of which `count` elements can be checked within WORK: a few along the
        depth, parameters first, then the ones nearest to the loss."""
        costs = {v.number: 2 * count * self._work_after(v) for v in values}
        spread = [v for v in values if v.kind == "parameter" and len(v.shape) > 1] or values
        spread = spread[:: -(-len(spread) // SPREAD)]
        chosen: list[Value] = []
        left = WORK
        for value in [*spread, *sorted(values, key=lambda v: costs[v.number])]:
            if value not in chosen and costs[value.number] <= left:
                chosen.append(value)
                left -= costs[value.number]
        return chosen

    def _work_after(self, value: Value) -> int:
        """Multiplications, roughly, to run again what depends on a value."""
        changed, work = {value.number}, 0
        for op in self.graph.ops:
            if op is not value.maker and any(v and v.number in changed for v in op.inputs):
                changed |= {v.number for v in op.outputs}
                work += _work(op)
        return work

    def _moved(self, value: Value, element: Element, step: float) -> float:
        array = self.base[value.number].copy(order="K")
        array[element] += step
        changed = {value.number: array}
        for op in self.graph.ops:
            touched = any(v is not None and v.number in changed for v in op.inputs)
            if touched and op is not value.maker:
                changed |= self._run(op, ChainMap(changed, self.base))
        loss = changed.get(self.graph.loss.number, self.base[self.graph.loss.number])
        return float(loss.item())


def _work(op: Op) -> int:
    """Multiplications, roughly: one an element, or one an element and term of its sum."""
    size = math.prod(op.outputs[0].shape)
    second = op.inputs[1] if len(op.inputs) > 1 else None
    if second is not None and op.name == "Conv2d":
        return size * math.prod(second.shape[1:])
    if second is not None and op.name == "MatMul":
        return size * second.shape[-2]
    return size


def _double(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _again(value: Any, inputs: list[Tensor | None]) -> Any:
    """An argument of an op for another run of it in float64.

    The statistics of a batch norm are computed before the op and handed to it: they follow its
    input.
    """
    if isinstance(value, Statistics):
        assert inputs[0] is not None
        return kernels.batch_norm_statistics(inputs[0]._data)
    if isinstance(value, np.ndarray):
        return _double(value)
    if isinstance(value, np.dtype) and value.kind == "f":
        return np.dtype(np.float64)
    if isinstance(value, type) and issubclass(value, np.floating):
        return np.float64
    return value


def chosen_elements(gradient: np.ndarray, count: int) -> list[Element]:
    """The element with the largest gradient, then ones spread over the rest."""
    if gradient.size == 0:
        return []
    order = np.argsort(-np.abs(gradient), axis=None, kind="stable")
    if gradient.size <= count:
        order, count = np.sort(order), gradient.size
    ranks = [gradient.size * k // (2 * count - 1) for k in range(count)]
    picked = dict.fromkeys(
        int(order[r if gradient.size > count else k]) for k, r in enumerate(ranks)
    )
    return [tuple(int(k) for k in np.unravel_index(flat, gradient.shape)) for flat in picked]
