"""The ONNX operators that classification networks of the ResNet kind are made of.

One function an operator: it checks the node and appends what it stands for. Names and defaults of
attributes: the operators' page of ONNX, versions 7 and later, where older versions keep in
attributes what newer ones take as inputs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ft.io.onnx_constants import BATCH
from tinygrad_ft.io.onnx_layers import Layers, Operator, Shape, refused
from tinygrad_ft.io.onnx_proto import Attributes

_OPERATORS: dict[str, Operator] = {}


def _operator(*names: str) -> Any:
    def add(function: Operator) -> Operator:
        _OPERATORS.update(dict.fromkeys(names, function))
        return function

    return add


def find_operator(name: str) -> Operator | None:
    """The function for an operator of ONNX's own domain; None if it is not supported."""
    return _OPERATORS.get(name)


def supported_operators() -> list[str]:
    """The names of all operators that work on the network's maps and vectors."""
    return sorted(_OPERATORS)


# --- layers with weights -------------------------------------------------------------------------


@_operator("Conv")
def _conv(net: Layers, node: Any, attributes: Attributes) -> None:
    number, shape = net.maps(node)
    weight = net.floats(node, 1, "weight", 4)
    groups = attributes.integer("group", 1)
    out_channels, in_channels = weight.shape[0], weight.shape[1] * groups
    if groups < 1 or shape[0] != in_channels or out_channels % groups:
        raise refused(node, f"has weights of shape {weight.shape} for {shape[0]} channels")
    kernel = tuple(weight.shape[2:])
    if tuple(attributes.integers("kernel_shape", list(kernel))) != kernel:
        raise refused(node, f"has a kernel_shape other than its weight's, {kernel}")
    stride, dilation = _pair(node, attributes, "strides"), _pair(node, attributes, "dilations")
    begin, end = _paddings(node, attributes)
    if begin != end:
        number, shape = _pad_maps(net, number, shape, [(0, 0), *zip(begin, end, strict=True)])
        begin = (0, 0)
    spatial = _window(node, shape, kernel, stride, begin, dilation, ceil_mode=False)
    has_bias = len(node.input) > 2 and bool(node.input[2])
    layer = net.add(
        "Conv", [number], (out_channels, *spatial), stride[0],
        in_channels=in_channels, out_channels=out_channels, kernel_size=list(kernel),
        stride=list(stride), padding=list(begin), dilation=list(dilation), groups=groups,
        bias=has_bias,
    )  # fmt: skip
    layer.origin = node.input[1]
    layer.arrays["weight"] = weight
    if has_bias:
        bias = net.floats(node, 2, "bias", 1)
        if bias.shape != (out_channels,):
            raise refused(node, f"has {bias.shape[0]} biases for {out_channels} channels")
        layer.arrays["bias"] = bias
    net.finish(node)


@_operator("BatchNormalization")
def _batch_norm(net: Layers, node: Any, attributes: Attributes) -> None:
    number, shape = net.maps(node)
    if attributes.integer("training_mode", 0) or attributes.integer("spatial", 1) != 1:
        raise refused(node, "is in training mode: export the network in evaluation mode")
    names = ("weight", "bias", "running_mean", "running_var")
    arrays = {name: net.floats(node, i, name, 1) for i, name in enumerate(names, start=1)}
    for name, array in arrays.items():
        if array.shape != (shape[0],):
            raise refused(node, f"has {array.shape[0]} numbers in {name} for {shape[0]} channels")
    layer = net.add(
        "BatchNormalization", [number], shape, num_features=shape[0],
        eps=attributes.number("epsilon", 1e-5),
        momentum=round(1 - attributes.number("momentum", 0.9), 7),
    )  # fmt: skip
    layer.origin, layer.arrays = node.input[1], arrays
    net.finish(node)


@_operator("Gemm")
def _gemm(net: Layers, node: Any, attributes: Attributes) -> None:
    weight = net.floats(node, 1, "matrix", 2)
    if attributes.integer("transA", 0):
        raise refused(node, "transposes its input")
    if not attributes.integer("transB", 0):
        weight = weight.T
    _linear(net, node, weight * np.float32(attributes.number("alpha", 1.0)))
    if len(node.input) > 2 and node.input[2]:
        bias = net.constant(node, 2, "bias")
        _set_bias(net, node, bias * np.float32(attributes.number("beta", 1.0)))


@_operator("MatMul")
def _matmul(net: Layers, node: Any, attributes: Attributes) -> None:
    _linear(net, node, net.floats(node, 1, "matrix", 2).T)


