"""graph_of: what a model computes in evaluation mode, as the data that OnnxClassifier takes."""

from __future__ import annotations

from typing import Any

from tinygrad_ft import nn
from tinygrad_ft.models.cifar_resnet import CifarBlock, CifarResNet
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.models.onnx_classifier import Node, OnnxClassifier
from tinygrad_ft.models.resnet import BasicBlock, Bottleneck, ResNet


def graph_of(model: ImageClassifier, size: int | None = None) -> dict[str, Any]:
    """The network as plain JSON; the head of models/onnx_classifier.py tells how to read it.

    size: height and width of the images; default: those of `model.input_size`.
    Raises ValueError for a model without a last layer, TypeError for one of another kind than
    ResNet, CifarResNet and OnnxClassifier.
    """
    if not isinstance(model.get_classifier(), nn.Linear):
        raise ValueError("graph_of: the model has no classes: call reset_classifier first")
    channels, height, width = model.input_size
    image = [channels, size or height, size or width]
    if isinstance(model, OnnxClassifier):
        return {**model.graph, "input": image}
    if not isinstance(model, ResNet | CifarResNet):
        raise TypeError(
            f"graph_of knows ResNet, CifarResNet and OnnxClassifier, not {type(model).__name__}"
        )
    stem = _Nodes()
    x = stem.conv_norm("", model, "conv1", "bn1", 0)
    x = stem.add("Relu", [x])
    if isinstance(model, ResNet) and not model.small_input:
        stem.add(
            "MaxPool", [x], kernel_size=[3, 3], stride=[2, 2], padding=[1, 1], ceil_mode=False,
            dilation=[1, 1],
        )  # fmt: skip
    pool = _Nodes()
    pool.add("Flatten", [pool.add("GlobalAveragePool", [0])])
    return {
        "input": image,
        "stem": stem.nodes,
        "stages": [
            {"name": name, "nodes": _stage(model.get_submodule(name))} for name in model.stage_names
        ],
        "pool": pool.nodes,
        "head": {"name": model.classifier_name, "in_features": model.num_features},
    }


class _Nodes:
    """The nodes of a section, as they come; 0 is what enters it."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, op: str, inputs: list[int], **options: Any) -> int:
        self.nodes.append({"op": op, "inputs": inputs, **options})
        return len(self.nodes)

    def conv_norm(self, prefix: str, owner: nn.Module, conv: str, norm: str, x: int) -> int:
        """`norm(conv(x))` of two layers of `owner`, whose names get `prefix`."""
        c, n = owner.get_submodule(conv), owner.get_submodule(norm)
        assert isinstance(c, nn.Conv2d) and isinstance(n, nn.BatchNorm2d)
        x = self.add(
            "Conv", [x], in_channels=c.in_channels, out_channels=c.out_channels,
            kernel_size=list(c.kernel_size), stride=list(c.stride), padding=list(c.padding),
            dilation=list(c.dilation), groups=c.groups, bias=c.bias is not None,
            name=f"{prefix}{conv}",
        )  # fmt: skip
        return self.add(
            "BatchNormalization", [x], num_features=n.num_features, eps=n.eps,
            momentum=n.momentum, name=f"{prefix}{norm}",
        )  # fmt: skip


def _stage(stage: nn.Module) -> list[Node]:
    section, x = _Nodes(), 0
    for name, block in stage.named_children():
        x = _block(section, f"{name}.", block, x)
    return section.nodes


def _block(section: _Nodes, prefix: str, block: nn.Module, x: int) -> int:
    out = section.conv_norm(prefix, block, "conv1", "bn1", x)
    out = section.conv_norm(prefix, block, "conv2", "bn2", section.add("Relu", [out]))
    if isinstance(block, Bottleneck):
        out = section.conv_norm(prefix, block, "conv3", "bn3", section.add("Relu", [out]))
    if isinstance(block, CifarBlock):
        shortcut = _padded_shortcut(section, block, x)
    else:
        assert isinstance(block, BasicBlock | Bottleneck)
        shortcut = x
        if block.downsample is not None:
            shortcut = section.conv_norm(f"{prefix}downsample.", block.downsample, "0", "1", x)
    return section.add("Relu", [section.add("Add", [out, shortcut])])


def _padded_shortcut(section: _Nodes, block: CifarBlock, x: int) -> int:
    """Every `stride`-th pixel, zeros for the new channels; see CifarBlock.shortcut."""
    if block.stride == 1 and block.new_channels == 0:
        return x
    steps = [[0, None, 1], [0, None, block.stride], [0, None, block.stride]]
    before = block.new_channels // 2
    after = block.new_channels - before
    x = section.add("Slice", [x], slices=steps)
    return section.add("Pad", [x], pad=[0, 0, 0, 0, before, after])
