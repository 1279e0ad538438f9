"""A module's forward and backward as two programs of launches.

A call that is recorded works as ever, but for one thing: the ops of the module form a graph of
their own, and in the graph outside there is one node (compiled_nodes.py). Its forward and its
backward run that graph while kernels/recording.py takes down what is launched. From then on both
are done by the programs, on memory that is kept for them; new in each call are what the caller
gives and what he gets.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np

from kernels.buffers import SMALLEST, Reserve
from kernels.recording import Program, Span, Taken, can_record, recording, root_of, span_of
from kernels.workers import catch_up
from tinygrad_ft import anomaly, engine, repeating
from tinygrad_ft.function import Function
from tinygrad_ft.nn.compiled_memory import Layout, Made, Results, dense, laid_out
from tinygrad_ft.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_ft.nn.compiled_nodes import Compiled
    from tinygrad_ft.nn.module import Module


class NotRepeatable(Exception):
    """Why something cannot be done by launches alone."""


class CompiledGraph:
    """Forward and backward of a module for arguments of one kind.

    tensors   its parameters and buffers
    ready     whether both programs are there
    problem   why there are none and will be none
    inputs_read    numbers of the node's inputs that the backward reads; if it is ready
    results_read   whether it reads a result
    """

    inputs_read: list[int]
    results_read: bool

    def __init__(self, module: Module, tensors: Sequence[Tensor]) -> None:
        self.name = type(module).__name__
        self.tensors = list(tensors)
        self.ready, self.problem = False, ""
        self._reserve = Reserve()
        self._node: weakref.ref[Compiled] | None = None
        self._changed: list[tuple[Tensor, int]] = []
        self._repeated: repeating.Repeated = []
        self._taken: Taken | None = None
        self._layouts = [Layout.of(t._array) for t in tensors]
        self._arrays = [t._array for t in tensors]

    def __del__(self) -> None:
        self._reserve.close()

    # ---- what is asked of it ---------------------------------------------------------------------

    def in_use(self) -> bool:
        """Whether a backward may still follow the last forward: its memory is needed until then."""
        node = None if self._node is None else self._node()
        return node is not None and not node.done

    def fits(self) -> bool:
        """Whether parameters and buffers lie in memory as they did."""
        arrays = [t._array for t in self.tensors]
        if any(a is not b for a, b in zip(arrays, self._arrays, strict=True)):
            if [Layout.of(a) for a in arrays] != self._layouts:
                return False
            self._arrays = arrays
        return True

    def watch(self, node: Compiled) -> None:
        """This is the last call's node."""
        self._node = weakref.ref(node)

    # ---- recording -------------------------------------------------------------------------------

    def record_forward(
        self, module: Module, args: Sequence[Tensor], may_repeat: Callable[[], bool]
    ) -> tuple[list[Tensor], list[Tensor], list[np.ndarray]]:
        """The module's arguments as leaves of the inner graph, its results there, and those to
        give away."""
        leaves = [_leaf(arg) for arg in args]
        counts = [t._version.count for t in self.tensors]
        with recording(self._reserve, _where) as taken:
            repeating.current = self._repeated
            try:
                result = module.forward(*leaves)
                outs = list(result) if isinstance(result, tuple) else [result]
                arrays = [out._array for out in outs]
            finally:
                repeating.current = None
        try:
            if not may_repeat():
                raise NotRepeatable("its forward changes a module")
            _expect_unwatched(outs)
            spans = _spans([t._array for t in (*args, *self.tensors)], 0)
            self._outs = Results([self._made(taken, array, spans) for array in arrays])
            self._inputs = len(spans)
            self._given = [*spans, *self._outs.spans(self._inputs)]
            self._forward = _program(taken, self._given, self._inputs + self._outs.pieces)
            self._taken = taken
            self._changed = self._changes(taken, counts)
            arrays = self._to_give(self._outs, arrays, taken)
        except NotRepeatable as error:
            self.refuse(str(error))
        return leaves, outs, arrays

    def record_backward(
        self, leaves: Sequence[Tensor], outs: Sequence[Tensor], grads: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """The gradients of arguments and tensors (None where none is wanted)."""
        targets = [t for t in (*leaves, *self.tensors) if t._requires_grad]
        before = self._taken
        if before is None or not can_record():  # in the latter case another call will be recorded
            return self._spread(leaves, engine.grad_of_part(outs, targets, grads))
        incoming = [dense(g._array) for g in grads]
        grads = [Tensor._wrap(array) for array in incoming]
        with recording(self._reserve, _where) as taken:
            found = engine.grad_of_part(outs, targets, grads)
            arrays = [None if g is None else g._array for g in found]
        try:
            spans = [*self._given, *_spans(incoming, self._forward.arrays)]
            wanted = [a for a in arrays if a is not None]
            self._grads = Results([self._made(taken, array, spans) for array in wanted])
            first = self._forward.arrays + len(incoming)
            spans += self._grads.spans(first)
            self._backward = _program(taken, spans, first + self._grads.pieces)
            self._incoming = [Layout.of(array) for array in incoming]
            spread = self._spread(leaves, found)
            self._places = [i for i, g in enumerate(spread) if g is not None]
            given = iter(self._to_give(self._grads, wanted, before, taken))
            found = [None if a is None else Tensor._wrap(next(given)) for a in arrays]
            used, results = self._backward.used, range(self._inputs, self._forward.arrays)
            self.inputs_read = [i for i in range(self._inputs) if i in used]
            self.results_read = any(i in used for i in results)
            self.ready, self._taken = True, None
        except NotRepeatable as error:
            self.refuse(str(error))
        return self._spread(leaves, found)

    def _spread(
        self, leaves: Sequence[Tensor], found: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        rest = iter(found)
        return [next(rest) if t._requires_grad else None for t in (*leaves, *self.tensors)]

    def refuse(self, problem: str) -> None:
        """Give it up."""
        self.problem, self._taken = problem, None
        self._reserve.close()

    def _made(self, taken: Taken, array: np.ndarray, given: Sequence[Span]) -> Made:
        """A result. Raises NotRepeatable unless its memory was taken, and filled, on the way."""
        if taken.problem is not None:
            raise NotRepeatable(taken.problem)
        root = root_of(array)
        end = root.begin + root.nbytes
        since = self._reserve.taken.get(root.begin, 0)
        fresh = root.nbytes < SMALLEST or root.begin in self._reserve.taken
        apart = not any(span.begin < end and root.begin < span.end for span in given)
        made = Made(array, since)
        if not (fresh and apart and taken.refers_to(made.span)):
            raise NotRepeatable("a result is not made by its kernels")
        return made

    def _to_give(
        self, results: Results, arrays: Sequence[np.ndarray], *taken: Taken
    ) -> list[np.ndarray]:
        """The results of the call that is recorded: copies where later runs write to the memory.
        The rest of it, where there was nothing but a result, is set free."""
        given = []
        for made, array in zip(results.made, arrays, strict=True):
            if any(part.used_before(made.span) for part in taken):
                array = laid_out(array, made.layout)
            else:
                self._reserve.release(made.root.begin)
            given.append(array)
        return given

    def _changes(self, taken: Taken, counts: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Which tensors are changed in place, and how often."""
        changed = []
        by_python = {id(changes) for _, changes in self._repeated}
        for tensor, before in zip(self.tensors, counts, strict=True):
            times = tensor._version.count - before
            if times and id(tensor) not in by_python:
                if not taken.refers_to(span_of(tensor._array)):
                    raise NotRepeatable("its forward changes a tensor without a kernel")
                changed.append((tensor, times))
        return changed

    # ---- repeating -------------------------------------------------------------------------------

    def run_forward(self, args: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The memory of the results, and these."""
        if self._repeated:
            catch_up()  # with kernels that still read what is changed
        for what, _ in self._repeated:
            what()
        for tensor, times in self._changed:
            for _ in range(times):
                tensor._version.change()
        memory, outs = self._outs.new()
        self._forward.run([*args, *self._arrays, *memory])
        return memory, outs

    def run_backward(
        self, args: Sequence[np.ndarray], outs: Sequence[np.ndarray], grads: Sequence[np.ndarray]
    ) -> list[Tensor | None]:
        """The gradients, given the arguments, the memory of the results, and their gradients."""
        incoming = [
            grad if Layout.of(grad) == layout else laid_out(grad, layout)
            for grad, layout in zip(grads, self._incoming, strict=True)
        ]
        memory, arrays = self._grads.new()
        self._backward.run([*args, *self._arrays, *outs, *incoming, *memory])
        found: list[Tensor | None] = [None] * (len(args) + len(self.tensors))
        for place, array in zip(self._places, arrays, strict=True):
            found[place] = Tensor._wrap(array)
        return found


def _spans(arrays: Sequence[np.ndarray], first: int) -> list[Span]:
    """Those of arrays that are given, with numbers from `first`."""
    return [span_of(array, first + i) for i, array in enumerate(arrays)]


def _leaf(tensor: Tensor) -> Tensor:
    """The same memory, as a leaf."""
    leaf = tensor.detach()
    leaf._requires_grad = tensor._requires_grad
    return leaf


def _program(taken: Taken, spans: Sequence[Span], arrays: int) -> Program:
    catch_up()  # tables in memory are looked at, which kernels may yet have to write
    if taken.problem is not None:
        raise NotRepeatable(taken.problem)
    try:
        return taken.program(spans, arrays)
    except ValueError as error:
        raise NotRepeatable(str(error)) from None


def _expect_unwatched(outs: Sequence[Tensor]) -> None:
    """Raise NotRepeatable if there are hooks within. (Those of parameters are outside.)"""
    watched = False
    seen: set[Function] = set()
    stack = [out._node for out in outs if out._node is not None]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            watched = watched or node.watched is not None
            stack.extend(e.target for e in node.edges if isinstance(e.target, Function))
    if watched:
        raise NotRepeatable("a hook looks at a gradient")


def _where() -> str:
    """The op that Python is in, and the line that called it or, in a backward, that made it."""
    ops: list[Function] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        me = frame.f_locals.get("self", frame.f_locals.get("node"))
        if isinstance(me, Function) and not hasattr(me, "graph") and me not in ops:
            ops.append(me)
        frame = frame.f_back
    place = next((op.made_at for op in ops if op.made_at is not None), anomaly.user_line())
    return f"in {ops[0].name}, {place}" if ops else f"at {place}"
