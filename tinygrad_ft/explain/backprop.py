"""The backward pass of a graph: really run by the engine, and watched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_ft.engine import grad
from tinygrad_ft.explain.graph import Graph, Op, Value
from tinygrad_ft.function import Function
from tinygrad_ft.observe import Observer, observing
from tinygrad_ft.tensor import Tensor

Arrays = tuple[np.ndarray | None, ...]


@dataclass
class BackwardStep:
    """One op's backward.

    incoming  the whole gradient of each output
    outgoing  for each input the part of its gradient that comes through this op
    """

    op: Op
    incoming: Arrays
    outgoing: Arrays


@dataclass
class Backward:
    """The steps in the engine's order, and for each value (by number) its whole gradient."""

    steps: list[BackwardStep]
    gradients: dict[int, np.ndarray]
    parts: dict[int, list[tuple[Op, int]]]
    """Through which ops, and which of their inputs, a value's gradient comes, in that order."""


class _Watcher(Observer):
    def __init__(self) -> None:
        self.events: list[tuple[Function, Arrays, Arrays]] = []

    def ran_backward(
        self, node: Function, grads: Sequence[Tensor | None], results: Sequence[Tensor | None]
    ) -> None:
        self.events.append((node, _arrays(grads), _arrays(results)))


def _arrays(tensors: Sequence[Tensor | None]) -> Arrays:
    return tuple([None if t is None else t._data for t in tensors])


def run_backward(loss: Tensor, graph: Graph) -> Backward:
    """Run the engine's backward over the graph; no `.grad` is touched and nothing is freed.

    RuntimeError, as from `backward`, if the graph was freed or something in it changed in place.
    """
    leaves = [v for v in graph.values if v.kind == "parameter" and v.tensor is not None]
    targets = [v.tensor for v in leaves if v.tensor is not None]
    ops = {op.node: op for op in graph.ops}
    with observing(_Watcher()) as watcher:
        # unused ones are shown as such
        found = grad(loss, targets, retain_graph=True, allow_unused=True)
    gradients: dict[int, np.ndarray] = {}
    parts: dict[int, list[tuple[Op, int]]] = {}
    steps = []
    for node, incoming, outgoing in watcher.events:
        op = ops[node]
        kept = tuple([a if _goes_on(op, i) else None for i, a in enumerate(outgoing)])
        steps.append(BackwardStep(op, incoming, kept))
        for value, array in zip(op.outputs, incoming, strict=True):
            if array is not None:
                gradients[value.number] = array
        for i, array in enumerate(kept):
            target = op.inputs[i]
            if array is not None and target is not None:
                parts.setdefault(target.number, []).append((op, i))
    for leaf, gradient in zip(leaves, found, strict=True):
        if gradient is not None:
            gradients[leaf.number] = gradient._data
    return Backward(steps, gradients, parts)


def _goes_on(op: Op, position: int) -> bool:
    return op.node.edges[position].target is not None


def sum_so_far(value: Value, op: Op, position: int, backward: Backward) -> tuple[int, int]:
    """Which part of a value's gradient comes through this input (from 1), and of how many."""
    parts = backward.parts[value.number]
    return parts.index((op, position)) + 1, len(parts)
