"""One step of a recurrent network: the formulas, and the cells that apply them.

x is the input of the step and h the state before it; (I) the size of x, (H) that of h. The input's
part of the gates, `W_ih x + b_ih`, comes in ready-made: a whole sequence has it from one product.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn import init
from tinygrad_ft.nn.module import Module
from tinygrad_ft.nn.parameter import Parameter
from tinygrad_ft.ops import chunk, relu, sigmoid, tanh
from tinygrad_ft.tensor import Tensor

State = tuple[Tensor, ...]


class HiddenWeights(NamedTuple):
    """What acts on the state: W_hh (gates H, H), b_hh (gates H) and, of a projection, W_hr."""

    weight: Tensor
    bias: Tensor | None
    projection: Tensor | None = None


def tanh_step(from_input: Tensor, state: State, hidden: HiddenWeights) -> State:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh)"""
    return (tanh(from_input + F.linear(state[0], hidden.weight, hidden.bias)),)


def relu_step(from_input: Tensor, state: State, hidden: HiddenWeights) -> State:
    """h' = relu(W_ih x + b_ih + W_hh h + b_hh)"""
    return (relu(from_input + F.linear(state[0], hidden.weight, hidden.bias)),)


def lstm_step(from_input: Tensor, state: State, hidden: HiddenWeights) -> State:
    """[i, f, g, o] = W_ih x + b_ih + W_hh h + b_hh,

    c' = sigmoid(f) c + sigmoid(i) tanh(g),  h' = W_hr (sigmoid(o) tanh(c')), W_hr if there is one.
    Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    h, c = state
    gates = from_input + F.linear(h, hidden.weight, hidden.bias)
    i, f, g, o = chunk(gates, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return (h if hidden.projection is None else F.linear(h, hidden.projection)), c


def gru_step(from_input: Tensor, state: State, hidden: HiddenWeights) -> State:
    """[r, z, n] = W_ih x + b_ih,  [r', z', n'] = W_hh h + b_hh,

    candidate = tanh(n + sigmoid(r + r') n'),  h' = candidate + sigmoid(z + z') (h - candidate).
    The reset gate acts after the product, as in cuDNN and PyTorch. Source: Cho et al. 2014, arXiv
    1406.1078.
    """
    (h,) = state
    r, z, n = chunk(from_input, 3, -1)
    r_h, z_h, n_h = chunk(F.linear(h, hidden.weight, hidden.bias), 3, -1)
    candidate = tanh(n + sigmoid(r + r_h) * n_h)
    return (candidate + sigmoid(z + z_h) * (h - candidate),)


NONLINEARITIES = {"tanh": tanh_step, "relu": relu_step}


def check_nonlinearity(layer: str, nonlinearity: str) -> None:
    if nonlinearity not in NONLINEARITIES:
        raise ValueError(f"{layer} takes nonlinearity='tanh' or 'relu', got {nonlinearity!r}")


def uniform_by_hidden_size(module: Module, hidden_size: int) -> None:
    """PyTorch's start for everything recurrent: U(-1/sqrt(H), 1/sqrt(H)), biases too."""
    bound = 1 / math.sqrt(hidden_size)
    for param in module.parameters():
        init.uniform_(param, -bound, bound)


class _Cell(Module):
    """What the cells share. Input (N, I) or (I), states (N, H) or (H); 0 where not given."""

    gates: ClassVar[int]
    states: ClassVar[int] = 1

    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        if input_size < 1 or hidden_size < 1:
            raise ValueError(
                f"{type(self).__name__} needs sizes of 1 or more, got input_size={input_size} and "
                f"hidden_size={hidden_size}"
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = self.gates * hidden_size
        self.weight_ih = Parameter(np.empty((rows, input_size), np.float32))
        self.weight_hh = Parameter(np.empty((rows, hidden_size), np.float32))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(np.empty(rows, np.float32)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
        uniform_by_hidden_size(self, self.hidden_size)

    def step(self, from_input: Tensor, state: State, hidden: HiddenWeights) -> State:
        raise NotImplementedError

    def _advance(self, x: Tensor, given: State | None) -> State:
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{self!r} got an input of shape {x.shape}: expected (N, {self.input_size}) or "
                f"({self.input_size},)"
            )
        shape = (*x.shape[:-1], self.hidden_size)
        if given is None:
            given = tuple(Tensor(np.zeros(shape, x.dtype)) for _ in range(self.states))
        for state in given:
            if state.shape != shape:
                raise ValueError(
                    f"{self!r} got a state of shape {state.shape}: an input of shape {x.shape} "
                    f"needs {shape}"
                )
        from_input = F.linear(x, self.weight_ih, self.bias_ih)
        return self.step(from_input, given, HiddenWeights(self.weight_hh, self.bias_hh))

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu."""

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh"
    ) -> None:
        check_nonlinearity("RNNCell", nonlinearity)
        super().__init__(input_size, hidden_size, bias)
        self.nonlinearity = nonlinearity

    def step(self, from_input: Tensor, state: State, hidden: HiddenWeights) -> State:
        return NONLINEARITIES[self.nonlinearity](from_input, state, hidden)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Input (N, I) and state (N, H), both also without N -> the new state."""
        return self._advance(input, None if hx is None else (hx,))[0]

    def extra_repr(self) -> str:
        relu = ", nonlinearity=relu" if self.nonlinearity == "relu" else ""
        return super().extra_repr() + relu


class LSTMCell(_Cell):
    """One step of an LSTM; the gates stand in the order i, f, g, o."""

    gates, states = 4, 2
    step = staticmethod(lstm_step)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> Any:
        """Input (N, I) and states h, c (N, H), all also without N -> the new (h, c)."""
        return self._advance(input, hx)


class GRUCell(_Cell):
    """One step of a GRU; the gates stand in the order r, z, n."""

    gates = 3
    step = staticmethod(gru_step)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Input (N, I) and state (N, H), both also without N -> the new state."""
        return self._advance(input, None if hx is None else (hx,))[0]
