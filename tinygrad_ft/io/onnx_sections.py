"""From a list of layers to stem, stages, pooling and head, with names for their weights.

The list is cut where a single array passes from what is before to what comes after: in a ResNet,
between its blocks. What lies before the first block is the stem; blocks that give maps of one
resolution are a stage. Names are the file's own where they look like PyTorch's and agree with the
stages (`layer1.0.conv1`), so that weights come out under the names they went in with; otherwise
`conv1, bn1, layer1.conv1, ..., fc`.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ft.io.errors import BadContentError
from tinygrad_ft.io.matching import HEADS
from tinygrad_ft.io.onnx_layers import Layer, Shape

_POOLING = ("AveragePool", "Flatten", "GlobalAveragePool")
_PATH = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
_SHORT = {"Conv": "conv", "BatchNormalization": "bn"}


class _Names(NamedTuple):
    """layers: {number: name within its stage}; the names of the stages; the head's name."""

    layers: dict[int, str]
    stages: list[str]
    head: str


def to_graph(
    layers: list[Layer], image: Shape, output: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The network as plain JSON, as `models.OnnxClassifier` takes it, and its weights by name.

    output: the number of the layer whose output is the network's. Raises BadContentError.
    """
    layers, output = _without_dead_ends(layers, output)
    head = layers[output - 1] if output else None
    matrices = sum(layer.op == "Gemm" for layer in layers)
    if head is None or head.op != "Gemm" or matrices != 1:
        raise BadContentError(
            f"is no classification network of the ResNet kind: that ends in its only Gemm, this "
            f"one has {matrices} and ends in {head.op if head else 'its image'}"
        )
    body = len(layers) - 1
    while body and layers[body - 1].op in _POOLING:
        body -= 1
    pool = list(range(body + 1, len(layers)))
    if not pool or len(layers[body - 1].shape if body else image) != 3:
        raise BadContentError("does not pool and flatten its maps before its last layer")
    cuts = _cuts(layers)
    if body not in cuts:
        raise BadContentError("pools more than one map before its last layer")
    stem, stages = _stages(layers, [cut for cut in cuts if cut <= body])
    names = _own_names(layers, stem, stages) or _plain_names(layers, stem, stages)
    graph = {
        "input": list(image),
        "stem": _nodes(layers, stem, names.layers),
        "stages": [
            {"name": title, "nodes": _nodes(layers, numbers, names.layers)}
            for title, numbers in zip(names.stages, stages, strict=True)
        ],
        "pool": _nodes(layers, pool, {}),
        "head": {"name": names.head, "in_features": head.options["in_features"]},
    }
    weights: dict[str, np.ndarray] = {}
    for title, numbers in (("", stem), *zip(names.stages, stages, strict=True)):
        for number in numbers:
            for kind, array in layers[number - 1].arrays.items():
                path = (
                    [title, names.layers[number], kind] if title else [names.layers[number], kind]
                )
                weights[".".join(path)] = array
    weights |= {f"{names.head}.{kind}": array for kind, array in head.arrays.items()}
    return graph, weights


def _without_dead_ends(layers: list[Layer], output: int) -> tuple[list[Layer], int]:
    """Only the layers that the output depends on, numbered anew."""
    needed, waiting = {0}, [output]
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            waiting += layers[number - 1].inputs
    kept = sorted(needed)
    new = {old: i for i, old in enumerate(kept)}
    for old in kept[1:]:
        layers[old - 1].inputs = [new[i] for i in layers[old - 1].inputs]
    return [layers[old - 1] for old in kept[1:]], new[output]


def _cuts(layers: list[Layer]) -> list[int]:
    """Numbers k such that nothing after layer k uses an output of before, but that of k."""
    last_use = [0] * (len(layers) + 1)
    for number, layer in enumerate(layers, start=1):
        for i in layer.inputs:
            last_use[i] = number
    cuts, reach = [], 0
    for number in range(len(layers) + 1):
        if reach <= number:
            cuts.append(number)
        reach = max(reach, last_use[number])
    return cuts


def _stages(layers: list[Layer], cuts: list[int]) -> tuple[list[int], list[list[int]]]:
    """The layers of the stem and those of each stage."""
    pieces = [list(range(a + 1, b + 1)) for a, b in pairwise(cuts)]
    joined = [i for i, piece in enumerate(pieces) if len(piece) > 1]
    if joined:
        first = joined[0]
    else:  # a plain chain: the stem is what has the first layer's resolution
        strides = [layers[piece[-1] - 1].stride for piece in pieces]
        first = next((i for i, s in enumerate(strides) if s != strides[0]), len(pieces))
    stem = [number for piece in pieces[:first] for number in piece]
    stages: list[list[int]] = []
    resolution = None
    for piece in pieces[first:]:
        stride = layers[piece[-1] - 1].stride
        if stride != resolution:
            stages.append([])
        stages[-1] += piece
        resolution = stride
    return stem, stages


def _plain_names(layers: list[Layer], stem: list[int], stages: list[list[int]]) -> _Names:
    found: dict[int, str] = {}
    for numbers in (stem, *stages):
        count = dict.fromkeys(_SHORT.values(), 0)
        for number in numbers:
            if layers[number - 1].arrays:
                kind = _SHORT[layers[number - 1].op]
                count[kind] += 1
                found[number] = f"{kind}{count[kind]}"
    return _Names(found, [f"layer{i + 1}" for i in range(len(stages))], "fc")


def _own_names(layers: list[Layer], stem: list[int], stages: list[list[int]]) -> _Names | None:
    """The file's names; None where they would not do."""
    origins = {
        number: layer.origin.removesuffix(".weight")
        for number, layer in enumerate(layers, start=1)
        if layer.arrays
    }
    if any(_PATH.fullmatch(origin) is None for origin in origins.values()):
        return None
    paths = {number: origin.split(".") for number, origin in origins.items()}
    while len({path[0] for path in paths.values()}) == 1 and min(map(len, paths.values())) > 1:
        paths = {number: path[1:] for number, path in paths.items()}
    head = paths.pop(len(layers))
    if len(head) != 1 or head[0] not in HEADS:
        return None
    ordered = sorted(paths.values())
    for one, other in pairwise(ordered):
        if other[: len(one)] == one:  # two layers of one name, or one inside another
            return None
    taken = {head[0]} | {paths[number][0] for number in stem if number in paths}
    titles: list[str] = []
    for numbers in stages:
        inside = [paths[number] for number in numbers if number in paths]
        firsts = {path[0] for path in inside}
        if len(firsts) != 1 or firsts & taken or min(map(len, inside)) < 2:
            return None
        taken |= firsts
        titles += firsts
        paths |= {number: paths[number][1:] for number in numbers if number in paths}
    return _Names({number: ".".join(path) for number, path in paths.items()}, titles, head[0])


def _nodes(layers: list[Layer], numbers: list[int], names: dict[int, str]) -> list[dict[str, Any]]:
    """A section as plain JSON: input 0 is what enters it, k what its k-th node gives."""
    start = numbers[0] - 1 if numbers else 0
    nodes = []
    for number in numbers:
        layer = layers[number - 1]
        node = {"op": layer.op, "inputs": [i - start for i in layer.inputs], **layer.options}
        if number in names:
            node["name"] = names[number]
        nodes.append(node)
    return nodes
