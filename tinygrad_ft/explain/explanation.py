"""`Explanation`: a computation and its backward pass, ready to be shown as a page or as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_ft.explain.advice import Note, notes
from tinygrad_ft.explain.backprop import Backward, run_backward
from tinygrad_ft.explain.graph import Graph, build
from tinygrad_ft.explain.naming import Names
from tinygrad_ft.explain.optimizer_step import OptimizerStep, try_step
from tinygrad_ft.explain.recording import Recording
from tinygrad_ft.explain.replay import Check, Replay, chosen_elements
from tinygrad_ft.optim.optimizer import Optimizer
from tinygrad_ft.tensor import Tensor

#: with more values than this, one element of each is checked instead of three
FEW = 40


@dataclass
class Explanation:
    """`checks` holds finite differences by a value's number; `unchecked` says why some are not
    there."""

    title: str
    text: str
    graph: Graph
    backward: Backward
    names: Names
    notes: list[Note]
    checks: Mapping[int, list[Check]]
    unchecked: str
    optimizer_step: OptimizerStep | None


def explanation_of(
    loss: Tensor,
    recorded: Recording | None,
    *,
    title: str,
    text: str = "",
    variables: Mapping[str, Any] | None = None,
    optimizer: Optimizer | None = None,
) -> Explanation:
    """Run the backward of `loss`, watched, and check it; nothing of the user's is changed.

    ValueError if `loss` is not one number; RuntimeError if it has no graph or that was freed.
    """
    if loss.numel() != 1:
        raise ValueError(f"explain: needs a loss of one number, got shape {loss.shape}")
    if loss.grad_fn is None:
        raise RuntimeError(
            "explain: the loss has no graph: nothing it was computed from requires a gradient"
        )
    names = Names(variables or {}, [] if recorded is None else list(recorded.roots))
    graph = build(loss, recorded, names)
    backward = run_backward(loss, graph)
    step = None
    if optimizer is not None:
        step = step_after(optimizer, graph, backward)
    # infinities and NaN are shown, not warned of
    with np.errstate(all="ignore"):
        checks, unchecked = _checks(graph, backward)
        found = notes(graph, backward, names)
    return Explanation(title, text, graph, backward, names, found, checks, unchecked, step)


def step_after(optimizer: Optimizer, graph: Graph, backward: Backward) -> OptimizerStep:
    """The step with the gradients of this backward, added to those that are there already."""
    numbers = {id(v.tensor): v.number for v in graph.values if v.kind == "parameter"}

    def gradient_of(param: Tensor) -> Any:
        own = backward.gradients.get(numbers.get(id(param), -1))
        there = None if param.grad is None else param.grad._data
        if own is None or there is None:
            return there if own is None else own
        return there + own

    return try_step(optimizer, gradient_of)


def _checks(graph: Graph, backward: Backward) -> tuple[dict[int, list[Check]], str]:
    if any(op.call is None for op in graph.ops):
        return {}, (
            "Finite differences need the ops to be run again, and this graph was not recorded: "
            "compute the loss within recording(), or give explain() a function that computes it."
        )
    try:
        replay = Replay(graph)
    except ValueError as error:
        return {}, f"No finite differences: {error}."
    candidates = [v for v in graph.values if v.number in backward.gradients and v is not graph.loss]
    count = 3 if len(candidates) <= FEW else 1
    chosen = replay.affordable(candidates, count)
    checks = {}
    for value in chosen:
        gradient = backward.gradients[value.number]
        checks[value.number] = [
            replay.check(value, e, float(gradient[e])) for e in chosen_elements(gradient, count)
        ]
    if len(chosen) == len(candidates):
        return checks, ""
    return checks, (
        f"Finite differences were made for {len(chosen)} of {len(candidates)} values: each runs "
        "the network again, and for all of them that would take long."
    )
