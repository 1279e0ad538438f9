"""OnnxClassifier: a trainable network whose layers are given as data.

`io.load_onnx` makes such data of an ONNX file, and it stays with the weights when they are saved
(`model.config`): a file of this project needs no ONNX to be read again.

    {"input": [3, 224, 224],                 channels, height, width; null where any will do
     "stem": [node, ...],
     "stages": [{"name": "layer1", "nodes": [node, ...]}, ...],
     "pool": [node, ...],                    from the last maps to features
     "head": {"name": "fc", "in_features": 2048}}

A node is {"op": ..., "inputs": [i, ...], ...}. Input 0 is what enters its section, k what the
section's k-th node gives; the last node's result leaves the section. `op` is an operator's name in
ONNX, the other entries are the arguments of the layer or function that it stands for, in PyTorch's
terms. Nodes with weights have a "name" within their section, dots included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_ft import nn
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.models.registry import register
from tinygrad_ft.nn import functional as F
from tinygrad_ft.ops.join import cat
from tinygrad_ft.tensor import Tensor

_DEFAULT_SIZE = 224  # what `input_size` says for a file that leaves it open

_LAYERS: dict[str, Callable[..., nn.Module]] = {
    "Conv": nn.Conv2d,
    "BatchNormalization": nn.BatchNorm2d,
}
_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "Relu": F.relu,
    "Add": lambda a, b: a + b,
    "MaxPool": F.max_pool2d,
    "AveragePool": F.avg_pool2d,
    "GlobalAveragePool": lambda x: F.adaptive_avg_pool2d(x, 1),
    "Flatten": lambda x: x.flatten(1),
    "Pad": F.pad,
    "Slice": lambda x, slices: x[(slice(None), *(slice(*s) for s in slices))],
    "Concat": lambda *parts: cat(parts, 1),
}
_ARITY = {"Add": (2, 2), "Concat": (1, 1000)}  # of all others: one input

Node = dict[str, Any]


class _Program:
    """The nodes of one section; modules with weights live in `owner` under the nodes' names."""

    def __init__(self, owner: nn.Module, nodes: Sequence[Node]) -> None:
        self._steps: list[tuple[Node, dict[str, Any]]] = []
        self._last_use = [0] * (len(nodes) + 1)
        for number, node in enumerate(nodes, start=1):
            inputs, op = node["inputs"], node["op"]
            least, most = _ARITY.get(op, (1, 1))
            if op not in _LAYERS and op not in _FUNCTIONS:
                raise ValueError(f"OnnxClassifier knows no operator {op!r}")
            if not least <= len(inputs) <= most or not all(0 <= i < number for i in inputs):
                raise ValueError(f"OnnxClassifier: node {number}, {op}, has the inputs {inputs}")
            options = {k: v for k, v in node.items() if k not in ("op", "inputs", "name")}
            if op in _LAYERS:
                _place(owner, node["name"], _LAYERS[op](**options))
            self._steps.append((node, options))
            for i in inputs:
                self._last_use[i] = number

    def run(self, owner: nn.Module, x: Tensor) -> Tensor:
        values: dict[int, Tensor] = {0: x}
        for number, (node, options) in enumerate(self._steps, start=1):
            inputs = [values[i] for i in node["inputs"]]
            for i in node["inputs"]:  # an activation is let go as soon as nothing needs it
                if self._last_use[i] == number:
                    values.pop(i, None)
            if node["op"] in _LAYERS:
                x = owner.get_submodule(node["name"])(*inputs)
            else:
                x = _FUNCTIONS[node["op"]](*inputs, **options)
            values[number] = x
        return x


class _Stage(nn.Module):
    """A stage of the network: maps in, maps out."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        super().__init__()
        self._program = _Program(self, nodes)

    def forward(self, x: Tensor) -> Tensor:
        return self._program.run(self, x)


class OnnxClassifier(ImageClassifier):
    """See the head of this file.

    graph: the network as data; plain JSON.
    num_classes: outputs of the last layer; 0 for a model that gives features.
    Raises ValueError for a graph that describes no network.
    """

    def __init__(self, graph: dict[str, Any], num_classes: int) -> None:
        super().__init__()
        try:
            self._build(graph, num_classes)
        except (KeyError, IndexError, TypeError, AttributeError) as problem:
            raise ValueError(
                f"OnnxClassifier: the description of the network is damaged ({problem!r})"
            ) from problem

    def _build(self, graph: dict[str, Any], num_classes: int) -> None:
        channels, height, width = graph["input"]
        self.input_size = (channels, height or _DEFAULT_SIZE, width or _DEFAULT_SIZE)
        self._stem = _Program(self, graph["stem"])
        self.stem_names = tuple(self._modules)
        for stage in graph["stages"]:
            if "." in stage["name"]:
                raise ValueError(f"OnnxClassifier: {stage['name']!r} is no name of a stage")
            _place(self, stage["name"], _Stage(stage["nodes"]))
        self.stage_names = tuple(stage["name"] for stage in graph["stages"])
        self._pool = _Program(self, graph["pool"])
        self.classifier_name = graph["head"]["name"]
        if hasattr(self, self.classifier_name):
            raise ValueError(f"OnnxClassifier: the name {self.classifier_name!r} is taken")
        self.num_features = graph["head"]["in_features"]
        self.graph = graph
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self._stem.run(self, x)
        for name in self.stage_names:
            x = self.get_submodule(name)(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self._pool.run(self, x)
        if pre_logits:
            return x
        logits: Tensor = self.get_classifier()(x)
        return logits


def _place(owner: nn.Module, path: str, module: nn.Module) -> None:
    """Register `module` in `owner` under a path with dots; ValueError if it is taken."""
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(owner, parent):
            owner.register_module(parent, nn.Module())
        owner = owner.get_submodule(parent)
    if hasattr(owner, name):
        raise ValueError(f"OnnxClassifier: the name {path!r} is taken")
    owner.register_module(name, module)


@register(input_size=(3, _DEFAULT_SIZE, _DEFAULT_SIZE), listed=False)
def onnx(graph: dict[str, Any], num_classes: int = 1000) -> OnnxClassifier:
    """A network that came from an ONNX file; `graph` describes it."""
    return OnnxClassifier(graph, num_classes)
