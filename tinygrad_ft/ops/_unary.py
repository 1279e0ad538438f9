"""`unary`: makes an op of one number from its formulas, its NumPy function and its derivative.

What most functions of one number have in common is here, so that each of them is one entry of a
table (`unary.py`, `activation.py`): the formula, the forward and the backward side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import as_tensor, float_operand
from tinygrad_ft.tensor import Tensor, TensorLike

Grads = tuple[Tensor | None, ...]
Gradient = Callable[[Tensor, Tensor], Tensor]


class UnaryOp(Protocol):
    """A public function of one tensor."""

    __name__: str

    def __call__(self, input: TensorLike) -> Tensor: ...


class Activation(UnaryOp, Protocol):
    """A public function of one tensor that takes PyTorch's `inplace` too."""

    def __call__(self, input: TensorLike, inplace: bool = False) -> Tensor: ...


def unary(
    name: str,
    summary: str,
    formulas: str,
    function: Callable[[np.ndarray], np.ndarray],
    *,
    from_input: Gradient | None = None,
    from_output: Gradient | None = None,
    keeps_integers: bool = False,
) -> UnaryOp:
    """The public function `name`, elementwise `function`.

    `from_input(grad_out, x)` or `from_output(grad_out, out)` is the gradient in Tensor ops, from
    what the op keeps; without either the function is flat between its steps and the gradient 0.
    Integers become float32 first, as a function of real numbers needs it, or are kept.
    """

    class Unary(Function):
        def forward(self, x: np.ndarray) -> np.ndarray:
            if from_input is not None:
                self.save_input(0)
            elif from_output is not None:
                self.save_output()
            return function(x)

        def backward(self, grad_out: Tensor) -> Grads:
            if from_input is not None:
                return (from_input(grad_out, self.input(0)),)
            if from_output is not None:
                return (from_output(grad_out, self.output()),)
            return (Tensor._wrap(np.zeros_like(grad_out._data)),)

    Unary.__name__ = Unary.__qualname__ = name.capitalize()
    Unary.__doc__ = formulas

    def op(input: TensorLike) -> Tensor:
        x = as_tensor(input) if keeps_integers else float_operand(name, input)
        out: Tensor = Unary.apply(x)
        return out

    op.__name__ = op.__qualname__ = name
    op.__doc__ = f"{summary}\n\n{formulas}"
    return op


def activation(op: UnaryOp) -> Activation:
    """`op` with PyTorch's argument `inplace`, which changes nothing: see `activation.py`."""

    def with_inplace(input: TensorLike, inplace: bool = False) -> Tensor:
        return op(input)

    with_inplace.__name__ = with_inplace.__qualname__ = op.__name__
    with_inplace.__doc__ = op.__doc__
    return with_inplace
