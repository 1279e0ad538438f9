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

import kernels
from kernels.workers import allowing, run_ahead
from tinygrad_ft import anomaly, observe
from tinygrad_ft.deferred import Deferred
from tinygrad_ft.function import Edge, Function
from tinygrad_ft.grad_mode import GradMode, is_grad_enabled, no_grad
from tinygrad_ft.ops._operands import add_arrays
from tinygrad_ft.tensor import Tensor, TensorLike


class _Gradient:
    """A gradient being summed. `owned` says that no one else can see its memory."""

    __slots__ = ("owned", "value")

    def __init__(self, value: Tensor, owned: bool = False) -> None:
        self.value = value
        self.owned = owned

    def add(self, other: Tensor, recording: bool) -> None:
        if recording:
            self.value = self.value + other
            return
        with allowing(True):
            if self.owned:
                self.value._version.change()  # somebody may still have to read it
                kernels.accumulate(self.value._array, other._array)
            else:
                self.value = Tensor._wrap(add_arrays(self.value._array, other._array))
                self.owned = True


class _Wanted:
    """What `grad` asks for: which nodes and leaves lie on the way to its inputs."""

    def __init__(self, targets: Sequence[Tensor], roots: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.leaves = {id(t) for t in targets if t._node is None}
        self.outputs: dict[Function, set[int]] = {}
        for t in targets:
            if t._node is not None:
                self.outputs.setdefault(t._node, set()).add(t._index)
        self.nodes: set[Function] = set()
        self.found: dict[tuple[Function, int], Tensor] = {}

        reachable: set[Function] = set()
        stack = [t._node for t, _ in roots if t._node is not None]
        while stack:
            node = stack.pop()
            if node not in reachable:
                reachable.add(node)
                stack.extend(e.target for e in node.edges if isinstance(e.target, Function))
        for node in sorted(reachable, key=lambda n: n.order):
            if any(self.leads_on(edge) for edge in node.edges):
                self.nodes.add(node)

    def leads_on(self, edge: Edge) -> bool:
        """Whether the gradient that goes along this edge is needed."""
        if isinstance(edge.target, Function):
            return edge.target in self.nodes or edge.target in self.outputs
        return id(edge.target) in self.leaves


_Leaves = dict[int, tuple[Tensor, _Gradient]]


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: TensorLike | Sequence[TensorLike | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradient of `tensors` to `.grad` of every leaf they depend on, and of every result
    on the way that retains its gradient.

    `grad_tensors` are the weights of the outputs (1 for a scalar). What the graph keeps is freed as
    the walk passes unless `retain_graph` (default: `create_graph`). With `create_graph` the
    gradients are themselves recorded. If an error is raised no `.grad` has been touched.
    """
    if observe.current is not None:
        observe.current.begins_backward(tensors, grad_tensors)
    roots = _roots(tensors, grad_tensors, "backward")
    retain = create_graph if retain_graph is None else retain_graph
    with run_ahead():
        _accumulate(_walk(roots, None, create_graph, retain), create_graph)


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
        _expect_tensor(target, f"grad: input {i}")
        if not target.requires_grad:
            raise RuntimeError(f"grad: input {i}, of shape {target.shape}, does not require grad")
    wanted = _Wanted(targets, roots)
    retain = create_graph if retain_graph is None else retain_graph
    with run_ahead():
        leaves = _walk(roots, wanted, create_graph, retain)
    results: list[Tensor | None] = []
    for i, target in enumerate(targets):
        if target._node is not None:
            found = wanted.found.get((target._node, target._index))
        else:
            found = leaves[id(target)][1].value if id(target) in leaves else None
        if found is None and not allow_unused:
            raise RuntimeError(
                f"grad: the outputs do not depend on input {i}, of shape {target.shape}; pass "
                "allow_unused=True to get None for it"
            )
        results.append(None if found is None else _plain(found))
    return tuple(results)


def grad_of_part(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], grad_outputs: Sequence[Tensor]
) -> list[Tensor | None]:
    """`grad` for a graph that is a part of another one, within that one's backward: leaves do not
    show their gradients to their hooks, as these are not whole. None where there is none."""
    roots = list(zip(outputs, grad_outputs, strict=True))
    leaves = _walk(roots, _Wanted(inputs, roots), False, False, show_leaves=False)
    found = [leaves.get(id(target)) for target in inputs]
    return [None if leaf is None else _plain(leaf[1].value) for leaf in found]


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
    for i, (tensor, weight) in enumerate(zip(tensors, weights, strict=True)):
        _expect_tensor(tensor, f"{op}: output {i}")
        if not tensor.requires_grad:
            raise RuntimeError(
                f"{op}: the output of shape {tensor.shape} does not depend on anything that "
                "requires grad, or was computed under no_grad()"
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


def _expect_tensor(value: Any, what: str) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{what} must be a Tensor, not {type(value).__name__}")


def _walk(
    roots: Sequence[tuple[Tensor, Tensor]],
    wanted: _Wanted | None,
    create_graph: bool,
    retain_graph: bool,
    show_leaves: bool = True,
) -> _Leaves:
    """Send gradients from the roots down, and give those that arrive at leaves, and those of
    results that retain theirs.

    `wanted` limits the walk, and is given the gradients of results on the way. `show_leaves` False:
    hooks of leaves are not called.
    """
    leaves: _Leaves = {}
    pending: dict[Function, list[_Gradient | None]] = {}
    heap: list[tuple[int, Function]] = []

    def send(target: Function | Tensor, output: int, value: Tensor, owned: bool = False) -> None:
        if isinstance(target, Tensor):
            if id(target) in leaves:
                leaves[id(target)][1].add(value, create_graph)
            elif wanted is None or id(target) in wanted.leaves:
                leaves[id(target)] = (target, _Gradient(value, owned))
            return
        slots = pending.get(target)
        if slots is None:
            slots = pending[target] = [None] * len(target.output_specs)
            heapq.heappush(heap, (-target.order, target))
        slot = slots[output]
        if slot is None:
            slots[output] = _Gradient(value, owned)
        else:
            slot.add(value, create_graph)

    # infinities and NaN are results, not warnings
    with GradMode(create_graph), np.errstate(all="ignore"):
        for tensor, seed in roots:
            send(tensor._node or tensor, tensor._index, seed if create_graph else seed.detach())
        while heap:
            _, node = heapq.heappop(heap)
            slots = pending.pop(node)
            grads = [None if slot is None else slot.value for slot in slots]
            if node.watched is not None:
                retained = _show(node, grads)
                if wanted is None:
                    leaves.update({id(t): (t, _Gradient(value)) for t, value in retained})
            if wanted is not None:
                for output in wanted.outputs.get(node, ()):
                    found = grads[output]
                    if found is not None:
                        wanted.found[node, output] = found
                if node not in wanted.nodes:
                    continue
            in_place = not create_graph and observe.current is None
            if in_place:
                if node.adds_gradient:
                    node.gradient_so_far = _so_far(node.edges[0], pending)
                # a hook may have kept what it was shown, and `grad` may give it to the user
                seen = node.watched is not None or (wanted is not None and node in wanted.outputs)
                node.owns_gradient = not seen and slots[0] is not None and slots[0].owned
            results = _run(node, grads, wanted)
            if observe.current is not None:
                observe.current.ran_backward(node, grads, results)
            owned = node.fresh_gradients and in_place  # an observer may keep what it is shown
            for (target, output, _), grad_in in zip(node.edges, results, strict=True):
                if grad_in is None or target is None or grad_in is node.gradient_so_far:
                    continue
                send(target, output, grad_in, owned)
            node.gradient_so_far, node.owns_gradient = None, False
            if not retain_graph:
                node.release()
        for leaf, gradient in leaves.values() if show_leaves else ():
            watched = getattr(leaf, "_watched", None)
            if watched is not None:
                # a hook may keep what it sees, so its memory is not ours any more
                gradient.value, gradient.owned = watched.show(gradient.value), False
    return leaves


def _so_far(edge: Edge, pending: dict[Function, list[_Gradient | None]]) -> Tensor | None:
    """What has arrived for the output that an edge leads to, if it may be added to in place."""
    slots = pending.get(edge.target) if isinstance(edge.target, Function) else None
    slot = slots[edge.output] if slots is not None else None
    return slot.value if slot is not None and slot.owned else None


def _show(node: Function, grads: list[Tensor | None]) -> list[tuple[Tensor, Tensor]]:
    """Show the gradients of a node's outputs to the hooks, which may replace them.

    Gives the outputs that are to retain their gradients, with these.
    """
    retained = []
    for output, watched in (node.watched or {}).items():
        gradient = grads[output]
        if gradient is not None:
            grads[output] = gradient = watched.show(gradient)
            tensor = watched.retained() if watched.retained is not None else None
            if tensor is not None:
                retained.append((tensor, gradient))
    return retained


def _run(
    node: Function, grads: list[Tensor | None], wanted: _Wanted | None
) -> tuple[Tensor | None, ...]:
    """Call one backward and check what it gives."""
    # of several outputs some may have no gradient; an only one has, or the node was not met
    filled: list[Tensor] = grads  # type: ignore[assignment]
    if len(grads) > 1:
        filled = [
            Tensor._wrap(np.zeros(*spec)) if g is None else g
            for g, spec in zip(grads, node.output_specs, strict=True)
        ][: node.differentiable_outputs]
    asked = node.needs_input_grad
    if wanted is not None:
        node.needs_input_grad = tuple([wanted.leads_on(edge) for edge in node.edges])
    try:
        with allowing(node.runs_ahead and not is_grad_enabled()):
            results = _fitting(node, node.backward(*filled))
        if anomaly.enabled and anomaly.check_nan:
            anomaly.refuse_nan(node, filled, results)
    except Exception as error:
        shapes = ", ".join(str(e.spec[0]) for e in node.edges if e.target is not None)
        error.add_note(
            f"in the backward of {node.name} (inputs that need a gradient: {shapes}); "
            f"{anomaly.origin(node)}"
        )
        raise
    finally:
        node.needs_input_grad = asked
    return results


def _fitting(node: Function, result: Any) -> tuple[Tensor | None, ...]:
    """What a backward gave, as a tuple; raises unless every gradient fits its input."""
    if not isinstance(result, tuple):
        result = (result,)
    edges = node.edges
    if len(result) != len(edges):
        raise RuntimeError(
            f"{node.name}: backward gave {len(result)} gradients for {len(edges)} inputs"
        )
    for i, g in enumerate(result):
        if g is None or edges[i].target is None:
            continue
        if not isinstance(g, Tensor):
            raise TypeError(
                f"{node.name}: the gradient of input {i} must be a Tensor, not {type(g).__name__}"
            )
        shape, dtype = edges[i].spec
        if g.shape != shape or g.dtype != dtype:
            raise RuntimeError(
                f"{node.name}: the gradient of input {i} has shape {g.shape} and dtype {g.dtype}, "
                f"the input {shape} and {dtype}"
            )
    fitting: tuple[Tensor | None, ...] = result
    return fitting


def _accumulate(leaves: _Leaves, create_graph: bool) -> None:
    """Add to `.grad` of leaves what has arrived there."""
    with allowing(not create_graph):
        for leaf, gradient in leaves.values():
            value = gradient.value
            if create_graph:
                leaf.grad = value.clone() if leaf.grad is None else leaf.grad + value
            elif leaf.grad is not None:
                with no_grad():
                    leaf.grad.add_(value)
            elif not gradient.owned:
                # the same memory may be the gradient of another leaf as well
                leaf.grad = Tensor._wrap(value._data.copy(order="K"))
            else:
                leaf.grad = _plain(value)


def _plain(gradient: Tensor) -> Tensor:
    """A gradient that is computed if it was deferred."""
    return gradient.plain() if isinstance(gradient, Deferred) else gradient
