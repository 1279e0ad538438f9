"""`Module.compile()`: the launches of a training step without the Python between them.

The first call with arguments of a kind runs as ever. The second is recorded (compiled_graph.py):
what it launches, and what its backward launches. From the third on both are done again by compiled
code, in one go, with the same bits.

A recorded call stands for the next one if that would do the same. So what is compared is

- the arguments: number, shapes, strides, dtypes, whether they require grad;
- every attribute of the module and of those below it: their settings, `training`, hooks, which
  parameters and buffers they have, how these lie in memory, whether they require grad;
- number of threads, fusion, Winograd.

Not seen is what a forward takes from elsewhere, and what it leaves there: global variables, the
inside of a list, random numbers of others than `tinygrad_ft.random`. A module whose forward or
backward does something to arrays that is no launch cannot be recorded, and runs as ever.
"""

from __future__ import annotations

import threading
import warnings
from threading import get_ident
from typing import TYPE_CHECKING, Any

import kernels
from kernels.workers import ahead, begin
from tinygrad_ft import anomaly, observe
from tinygrad_ft.grad_mode import is_grad_enabled
from tinygrad_ft.nn.compiled_graph import CompiledGraph
from tinygrad_ft.nn.compiled_nodes import record, repeat
from tinygrad_ft.ops.fusion import fusion_enabled
from tinygrad_ft.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_ft.nn.module import Module


class CompileWarning(UserWarning):
    """A module cannot be recorded and runs as without `compile()`."""


REMEMBERED = 256
"""How many kinds of calls that cannot be recorded are kept in mind, at most."""
RESTLESS = 3
"""After so many calls in a row that set attributes one is told so."""
_PLAIN = (bool, int, float, str)


class Changes:
    """Counts what happens to the attributes of all modules."""

    def __init__(self) -> None:
        self.count = 0


changes = Changes()


class Compiled:
    """What `compile()` makes of a module's forward. A copy of it has yet to record.

    fullgraph   raise RuntimeError where something cannot be recorded
    """

    def __init__(self, fullgraph: bool) -> None:
        self.fullgraph = fullgraph
        self._one_at_a_time = threading.Lock()
        self._graph: CompiledGraph | None = None
        self._key: Any = None  # of the graph
        self._last: Any = None  # of the last call that ran as ever
        self._refused: set[Any] = set()
        self._told: set[str] = set()
        self._restless = 0
        self._seen = -1
        self._structure: list[Any] = []
        self._kind = object()
        self._hooked = False
        self._tensors: list[Tensor] = []
        self._parameters: list[Tensor] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        return Compiled(self.fullgraph)

    def __reduce__(self) -> tuple[Any, ...]:
        return Compiled, (self.fullgraph,)

    def __call__(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not _can_be_seen_through() or not self._one_at_a_time.acquire(False):
            return module.forward(*args, **kwargs)
        try:
            if kwargs or not args or not all(isinstance(arg, Tensor) for arg in args):
                self._tell(module, "its arguments are not just tensors, given by position")
                return module.forward(*args, **kwargs)
            return self._call(module, args)
        finally:
            self._one_at_a_time.release()

    def _call(self, module: Module, args: tuple[Tensor, ...]) -> Any:
        if self._seen != changes.count:
            self._look(module)
        key = (
            self._kind,
            tuple([(a.shape, a._array.strides, a.dtype, a._requires_grad) for a in args]),
            tuple([p._requires_grad for p in self._parameters]),
            (kernels.get_num_threads(), kernels.winograd_enabled(), fusion_enabled()),
        )
        if self._hooked or key in self._refused or True not in (*key[2], *[a[3] for a in key[1]]):
            return module.forward(*args)
        graph = self._graph
        if graph is not None and key == self._key:
            if graph.problem:
                self._refuse(module, key, graph.problem)
            elif graph.in_use():
                return module.forward(*args)
            elif graph.ready and graph.fits():
                return repeat(graph, args)
            self._graph = self._key = self._last = None
        elif key == self._last and begin():
            return self._record(module, args, key)
        if key in self._refused:
            return module.forward(*args)
        return self._run_as_ever(module, args, key)

    def _run_as_ever(self, module: Module, args: tuple[Tensor, ...], key: Any) -> Any:
        """A call after which another one like it may be recorded."""
        before = changes.count
        result = module.forward(*args)
        self._last = key
        self._restless = self._restless + 1 if changes.count != before else 0
        if self._restless == RESTLESS:
            self._tell(module, "its forward sets attributes, so that no call is like another")
        if problem := _unfit(result, args):
            self._refuse(module, key, problem)
        return result

    def _record(self, module: Module, args: tuple[Tensor, ...], key: Any) -> Any:
        self._graph = None  # its memory can be used again
        self._graph = graph = CompiledGraph(module, self._tensors)
        self._key, self._last = key, None
        before = changes.count
        result = record(graph, module, args, lambda: changes.count == before)
        if graph.problem:
            self._graph = None
            self._refuse(module, key, graph.problem)
        return result

    def _refuse(self, module: Module, key: Any, problem: str) -> None:
        """Give up on this kind of call."""
        if len(self._refused) >= REMEMBERED:
            self._refused.clear()
        self._refused.add(key)
        self._tell(module, problem)

    def _tell(self, module: Module, problem: str) -> None:
        """Say it, once."""
        text = f"compile: {type(module).__name__} cannot be recorded: {problem}"
        if self.fullgraph:
            raise RuntimeError(text)
        if text in self._told:
            return
        self._told.add(text)
        place = anomaly.user_line() or anomaly.Place("", 0)
        warnings.warn_explicit(f"{text}; it runs as without compile()", CompileWarning, *place)

    def _look(self, module: Module) -> None:
        """See whether the module is what it was."""
        self._seen = changes.count
        structure = _structure(module)
        before = self._structure
        if len(structure) != len(before) or not all(map(_same, structure, before)):
            self._structure, self._kind = structure, object()
            self._refused.clear()
            self._parameters = list(module.parameters())
            self._tensors = [*self._parameters, *module.buffers()]
            below = [m for m in module.modules() if m is not module]
            self._hooked = any(m._forward_hooks for m in below)


def _can_be_seen_through() -> bool:
    """Whether a call is one of a training step that nobody looks into."""
    return (
        is_grad_enabled()
        and observe.current is None
        and not anomaly.enabled
        and ahead.owner == get_ident()
        and ahead.recording is None
    )


def _structure(module: Module) -> list[Any]:
    """All that the attributes of a module and of those below it say."""
    found: list[Any] = []
    for part in module.modules():
        fields = part.__dict__
        found += (id(part), type(part), tuple(fields["_forward_hooks"]))
        found += [id(m) for m in fields["_modules"].values()]
        for table in ("_parameters", "_buffers"):
            for name, tensor in fields[table].items():
                found += (name, tensor)
        found += [v for name, v in fields.items() if name not in _TABLES]
    return found


_TABLES = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_non_persistent", "_compiled")


def _same(a: Any, b: Any) -> bool:
    if a is b or type(a) is not type(b):
        return a is b
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return isinstance(a, _PLAIN) and a == b


def _unfit(result: Any, args: tuple[Tensor, ...]) -> str:
    """What keeps a result from being that of one node of the graph."""
    outs = result if type(result) is tuple and len(result) > 1 else (result,)
    if not all(isinstance(out, Tensor) for out in outs):
        return "its result is neither a Tensor nor a tuple of several"
    if not all(out._requires_grad for out in outs):
        return "a result does not require grad"
    if {id(out._version) for out in outs} & {id(arg._version) for arg in args}:
        return "a result is a view of an argument"
    return ""
