"""`Function`: the contract of an op. A subclass is an op, an instance is a node of the graph.

An op computes with ndarrays on the way forward and with Tensors on the way back:

    class Mul(Function):
        '''out = a * b;  grad_a = grad_out * b,  grad_b = grad_out * a'''

        def forward(self, a, b):
            self.save_input(0, needed_by=1)
            self.save_input(1, needed_by=0)
            return a * b

        def backward(self, grad_out):
            grad_a = grad_out * self.input(1) if self.needs_input_grad[0] else None
            grad_b = grad_out * self.input(0) if self.needs_input_grad[1] else None
            return grad_a, grad_b

Because `backward` is written in ops that can be recorded, the derivative of a derivative needs no
extra code: gradients of any order exist as soon as the ops used in `backward` have one.

What may be kept for `backward`:

- `save_input(i)` / `input(i)`: an input, with its history, so that it is differentiated in turn;
- `save_output()` / `output()`: the op's own result, which re-enters the graph as its output;
- `save_constant(name, array)` / `constant(name)`: masks and indices. Booleans and integers only:
  they are locally constant, so leaving them out of a derivative is right;
- `save_statistics(name, array)` / `statistics(name)`: floats that a fused kernel wants back. They
  carry no history, so they are refused while the backward is being recorded.

Numbers, shapes and flags are plain attributes. A float array as a plain attribute raises.

References point backwards only: tensor -> node -> the nodes and leaves it came from. A node never
holds its output tensor, so a graph is freed by reference counting alone.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from kernels.workers import allowing
from tinygrad_ft import anomaly, observe
from tinygrad_ft.grad_mode import is_grad_enabled
from tinygrad_ft.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_ft.hooks import Watched

_creation_counter = itertools.count()
_ARRAYS = (np.ndarray, Tensor)


class Edge(NamedTuple):
    """Where the gradient of one input goes: to an output of a node, to a leaf, or nowhere; and its
    shape and dtype."""

    target: Function | Tensor | None
    output: int
    spec: tuple[tuple[int, ...], np.dtype]


_NOWHERE = Edge(None, 0, ((), np.dtype(np.float32)))


class Function:
    """An op and its place in the graph; see the module's docstring for how to write one."""

    #: the output looks at the memory of input 0: both share one version counter. A class or, where
    #: only some calls give a view, an attribute set in forward
    view: bool = False
    #: outputs from this position on carry no gradient (indices, statistics)
    differentiable_outputs: ClassVar[int | None] = None

    #: what an unrecorded backward gives are new arrays that nobody else holds, so that gradients
    #: that arrive later may be added to them in place
    fresh_gradients: ClassVar[bool] = False
    #: an unrecorded backward can add the gradient of input 0 to `gradient_so_far`, and returns that
    adds_gradient: ClassVar[bool] = False
    gradient_so_far: Tensor | None = None
    #: nobody else holds the gradient of output 0, so an unrecorded backward may write into it
    owns_gradient: bool = False

    #: forward, and an unrecorded backward, do nothing with arrays but hand them to kernels that
    #: may be put off (kernels/parallel.py): no look at what they hold. `_array`, not `_data`, then
    runs_ahead: ClassVar[bool] = False

    #: for each input, whether a gradient is wanted
    needs_input_grad: tuple[bool, ...]
    #: position among all recorded ops; an op comes after those it depends on
    order: int = -1
    edges: tuple[Edge, ...] = ()
    output_specs: tuple[tuple[tuple[int, ...], np.dtype], ...] = ()
    #: for outputs with hooks, what watches their gradients
    watched: dict[int, Watched] | None = None
    #: the user's line that made it, for error messages
    made_at: anomaly.Place | None = None

    _inputs: tuple[Tensor | None, ...] = ()
    #: by name, inputs by their number
    _saved: dict[str | int, Any]
    _recorded = False
    _freed = False
    _wants_output = False

    # ---- to be written by an op ------------------------------------------------------------------

    def forward(self, *arrays: Any, **params: Any) -> Any:
        """Compute the result (an ndarray or a tuple of them) from ndarrays."""
        raise NotImplementedError(f"{self.name}: forward is not written")

    def backward(self, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        """The gradient of each input from the gradient of each output, in Tensor ops."""
        raise NotImplementedError(
            f"{self.name}: backward is not written, so nothing can be differentiated through it"
        )

    # ---- calling ---------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The op's name as shown in messages."""
        return type(self).__name__

    @classmethod
    def apply(cls, *inputs: Tensor | None, **params: Any) -> Any:
        """Run the op on tensors (None for an absent one); record it if a gradient may be asked."""
        node = cls()
        try:
            needs = tuple([t is not None and t._requires_grad for t in inputs])
            data = [None if t is None else t._array for t in inputs]
        except AttributeError:
            raise node._input_error(inputs) from None
        node._inputs = inputs
        node._saved = {}
        recorded = node._recorded = True in needs and is_grad_enabled()
        node.needs_input_grad = needs if recorded else (False,) * len(inputs)
        if node.runs_ahead:
            # its kernels see to warnings where they leave the work to NumPy
            with allowing(True):
                result = node.forward(*data, **params)
        else:
            # infinities and NaN are results, not warnings
            with allowing(False), np.errstate(all="ignore"):
                result = node.forward(*data, **params)
        node._inputs = ()
        several = isinstance(result, tuple)
        outputs = tuple([Tensor._wrap(a) for a in result]) if several else (Tensor._wrap(result),)
        if node.view and inputs[0] is not None:
            for out in outputs:
                out._version = inputs[0]._version
        if recorded:
            node._record(inputs, outputs)
        if observe.current is not None:
            observe.current.ran(node, inputs, params, outputs)
        return outputs if several else outputs[0]

    def _input_error(self, inputs: tuple[Any, ...]) -> TypeError:
        """For a call with something that is no tensor."""
        kinds = [(i, type(t).__name__) for i, t in enumerate(inputs) if not isinstance(t, Tensor)]
        strange = next((i, kind) for i, kind in kinds if inputs[i] is not None)
        return TypeError(
            f"{self.name}: input {strange[0]} must be a Tensor, not {strange[1]}; make one with "
            "tensor()"
        )

    def _record(self, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor, ...]) -> None:
        for key, value in self.__dict__.items():
            if isinstance(value, _ARRAYS) and value.dtype.kind == "f":
                raise TypeError(
                    f"{self.name}: the float array {key!r} is kept as a plain attribute and would "
                    "be lost to higher derivatives; use save_input, save_output or save_statistics"
                )
        self.order = next(_creation_counter)
        self.made_at = anomaly.user_line()
        self.edges = tuple(
            [
                Edge(t._node or t, t._index, (t._array.shape, t._array.dtype))
                if t is not None and t._requires_grad
                else _NOWHERE
                for t in inputs
            ]
        )
        self.output_specs = tuple([(t._array.shape, t._array.dtype) for t in outputs])
        for index, out in enumerate(outputs[: self.differentiable_outputs]):
            if self.output_specs[index][1].kind == "f":
                out._requires_grad = True
                out._node = self
                out._index = index
        if self._wants_output:
            out = outputs[0]
            self._saved["output"] = (out._array, out._version, out._version.count)

    # ---- keeping things for backward -------------------------------------------------------------

    def save_input(self, index: int, *, needed_by: int | None = None) -> None:
        """Keep input `index`; with `needed_by=j`, only if the gradient of input `j` is wanted."""
        tensor = self._inputs[index]
        if (
            self._recorded
            and tensor is not None
            and (needed_by is None or self.needs_input_grad[needed_by])
        ):
            self._saved[index] = (tensor, tensor._version.count)

    def input(self, index: int) -> Tensor:
        """The Tensor kept by `save_input(index)`, with its history."""
        tensor, version = self._take(index)
        if tensor._version.count != version:
            raise self._changed(tensor._version.count, version, f"its input {index}", tensor.shape)
        return tensor

    def save_output(self) -> None:
        """Keep the op's first output."""
        self._wants_output = self._recorded

    def output(self) -> Tensor:
        """The output kept by `save_output`; part of the graph while the backward is recorded."""
        array, counter, version = self._take("output")
        if counter.count != version:
            raise self._changed(counter.count, version, "its output", array.shape)
        tensor = Tensor._wrap(array)
        tensor._version = counter
        if is_grad_enabled():
            tensor._requires_grad, tensor._node = True, self
        return tensor

    def save_constant(self, name: str, array: np.ndarray) -> None:
        """Keep a mask or indices. A float array raises TypeError: it is not locally constant."""
        if array.dtype.kind not in "biu":
            raise TypeError(
                f"{self.name}: {name!r} has dtype {array.dtype}; only boolean and integer arrays "
                "are locally constant"
            )
        if self._recorded:
            self._saved[name] = array

    def constant(self, name: str) -> np.ndarray:
        """The array kept by `save_constant(name)`."""
        array: np.ndarray = self._take(name)
        return array

    def save_statistics(self, name: str, arrays: Any) -> None:
        """Keep a float array, or several, for a fused backward kernel, which runs only when not
        recorded."""
        if self._recorded:
            self._saved[name] = arrays

    def statistics(self, name: str) -> Any:
        """What is kept by `save_statistics(name)`; raises while the backward is recorded."""
        if is_grad_enabled():
            raise RuntimeError(
                f"{self.name}: the saved {name!r} carries no history and cannot be used in a "
                "backward that is recorded; write that case in Tensor ops"
            )
        return self._take(name)

    def _take(self, key: str | int) -> Any:
        if key in self._saved:
            return self._saved[key]
        if self._freed:
            raise RuntimeError(
                f"{self.name}: a second backward through a graph that was freed; pass "
                "retain_graph=True to the first one"
            )
        what = f"input {key}" if isinstance(key, int) else key
        raise RuntimeError(f"{self.name}: {what!r} was not saved in forward")

    def _changed(self, now: int, then: int, what: str, shape: tuple[int, ...]) -> RuntimeError:
        """For something saved that was written to since."""
        return RuntimeError(
            f"{self.name}: {what}, of shape {shape}, is needed for the gradient but was "
            f"changed in place (version {now}, saved at version {then}); use an out-of-place "
            "operation or a clone()"
        )

    def release(self) -> None:
        """Drop what was kept; a later backward that needs it raises."""
        if self._saved:
            self._saved = {}
            self._freed = True

    def __repr__(self) -> str:
        known = anomaly.enabled and self.made_at is not None
        return f"<{self.name} at {self.made_at}>" if known else f"<{self.name}>"
