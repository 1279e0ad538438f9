"""Transposed convolution: the input gradient of a convolution, as an op in its own right."""

from __future__ import annotations

from tinygrad_ft.ops._sizes import Sizes, as_sizes, planar
from tinygrad_ft.ops.conv import (
    SHAPES,
    Geometry,
    add_bias,
    as_image,
    check_operands,
    conv2d_grad_input,
)
from tinygrad_ft.ops.pad import pad
from tinygrad_ft.ops.shape import reshape
from tinygrad_ft.tensor import Tensor


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """1-D transposed convolution: `conv_transpose2d` along one dimension.

    out[n, o, k] = bias[o] + sum_{c, p} weight[c, o, p] * x[n, c, (k + b - d * p) / s];
    grad_x = conv1d(grad_out, weight);  grad_bias[o] = sum_{n, k} grad_out[n, o, k];
    grad_weight[c, o, p] = sum_{n, i} x[n, c, i] * grad_out[n, o, s * i + d * p - b]

    s is the stride, d the dilation, b the padding. input (N, C, L) or (C, L), weight
    (C, O / groups, K), bias (O) -> (N, O, L').
    """
    settings = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose("conv_transpose1d", 1, input, weight, bias, *settings)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """2-D transposed convolution: each pixel of x spreads the weight over a window of the result.

    out[n, o, k, l] = bias[o] + sum_{c, p, q} weight[c, o, p, q]
    * x[n, c, (k + b - d * p) / s, (l + b - d * q) / s];
    grad_x = conv2d(grad_out, weight);
    grad_weight[c, o, p, q] = sum_{n, i, j} x[n, c, i, j]
    * grad_out[n, o, s * i + d * p - b, s * j + d * q - b];
    grad_bias[o] = sum_{n, i, j} grad_out[n, o, i, j]

    s is the stride, d the dilation, b the padding; x is 0 at places that are no integers inside of
    the image.

    input (N, C, H, W) or (C, H, W), weight (C, O / groups, kH, kW), bias (O) -> (N, O, H', W') with
    H' = (H - 1) stride - 2 padding + dilation (kH - 1) + output_padding + 1. `output_padding` is
    below the stride or the dilation; it adds rows at the bottom that a convolution with this stride
    would not have told apart. Raises ValueError naming the shapes if they do not fit.
    """
    settings = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose("conv_transpose2d", 2, input, weight, bias, *settings)


def _conv_transpose(
    op: str,
    dims: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
) -> Tensor:
    settings = (stride, padding, output_padding, groups, dilation)
    if input.ndim == dims + 1:
        batch = reshape(input, (1, *input.shape))
        out = _conv_transpose(op, dims, batch, weight, bias, *settings)
        return reshape(out, out.shape[1:])
    if input.ndim != dims + 2 or weight.ndim != dims + 2:
        needs = SHAPES[dims][0], SHAPES[dims][1].replace("O, C/", "C, O/")
        raise ValueError(
            f"{op}: needs input {' and weight '.join(needs)}, got {input.shape} and {weight.shape}"
        )
    if groups < 1 or input.shape[1] != weight.shape[0] or weight.shape[0] % groups:
        raise ValueError(
            f"{op}: input {input.shape} has {input.shape[1]} channels, but weight {weight.shape} "
            f"expects {weight.shape[0]}, in {groups} groups of equal size"
        )
    outputs = weight.shape[1] * groups
    check_operands(op, input, weight, bias, outputs)
    steps = as_sizes(op, "stride", stride, 1, dims)
    border = as_sizes(op, "padding", padding, 0, dims)
    more = as_sizes(op, "output_padding", output_padding, 0, dims)
    spread = as_sizes(op, "dilation", dilation, 1, dims)
    if any(m >= max(s, d) for m, s, d in zip(more, steps, spread, strict=True)):
        raise ValueError(
            f"{op}: output_padding {more} must be below the stride {steps} or the dilation {spread}"
        )
    sizes = [
        (n - 1) * s - 2 * p + d * (k - 1) + m + 1
        for n, k, s, p, m, d in zip(
            input.shape[2:], weight.shape[2:], steps, border, more, spread, strict=True
        )
    ]
    if min(sizes) < 1 or min(input.shape[2:]) < 1 or min(weight.shape[2:]) < 1:
        raise ValueError(
            f"{op}: the result of input {input.shape} and weight {weight.shape} would have size "
            f"{tuple(sizes)} (stride {steps}, padding {border}, dilation {spread})"
        )
    # a convolution of this size has one more result for each whole stride in output_padding
    beyond = [m // s for m, s in zip(more, steps, strict=True)]
    if any(beyond):
        input = pad(input, [width for b in reversed(beyond) for width in (0, b)])
    geometry = Geometry(planar(steps, 1), planar(border, 0), planar(spread, 1), groups)
    shape = (input.shape[0], outputs, *planar(sizes, 1))
    out = conv2d_grad_input(as_image(input), as_image(weight), shape, geometry)
    return add_bias(out, bias, dims)
