"""Recurrent networks over whole sequences: RNN, LSTM, GRU, with PyTorch's shapes and names.

Shapes: T the length, N the batch, I the input size, H the hidden size, L the layers, D 2 if
bidirectional, else 1; H_out is proj_size where an LSTM has one, else H.

    input (T, N, I), (N, T, I) with batch_first, or (T, I)  ->  output (T, N, D H_out) likewise
    first and last states (L D, N, H_out), or (L D, H_out) without a batch

A layer's gates of the input come from one product for the whole sequence; then the steps follow one
another. All sequences of a batch are equally long: pad shorter ones behind, and take from the
output what belongs to them.
"""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np

from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn.module import Module
from tinygrad_ft.nn.parameter import Parameter
from tinygrad_ft.nn.rnn_cell import (
    NONLINEARITIES,
    HiddenWeights,
    State,
    check_nonlinearity,
    gru_step,
    lstm_step,
    uniform_by_hidden_size,
)
from tinygrad_ft.ops import cat, squeeze, stack, transpose, unbind, unsqueeze
from tinygrad_ft.tensor import Tensor


class _Recurrent(Module):
    """What RNN, LSTM and GRU share: layers, directions, states, and the names of the weights:
    `weight_ih_l0` (gates H, I), `weight_hh_l0` (gates H, H), `bias_ih_l0`, `bias_hh_l0` (gates H),
    with l1 ... for the layers above and `_reverse` behind for the second direction."""

    gates: ClassVar[int]
    states: ClassVar[int] = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if min(input_size, hidden_size, num_layers) < 1:
            raise ValueError(
                f"{name} needs sizes of 1 or more, got input_size={input_size}, "
                f"hidden_size={hidden_size} and num_layers={num_layers}"
            )
        if not 0 <= dropout <= 1:
            raise ValueError(f"{name} needs a probability between 0 and 1, got dropout={dropout}")
        if not 0 <= proj_size < hidden_size:
            raise ValueError(
                f"{name} needs a proj_size from 0 to less than hidden_size {hidden_size}, got "
                f"{proj_size}"
            )
        if dropout and num_layers == 1:
            warnings.warn(
                f"{name}: dropout acts between layers, so dropout={dropout} does nothing with one",
                stacklevel=3,
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        directions = 2 if bidirectional else 1
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else directions * self._out_size
            for suffix in self._suffixes(layer):
                self._register(suffix, inputs)
        self.reset_parameters()

    @property
    def _out_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _suffixes(self, layer: int) -> list[str]:
        """What ends the names of a layer's weights, one for each direction."""
        return [f"l{layer}", f"l{layer}_reverse"][: 2 if self.bidirectional else 1]

    def _register(self, suffix: str, inputs: int) -> None:
        rows = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, inputs),
            "weight_hh": (rows, self._out_size),
        }
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        for name, shape in shapes.items():
            self.register_parameter(f"{name}_{suffix}", Parameter(np.empty(shape, np.float32)))

    def reset_parameters(self) -> None:
        """Draw all weights anew from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
        uniform_by_hidden_size(self, self.hidden_size)

    def step(self, from_input: Tensor, state: State, hidden: HiddenWeights) -> State:
        raise NotImplementedError

    # ---- over a sequence -------------------------------------------------------------------------

    def _run(self, x: Tensor, given: State | None) -> tuple[Tensor, State]:
        """The output and the last states, in the shapes of the module's head."""
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            length = "(N, T, I)" if self.batch_first else "(T, N, I)"
            raise ValueError(
                f"{self!r} got an input of shape {x.shape}: expected {length} or (T, I) with "
                f"I = {self.input_size}"
            )
        batched = x.ndim == 3
        if not batched:
            x = unsqueeze(x, 1)
        elif self.batch_first:
            x = transpose(x, 0, 1)
        if not x.shape[0]:
            raise ValueError(f"{self!r} got an input of shape {x.shape}: a sequence of length 0")
        first = self._first_states(given, x, batched)

        last: list[State] = []
        for layer in range(self.num_layers):
            if layer:
                x = F.dropout(x, self.dropout, self.training)
            outputs = []
            for suffix in self._suffixes(layer):
                state = tuple(s[len(last)] for s in first)
                output, state = self._run_direction(x, state, suffix)
                outputs.append(output)
                last.append(state)
            x = outputs[0] if len(outputs) == 1 else cat(outputs, -1)

        ends = tuple(stack([state[i] for state in last]) for i in range(self.states))
        if not batched:
            return squeeze(x, 1), tuple(squeeze(s, 1) for s in ends)
        return (transpose(x, 0, 1) if self.batch_first else x), ends

    def _run_direction(self, x: Tensor, state: State, suffix: str) -> tuple[Tensor, State]:
        """One layer in one direction: input (T, N, I) -> output (T, N, H_out), last state."""
        own = self._parameters
        from_inputs = F.linear(x, own[f"weight_ih_{suffix}"], own.get(f"bias_ih_{suffix}"))
        hidden = HiddenWeights(
            own[f"weight_hh_{suffix}"],
            own.get(f"bias_hh_{suffix}"),
            own.get(f"weight_hr_{suffix}"),
        )
        steps = unbind(from_inputs, 0)
        backwards = suffix.endswith("_reverse")
        outputs = []
        for from_input in reversed(steps) if backwards else steps:
            state = self.step(from_input, state, hidden)
            outputs.append(state[0])
        return stack(outputs[::-1] if backwards else outputs), state

    def _first_states(self, given: State | None, x: Tensor, batched: bool) -> State:
        """The states before the first step, with a batch dimension; 0 where none are given."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        sizes = (self._out_size, self.hidden_size)[: self.states]
        shapes = [(count, x.shape[1], size) for size in sizes]
        if given is None:
            return tuple(Tensor(np.zeros(shape, x.dtype)) for shape in shapes)
        if len(given) != self.states:
            raise ValueError(f"{self!r} needs {self.states} first states, got {len(given)}")
        out = []
        for state, shape in zip(given, shapes, strict=True):
            expected = shape if batched else (shape[0], shape[2])
            if state.shape != expected:
                raise ValueError(
                    f"{self!r} got a first state of shape {state.shape}: expected {expected}"
                )
            out.append(state if batched else unsqueeze(state, 1))
        return tuple(out)

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        for name, default in defaults.items():
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)}")
        return ", ".join(parts)


class RNN(_Recurrent):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), or relu, in each layer (Elman 1990)."""

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        check_nonlinearity("RNN", nonlinearity)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )
        self.nonlinearity = nonlinearity

    def step(self, from_input: Tensor, state: State, hidden: HiddenWeights) -> State:
        return NONLINEARITIES[self.nonlinearity](from_input, state, hidden)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Input and first state -> output, last state; the module's head gives the shapes."""
        output, (h,) = self._run(input, None if hx is None else (hx,))
        return output, h


class LSTM(_Recurrent):
    """Long short-term memory in each layer; the formulas are with `rnn_cell.lstm_step`.

    With `proj_size` the state h is projected: h = W_hr (sigmoid(o) tanh(c)).
    """

    gates, states = 4, 2
    step = staticmethod(lstm_step)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Input and first (h, c) -> output, last (h, c); c is (L D, N, H)."""
        output, (h, c) = self._run(input, hx)
        return output, (h, c)


class GRU(_Recurrent):
    """Gated recurrent units in each layer; the formulas are with `rnn_cell.gru_step`."""

    gates = 3
    step = staticmethod(gru_step)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Input and first state -> output, last state; the module's head gives the shapes."""
        output, (h,) = self._run(input, None if hx is None else (hx,))
        return output, h