def _linear(net: Layers, node: Any, weight: np.ndarray) -> None:
    number = net.number(node, 0)
    shape = net.shape(number)
    if len(shape) != 1 or shape[0] not in (None, weight.shape[1]):
        raise refused(node, f"has a matrix for {weight.shape[1]} features on what is {shape}")
    layer = net.add("Gemm", [number], (weight.shape[0],), in_features=weight.shape[1])
    layer.origin = node.input[1]
    layer.arrays = {
        "weight": np.ascontiguousarray(weight),
        "bias": np.zeros(weight.shape[0], np.float32),
    }
    net.finish(node)


def _set_bias(net: Layers, node: Any, bias: np.ndarray) -> None:
    arrays = net.layers[-1].arrays
    # (out,), (1, out), or one number for all
    if bias.dtype.kind != "f" or bias.size not in (1, arrays["bias"].size) or bias.ndim > 2:
        raise refused(node, f"adds {bias.shape} numbers to {arrays['bias'].size} features")
    arrays["bias"] = np.array(np.broadcast_to(bias.reshape(-1), arrays["bias"].shape), np.float32)


# --- layers without weights ----------------------------------------------------------------------


@_operator("Relu")
def _relu(net: Layers, node: Any, attributes: Attributes) -> None:
    number = net.number(node, 0)
    net.add("Relu", [number], net.shape(number))
    net.finish(node)


@_operator("Add", "Sum")
def _add(net: Layers, node: Any, attributes: Attributes) -> None:
    if len(node.input) != 2:
        raise refused(node, f"adds {len(node.input)} things, two are supported")
    constants = [i for i, name in enumerate(node.input) if net.is_constant(name)]
    if len(constants) == 1:  # MatMul and Add: a layer and its bias
        number = net.number(node, 1 - constants[0])
        last = net.layers[-1] if net.layers else None
        if number != len(net.layers) or last is None or last.op != "Gemm":
            raise refused(node, "adds a constant to what is not the product with a matrix")
        _set_bias(net, node, net.constant(node, constants[0], "bias"))
        net.alias(node, number)
        return
    one, other = net.number(node, 0), net.number(node, 1)
    shape = net.shape(one)
    if shape != net.shape(other):
        raise refused(node, f"adds {shape} and {net.shape(other)}")
    net.add("Add", [one, other], shape)
    net.finish(node)


@_operator("MaxPool")
def _max_pool(net: Layers, node: Any, attributes: Attributes) -> None:
    if len(node.output) > 1 and node.output[1]:
        raise refused(node, "also gives the places of its maxima")
    dilation = _pair(node, attributes, "dilations")
    _pool(net, node, attributes, dilation, dilation=list(dilation))


@_operator("AveragePool")
def _average_pool(net: Layers, node: Any, attributes: Attributes) -> None:
    if _pair(node, attributes, "dilations") != (1, 1):
        raise refused(node, "is dilated")
    counts = bool(attributes.integer("count_include_pad", 0))
    _pool(net, node, attributes, (1, 1), count_include_pad=counts)


def _pool(
    net: Layers, node: Any, attributes: Attributes, dilation: tuple[int, int], **options: Any
) -> None:
    number, shape = net.maps(node)
    kernel, stride = _pair(node, attributes, "kernel_shape"), _pair(node, attributes, "strides")
    begin, end = _paddings(node, attributes)
    if begin != end:
        raise refused(node, f"pads {begin} before and {end} after: only equal paddings are read")
    ceil_mode = bool(attributes.integer("ceil_mode", 0))
    spatial = _window(node, shape, kernel, stride, begin, dilation, ceil_mode)
    net.add(
        node.op_type, [number], (shape[0], *spatial), stride[0], kernel_size=list(kernel),
        stride=list(stride), padding=list(begin), ceil_mode=ceil_mode, **options,
    )  # fmt: skip
    net.finish(node)


@_operator("GlobalAveragePool")
def _global_average_pool(net: Layers, node: Any, attributes: Attributes) -> None:
    number, shape = net.maps(node)
    net.add("GlobalAveragePool", [number], (shape[0], 1, 1))
    net.finish(node)


@_operator("ReduceMean")
def _reduce_mean(net: Layers, node: Any, attributes: Attributes) -> None:
    number, shape = net.maps(node)
    axes = _option(net, node, attributes, "axes", 1)
    if sorted(axis % 4 for axis in axes) != [2, 3]:
        raise refused(node, f"takes the mean over the axes {axes}; height and width are supported")
    net.add("GlobalAveragePool", [number], (shape[0], 1, 1))
    if not attributes.integer("keepdims", 1):
        net.add("Flatten", [len(net.layers)], (shape[0],))
    net.finish(node)


