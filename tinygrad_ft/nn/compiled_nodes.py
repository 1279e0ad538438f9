"""The nodes that stand for a compiled module in the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.grad_mode import is_grad_enabled
from tinygrad_ft.nn.compiled_graph import CompiledGraph
from tinygrad_ft.tensor import Tensor, VersionCounter

if TYPE_CHECKING:
    from tinygrad_ft.nn.module import Module

Grads = tuple[Tensor | None, ...]


def record(
    graph: CompiledGraph,
    module: Module,
    args: Sequence[Tensor],
    may_repeat: Callable[[], bool],
) -> Any:
    """A module's result; what is launched goes to `graph`. `may_repeat` says afterwards whether it
    was a call like others."""
    return _Recorded.apply(*args, *graph.tensors, graph=graph, call=(module, args, may_repeat))


def repeat(graph: CompiledGraph, args: Sequence[Tensor]) -> Any:
    """A module's result, by its program."""
    result = _Repeated.apply(*args, *graph.tensors, graph=graph)
    outs = result if isinstance(result, tuple) else (result,)
    node: _Repeated = outs[0]._node
    node.results = [(out._version, out._version.count) for out in outs]
    return result


class Compiled(Function):
    """out = module(x);  grad_x and the gradients of the parameters: those of the module's ops

    The inputs are the module's arguments, its parameters and its buffers.
    """

    runs_ahead = True
    fresh_gradients = True
    #: whether its backward has been called
    done = False
    graph: CompiledGraph

    @property
    def name(self) -> str:
        return f"Compiled{self.graph.name}"

    def expect_first_order(self) -> None:
        if is_grad_enabled():
            raise RuntimeError(
                f"{self.name}: create_graph=True needs the graph of the ops, which a compiled "
                f"module does not keep; call {self.graph.name}.compile(disable=True)"
            )
        if self.done:
            raise RuntimeError(
                f"{self.name}: a second backward through a compiled module, whose memory is in use "
                f"again; call {self.graph.name}.compile(disable=True)"
            )


class _Recorded(Compiled):
    """out = module(x);  grad_x and the gradients of the parameters: those of the module's ops

    The call that is recorded.
    """

    def forward(self, *arrays: np.ndarray, graph: CompiledGraph, call: Any) -> Any:
        self.graph = graph
        graph.watch(self)
        *self._inner, outs = graph.record_forward(*call)
        return tuple(outs) if len(outs) > 1 else outs[0]

    def backward(self, *grads: Tensor) -> Grads:
        self.expect_first_order()
        leaves, outs = self._inner
        found = self.graph.record_backward(leaves, outs, grads)
        self.done = True
        del self._inner
        return tuple(found)


class _Repeated(Compiled):
    """out = module(x);  grad_x and the gradients of the parameters: those of the module's ops

    A call of the programs.
    """

    results: list[tuple[VersionCounter, int]]

    def forward(self, *arrays: np.ndarray, graph: CompiledGraph) -> Any:
        self.graph = graph
        graph.watch(self)
        for i in graph.inputs_read:
            self.save_input(i)
        args = arrays[: len(arrays) - len(graph.tensors)]
        self._memory, outs = graph.run_forward(args)
        self._args = list(args)
        return tuple(outs) if len(outs) > 1 else outs[0]

    def backward(self, *grads: Tensor) -> Grads:
        self.expect_first_order()
        for key in self._saved:
            self.input(int(key))
        for (version, count), (shape, _) in zip(self.results, self.output_specs, strict=True):
            if version.count != count and self.graph.results_read:
                raise self._changed(version.count, count, "its result", shape)
        found = self.graph.run_backward(self._args, self._memory, [g._array for g in grads])
        self.done = True
        self._args, self._memory = [], []
        return tuple(found)
