"""`backward()` and `grad()`: the walk over the recorded graph, last op first.

Nodes are numbered as they are made, so an op always has a higher number than the ops it depends on.
Taking the highest number first is therefore a topological order: a heap is enough, and a chain of
10,000 ops needs no recursion.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_ft.function import Edge, Function
from tinygrad_ft.grad_mode import set_grad_enabled
from tinygrad_ft.tensor import Tensor, TensorLike


class _Gradient:
    """A gradient being summed. `owned` says that no one else can see its memory."""

    __slots__ = ("owned", "value")

    def __init__(self, value: Tensor) -> None:
        self.value = value
        self.owned = False

    def add(self, other: Tensor, recording: bool) -> None:
        if recording:
            self.value = self.value + other
        elif self.owned:
            np.add(self.value._data, other._data, out=self.value._data)
        else:
            self.value = Tensor._wrap(np.add(self.value._data, other._data))
            self.owned = True


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: TensorLike | Sequence[TensorLike | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradient of `tensors` to `.grad` of every leaf they depend on.

    `grad_tensors` are the weights of the outputs (1 for a scalar). The graph is freed as the walk
    passes unless `retain_graph` (default: `create_graph`). With `create_graph` the gradients are
    themselves recorded. If an error is raised no `.grad` has been touched.
    """
    roots = _roots(tensors, grad_tensors, "backward")
    leaves: dict[int, tuple[Tensor, _Gradient]] = {}
    _walk(roots, leaves, None, {}, create_graph, _retain(retain_graph, create_graph))
    for leaf, gradient in leaves.values():
        _accumulate(leaf, gradient, create_graph)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: TensorLike | Sequence[TensorLike | None] | None = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs` (leaves or results), nothing accumulated.

    Only the ops between the two are visited. An input that the outputs do not depend on raises
    RuntimeError, or gives None with `allow_unused`.
    """
    roots = _roots(outputs, grad_outputs, "grad")
    targets = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    for i, target in enumerate(targets):
        if not target.requires_grad:
            raise RuntimeError(f"grad: input {i}, of shape {target.shape}, does not require grad")
    leaves: dict[int, tuple[Tensor, _Gradient]] = {}
    captured: dict[tuple[int, int], Tensor] = {}
    needed = _nodes_between(roots, targets)
    wanted: dict[Function, set[int]] = {}
    for target in targets:
        if target._node is not None:
            wanted.setdefault(target._node, set()).add(target._index)
    _walk(
        roots,
        leaves,
        (needed, {id(t) for t in targets if t._node is None}),
        wanted,
        create_graph,
        _retain(retain_graph, create_graph),
        captured,
    )
    results: list[Tensor | None] = []
    for i, target in enumerate(targets):
        if target._node is not None:
            found = captured.get((target._node.order, target._index))
        else:
            found = leaves[id(target)][1].value if id(target) in leaves else None
        if found is None and not allow_unused:
            raise RuntimeError(
                f"grad: the outputs do not depend on input {i}, of shape {target.shape}; pass "
                "allow_unused=True to get None for it"
            )
        results.append(found)
    return tuple(results)


def _retain(retain_graph: bool | None, create_graph: bool) -> bool:
    return create_graph if retain_graph is None else retain_graph


def _roots(
    outputs: Tensor | Sequence[Tensor],
    grad_outputs: TensorLike | Sequence[TensorLike | None] | None,
    op: str,
) -> list[tuple[Tensor, Tensor]]:
    tensors = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    if grad_outputs is None:
        weights: list[Any] = [None] * len(tensors)
    elif isinstance(outputs, Tensor) and not isinstance(grad_outputs, tuple | list):
        weights = [grad_outputs]
    else:
        weights = list(grad_outputs)  # type: ignore[arg-type]
    if len(weights) != len(tensors):
        raise ValueError(f"{op}: {len(tensors)} outputs but {len(weights)} gradients for them")
    roots = []
    for tensor, weight in zip(tensors, weights, strict=True):
        if not tensor.requires_grad:
            raise RuntimeError(
                f"{op}: the output of shape {tensor.shape} does not depend on anything that requires "
                "grad, or was computed under no_grad()"
            )
        if weight is None:
            if tensor.numel() != 1:
                raise RuntimeError(
                    f"{op}: a gradient is implied only for a scalar output; this one has shape "
                    f"{tensor.shape}, so pass the gradient to weight it with"
                )
            seed = Tensor._wrap(np.ones(tensor.shape, tensor.dtype))
        else:
            seed = weight if isinstance(weight, Tensor) else Tensor(weight)
            if seed.shape != tensor.shape:
                raise ValueError(
                    f"{op}: the gradient has shape {seed.shape}, its output {tensor.shape}"
                )
            if seed.dtype != tensor.dtype:
                seed = seed.to(tensor.dtype)
        roots.append((tensor, seed))
    return roots


def _nodes_between(
    roots: Sequence[tuple[Tensor, Tensor]], targets: Sequence[Tensor]
) -> set[Function]:
    """The nodes whose backward has to run to reach one of the targets."""
    reachable: set[Function] = set()
    stack = [t._node for t, _ in roots if t._node is not None]
    while stack:
        node = stack.pop()
        if node not in reachable:
            reachable.add(node)
            stack.extend(e.target for e in node.edges if isinstance(e.target, Function))
    leaves = {id(t) for t in targets if t._node is None}
    ends = {t._node for t in targets if t._node is not None}
    needed: set[Function] = set()
    for node in sorted(reachable, key=lambda n: n.order):
        if any(_leads_on(edge, needed, leaves, ends) for edge in node.edges):
            needed.add(node)
    return needed


def _leads_on(edge: Edge, needed: set[Function], leaves: set[int], ends: set[Any]) -> bool:
    if isinstance(edge.target, Function):
        return edge.target in needed or edge.target in ends
    return id(edge.target) in leaves


def _walk(
    roots: Sequence[tuple[Tensor, Tensor]],
    leaves: dict[int, tuple[Tensor, _Gradient]],
    only: tuple[set[Function], set[int]] | None,
    wanted: dict[Function, set[int]],
    create_graph: bool,
    retain_graph: bool,
    captured: dict[tuple[int, int], Tensor] | None = None,
) -> None:
    """Send gradients from the roots down. `only` limits the walk to some nodes and leaves; gradients
    of the outputs named in `wanted` are put into `captured` on the way."""
    pending: dict[int, list[_Gradient | None]] = {}
    heap: list[tuple[int, Function]] = []

    def send(target: Function | Tensor, index: int, value: Tensor) -> None:
        if isinstance(target, Tensor):
            if only is not None and id(target) not in only[1]:
                return
            if id(target) in leaves:
                leaves[id(target)][1].add(value, create_graph)
            else:
                leaves[id(target)] = (target, _Gradient(value))
            return
        slots = pending.get(target.order)
        if slots is None:
            slots = pending[target.order] = [None] * len(target.output_specs)
            heapq.heappush(heap, (-target.order, target))
        slot = slots[index]
        if slot is None:
            slots[index] = _Gradient(value)
        else:
            slot.add(value, create_graph)

    with set_grad_enabled(create_graph):
        for tensor, seed in roots:
            send(tensor if tensor._node is None else tensor._node, tensor._index, seed)
        while heap:
            _, node = heapq.heappop(heap)
            grads = [None if slot is None else slot.value for slot in pending.pop(node.order)]
            for index in wanted.get(node, ()):
                found = grads[index]
                if captured is not None and found is not None:
                    captured[node.order, index] = found
            if only is not None and node not in only[0]:
                continue
            for edge, grad_in in zip(
                node.edges, _run(node, grads, only, wanted), strict=True
            ):
                if grad_in is not None and edge.target is not None:
                    send(edge.target, edge.index, grad_in)
            if not retain_graph:
                node.release()


def _run(
    node: Function,
    grads: list[Tensor | None],
    only: tuple[set[Function], set[int]] | None,
    wanted: dict[Function, set[int]],
) -> tuple[Tensor | None, ...]:
    """Call one backward and check what it gives."""
    if node._freed:
        node._take("its inputs")
    filled = [
        Tensor._wrap(np.zeros(shape, dtype)) if g is None else g
        for g, (shape, dtype) in zip(grads, node.output_specs, strict=True)
    ][: type(node).differentiable_outputs]
    asked = node.needs_input_grad
    if only is not None:
        ends = set(wanted)
        node.needs_input_grad = tuple(
            was and _leads_on(edge, only[0], only[1], ends)
            for was, edge in zip(asked, node.edges, strict=True)
        )
    try:
        result = node.backward(*filled)
    except Exception as error:
        shapes = ", ".join(str(e.shape) for e in node.edges if e.target is not None)
        error.add_note(f"in the backward of {node.name} (inputs that need a gradient: {shapes})")
        raise
    finally:
        node.needs_input_grad = asked
    if not isinstance(result, tuple):
        result = (result,)
    if len(result) != len(node.edges):
        raise RuntimeError(
            f"{node.name}: backward gave {len(result)} gradients for {len(node.edges)} inputs"
        )
    for i, (g, edge) in enumerate(zip(result, node.edges, strict=True)):
        if g is not None and edge.target is not None and (
            g.shape != edge.shape or g.dtype != edge.dtype
        ):
            raise RuntimeError(
                f"{node.name}: the gradient of input {i} has shape {g.shape} and dtype {g.dtype}, the "
                f"input {edge.shape} and {edge.dtype}"
            )
    return result


def _accumulate(leaf: Tensor, gradient: _Gradient, create_graph: bool) -> None:
    if create_graph:
        leaf.grad = gradient.value if leaf.grad is None else leaf.grad + gradient.value
    elif leaf.grad is None:
        # a copy unless ours: the same memory may be the gradient of another leaf as well
        array = gradient.value._data
        leaf.grad = Tensor._wrap(array if gradient.owned else array.copy(order="K"))
    else:
        with set_grad_enabled(False):
            leaf.grad.add_(gradient.value)
