"""What a teacher would point at: dead units, gradients that vanish, parameters left out.

Each note has a kind, a sentence, and the number of the op or value that it is about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinygrad_ft.explain.backprop import Backward
from tinygrad_ft.explain.graph import Graph, Op, Value
from tinygrad_ft.explain.naming import Names

#: gradients this many times smaller or larger at one end of the depth than at the other
FAR = 1000.0
#: an output this close to its limit counts as saturated, and so many of them as worth a word
CLOSE, MANY = 0.02, 0.5
LIMITS = {"Sigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0)}


@dataclass
class Note:
    kind: str
    text: str
    op: int | None = None
    value: int | None = None


def notes(graph: Graph, backward: Backward, names: Names) -> list[Note]:
    """All notes, the gravest kinds first."""
    found = _non_finite(graph, backward)
    found += _without_gradient(graph, backward, names)
    found += _far_norms(graph, backward)
    for op in graph.ops:
        found += _dead_units(op) + _saturated(op)
    return found


def _non_finite(graph: Graph, backward: Backward) -> list[Note]:
    for op in graph.ops:
        array = op.outputs[0].array
        if array is not None and array.dtype.kind == "f" and not np.isfinite(array).all():
            return [Note("nan", f"{_at(op)} is the first to give NaN or infinity.", op.number)]
    for step in backward.steps:
        if any(g is not None and not np.isfinite(g).all() for g in step.outgoing):
            text = f"The backward of {_at(step.op)} is the first to give NaN or infinity."
            return [Note("nan", text, step.op.number)]
    return []


def _at(op: Op) -> str:
    return f"{op.name} in {'.'.join(op.group)}" if op.group else op.name


def _dead_units(op: Op) -> list[Note]:
    """Units of a ReLU (channels, or columns) that are 0 for every input of this batch."""
    out = op.outputs[0].array
    if op.name != "ReLU" or out is None or out.ndim < 2 or out.size == 0:
        return []
    units = out.shape[1]
    seen = out.size // units
    dead = int((out == 0).all(axis=(0, *range(2, out.ndim))).sum())
    if dead == 0 or seen < 4:
        return []
    text = (
        f"Dead ReLU: {dead} of {units} units of {_at(op)} are 0 for all {seen} inputs of this "
        "batch. No gradient passes through them, so the weights before them do not learn from it."
    )
    return [Note("dead", text, op.number)]


def _saturated(op: Op) -> list[Note]:
    out = op.outputs[0].array
    if op.name not in LIMITS or out is None or out.size == 0:
        return []
    low, high = LIMITS[op.name]
    share = float(((out - low < CLOSE) | (high - out < CLOSE)).mean())
    if share < MANY:
        return []
    text = (
        f"Saturated: {share:.0%} of the outputs of {_at(op)} are within {CLOSE:g} of {low:g} or "
        f"{high:g}, where its slope is almost 0. Little gradient passes."
    )
    return [Note("saturated", text, op.number)]


def gradient_flow(graph: Graph, backward: Backward) -> list[tuple[Value, float, float]]:
    """Along the depth: each parameter of two or more dimensions with the root mean square of its
    gradient and of itself."""
    flow: list[tuple[Value, float, float]] = []
    for op in graph.ops:
        for value in op.inputs:
            if value is None or value.kind != "parameter" or value.array is None:
                continue
            gradient = backward.gradients.get(value.number)
            seen = any(value is v for v, _, _ in flow)
            if gradient is not None and gradient.ndim >= 2 and not seen:
                flow.append((value, _rms(gradient), _rms(value.array)))
    return flow


def _rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64)))) if array.size else 0.0


def _far_norms(graph: Graph, backward: Backward) -> list[Note]:
    """The gradient of what the first and the last parameters make, side by side."""
    flow = [(v, g) for v, g, _ in gradient_flow(graph, backward) if np.isfinite(g)]
    if len(flow) < 3:
        return []
    (first, at_first), (last, at_last) = flow[0], flow[-1]
    if at_first == 0 and at_last == 0:
        return []
    ratio = at_first / at_last if at_last else np.inf
    if 1 / FAR <= ratio <= FAR:
        return []
    vanishing = ratio < 1
    factor = f"{1 / ratio if vanishing and ratio else ratio:.3g} times" if ratio else "infinitely"
    text = (
        f"{'Vanishing' if vanishing else 'Exploding'} gradients: that of {first.name}, the first "
        f"layer, is {factor} {'smaller' if vanishing else 'larger'} than that of {last.name}, the "
        "last (root mean squares)."
    )
    return [Note("vanishing" if vanishing else "exploding", text, value=first.number)]


def _without_gradient(graph: Graph, backward: Backward, names: Names) -> list[Note]:
    """Parameters that get no gradient, by reason: frozen, cut off, not used."""
    in_graph = {id(v.tensor): v for v in graph.values if v.tensor is not None and v.maker is None}
    reasons: dict[str, list[str]] = {"frozen": [], "detached": [], "unused": []}
    about: dict[str, int] = {}
    # a module that has nothing to do with this loss is not spoken of
    concerned = [
        pair for own in names.parameters if any(id(t) in in_graph for _, t in own) for pair in own
    ]
    listed = {id(t): name for name, t in concerned}
    listed |= {
        key: v.name for key, v in in_graph.items() if v.kind in ("parameter", "frozen") and v.name
    }
    tensors = {id(t): t for _, t in concerned}
    for key, name in listed.items():
        value = in_graph.get(key)
        if value is not None and value.number in backward.gradients:
            continue
        tensor = tensors.get(key, None if value is None else value.tensor)
        if tensor is not None and not tensor.requires_grad:
            reason = "frozen"
        else:
            reason = "unused" if value is None else "detached"
        reasons[reason].append(name)
        if value is not None:
            about.setdefault(reason, value.number)
    why = {
        "frozen": "frozen: requires_grad is off, so nothing asks for their gradient.",
        "detached": "cut off: they were used, but a detach() or no_grad() lies between them and "
        "the loss.",
        "unused": "not used on the way to this loss.",
    }
    found = []
    for reason, members in reasons.items():
        if members:
            shown = ", ".join(members[:4]) + (
                f" and {len(members) - 4} more" if members[4:] else ""
            )
            text = f"No gradient for {shown}: {why[reason]}"
            found.append(Note(reason, text, value=about.get(reason)))
    return found
