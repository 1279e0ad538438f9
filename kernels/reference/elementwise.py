"""Elementwise functions, straight from the formula."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def relu_forward(x: Array) -> tuple[Array, Array]:
    """x where it is not negative (NaN is not), else 0; and where that is."""
    passes = ~(x < 0)
    return np.where(passes, x, np.zeros_like(x)), passes


def mask_scale(x: Array, mask: Array, scale: float = 1.0) -> Array:
    """x * scale where mask, else 0."""
    out = np.zeros_like(x)
    out[mask] = x[mask] * x.dtype.type(scale)
    return out


def add(a: Array, b: Array) -> Array:
    """a + b."""
    return a + b


def accumulate(target: Array, value: Array) -> None:
    """target += value."""
    target[...] = target + value


def sgd_update(
    param: Array,
    grad: Array,
    momentum_buffer: Array | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """One step of SGD, one number after the other."""
    for i in np.ndindex(param.shape):
        step = g = grad[i] + weight_decay * param[i]
        if momentum_buffer is not None:
            step = v = momentum * momentum_buffer[i] + (1 - dampening) * g
            momentum_buffer[i] = v
            if nesterov:
                step = g + momentum * v
        param[i] -= lr * step


def adam_update(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """One step of Adam or AdamW, one number after the other."""
    for i in np.ndindex(param.shape):
        g = grad[i]
        if decoupled:
            param[i] -= lr * weight_decay * param[i]
        else:
            g = g + weight_decay * param[i]
        exp_avg[i] = betas[0] * exp_avg[i] + (1 - betas[0]) * g
        exp_avg_sq[i] = betas[1] * exp_avg_sq[i] + (1 - betas[1]) * g * g
        m_hat = exp_avg[i] / (1 - betas[0] ** step)
        v_hat = exp_avg_sq[i] / (1 - betas[1] ** step)
        param[i] -= lr * m_hat / (np.sqrt(v_hat) + eps)
