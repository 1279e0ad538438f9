"""How alike vectors are: their cosine, their distance, and bilinear forms."""

from __future__ import annotations

from tinygrad_ft.ops._operands import check_broadcast, float_operand, normalize_dim
from tinygrad_ft.ops.matmul import linear
from tinygrad_ft.ops.reduce import sum
from tinygrad_ft.ops.selection import clamp
from tinygrad_ft.ops.shape import broadcast_to, reshape, unsqueeze
from tinygrad_ft.ops.vector_norm import norm
from tinygrad_ft.tensor import Tensor, TensorLike


def cosine_similarity(x1: TensorLike, x2: TensorLike, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`; the two broadcast.

    out = (sum_i x1[i] * x2[i]) / (max(||x1||, eps) * max(||x2||, eps))
    grad_x1 = grad_out * (x2 / ||x2|| - out * x1 / ||x1||) / ||x1||
    grad_x2 = grad_out * (x1 / ||x1|| - out * x2 / ||x2||) / ||x2||

    ||x|| is sqrt(sum_i x[i]^2). A vector of zeros has similarity 0.
    """
    a, b = float_operand("cosine_similarity", x1), float_operand("cosine_similarity", x2)
    shape = check_broadcast("cosine_similarity", a.shape, b.shape)
    # counted in the broadcast shape, hence from the end in each operand
    axis = normalize_dim("cosine_similarity", dim, len(shape)) - len(shape)
    a, b = (_vectors(x, len(shape), axis, shape[axis]) for x in (a, b))
    return sum(normalize(a, 2.0, axis, eps) * normalize(b, 2.0, axis, eps), axis)


def _vectors(x: Tensor, ndim: int, axis: int, length: int) -> Tensor:
    """x with `ndim` dimensions, and whole vectors of `length` along `axis`."""
    shape = [1] * (ndim - x.ndim) + list(x.shape)
    x = reshape(x, shape)
    shape[axis] = length
    return broadcast_to(x, shape)


def normalize(input: TensorLike, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Divide vectors along `dim` by their p-norm.

    out = x / max(||x||, eps)
    grad_x = (grad_out - out * (sum_i grad_out[i] * out[i])) / ||x|| where p = 2 and ||x|| > eps

    ||x|| is (sum_i |x[i]|^p)^(1 / p). A vector of zeros stays zero.
    """
    x = float_operand("normalize", input)
    return x / clamp(norm(x, p, dim, keepdim=True), eps)


def pairwise_distance(
    x1: TensorLike, x2: TensorLike, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of the difference along the last dimension; the two broadcast.

    out = (sum_i |x1[i] - x2[i] + eps|^p)^(1 / p)
    grad_x1 = grad_out * (x1 - x2 + eps) / out where p = 2,  grad_x2 = -grad_x1

    `eps` keeps the derivative finite where both are equal.
    """
    a, b = float_operand("pairwise_distance", x1), float_operand("pairwise_distance", x2)
    check_broadcast("pairwise_distance", a.shape, b.shape)
    return norm(a - b + eps, p, -1, keepdim=keepdim)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A bilinear form of two vectors for each output.

    out[o] = sum_i sum_j x1[i] * weight[o][i][j] * x2[j] + bias[o]
    grad_input1[i] = sum_{o,j} grad_out[o] * weight[o][i][j] * x2[j]
    grad_input2[j] = sum_{o,i} grad_out[o] * weight[o][i][j] * x1[i]
    grad_weight[o][i][j] = grad_out[o] * x1[i] * x2[j],  grad_bias = grad_out

    input1 (..., I), input2 (..., J), weight (O, I, J), bias (O) -> (..., O).
    """
    if (
        weight.ndim != 3
        or not input1.ndim
        or input1.shape[:-1] != input2.shape[:-1]
        or (input1.shape[-1], input2.shape[-1]) != weight.shape[1:]
    ):
        raise ValueError(
            f"bilinear: inputs of shapes {input1.shape} and {input2.shape} do not fit a weight of "
            f"shape {weight.shape}: expected (..., I), (..., J) and (O, I, J)"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"bilinear: a bias of shape {bias.shape} does not fit a weight of shape {weight.shape}"
        )
    outputs, width, inner = weight.shape
    # (..., O * I) -> (..., O, I)
    rows = linear(input2, reshape(weight, (outputs * width, inner)))
    rows = reshape(rows, (*input2.shape[:-1], outputs, width))
    out = sum(rows * unsqueeze(input1, -2), -1)
    return out if bias is None else out + bias
