"""What an ONNX graph becomes while it is read: a list of layers, and what every name stands for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_ft.io.errors import BadContentError, shown
from tinygrad_ft.io.onnx_proto import Attributes, described, tensor_array

#: (channels, height, width) of maps, (features,) of vectors; None for what the file does not say
Shape = tuple[int | None, ...]


@dataclass
class Layer:
    """One step of the network.

    op        an operator's name in ONNX
    inputs    numbers of the layers whose outputs enter; layers count from 1, 0 is the image
    options   what the step needs to know, in PyTorch's terms
    shape     of its output, without the number of images
    stride    how many pixels of the image one step in the output is
    arrays    its weights by their names in PyTorch
    origin    what the file calls its weight
    """

    op: str
    inputs: list[int]
    options: dict[str, Any]
    shape: Shape
    stride: int
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    origin: str = ""


class Layers:
    """The layers so far; names that stand for their outputs, and names that stand for constants."""

    def __init__(self, initializers: dict[str, Any], folder: Path) -> None:
        self._initializers = initializers
        self._folder = folder
        self._constants: dict[str, np.ndarray] = {}
        self._numbers: dict[str, int] = {}
        self.layers: list[Layer] = []
        self.image: Shape = ()
        #: number of images if the file allows no other
        self.images: int | None = None

    # --- names -----------------------------------------------------------------------------------

    def is_constant(self, name: str) -> bool:
        return name in self._constants or name in self._initializers

    def set_constant(self, name: str, array: np.ndarray) -> None:
        self._constants[name] = array

    def constant(self, node: Any, index: int, what: str) -> np.ndarray:
        """The constant that enters `node` at `index`; `what` says what it is for."""
        name = node.input[index] if index < len(node.input) else ""
        if name not in self._constants and name in self._initializers:
            self._constants[name] = tensor_array(self._initializers[name], self._folder)
        if name not in self._constants:
            raise BadContentError(
                f"cannot be read: the {what} of {described(node)} is computed by the network and "
                "no constant"
            )
        return self._constants[name]

    def floats(self, node: Any, index: int, what: str, ndim: int) -> np.ndarray:
        """A constant of `ndim` dimensions as float32."""
        array = self.constant(node, index, what)
        if array.dtype.kind != "f" or array.ndim != ndim or 0 in array.shape:
            raise BadContentError(
                f"is damaged: the {what} of {described(node)} is {array.dtype} of shape "
                f"{array.shape}"
            )
        with np.errstate(over="ignore"):
            return np.array(array, np.float32)

    def integers(self, node: Any, index: int, what: str) -> list[int]:
        """A small constant of integers as a list."""
        array = self.constant(node, index, what)
        if array.dtype.kind not in "iu" or array.size > 64 or array.ndim > 1:
            raise BadContentError(f"is damaged: the {what} of {described(node)} makes no sense")
        return [int(n) for n in array.reshape(-1)]

    def number(self, node: Any, index: int) -> int:
        """The number of the layer whose output enters `node` at `index`."""
        name = node.input[index] if index < len(node.input) else ""
        if self.is_constant(name):
            raise BadContentError(
                f"cannot be read: {described(node)} works on the constant {shown(name)}, which "
                "networks of the ResNet kind do not"
            )
        if name not in self._numbers:
            raise BadContentError(
                f"is damaged: {described(node)} uses {shown(name)}, which nothing before it makes"
            )
        return self._numbers[name]

    def is_layer(self, name: str) -> bool:
        return name in self._numbers

    def output(self, name: str) -> int:
        """The number of the layer that `name` stands for; `is_layer(name)` must hold."""
        return self._numbers[name]

    def alias(self, node: Any, number: int) -> None:
        """The output of `node` is that of layer `number`."""
        self._numbers[node.output[0]] = number

    def start(self, name: str, shape: Shape) -> None:
        self._numbers[name] = 0
        self.image = shape

    # --- layers ----------------------------------------------------------------------------------

    def shape(self, number: int) -> Shape:
        return self.layers[number - 1].shape if number else self.image

    def stride(self, number: int) -> int:
        return self.layers[number - 1].stride if number else 1

    def maps(self, node: Any, index: int = 0) -> tuple[int, Shape]:
        """The layer that enters `node`, which must give maps, and their shape."""
        number = self.number(node, index)
        shape = self.shape(number)
        if len(shape) != 3:
            raise BadContentError(
                f"cannot be read: {described(node)} works on vectors, here it must have maps (N, "
                "C, H, W)"
            )
        return number, shape

    def add(
        self, op: str, inputs: list[int], shape: Shape, factor: int = 1, **options: Any
    ) -> Layer:
        """Append a layer; `factor` is its own stride."""
        stride = max(self.stride(number) for number in inputs) * factor
        layer = Layer(op, inputs, options, shape, stride)
        self.layers.append(layer)
        return layer

    def finish(self, node: Any) -> None:
        """The output of `node` is that of the last layer."""
        self.alias(node, len(self.layers))


Operator = Callable[[Layers, Any, Attributes], None]


def operator(table: dict[str, Operator], *names: str) -> Callable[[Operator], Operator]:
    """Decorator: enters a function into `table` under the operators' names."""

    def add(function: Operator) -> Operator:
        table.update(dict.fromkeys(names, function))
        return function

    return add


def refused(node: Any, why: str) -> BadContentError:
    """What to raise for an operator that is known but used in an unknown way."""
    return BadContentError(f"cannot be read: {described(node)} {why}")
