"""Finite differences: the recorded ops run again, in float64, with one number moved.

Nothing is differentiated here. The ops that ran are run again with the arguments they had (random
masks are arguments, so they are the same ones), from a value whose element e is moved by +-eps:

    d loss / d v[e] = (loss(v[e] + eps) - loss(v[e] - eps)) / (2 * eps)
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_ft.explain.graph import Graph, Op, Value
from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.observe import Observer, observing
from tinygrad_ft.tensor import Tensor

EPS = 1e-6
Element = tuple[int, ...]


@dataclass
class Check:
    """One element of a value: its derivative by backprop and by finite difference."""

    element: Element
    backprop: float
    difference: float

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
        params = {key: _double_param(value) for key, value in op.call.params.items()}
        with no_grad(), observing(Observer()):
            result = type(op.node).apply(*inputs, **params)
        results = result if isinstance(result, tuple) else (result,)
        return {v.number: _double(t._data) for v, t in zip(op.outputs, results, strict=True)}

    def slope(self, value: Value, element: Element) -> float:
        """The central difference quotient of the loss in one element of a value."""
        eps = EPS * max(1.0, abs(float(self.base[value.number][element])))
        above, below = (self._moved(value, element, step) for step in (eps, -eps))
        return (above - below) / (2 * eps)

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


def _double(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _double_param(value: Any) -> Any:
    """A dtype or a float array among an op's arguments, in float64 as everything else."""
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
    ranks = np.linspace(0, gradient.size - 1, count).astype(int)
    picked = dict.fromkeys(int(order[r // 3 if i else 0]) for i, r in enumerate(ranks))
    return [tuple(int(k) for k in np.unravel_index(flat, gradient.shape)) for flat in picked]
