"""The ONNX operators that change shapes: flattening, padding, slices, joining, means over axes.

As in onnx_operators.py: one function an operator.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ft.io.onnx_constants import BATCH
from tinygrad_ft.io.onnx_layers import Layers, Operator, Shape, operator, refused
from tinygrad_ft.io.onnx_proto import Attributes

SHAPES: dict[str, Operator] = {}

_MAX_PADDING = 1 << 16


@operator(SHAPES, "Flatten")
def _flatten(net: Layers, node: Any, attributes: Attributes) -> None:
    if attributes.integer("axis", 1) not in (1, -3):
        raise refused(node, "does not flatten each image by itself (axis 1)")
    _to_features(net, node)


@operator(SHAPES, "Squeeze")
def _squeeze(net: Layers, node: Any, attributes: Attributes) -> None:
    _, shape = net.maps(node)
    axes = _option(net, node, attributes, "axes", 1)
    if sorted(axis % 4 for axis in axes) != [2, 3] or shape[1:] != (1, 1):
        raise refused(node, f"drops the axes {axes} of {shape}")
    _to_features(net, node)


@operator(SHAPES, "Reshape")
def _reshape(net: Layers, node: Any, attributes: Attributes) -> None:
    features = _features(net.shape(net.number(node, 0)))
    target = _option(net, node, attributes, "shape", 1)
    images, rest = target if len(target) == 2 else (None, None)
    copies = images in (BATCH, net.images) or (
        images == 0 and not attributes.integer("allowzero", 0)
    )
    if not ((copies and rest in (-1, features)) or (images == -1 and rest == features)):
        shown_target = ["N" if n == BATCH else n for n in target]
        raise refused(
            node, f"gives {shown_target}: only flattening each image to (N, {features}) is read"
        )
    _to_features(net, node)


def _to_features(net: Layers, node: Any) -> None:
    number = net.number(node, 0)
    shape = net.shape(number)
    if len(shape) == 1:
        net.alias(node, number)
        return
    net.add("Flatten", [number], (_features(shape),))
    net.finish(node)


@operator(SHAPES, "Shape")
def _shape(net: Layers, node: Any, attributes: Attributes) -> None:
    extents = [BATCH, *net.shape(net.number(node, 0))]
    chosen = extents[slice(attributes.integer("start", 0), attributes.integer("end", 4))]
    if None in chosen:
        raise refused(node, "needs the size of the images, which the file does not fix")
    net.set_constant(node.output[0], np.array(chosen, np.int64))


@operator(SHAPES, "Cast")
def _cast(net: Layers, node: Any, attributes: Attributes) -> None:
    if attributes.integer("to", 0) not in (1, 10, 11, 16):
        raise refused(node, "turns maps into numbers that are no floats")
    net.alias(node, net.number(node, 0))  # everything is computed in float32


@operator(SHAPES, "Pad")
def _pad(net: Layers, node: Any, attributes: Attributes) -> None:
    number, shape = net.maps(node)
    if attributes.text("mode", "constant") != "constant":
        raise refused(node, "pads with something else than zeros")
    value = [attributes.number("value", 0.0)]
    if len(node.input) > 2 and node.input[2]:
        value = net.constant(node, 2, "value").reshape(-1)[:2].tolist()
    pads = _option(net, node, attributes, "pads", 1)
    axes = list(range(4))
    if len(node.input) > 3 and node.input[3]:
        axes = [axis % 4 for axis in net.integers(node, 3, "axes")]
    if value != [0.0] or len(pads) != 2 * len(axes) or len(set(axes)) != len(axes):
        raise refused(node, "pads with something else than zeros")
    around = dict(zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True))
    sizes = [n for pair in around.values() for n in pair]
    if around.get(0, (0, 0)) != (0, 0) or not all(0 <= n <= _MAX_PADDING for n in sizes):
        raise refused(node, f"pads by {pads}")
    pad_maps(net, number, shape, [around.get(axis, (0, 0)) for axis in (1, 2, 3)])
    net.finish(node)


@operator(SHAPES, "Slice")
def _slice(net: Layers, node: Any, attributes: Attributes) -> None:
    number, shape = net.maps(node)
    starts = _option(net, node, attributes, "starts", 1)
    ends = _option(net, node, attributes, "ends", 2)
    axes = _option(net, node, attributes, "axes", 3, list(range(len(starts))))
    steps = _option(net, node, attributes, "steps", 4, [1] * len(starts))
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise refused(node, "has starts, ends, axes and steps that do not go together")
    slices: list[list[int | None]] = [[0, None, 1] for _ in range(3)]
    extents = list(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= 4
        if axis == 0 or step < 1:
            raise refused(node, "takes some of the images, or goes backwards")
        stop = None if end >= 2**31 - 1 else end
        extent = extents[axis - 1]
        if extent is None and (start < 0 or stop is not None):
            raise refused(node, "needs the size of the images, which the file does not fix")
        slices[axis - 1] = [start, stop, step]
        if extent is not None:
            extents[axis - 1] = len(range(*slice(start, stop, step).indices(extent)))
    if 0 in extents:
        raise refused(node, f"leaves nothing of {shape}")
    factor = slices[1][2]
    assert factor is not None
    net.add("Slice", [number], tuple(extents), factor, slices=slices)
    net.finish(node)


@operator(SHAPES, "Concat")
def _concat(net: Layers, node: Any, attributes: Attributes) -> None:
    if attributes.integer("axis", 1) not in (1, -3):
        raise refused(node, "joins along another axis than the channels")
    numbers = [net.maps(node, i)[0] for i, n in enumerate(node.input) if net.is_layer(n)]
    shapes = [net.shape(number) for number in numbers]
    if len(numbers) < len(node.input):  # zeros for new channels: the shortcut of CIFAR ResNets
        _concat_zeros(net, node, numbers)
    elif len({shape[1:] for shape in shapes}) != 1:
        raise refused(node, f"joins {', '.join(map(str, shapes))}")
    else:
        channels = sum(shape[0] or 0 for shape in shapes)
        net.add("Concat", numbers, (channels, *shapes[0][1:]))
    net.finish(node)


def _concat_zeros(net: Layers, node: Any, numbers: list[int]) -> None:
    around = [0, 0]
    side = 0
    for index, name in enumerate(node.input):
        if net.is_layer(name):
            side = 1
            continue
        zeros = net.constant(node, index, "part")
        if zeros.ndim != 4 or zeros.any():
            raise refused(node, "joins a constant that is not zeros of shape (N, C, H, W)")
        around[side] += zeros.shape[1]
    if len(numbers) != 1:
        raise refused(node, f"joins zeros and {len(numbers)} maps, one is supported")
    pad_maps(net, numbers[0], net.shape(numbers[0]), [(around[0], around[1]), (0, 0), (0, 0)])


@operator(SHAPES, "ReduceMean")
def _reduce_mean(net: Layers, node: Any, attributes: Attributes) -> None:
    number, shape = net.maps(node)
    axes = _option(net, node, attributes, "axes", 1)
    if sorted(axis % 4 for axis in axes) != [2, 3]:
        raise refused(node, f"takes the mean over the axes {axes}; height and width are supported")
    net.add("GlobalAveragePool", [number], (shape[0], 1, 1))
    if not attributes.integer("keepdims", 1):
        net.add("Flatten", [len(net.layers)], (shape[0],))
    net.finish(node)


def pad_maps(
    net: Layers, number: int, shape: Shape, around: list[tuple[int, int]]
) -> tuple[int, Shape]:
    """Append the padding of channels, height and width; gives the layer's number and shape."""
    padded = tuple(
        None if extent is None else extent + before + after
        for extent, (before, after) in zip(shape, around, strict=True)
    )
    # as F.pad takes it, the last dimension first
    net.add("Pad", [number], padded, pad=[n for pair in reversed(around) for n in pair])
    return len(net.layers), padded


def _option(
    net: Layers, node: Any, attributes: Attributes, name: str, index: int,
    default: list[int] | None = None,
) -> list[int]:  # fmt: skip
    """A list of integers: an attribute in older files, an input in newer ones."""
    if name in attributes:
        return attributes.integers(name, [])
    if default is not None and (index >= len(node.input) or not node.input[index]):
        return default
    return net.integers(node, index, name)


def _features(shape: Shape) -> int | None:
    return None if None in shape else math.prod(n for n in shape if n is not None)
