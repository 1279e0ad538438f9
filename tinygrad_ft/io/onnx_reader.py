"""From an ONNX file to a network as plain JSON and arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_ft.io.errors import BadContentError, shown
from tinygrad_ft.io.onnx_constants import FOLDED, fold
from tinygrad_ft.io.onnx_layers import Layers, Shape
from tinygrad_ft.io.onnx_operators import OPERATORS
from tinygrad_ft.io.onnx_proto import (
    Attributes,
    described,
    model_metadata,
    read_model,
    tensor_array,
)
from tinygrad_ft.io.onnx_sections import to_graph
from tinygrad_ft.io.onnx_shapes import SHAPES

MIN_OPSET = 7  # of 2017; older files broadcast in other ways
_MAX_NODES = 20_000
_MAX_EXTENT = 1 << 20
_OWN_DOMAINS = ("", "ai.onnx")
#: operators on maps and vectors; docs/weights.md lists them
SUPPORTED = {**OPERATORS, **SHAPES}


@dataclass(frozen=True)
class OnnxNetwork:
    """A network that was read from an ONNX file.

    graph: its architecture as plain JSON, as `models.OnnxClassifier` takes it.
    weights: {name: float32 array} by the names in that model's state_dict.
    metadata: the file's string metadata.
    """

    graph: dict[str, Any]
    weights: dict[str, np.ndarray]
    metadata: dict[str, str]

    @property
    def num_classes(self) -> int:
        return len(self.weights[f"{self.graph['head']['name']}.weight"])


def read_onnx(path: Path) -> OnnxNetwork:
    """The network in a file. Raises BadContentError, OSError."""
    model = read_model(path)
    graph = model.graph
    opset = _opset(model)
    if graph.sparse_initializer or len(graph.node) > _MAX_NODES:
        raise BadContentError("holds sparse weights, or far more nodes than networks have; refused")
    net = Layers({tensor.name: tensor for tensor in graph.initializer}, path.parent)
    name, net.images, shape = _image(graph)
    net.start(name, shape)
    for node in graph.node:
        _read_node(net, node, opset, path.parent)
    outputs = [value.name for value in graph.output]
    if len(outputs) != 1 or not net.is_layer(outputs[0]):
        raise BadContentError(
            f"has {len(outputs)} outputs; a classification network has one, computed from the image"
        )
    sections, weights = to_graph(net.layers, net.image, net.output(outputs[0]))
    return OnnxNetwork(sections, weights, model_metadata(model))


def read_onnx_metadata(path: Path) -> dict[str, str]:
    """The string metadata alone. Raises BadContentError, OSError."""
    return model_metadata(read_model(path))


def _opset(model: Any) -> int:
    versions = [o.version for o in model.opset_import if o.domain in _OWN_DOMAINS]
    if len(versions) != 1 or versions[0] < MIN_OPSET:
        raise BadContentError(
            f"is in opset {versions[0] if versions else 'unknown'} of ONNX; {MIN_OPSET} and later "
            "are read"
        )
    return int(versions[0])


def _image(graph: Any) -> tuple[str, int | None, Shape]:
    """Name, number of images (None: any) and shape (C, H, W) of the network's input."""
    weights = {tensor.name for tensor in graph.initializer}  # inputs as well, in older files
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise BadContentError(
            f"has {len(inputs)} inputs; a classification network has one, its images"
        )
    dims = inputs[0].type.tensor_type.shape.dim
    extents = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    extents = [extent if extent is None or extent > 0 else None for extent in extents]
    channels = extents[1] if len(extents) == 4 else None
    if channels is None or any(n is not None and n > _MAX_EXTENT for n in extents):
        raise BadContentError(
            f"has an input of shape {tuple(extents)}; images (N, C, H, W) with a known number of "
            "channels are read"
        )
    return inputs[0].name, extents[0], (channels, extents[2], extents[3])


def _read_node(net: Layers, node: Any, opset: int, folder: Path) -> None:
    if not node.output:
        raise BadContentError(f"is damaged: {described(node)} has no output")
    attributes = Attributes(node)
    known = all(net.is_constant(name) for name in node.input if name)
    own = node.domain in _OWN_DOMAINS
    if own and node.op_type == "Constant":
        net.set_constant(node.output[0], _constant(node, attributes, folder))
    elif own and known and node.op_type in ("Identity", *FOLDED):
        names = [name for name in node.input if name]
        inputs = {name: net.constant(node, i, "input") for i, name in enumerate(node.input) if name}
        if node.op_type == "Identity" and names:
            net.set_constant(node.output[0], inputs[names[0]])
        else:
            net.set_constant(node.output[0], fold(node, inputs, opset))
    else:
        operator = SUPPORTED.get(node.op_type) if own else None
        if operator is None:
            domain = "" if own else f" of {shown(node.domain, 40)}"
            raise BadContentError(
                f"uses the operator {shown(node.op_type, 40)}{domain}, which is not supported; "
                f"supported are {', '.join(sorted([*SUPPORTED, 'Constant']))}"
            )
        operator(net, node, attributes)


def _constant(node: Any, attributes: Attributes, folder: Path) -> np.ndarray:
    if "value" in attributes:
        return tensor_array(attributes.tensor("value"), folder)
    if "value_int" in attributes:
        return np.array(attributes.integer("value_int", 0), np.int64)
    if "value_ints" in attributes:
        return np.array(attributes.integers("value_ints", []), np.int64)
    if "value_float" in attributes:
        return np.array(attributes.number("value_float", 0.0), np.float32)
    if "value_floats" in attributes:
        return np.array(attributes.numbers("value_floats"), np.float32)
    raise BadContentError(f"cannot be read: {described(node)} is no constant of numbers")
