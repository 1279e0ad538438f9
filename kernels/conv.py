"""Convolution and its two gradients: the public functions, and the choice of path.

    y[n, o, i, j] = sum over c, kh, kw of  x[n, c, i*s + kh*d - p, j*s + kw*d - p] * w[o, c, kh, kw]

(cross-correlation, as everywhere in deep learning; o and c run within a group). Logical shapes are
PyTorch's: x (N,C,H,W), weight (O, C/groups, kH, kW). Inputs may have any strides. Results of 4-D
images come in channels-last memory, weight gradients in plain C order. `out=` may be any array of
the right shape and dtype that does not overlap the inputs.

Float64 goes to conv_general.py (NumPy, one matrix product per kernel position), float32 to the
first of these that fits:

| case | path |
|---|---|
| 3x3, stride 1, dilation 1, one group, 8 channels or more | winograd.py unless off |
| 3x3, stride 2, dilation 1, one group, 16 channels or more | winograd_strided*.py unless off |
| 1x1, stride 1, no padding, one group, dense channels-last images (not dw) | matmul.py |
| weight gradient (dw) of many channels, one group | conv_panels.py |
| everything else | conv_direct.py |

(Winograd's paths also want enough tiles, those of stride 2 padding 1 for gradients: see `suits`.)

The three functions are a closed family: the gradients of each are made of the other two.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import (
    buffers,
    conv_panels,
    winograd,
    winograd_strided,
    winograd_strided_grad_input,
    winograd_strided_grad_weight,
)
from kernels import conv_general as general
from kernels.conv_direct import run_gather, run_weight_gradient
from kernels.conv_plan import Geometry, output_size
from kernels.finish import Finish
from kernels.matmul import multiply_finished
from kernels.prepared import Prepared
from kernels.winograd import set_winograd, winograd_enabled
from kernels.workers import catch_up

__all__ = [
    "conv2d_forward",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "conv2d_shape",
    "set_winograd",
    "winograd_enabled",
]

Array = NDArray[Any]
IntOrPair = int | tuple[int, int]


def _pair(value: IntOrPair, name: str, op: str, least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, (int, np.integer)) and v >= least for v in pair):
        raise ValueError(f"{op}: {name} must be one or two integers >= {least}, not {value!r}")
    return int(pair[0]), int(pair[1])


class _Shape:
    """The checked geometry of one convolution."""

    def __init__(
        self,
        op: str,
        x_shape: tuple[int, ...],
        weight_shape: tuple[int, ...],
        stride: IntOrPair,
        padding: IntOrPair,
        dilation: IntOrPair,
        groups: int,
    ) -> None:
        self.stride = _pair(stride, "stride", op, 1)
        self.padding = _pair(padding, "padding", op, 0)
        self.dilation = _pair(dilation, "dilation", op, 1)
        self.geometry = Geometry(self.stride, self.padding, self.dilation)
        self.groups = groups
        if len(x_shape) != 4 or len(weight_shape) != 4:
            raise ValueError(
                f"{op}: the input must be (N, C, H, W) and the weight (O, C/groups, kH, kW), "
                f"not {tuple(x_shape)} and {tuple(weight_shape)}"
            )
        n, c, h, w = x_shape
        o, inner, kh, kw = weight_shape
        if groups < 1 or c != inner * groups or o % groups:
            raise ValueError(
                f"{op}: input {tuple(x_shape)} and weight {tuple(weight_shape)} do not fit with "
                f"groups={groups}: C must be groups * weight.shape[1], O a multiple of groups"
            )
        sizes = zip((h, w), (kh, kw), self.stride, self.padding, self.dilation, strict=True)
        self.out_size = [output_size(*axis) for axis in sizes]
        if min(kh, kw) < 1 or min(self.out_size) < 1:
            raise ValueError(
                f"{op}: a {kh}x{kw} kernel with dilation {self.dilation} does not fit into an "
                f"image of {h}x{w} with padding {self.padding}"
            )
        self.kernel = (kh, kw)
        self.result = (n, o, *self.out_size)
        self.parameters = (self.stride, self.padding, self.dilation, groups)
        self.is_empty = math.prod((*x_shape, *weight_shape, *self.result)) == 0
        shapes, space = (weight_shape, self.result), (self.dilation, groups)
        padded = (*shapes, self.stride, self.padding, *space)
        self._suits = {
            "winograd": winograd.suits(*shapes, self.stride, *space),
            "strided forward": winograd_strided.suits(*shapes, self.stride, *space),
            "strided input": winograd_strided_grad_input.suits(*padded),
            "strided weight": winograd_strided_grad_weight.suits(*padded),
        }

    def takes(self, path: str) -> bool:
        """Whether one of Winograd's algorithms is to be used."""
        return self._suits[path] and winograd_enabled()

    def read_by_1x1(self, x: Array) -> tuple[Array, "_Shape"]:
        """For a 1x1 convolution with a stride: the pixels that it reads, and the same with stride
        1."""
        if self.kernel != (1, 1) or self.padding != (0, 0) or self.stride == (1, 1):
            return x, self
        (down, right), (height, width) = self.stride, self.out_size
        read = x[:, :, ::down, ::right][:, :, :height, :width]
        weight = (self.result[1], x.shape[1] // self.groups, 1, 1)
        return read, _shape("", read.shape, weight, 1, 0, 1, self.groups)

    def as_matrices(self, *images: Array) -> list[Array] | None:
        """Images as matrices, pixels x channels, if the convolution is a matrix product of them."""
        if self.kernel != (1, 1) or self.padding != (0, 0) or self.groups != 1:
            return None
        if any(image.shape[2:] != self.result[2:] for image in images):
            return None
        last = [image.transpose(0, 2, 3, 1) for image in images]
        if not all(image.flags.c_contiguous for image in last):
            return None
        return [image.reshape(-1, image.shape[3]) for image in last]

    def check_grad(self, op: str, grad_out: Array) -> None:
        if grad_out.shape != self.result:
            raise ValueError(
                f"{op}: grad_out has shape {grad_out.shape}, the convolution's result "
                f"has {self.result}"
            )


@lru_cache(maxsize=1024, typed=True)
def _known_shape(*arguments: Any) -> _Shape:
    return _Shape(*arguments)


def _shape(op: str, x: Sequence[int], weight: Sequence[int], *geometry: Any) -> _Shape:
    """The geometry, checked once for all calls with the same arguments."""
    try:
        return _known_shape(op, x, weight, *geometry)
    except TypeError:  # lists cannot be remembered
        hashable = [tuple(g) if isinstance(g, list) else g for g in geometry]
        return _known_shape(op, tuple(x), tuple(weight), *hashable)


FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def _dtype(op: str, a: Array, b: Array) -> np.dtype[Any]:
    if a.dtype != b.dtype or a.dtype not in (FLOAT32, FLOAT64):
        raise TypeError(
            f"{op}: both arrays must be float32, or both float64, not {a.dtype} and {b.dtype}"
        )
    return a.dtype


def _result(op: str, out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """`out`, checked, or a new array: channels last for images."""
    if out is None:
        n, c, h, w = shape
        return buffers.empty_nhwc(n, c, h, w, dtype, later=True)
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"{op}: out is {out.dtype} {out.shape}, the result is {dtype} {tuple(shape)}"
        )
    if not out.flags.writeable:
        raise ValueError(f"{op}: out is read-only")
    return out


def _channels_last(result: Array) -> bool:
    return result.strides[1] == result.itemsize or result.shape[1] == 1


def _dense(result: Array) -> bool:
    return result.transpose(0, 2, 3, 1).flags.c_contiguous


def conv2d_shape(x: Sequence[int], weight: Sequence[int], *geometry: Any) -> tuple[int, ...]:
    """The shape of conv2d_forward's result, from those of x and weight and the same geometry."""
    return _shape("conv2d_shape", x, weight, *geometry).result


def conv2d_forward(
    x: Array,
    weight: Array,
    stride: IntOrPair = (1, 1),
    padding: IntOrPair = (0, 0),
    dilation: IntOrPair = (1, 1),
    groups: int = 1,
    out: Array | None = None,
    *,
    finish: Finish | None = None,
    prepared: Prepared | None = None,
) -> Array:
    """Convolve images x (N, C, H, W) with weight (O, C/groups, kH, kW); returns (N, O, H', W').

    H' = (H + 2*padding - dilation*(kH - 1) - 1) // stride + 1, and likewise W'. Padding is with
    zeros. `finish` is what else is done to the result while it is in the cache (finish.py);
    `prepared` keeps the weights in the form that the kernels read, for calls with the same weights.
    Raises ValueError for shapes that do not fit, TypeError for dtypes other than float32 or
    float64.
    """
    op = "conv2d_forward"
    shape = _shape(op, x.shape, weight.shape, stride, padding, dilation, groups)
    dtype = _dtype(op, x, weight)
    result = _result(op, out, shape.result, dtype)
    if finish is not None:
        finish.check(op, result)
    if shape.is_empty or dtype == FLOAT64:
        catch_up()
        result[...] = 0
        if dtype == FLOAT64 and weight.size:
            general.forward(x, weight, result, *shape.parameters)
        if finish is not None:
            finish.in_numpy(result)
    else:
        usable = _channels_last(result) if finish is None else _dense(result)
        target = result if usable else buffers.empty_nhwc(*result.shape, later=True)
        if (images := shape.as_matrices(x, target)) is not None:
            multiply_finished(images[0], weight[:, :, 0, 0].T, images[1], finish, prepared)
        elif shape.takes("winograd"):
            winograd.forward(x, weight, target, shape.padding, finish, prepared)
        elif shape.takes("strided forward"):
            winograd_strided.forward(x, weight, target, shape.padding, finish, prepared)
        else:
            run_gather(x, weight, target, shape.geometry, groups, False, finish, prepared)
        if target is not result:
            catch_up()
            result[...] = target
    return result


def conv2d_grad_input(
    grad_out: Array,
    weight: Array,
    input_shape: tuple[int, ...],
    stride: IntOrPair = (1, 1),
    padding: IntOrPair = (0, 0),
    dilation: IntOrPair = (1, 1),
    groups: int = 1,
    out: Array | None = None,
    *,
    accumulate: bool = False,
) -> Array:
    """The gradient of conv2d_forward(x, weight, ...) with respect to x, given that of its result.

        grad_x[n, c, h, w] = sum over o, kh, kw of  grad_out[n, o, i, j] * w[o, c, kh, kw]
                             where i*s + kh*d - p = h and j*s + kw*d - p = w

    grad_out (N, O, H', W'); input_shape is x.shape. Returns (N, C, H, W); with `accumulate`, `out`
    with the gradient added to it. Errors as in conv2d_forward.
    """
    op = "conv2d_grad_input"
    shape = _shape(op, input_shape, weight.shape, stride, padding, dilation, groups)
    shape.check_grad(op, grad_out)
    dtype = _dtype(op, grad_out, weight)
    result = _result(op, out, tuple(input_shape), dtype)
    if accumulate and out is None:
        raise ValueError(f"{op}: accumulate needs an out to add to")
    if shape.is_empty:
        catch_up()
        result[...] = result if accumulate else 0
        return result
    in_place = dtype == FLOAT32 and _channels_last(result)
    n, c, h, w = result.shape
    target = result if in_place else buffers.empty_nhwc(n, c, h, w, dtype, later=True)
    more = accumulate and in_place
    if dtype == FLOAT64:
        catch_up()
        general.grad_input(grad_out, weight, target, *shape.parameters)
    elif (images := shape.as_matrices(grad_out, target)) is not None:
        multiply_finished(images[0], weight[:, :, 0, 0], images[1], accumulate=more)
    elif shape.takes("winograd"):
        winograd.grad_input(grad_out, weight, target, shape.padding, more)
    elif shape.takes("strided input"):
        winograd_strided_grad_input.grad_input(grad_out, weight, target, more)
    else:
        run_gather(grad_out, weight, target, shape.geometry, groups, True, accumulate=more)
    if target is not result:
        catch_up()
        result[...] = result + target if accumulate else target
    return result


def conv2d_grad_weight(
    grad_out: Array,
    x: Array,
    weight_shape: tuple[int, ...],
    stride: IntOrPair = (1, 1),
    padding: IntOrPair = (0, 0),
    dilation: IntOrPair = (1, 1),
    groups: int = 1,
    out: Array | None = None,
) -> Array:
    """The gradient of conv2d_forward(x, weight, ...) with respect to weight.

        grad_w[o, c, kh, kw] = sum over n, i, j of  grad_out[n, o, i, j]
                                                    * x[n, c, i*s + kh*d - p, j*s + kw*d - p]

    grad_out (N, O, H', W'), x (N, C, H, W). Returns (O, C/groups, kH, kW) in C order.
    Errors as in conv2d_forward.
    """
    op = "conv2d_grad_weight"
    shape = _shape(op, x.shape, weight_shape, stride, padding, dilation, groups)
    shape.check_grad(op, grad_out)
    dtype = _dtype(op, grad_out, x)
    weight_shape = tuple(weight_shape)
    result = buffers.empty(weight_shape, dtype, later=True) if out is None else out
    result = _result(op, result, weight_shape, dtype)
    if shape.is_empty:
        catch_up()
        result[...] = 0
    elif dtype == FLOAT64:
        catch_up()
        general.grad_weight(grad_out, x, result, *shape.parameters)
    else:
        target = result if result.flags.c_contiguous else buffers.empty(weight_shape, later=True)
        if shape.takes("winograd"):
            winograd.grad_weight(grad_out, x, target, shape.padding)
        elif shape.takes("strided weight"):
            winograd_strided_grad_weight.grad_weight(grad_out, x, target)
        else:
            read, shape = shape.read_by_1x1(x)
            if conv_panels.pays(x.shape[1], groups):
                conv_panels.run_panels(grad_out, read, target, shape.geometry)
            else:
                run_weight_gradient(grad_out, read, target, shape.geometry, groups)
        if target is not result:
            catch_up()
            result[...] = target
    return result
