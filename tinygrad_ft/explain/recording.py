"""Recording: every op of a computation, with what went in and came out, while it runs.

The graph itself keeps only what backward needs. A recording keeps the rest: inputs that need no
gradient, results that no backward asks for, the ops of a frozen part, and which module each op ran
in. It also allows the ops to be run again with one number moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_ft.explain.fusion import single_ops
from tinygrad_ft.function import Function
from tinygrad_ft.nn.module import Module
from tinygrad_ft.observe import Observer, observing
from tinygrad_ft.tensor import Tensor

#: a module and which of its calls this is, from the outermost in
Place = tuple[tuple[Module, int], ...]


@dataclass
class Call:
    """One op that ran: tensors in and out, and the arrays they had then."""

    node: Function
    inputs: tuple[Tensor | None, ...]
    arrays: tuple[np.ndarray | None, ...]
    params: dict[str, Any]
    outputs: tuple[Tensor, ...]
    results: tuple[np.ndarray, ...]
    place: Place


@dataclass
class Recording(Observer):
    """The calls so far, oldest first, and the outermost modules that were called."""

    calls: list[Call] = field(default_factory=list)
    roots: list[Module] = field(default_factory=list)
    #: the call that made a tensor, by the tensor's id
    makers: dict[int, Call] = field(default_factory=dict)
    _stack: list[tuple[Module, int]] = field(default_factory=list)
    _counts: dict[int, int] = field(default_factory=dict)
    _leaves: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def ran(
        self,
        node: Function,
        inputs: Sequence[Tensor | None],
        params: dict[str, Any],
        outputs: Sequence[Tensor],
    ) -> None:
        call = Call(
            node,
            tuple(inputs),
            tuple([None if t is None else self._value(t) for t in inputs]),
            params,
            tuple(outputs),
            tuple([t._data for t in outputs]),
            tuple(self._stack),
        )
        self.calls.append(call)
        for out in outputs:
            self.makers[id(out)] = call

    def _value(self, tensor: Tensor) -> np.ndarray:
        """The array of an input now; a copy if no op made it, for an optimizer may change it."""
        if id(tensor) in self.makers:
            return tensor._data
        key = id(tensor), tensor._version.count
        if key not in self._leaves:
            self._leaves[key] = tensor._data.copy(order="K")
        return self._leaves[key]

    def enters(self, module: Module) -> None:
        if not self._stack and all(module is not root for root in self.roots):
            self.roots.append(module)
        self._counts[id(module)] = count = self._counts.get(id(module), 0) + 1
        self._stack.append((module, count))

    def leaves(self, module: Module) -> None:
        # an error in an inner module that was caught on the way left it on the stack
        while self._stack and self._stack.pop()[0] is not module:
            pass

    def knows(self, tensor: Tensor) -> bool:
        """Whether an op that made this tensor was recorded."""
        return id(tensor) in self.makers

    def forget(self) -> None:
        """Start again: what was recorded before belongs to an earlier step."""
        self.calls.clear()
        self.makers.clear()
        self._leaves.clear()
        self._counts.clear()


@contextmanager
def recording() -> Iterator[Recording]:
    """Record what runs within the `with` block, op by op, for `explain(loss)` to show.

    Ops that are computed together for speed run one by one meanwhile.
    """
    with single_ops(), observing(Recording()) as recorded:
        yield recorded
