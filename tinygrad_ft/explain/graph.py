"""The graph that is shown: ops and values with names, numbers and the modules they belong to.

Two sources, one result. From a recording every value is known. From the loss alone (its recorded
graph) those are known that the graph keeps for backward: the leaves, saved inputs, saved outputs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_ft.explain.naming import Names
from tinygrad_ft.explain.recording import Call, Recording
from tinygrad_ft.function import Function
from tinygrad_ft.tensor import Tensor


@dataclass(eq=False)
class Value:
    """A tensor of the computation: data, a parameter, or the result of an op.

    kind     "data", "parameter" (a leaf that requires a gradient), "frozen" (a parameter of a
             module that does not), "result"
    array    its numbers, None if the graph did not keep them
    maker    the op it came from, None for a leaf
    detached made by an op, but cut off from it by detach(): no gradient goes back through it
    """

    number: int
    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype
    array: np.ndarray | None
    maker: Op | None = None
    detached: bool = False
    #: the name is the user's, not one made up here
    named: bool = True
    uses: list[tuple[Op, int]] = field(default_factory=list)
    tensor: Tensor | None = None


@dataclass(eq=False)
class Op:
    """An op that ran. `group` is the path of the module it ran in, `call` what a recording kept."""

    number: int
    node: Function
    inputs: list[Value | None]
    outputs: list[Value]
    group: tuple[str, ...] = ()
    call: Call | None = None

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def recorded(self) -> bool:
        """Whether a gradient goes back through it."""
        return self.node.order >= 0

    def input_names(self) -> list[str]:
        """The names its formulas use: those of forward's arguments."""
        return argument_names(type(self.node), len(self.inputs))


def argument_names(cls: type[Function], count: int) -> list[str]:
    """The names of the arrays that `forward` takes."""
    names: list[str] = []
    for p in list(inspect.signature(cls.forward).parameters.values())[1:]:
        if p.kind is p.VAR_POSITIONAL:
            names += [f"{p.name}[{i}]" for i in range(count - len(names))]
        elif p.kind is not p.KEYWORD_ONLY:
            names.append(p.name)
    return names[:count]


@dataclass
class Graph:
    """Ops in the order they ran, and every value. `complete` says that all numbers are known."""

    ops: list[Op]
    values: list[Value]
    loss: Value
    complete: bool
    groups: Mapping[tuple[str, ...], str]
    """For each module's path, the name of its class."""


def build(loss: Tensor, recorded: Recording | None, names: Names) -> Graph:
    """The graph that leads to `loss`."""
    if recorded is not None and recorded.knows(loss):
        return _from_recording(loss, recorded, names)
    return _from_nodes(loss, names)


class _Builder:
    def __init__(self, names: Names) -> None:
        self.names = names
        self.values: dict[Any, Value] = {}
        self.ops: list[Op] = []
        self.groups: dict[tuple[str, ...], str] = {}

    def value(self, key: Any, make: Callable[[int], Value]) -> Value:
        if key not in self.values:
            self.values[key] = make(len(self.values))
        return self.values[key]

    def leaf(self, tensor: Tensor, array: np.ndarray) -> Value:
        """A value that no op of the graph made."""
        kind = (
            "parameter"
            if tensor.requires_grad
            else "frozen"
            if self.names.is_parameter(tensor)
            else "data"
        )
        return self.value(
            id(tensor),
            lambda n: Value(
                n,
                self.names.of(tensor) or _plain_name(kind, array),
                kind,
                array.shape,
                array.dtype,
                array,
                named=self.names.of(tensor) is not None,
                tensor=tensor,
            ),
        )

    def add(self, op: Op) -> None:
        self.ops.append(op)
        for position, value in enumerate(op.inputs):
            if value is not None:
                value.uses.append((op, position))

    def graph(self, loss: Value, complete: bool) -> Graph:
        return Graph(self.ops, list(self.values.values()), loss, complete, self.groups)


def _plain_name(kind: str, array: np.ndarray) -> str:
    """For a leaf that the user has no variable for: a single number is its own name."""
    if kind != "data":
        return "parameter"
    return f"{array.reshape(-1)[0]:.4g}" if array.size == 1 else "constant"


