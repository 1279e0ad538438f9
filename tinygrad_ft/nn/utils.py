"""Gradient clipping, with PyTorch's names."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.tensor import Tensor


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    tensors = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in tensors if p.grad is not None]


def _norm(array: np.ndarray, norm_type: float) -> float:
    """The norm of one gradient, summed in float64 so that large gradients neither overflow nor lose
    small terms. No BLAS: its threads would keep spinning beside the next kernel."""
    if array.size == 0:
        return 0.0
    if norm_type == math.inf:
        return float(np.max(np.abs(array)))
    if norm_type == 2:
        axes = list(range(array.ndim))  # einsum casts in small pieces: no float64 copy of the array
        return math.sqrt(np.einsum(array, axes, array, axes, [], dtype=np.float64))
    return float(np.sum(np.abs(array, dtype=np.float64) ** norm_type) ** (1.0 / norm_type))


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients by min(1, max_norm / (norm + 1e-6)), norm being that of all of them as
    one vector; `norm_type` is the p of the p-norm, `math.inf` for the largest magnitude.

    Returns the norm before clipping. Raises RuntimeError for a norm of nan or inf if
    `error_if_nonfinite`, and then changes nothing.
    """
    max_norm, norm_type = float(max_norm), float(norm_type)
    if not norm_type > 0:
        raise ValueError(f"clip_grad_norm_ needs norm_type > 0, got {norm_type}")
    gradients = _gradients(parameters)
    norms = np.array([_norm(g.data, norm_type) for g in gradients], dtype=np.float64)
    total = _norm(norms, norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(
            f"clip_grad_norm_: the norm of the gradients is {total}, so they cannot be clipped"
        )
    scale = max_norm / (total + 1e-6)
    if not scale >= 1:  # a nan norm goes on into the gradients, as in PyTorch
        with no_grad(), np.errstate(invalid="ignore"):
            for g in gradients:
                g.mul_(scale)
    with np.errstate(over="ignore"):
        return Tensor(np.asarray(total, dtype=gradients[0].dtype if gradients else np.float32))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clamp every gradient to [-clip_value, clip_value]."""
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_ needs clip_value >= 0, got {clip_value}")
    with no_grad():
        for g in _gradients(parameters):
            array = g.write("clip_grad_value_")
            np.clip(array, -clip_value, clip_value, out=array)
