"""Matrix products. float32 runs on the kernel in `kernels/matmul.py`."""

from __future__ import annotations

import math

import numpy as np

import kernels
from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import check_broadcast, unbroadcast
from tinygrad_ft.ops.shape import reshape, squeeze, transpose, unsqueeze
from tinygrad_ft.tensor import Tensor, TensorLike

Grads = tuple[Tensor | None, ...]


class MatMul(Function):
    """out = a @ b;  grad_a = grad_out @ b^T,  grad_b = a^T @ grad_out

    Shapes (..., M, K) @ (..., K, N) -> (..., M, N); leading dimensions broadcast.
    """

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.shapes = (a.shape, b.shape)
        self.b_is_transposed = b.flags.f_contiguous and not b.flags.c_contiguous
        self.save_input(0, needed_by=1)
        self.save_input(1, needed_by=0)
        if a.ndim == b.ndim == 2:
            return kernels.matmul(a, b)
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        count = math.prod(batch)
        a = np.broadcast_to(a, batch + a.shape[-2:]).reshape(count, *a.shape[-2:])
        b = np.broadcast_to(b, batch + b.shape[-2:]).reshape(count, *b.shape[-2:])
        out = kernels.matmul(a, b)
        return out.reshape(batch + out.shape[-2:])

    def backward(self, grad_out: Tensor) -> Grads:
        grad_a = grad_b = None
        if self.needs_input_grad[0]:
            # (..., M, N) @ (..., N, K)
            grad_a = MatMul.apply(grad_out, transpose(self.input(1), -1, -2))
            grad_a = unbroadcast(grad_a, self.shapes[0])
        if self.needs_input_grad[1]:
            grad_b = unbroadcast(self.grad_b(self.input(0), grad_out), self.shapes[1])
        return grad_a, grad_b

    def grad_b(self, a: Tensor, grad_out: Tensor) -> Tensor:
        if self.b_is_transposed:
            # (a^T g)^T = g^T a: in the memory order of the weight that was transposed, so that an
            # optimizer meets the two side by side
            return transpose(MatMul.apply(transpose(grad_out, -1, -2), a), -1, -2)
        # (..., K, M) @ (..., M, N)
        return MatMul.apply(transpose(a, -1, -2), grad_out)


def matmul(input: TensorLike, other: TensorLike) -> Tensor:
    """The matrix product, in PyTorch's rank rules.

    Vectors are taken as a row on the left and a column on the right, and that dimension is dropped
    from the result; more than two dimensions are batches and broadcast. Raises ValueError naming
    both shapes if the inner sizes differ.
    """
    shapes = [np.shape(x) if not isinstance(x, Tensor) else x.shape for x in (input, other)]
    if not shapes[0] or not shapes[1]:
        raise ValueError(
            f"matmul: needs at least one dimension each, got {shapes[0]} and {shapes[1]}"
        )
    if shapes[0][-1] != shapes[1][-2 if len(shapes[1]) > 1 else 0]:
        raise ValueError(f"matmul: shapes {shapes[0]} and {shapes[1]}: the inner sizes differ")
    a, b = _same_dtype(input, other)
    if a.ndim == 1 or b.ndim == 1:
        x = unsqueeze(a, 0) if a.ndim == 1 else a
        y = unsqueeze(b, 1) if b.ndim == 1 else b
        out = matmul(x, y)
        if b.ndim == 1:
            out = squeeze(out, -1)
        return squeeze(out, -1 if b.ndim == 1 else -2) if a.ndim == 1 else out
    if a.ndim > 2 and b.ndim == 2 and a.numel():
        # one large product instead of a batch of small ones
        flat = MatMul.apply(reshape(a, (-1, a.shape[-1])), b)
        return reshape(flat, (*a.shape[:-1], b.shape[-1]))
    check_broadcast("matmul", a.shape[:-2], b.shape[:-2])
    return MatMul.apply(a, b)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """z = x W^T + b: input (..., in), weight (out, in), bias (out) -> (..., out)."""
    if input.ndim == 0 or weight.ndim != 2 or input.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: an input of shape {input.shape} does not fit a weight of shape "
            f"{weight.shape} (out, in)"
        )
    if bias is not None and (bias.shape != weight.shape[:1] or bias.dtype != weight.dtype):
        raise ValueError(
            f"linear: a bias of shape {bias.shape} and {bias.dtype} does not fit a weight of shape "
            f"{weight.shape} and {weight.dtype}"
        )
    out = matmul(input, transpose(weight, 0, 1))
    return out if bias is None else out + bias


def _same_dtype(a: TensorLike, b: TensorLike) -> tuple[Tensor, Tensor]:
    x = a if isinstance(a, Tensor) else Tensor(a)
    y = b if isinstance(b, Tensor) else Tensor(b)
    if x.dtype != y.dtype:
        raise TypeError(
            f"matmul: dtypes {x.dtype} and {y.dtype} differ; convert one with .to(dtype)"
        )
    return x, y
