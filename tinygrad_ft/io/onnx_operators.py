"""The ONNX operators that compute: convolution, batch norm, matrices, activations, poolings.

One function an operator: it checks the node and appends what it stands for. Names and defaults of
attributes: the operators' page of ONNX, versions 7 and later, where older versions keep in
attributes what newer ones take as inputs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ft.io.onnx_layers import Layers, Operator, Shape, operator, refused
from tinygrad_ft.io.onnx_proto import Attributes
from tinygrad_ft.io.onnx_shapes import pad_maps

OPERATORS: dict[str, Operator] = {}


# --- layers with weights -------------------------------------------------------------------------


@operator(OPERATORS, "Conv")
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
        number, shape = pad_maps(net, number, shape, [(0, 0), *zip(begin, end, strict=True)])
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


@operator(OPERATORS, "BatchNormalization")
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


@operator(OPERATORS, "Gemm")
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


@operator(OPERATORS, "MatMul")
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


@operator(OPERATORS, "Relu")
def _relu(net: Layers, node: Any, attributes: Attributes) -> None:
    number = net.number(node, 0)
    net.add("Relu", [number], net.shape(number))
    net.finish(node)


@operator(OPERATORS, "Add", "Sum")
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


@operator(OPERATORS, "MaxPool")
def _max_pool(net: Layers, node: Any, attributes: Attributes) -> None:
    if len(node.output) > 1 and node.output[1]:
        raise refused(node, "also gives the places of its maxima")
    _pool(net, node, attributes, dilation=list(_pair(node, attributes, "dilations")))


@operator(OPERATORS, "AveragePool")
def _average_pool(net: Layers, node: Any, attributes: Attributes) -> None:
    if _pair(node, attributes, "dilations") != (1, 1):
        raise refused(node, "is dilated")
    counts = bool(attributes.integer("count_include_pad", 0))
    _pool(net, node, attributes, count_include_pad=counts)


def _pool(net: Layers, node: Any, attributes: Attributes, **options: Any) -> None:
    number, shape = net.maps(node)
    kernel, stride = _pair(node, attributes, "kernel_shape"), _pair(node, attributes, "strides")
    begin, end = _paddings(node, attributes)
    if begin != end:
        raise refused(node, f"pads {begin} before and {end} after: only equal paddings are read")
    ceil_mode = bool(attributes.integer("ceil_mode", 0))
    dilation = tuple(options.get("dilation", (1, 1)))
    spatial = _window(node, shape, kernel, stride, begin, dilation, ceil_mode)
    net.add(
        node.op_type, [number], (shape[0], *spatial), stride[0], kernel_size=list(kernel),
        stride=list(stride), padding=list(begin), ceil_mode=ceil_mode, **options,
    )  # fmt: skip
    net.finish(node)


@operator(OPERATORS, "GlobalAveragePool")
def _global_average_pool(net: Layers, node: Any, attributes: Attributes) -> None:
    number, shape = net.maps(node)
    net.add("GlobalAveragePool", [number], (shape[0], 1, 1))
    net.finish(node)


@operator(OPERATORS, "Identity", "Dropout")
def _identity(net: Layers, node: Any, attributes: Attributes) -> None:
    net.alias(node, net.number(node, 0))  # Dropout does nothing at inference


# --- numbers -------------------------------------------------------------------------------------


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