@_operator("Identity", "Dropout")
def _identity(net: Layers, node: Any, attributes: Attributes) -> None:
    net.alias(node, net.number(node, 0))  # Dropout does nothing at inference


# --- shapes --------------------------------------------------------------------------------------


@_operator("Flatten")
def _flatten(net: Layers, node: Any, attributes: Attributes) -> None:
    if attributes.integer("axis", 1) not in (1, -3):
        raise refused(node, "does not flatten each image by itself (axis 1)")
    _to_features(net, node)


@_operator("Squeeze")
def _squeeze(net: Layers, node: Any, attributes: Attributes) -> None:
    _, shape = net.maps(node)
    axes = _option(net, node, attributes, "axes", 1)
    if sorted(axis % 4 for axis in axes) != [2, 3] or shape[1:] != (1, 1):
        raise refused(node, f"drops the axes {axes} of {shape}")
    _to_features(net, node)


@_operator("Reshape")
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


@_operator("Shape")
def _shape(net: Layers, node: Any, attributes: Attributes) -> None:
    extents = [BATCH, *net.shape(net.number(node, 0))]
    chosen = extents[slice(attributes.integer("start", 0), attributes.integer("end", 4))]
    if None in chosen:
        raise refused(node, "needs the size of the images, which the file does not fix")
    net.set_constant(node.output[0], np.array(chosen, np.int64))


@_operator("Cast")
def _cast(net: Layers, node: Any, attributes: Attributes) -> None:
    if attributes.integer("to", 0) not in (1, 10, 11, 16):
        raise refused(node, "turns maps into numbers that are no floats")
    net.alias(node, net.number(node, 0))  # everything is computed in float32


@_operator("Pad")
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
    if around.get(0, (0, 0)) != (0, 0) or any(n < 0 for pair in around.values() for n in pair):
        raise refused(node, f"pads by {pads}")
    _pad_maps(net, number, shape, [around.get(axis, (0, 0)) for axis in (1, 2, 3)])
    net.finish(node)


def _pad_maps(
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


@_operator("Slice")
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


@_operator("Concat")
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
    _pad_maps(net, numbers[0], net.shape(numbers[0]), [(around[0], around[1]), (0, 0), (0, 0)])


# --- numbers -------------------------------------------------------------------------------------


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


def _pair(node: Any, attributes: Attributes, name: str) -> tuple[int, int]:
    values = attributes.integers(name, [] if name == "kernel_shape" else [1, 1])
    if len(values) != 2 or min(values) < 1 or max(values) > 1 << 16:
        raise refused(node, f"has {name} {values}; two numbers, 1 or more, are supported")
    return values[0], values[1]


def _paddings(node: Any, attributes: Attributes) -> tuple[tuple[int, int], tuple[int, int]]:
    """(top, left), (bottom, right)"""
    automatic = attributes.text("auto_pad", "NOTSET")
    if automatic == "VALID":
        return (0, 0), (0, 0)
    pads = attributes.integers("pads", [0, 0, 0, 0])
    if automatic != "NOTSET" or len(pads) != 4 or min(pads) < 0 or max(pads) > 1 << 16:
        raise refused(node, f"has auto_pad {automatic!r} and pads {pads}; explicit pads are read")
    return (pads[0], pads[1]), (pads[2], pads[3])


def _window(
    node: Any, shape: Shape, kernel: tuple[int, int], stride: tuple[int, int],
    padding: tuple[int, int], dilation: tuple[int, int], ceil_mode: bool,
) -> list[int | None]:  # fmt: skip
    """Height and width after a window moved over maps of `shape`."""
    found: list[int | None] = []
    for extent, k, s, p, d in zip(shape[1:], kernel, stride, padding, dilation, strict=True):
        if extent is None:
            found.append(None)
            continue
        steps = (extent + 2 * p - d * (k - 1) - 1) / s
        count = (math.ceil(steps) if ceil_mode else math.floor(steps)) + 1
        if ceil_mode and (count - 1) * s >= extent + p:  # a window must begin inside
            count -= 1
        if count < 1:
            raise refused(node, f"has a window larger than its maps, {shape}")
        found.append(count)
    return found


def _features(shape: Shape) -> int | None:
    return None if None in shape else math.prod(n for n in shape if n is not None)