def _from_recording(loss: Tensor, recorded: Recording, names: Names) -> Graph:
    builder = _Builder(names)
    origins = _Origins(recorded)
    for number, call in enumerate(_calls_before(loss, recorded, origins)):
        inputs: list[Value | None] = []
        for tensor, array in zip(call.inputs, call.arrays, strict=True):
            if tensor is None or array is None:
                inputs.append(None)
                continue
            known = id(tensor) in builder.values
            value = builder.leaf(tensor, array)
            source = None if known else origins.of(tensor)
            if source is not None and id(source) in builder.values:
                cut = builder.values[id(source)]
                value.maker, value.detached, value.kind = cut.maker, True, "result"
                if not value.named:
                    value.name = f"detached {cut.name}"
            inputs.append(value)
        group = names.path_of(call.place, builder.groups)
        op = Op(number, call.node, inputs, [], group, call)
        for i, (out, result) in enumerate(zip(call.outputs, call.results, strict=True)):
            made = _result(builder, id(out), op, i, result.shape, result.dtype, out)
            made.array = result
            op.outputs.append(made)
        builder.add(op)
    last = builder.values[id(loss)]
    last.name = names.of(loss) or "loss"
    return builder.graph(last, complete=True)


class _Origins:
    """For a tensor that was detached: the result that it was cut off from.

    It has the memory of that result, and shares its version counter.
    """

    def __init__(self, recorded: Recording) -> None:
        self.recorded = recorded
        self.results: dict[int, list[Tensor]] = {}
        leaves: set[int] = set()
        for call in recorded.calls:
            leaves |= {
                id(t._version) for t in call.inputs if t is not None and not recorded.knows(t)
            } - self.results.keys()
            for out in call.outputs:
                # a view of a leaf has the leaf's memory: nothing was cut
                if id(out._version) not in leaves:
                    self.results.setdefault(id(out._version), []).append(out)

    def of(self, tensor: Tensor) -> Tensor | None:
        if self.recorded.knows(tensor):
            return None
        results = self.results.get(id(tensor._version), [])
        same = [r for r in results if r.shape == tensor.shape]
        found = same or results
        return found[-1] if found else None


def _calls_before(loss: Tensor, recorded: Recording, origins: _Origins) -> list[Call]:
    """The calls that lead to the loss, in the order they ran, also before a detach()."""
    wanted: set[int] = set()
    queue = [loss]
    while queue:
        tensor = queue.pop()
        call = recorded.makers.get(id(tensor))
        if call is None:
            source = origins.of(tensor)
            if source is not None:
                queue.append(source)
        elif id(call) not in wanted:
            wanted.add(id(call))
            queue += [t for t in call.inputs if t is not None]
    return [call for call in recorded.calls if id(call) in wanted]


def _result(
    builder: _Builder,
    key: Any,
    op: Op,
    index: int,
    shape: tuple[int, ...],
    dtype: np.dtype,
    tensor: Tensor | None,
) -> Value:
    default = f"{op.name} {op.number + 1}" + (f", output {index + 1}" if index else "")
    name = (builder.names.of(tensor) if tensor is not None else None) or default
    return builder.value(
        key, lambda n: Value(n, name, "result", shape, dtype, None, op, tensor=tensor)
    )


def _from_nodes(loss: Tensor, names: Names) -> Graph:
    """From the recorded graph: edges, leaves, and what was saved for backward."""
    builder = _Builder(names)
    found: set[Function] = set()
    stack = [loss._node]
    while stack:
        node = stack.pop()
        if node is not None and node not in found:
            found.add(node)
            stack += [e.target for e in node.edges if isinstance(e.target, Function)]
    complete = True
    for number, node in enumerate(sorted(found, key=lambda n: n.order)):
        op = Op(number, node, [], [])
        for i, edge in enumerate(node.edges):
            kept = node._saved.get(i)
            tensor = kept[0] if kept is not None else None
            if isinstance(edge.target, Function):
                value = builder.values[edge.target, edge.output]
                if tensor is not None:
                    value.array = tensor._data
            elif edge.target is not None:
                value = builder.leaf(edge.target, edge.target._data)
            elif tensor is not None:
                value = builder.leaf(tensor, tensor._data)
            else:
                op.inputs.append(None)
                complete = False
                continue
            op.inputs.append(value)
        for i, (shape, dtype) in enumerate(node.output_specs):
            op.outputs.append(_result(builder, (node, i), op, i, shape, dtype, None))
        if "output" in node._saved:
            op.outputs[0].array = node._saved["output"][0]
        builder.add(op)
    assert loss._node is not None
    last = builder.values[loss._node, loss._index]
    last.array, last.name = loss._data, names.of(loss) or "loss"
    complete = complete and all(v.array is not None for v in builder.values.values())
    return builder.graph(last, complete)
