"""Convolution on NumPy alone: the path of float64 (gradient checks, small models), for every shape.

One matrix product per kernel position on shifted views: nothing is unrolled, memory stays small.
Sums are those of `numpy.matmul` over channels (forward, input gradient) or over pixels (weight
gradient), added up over kernel positions (the rest).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import buffers

Pair = tuple[int, int]


def _padded(x: NDArray[Any], padding: Pair) -> NDArray[Any]:
    (ph, pw) = padding
    return np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw))) if ph or pw else x


def _windows(
    shape: tuple[int, ...], out_size: Pair, stride: Pair, dilation: Pair
) -> Iterator[tuple[int, int, tuple[slice, ...]]]:
    """For each kernel position: where in the padded image all result pixels find it."""
    for i in range(shape[2]):
        for j in range(shape[3]):
            rows = slice(
                i * dilation[0], i * dilation[0] + (out_size[0] - 1) * stride[0] + 1, stride[0]
            )
            columns = slice(
                j * dilation[1], j * dilation[1] + (out_size[1] - 1) * stride[1] + 1, stride[1]
            )
            yield i, j, (slice(None), slice(None), rows, columns)


def _as_groups(x: NDArray[Any], groups: int) -> NDArray[Any]:
    """(N, C, H, W) to (groups, N*H*W, C/groups)."""
    n, c, h, w = x.shape
    return (
        x.reshape(n, groups, c // groups, h, w)
        .transpose(1, 0, 3, 4, 2)
        .reshape(groups, -1, c // groups)
    )


def _from_groups(y: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The inverse of `_as_groups`, for an array of shape (N, C, H, W)."""
    n, c, h, w = shape
    groups = y.shape[0]
    return y.reshape(groups, n, h, w, c // groups).transpose(1, 0, 4, 2, 3).reshape(shape)


@np.errstate(all="ignore")  # infinities and NaN are results
def forward(
    x: NDArray[Any],
    weight: NDArray[Any],
    result: NDArray[Any],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> None:
    """result = conv(x, weight)."""
    out_size = (result.shape[2], result.shape[3])
    outer = weight.shape[0] // groups
    image = _padded(x, padding)
    total = np.zeros((groups, result.size // max(1, groups * outer), outer), x.dtype)
    by_group = weight.reshape(groups, outer, *weight.shape[1:])
    for i, j, window in _windows(weight.shape, out_size, stride, dilation):
        total += _as_groups(image[window], groups) @ by_group[..., i, j].transpose(0, 2, 1)
    result[...] = _from_groups(total, result.shape)


@np.errstate(all="ignore")  # infinities and NaN are results
def grad_input(
    grad_out: NDArray[Any],
    weight: NDArray[Any],
    result: NDArray[Any],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> None:
    """result = the gradient with respect to the convolution's input."""
    n, c, h, w = result.shape
    out_size = (grad_out.shape[2], grad_out.shape[3])
    outer = weight.shape[0] // groups
    image = buffers.zeros((n, c, h + 2 * padding[0], w + 2 * padding[1]), grad_out.dtype)
    by_group = weight.reshape(groups, outer, *weight.shape[1:])
    grads = _as_groups(grad_out, groups)
    for i, j, window in _windows(weight.shape, out_size, stride, dilation):
        shape = image[window].shape
        image[window] += _from_groups(grads @ by_group[..., i, j], shape)
    result[...] = image[:, :, padding[0] : padding[0] + h, padding[1] : padding[1] + w]


@np.errstate(all="ignore")  # infinities and NaN are results
def grad_weight(
    grad_out: NDArray[Any],
    x: NDArray[Any],
    result: NDArray[Any],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> None:
    """result = the gradient with respect to the convolution's weight."""
    out_size = (grad_out.shape[2], grad_out.shape[3])
    image = _padded(x, padding)
    grads = _as_groups(grad_out, groups).transpose(0, 2, 1)
    for i, j, window in _windows(result.shape, out_size, stride, dilation):
        products = grads @ _as_groups(image[window], groups)
        result[:, :, i, j] = products.reshape(result.shape[:2])
