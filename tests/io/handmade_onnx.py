"""ONNX files put together node by node, as other exporters write them. Tests that import this are
skipped where the package onnx is not installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
helper = onnx.helper

Shape = Sequence[int | str | None]


class Graph:
    """Nodes and weights so far; values are names. Weights are random with a fixed seed."""

    def __init__(self, shape: Shape = ("batch", 3, 16, 16), opset: int = 17) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}
        self.shape, self.opset = shape, opset
        self.rng = np.random.default_rng(0)

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0]

    def constant(self, name: str, values: Any, dtype: type = np.int64) -> str:
        self.weights[name] = np.array(values, dtype)
        return name

    def weight(self, name: str, *shape: int) -> str:
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 4
        return self.constant(name, self.rng.standard_normal(shape) / np.sqrt(fan_in), np.float32)

    def conv(self, x: str, name: str, a: int, b: int, k: int, stride: int = 1) -> str:
        weight = self.weight(f"{name}.weight", b, a, k, k)
        pads = [k // 2] * 4
        return self.add("Conv", x, weight, strides=[stride] * 2, pads=pads, kernel_shape=[k, k])

    def norm(self, x: str, name: str, channels: int) -> str:
        names = [self.weight(f"{name}.{n}", channels) for n in ("weight", "bias", "running_mean")]
        var = self.rng.uniform(0.5, 2, channels)
        names.append(self.constant(f"{name}.running_var", var, np.float32))
        return self.add("BatchNormalization", x, *names, epsilon=1e-5, momentum=0.9)

    def block(self, x: str, name: str, a: int, b: int, stride: int) -> str:
        """A basic block of torchvision."""
        y = self.norm(self.conv(x, f"{name}.conv1", a, b, 3, stride), f"{name}.bn1", b)
        y = self.norm(self.conv(self.add("Relu", y), f"{name}.conv2", b, b, 3), f"{name}.bn2", b)
        if stride != 1 or a != b:
            x = self.conv(x, f"{name}.downsample.0", a, b, 1, stride)
            x = self.norm(x, f"{name}.downsample.1", b)
        return self.add("Relu", self.add("Add", y, x))

    def head(self, x: str, features: int, classes: int = 5, name: str = "fc") -> str:
        return self.add(
            "Gemm", x, self.weight(f"{name}.weight", classes, features),
            self.weight(f"{name}.bias", classes), transB=1,
        )  # fmt: skip

    def save(self, path: Path, *outputs: str, **options: Any) -> Path:
        inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, self.shape)]
        values = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs
        ]
        weights = [onnx.numpy_helper.from_array(v, n) for n, v in self.weights.items()]
        graph = helper.make_graph(self.nodes, "g", inputs, values, weights)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        onnx.save(model, path, **options)
        return path


def resnet(graph: Graph, blocks: int = 2) -> str:
    """A narrow ResNet-18 with torchvision's names, down to the last maps (32 channels)."""
    x = graph.add("Relu", graph.norm(graph.conv("x", "conv1", 3, 4, 7, 2), "bn1", 4))
    x = graph.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 4
    for stage in range(4):
        for i in range(blocks):
            stride = 2 if stage and not i else 1
            x = graph.block(x, f"layer{stage + 1}.{i}", channels, 4 << stage, stride)
            channels = 4 << stage
    return x
