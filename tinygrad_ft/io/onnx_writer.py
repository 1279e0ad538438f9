"""Writing ONNX files: a network as plain JSON (`models.graph_of`) and its weights.

Batch norms stay layers of their own, so that the file can be trained on; runtimes fold them into
the convolutions themselves. The number of images is left open, height and width are fixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_ft.io.files import atomic_write
from tinygrad_ft.io.onnx_proto import onnx_package

#: operator set and format of the files: read by every runtime since 2022
OPSET = 17
IR_VERSION = 8

INPUT, OUTPUT, BATCH_NAME = "images", "scores", "batch"
_INT64_MAX = 2**63 - 1


def write_onnx(
    path: Path,
    graph: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
    version: str,
) -> None:
    """Write the file atomically. Raises BadContentError without the package onnx, WriteError."""
    helper = onnx_package("onnx.helper")
    writer = _Writer(helper, weights)
    x = writer.section("stem", graph["stem"], INPUT, "")
    for stage in graph["stages"]:
        x = writer.section(stage["name"], stage["nodes"], x, f"{stage['name']}.")
    x = writer.section("pool", graph["pool"], x, "")
    head = graph["head"]["name"]
    names = [x, writer.weight(f"{head}.weight"), writer.weight(f"{head}.bias")]
    writer.nodes.append(helper.make_node("Gemm", names, [OUTPUT], name=head, transB=1))
    classes = len(weights[f"{head}.weight"])
    floats = 1  # TensorProto.FLOAT
    proto = helper.make_graph(
        writer.nodes,
        "classifier",
        [helper.make_tensor_value_info(INPUT, floats, [BATCH_NAME, *graph["input"]])],
        [helper.make_tensor_value_info(OUTPUT, floats, [BATCH_NAME, classes])],
        writer.initializers,
    )
    model = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="tinygrad_ft",
        producer_version=version,
    )
    helper.set_model_props(model, dict(metadata))
    atomic_write(path, model.SerializeToString(deterministic=True))


class _Writer:
    """The nodes and weights so far."""

    def __init__(self, helper: Any, weights: Mapping[str, np.ndarray]) -> None:
        self._helper = helper
        self._to_tensor = onnx_package("onnx.numpy_helper").from_array
        self._weights = weights
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def weight(self, name: str) -> str:
        """Adds a weight, as float32."""
        array = np.ascontiguousarray(self._weights[name], np.float32)
        self.initializers.append(self._to_tensor(array, name))
        return name

    def _integers(self, name: str, values: list[int]) -> str:
        self.initializers.append(self._to_tensor(np.array(values, np.int64), name))
        return name

    def section(self, title: str, nodes: list[dict[str, Any]], x: str, prefix: str) -> str:
        """Adds a section that begins at the value `x`; gives the name of its result."""
        values = [x]
        for number, node in enumerate(nodes, start=1):
            op, result = node["op"], f"{title}/{number}"
            inputs = [values[i] for i in node["inputs"]]
            weights, attributes = self._details(node, f"{prefix}{node.get('name', '')}", result)
            self.nodes.append(
                self._helper.make_node(op, inputs + weights, [result], name=result, **attributes)
            )
            values.append(result)
        return values[-1]

    def _details(
        self, node: Mapping[str, Any], path: str, result: str
    ) -> tuple[list[str], dict[str, Any]]:
        """Further inputs and the attributes of a node."""
        op = node["op"]
        if op == "Conv":
            kinds = ["weight", "bias"] if node["bias"] else ["weight"]
            attributes = {
                "kernel_shape": node["kernel_size"], "strides": node["stride"],
                "pads": 2 * node["padding"], "dilations": node["dilation"], "group": node["groups"],
            }  # fmt: skip
            return [self.weight(f"{path}.{kind}") for kind in kinds], attributes
        if op == "BatchNormalization":
            kinds = ["weight", "bias", "running_mean", "running_var"]
            # ONNX weighs the old statistics, PyTorch the new ones
            attributes = {"epsilon": node["eps"], "momentum": 1 - node["momentum"]}
            return [self.weight(f"{path}.{kind}") for kind in kinds], attributes
        if op in ("MaxPool", "AveragePool"):
            attributes = {
                "kernel_shape": node["kernel_size"], "strides": node["stride"],
                "pads": 2 * node["padding"], "ceil_mode": int(node["ceil_mode"]),
            }  # fmt: skip
            if op == "AveragePool":
                attributes["count_include_pad"] = int(node["count_include_pad"])
            else:
                attributes["dilations"] = node["dilation"]
            return [], attributes
        if op == "Pad":
            w0, w1, h0, h1, c0, c1 = node["pad"]
            return [self._integers(f"{result}/pads", [0, c0, h0, w0, 0, c1, h1, w1])], {}
        if op == "Slice":
            starts, stops, steps = zip(*node["slices"], strict=True)
            ends = [_INT64_MAX if stop is None else stop for stop in stops]
            parts = {"starts": starts, "ends": ends, "axes": [1, 2, 3], "steps": steps}
            return [self._integers(f"{result}/{k}", list(v)) for k, v in parts.items()], {}
        return [], {"axis": 1} if op in ("Concat", "Flatten") else {}
