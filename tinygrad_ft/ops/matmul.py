"""Matrix products: matmul and its strict forms mm, mv, bmm, dot; addmm, baddbmm, linear.

float32 runs on the kernel in `kernels/matmul.py`. Both operands need the same dtype.
"""

from __future__ import annotations

import numpy as np

import kernels
from tinygrad_ft.function import Function
from tinygrad_ft.grad_mode import is_grad_enabled
from tinygrad_ft.ops._operands import as_tensor, check_broadcast, plain, unbroadcast
from tinygrad_ft.ops.elementwise import mul
from tinygrad_ft.ops.reduce import sum
from tinygrad_ft.ops.selection import where
from tinygrad_ft.ops.shape import reshape, squeeze, transpose, unsqueeze
from tinygrad_ft.tensor import Scalar, Tensor, TensorLike

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
        # the kernel takes a table of where the matrices begin: stacks in any order are not copied
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return kernels.matmul(
            np.broadcast_to(a, batch + a.shape[-2:]), np.broadcast_to(b, batch + b.shape[-2:])
        )

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


class Linear(Function):
    """out = x @ W^T + b
    grad_x = grad_out @ W,  grad_W = grad_out^T @ x,  grad_b = sum_i grad_out[i]

    Shapes (N, in), (out, in), (out) -> (N, out). It is MatMul and Add in one, and belongs to
    fusion.py: the bits are the same.
    """

    fresh_gradients = True
    runs_ahead = True

    def forward(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
        self.save_input(0, needed_by=1)
        self.save_input(1, needed_by=0)
        return kernels.linear(x, w, b)

    def backward(self, grad_out: Tensor) -> Grads:
        if not is_grad_enabled():
            return self.unrecorded_backward(grad_out._array)
        grad_x = grad_w = grad_b = None
        if self.needs_input_grad[0]:
            grad_x = MatMul.apply(grad_out, self.input(1))
        if self.needs_input_grad[1]:
            grad_w = MatMul.apply(transpose(grad_out, 0, 1), self.input(0))
        if self.needs_input_grad[2]:
            grad_b = sum(grad_out, 0)
        return grad_x, grad_w, grad_b

    def unrecorded_backward(self, grad: np.ndarray) -> Grads:
        """The same without ops: all other threads wait for it, as it comes first in a backward."""
        grad_x = grad_w = grad_b = None
        if self.needs_input_grad[0]:
            grad_x = Tensor._wrap(kernels.matmul(grad, self.input(1)._array))
        if self.needs_input_grad[1]:
            grad_w = Tensor._wrap(kernels.matmul(grad.T, self.input(0)._array))
        if self.needs_input_grad[2]:
            grad_b = Tensor._wrap(kernels.sum_rows(grad))
        return grad_x, grad_w, grad_b


def matmul(input: TensorLike, other: TensorLike) -> Tensor:
    """The matrix product, in PyTorch's rank rules.

    Vectors are taken as a row on the left and a column on the right, and that dimension is dropped
    from the result; more than two dimensions are batches and broadcast. Raises ValueError naming
    both shapes if the inner sizes differ, TypeError if the dtypes do.
    """
    a, b = _same_dtype("matmul", input, other)
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"matmul: needs at least one dimension each, got {a.shape} and {b.shape}")
    _check_inner("matmul", a, b)
    if a.ndim == b.ndim == 1:
        return dot(a, b)
    if a.ndim == 1 or b.ndim == 1:
        out = matmul(unsqueeze(a, 0) if a.ndim == 1 else a, unsqueeze(b, 1) if b.ndim == 1 else b)
        return squeeze(out, -1 if b.ndim == 1 else -2)
    if a.ndim > 2 and b.ndim == 2 and a.numel():
        # one large product instead of a batch of small ones
        flat = MatMul.apply(reshape(a, (-1, a.shape[-1])), b)
        return reshape(flat, (*a.shape[:-1], b.shape[-1]))
    check_broadcast("matmul", a.shape[:-2], b.shape[:-2])
    return MatMul.apply(a, b)


def mm(input: TensorLike, mat2: TensorLike) -> Tensor:
    """The product of two matrices: (M, K), (K, N) -> (M, N)."""
    return MatMul.apply(*_ranked("mm", input, mat2, 2, 2))


def mv(input: TensorLike, vec: TensorLike) -> Tensor:
    """A matrix times a vector: (M, K), (K) -> (M)."""
    a, b = _ranked("mv", input, vec, 2, 1)
    return squeeze(MatMul.apply(a, unsqueeze(b, 1)), 1)


def dot(input: TensorLike, other: TensorLike) -> Tensor:
    """The product of two vectors: (K), (K) -> ().

    out = sum_i a[i] * b[i]
    grad_a = grad_out * b, grad_b = grad_out * a
    """
    a, b = _ranked("dot", input, other, 1, 1)
    return sum(mul(a, b), dtype=a.dtype)


def vdot(input: TensorLike, other: TensorLike) -> Tensor:
    """`dot`, from which it differs for complex numbers alone.

    out = sum_i a[i] * b[i]
    grad_a = grad_out * b, grad_b = grad_out * a
    """
    return dot(input, other)


def bmm(input: TensorLike, mat2: TensorLike) -> Tensor:
    """Products of matrices in pairs: (B, M, K), (B, K, N) -> (B, M, N); no broadcast."""
    return MatMul.apply(*_ranked("bmm", input, mat2, 3, 3))


def addmm(
    input: TensorLike,
    mat1: TensorLike,
    mat2: TensorLike,
    *,
    beta: Scalar = 1,
    alpha: Scalar = 1,
) -> Tensor:
    """A product of matrices added to `input` (x), which broadcasts to its shape.

    out = beta * x + alpha * (a @ b)
    grad_x = beta * grad_out, grad_a = alpha * (grad_out @ b^T), grad_b = alpha * (a^T @ grad_out)

    With `beta` = 0 nothing of x is used: not its NaN either.
    """
    product = MatMul.apply(*_ranked("addmm", mat1, mat2, 2, 2))
    return _add_product("addmm", as_tensor(input), product, beta, alpha)


def baddbmm(
    input: TensorLike,
    batch1: TensorLike,
    batch2: TensorLike,
    *,
    beta: Scalar = 1,
    alpha: Scalar = 1,
) -> Tensor:
    """Products of matrices in pairs (`bmm`) added to `input` (x), which broadcasts to their shape.

    out = beta * x + alpha * (a @ b)
    grad_x = beta * grad_out, grad_a = alpha * (grad_out @ b^T), grad_b = alpha * (a^T @ grad_out)

    With `beta` = 0 nothing of x is used: not its NaN either.
    """
    product = MatMul.apply(*_ranked("baddbmm", batch1, batch2, 3, 3))
    return _add_product("baddbmm", as_tensor(input), product, beta, alpha)


def linear(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """A layer's sum: input (..., in), weight (out, in), bias (out) -> (..., out).

    out = x @ W^T + b
    grad_x = grad_out @ W, grad_W = grad_out^T @ x, grad_b = sum_i grad_out[i]

    A weight (in) with a 0-dimensional bias gives (...). All need the same dtype.
    """
    x, w = _same_dtype("linear", input, weight)
    if x.ndim == 0 or w.ndim not in (1, 2) or x.shape[-1] != w.shape[-1]:
        raise ValueError(
            f"linear: an input of shape {x.shape} does not fit a weight of shape "
            f"{w.shape} (out, in)"
        )
    b = None if bias is None else as_tensor(bias)
    if b is not None and (b.shape != w.shape[:-1] or b.dtype != w.dtype):
        raise ValueError(
            f"linear: a bias of shape {b.shape} and {b.dtype} does not fit a weight of shape "
            f"{w.shape} and {w.dtype}"
        )
    from tinygrad_ft.ops.fusion import fusion_enabled

    empty = x.numel() * w.numel() == 0
    if not fusion_enabled() or w.ndim == 1 or x.ndim == 1 or empty:
        out = matmul(x, transpose(w, 0, -1))
        return out if b is None else out + b
    if x.ndim == 2:
        return Linear.apply(x, w, b)
    return reshape(Linear.apply(reshape(x, (-1, w.shape[1])), w, b), (*x.shape[:-1], w.shape[0]))


def _ranked(
    op: str, input: TensorLike, other: TensorLike, left: int, right: int
) -> tuple[Tensor, Tensor]:
    """Both as tensors of one dtype with exactly so many dimensions, their sizes checked."""
    a, b = _same_dtype(op, input, other)
    if a.ndim != left or b.ndim != right:
        raise ValueError(
            f"{op}: needs {left} and {right} dimensions, got shapes {a.shape} and {b.shape}; "
            "matmul takes others"
        )
    _check_inner(op, a, b)
    if a.shape[:-2] != b.shape[:-2]:
        raise ValueError(
            f"{op}: shapes {a.shape} and {b.shape} differ in the number of matrices; "
            "matmul broadcasts"
        )
    return a, b


def _check_inner(op: str, a: Tensor, b: Tensor) -> None:
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"{op}: shapes {a.shape} and {b.shape}: the inner sizes differ")


def _add_product(op: str, x: Tensor, product: Tensor, beta: Scalar, alpha: Scalar) -> Tensor:
    if check_broadcast(op, x.shape, product.shape) != product.shape:
        raise ValueError(f"{op}: shape {x.shape} does not broadcast to {product.shape}")
    if x.dtype != product.dtype:
        raise TypeError(
            f"{op}: dtypes {x.dtype} and {product.dtype} differ; convert one with .to(dtype)"
        )
    if beta == 0:
        x = where(np.zeros((), np.bool_), x, 0)
    elif beta != 1:
        x = x * plain(beta)
    return x + (product if alpha == 1 else product * plain(alpha))


def _same_dtype(op: str, a: TensorLike, b: TensorLike) -> tuple[Tensor, Tensor]:
    x, y = as_tensor(a), as_tensor(b)
    if x.dtype != y.dtype:
        raise TypeError(f"{op}: dtypes {x.dtype} and {y.dtype} differ; convert one with .to(dtype)")
    if x.dtype == np.bool_:
        raise TypeError(f"{op}: booleans have no product of matrices; convert with .to(dtype)")
    return x, y
