"""Initialisation of weights, in place, with PyTorch's names and formulas.

fan_in = inputs that feed one output unit, fan_out = outputs that one input unit feeds: for a weight
of shape (O, I, kH, kW) they are I kH kW and O kH kW.

Sources: Glorot and Bengio 2010 (xavier), He et al. 2015, arXiv 1502.01852 (kaiming). Random numbers
come from `tinygrad_ft.random` unless a `generator` is given.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tinygrad_ft import random
from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.tensor import Tensor

Rng = np.random.Generator | None


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the spread of activations through a nonlinearity:

    linear, conv, sigmoid: 1;  tanh: 5/3;  relu: sqrt(2);  selu: 3/4;
    leaky_relu: sqrt(2 / (1 + slope^2)) with slope = `param` or 0.01.
    """
    if nonlinearity in ("linear", "conv1d", "conv2d", "conv3d", "sigmoid"):
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(
        f"unknown nonlinearity {nonlinearity!r}: use linear, conv2d, sigmoid, tanh, relu, "
        "leaky_relu or selu"
    )


def calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight with two or more dimensions."""
    if len(tensor.shape) < 2:
        raise ValueError(
            f"fan in and fan out need a weight of 2 or more dimensions, got shape {tensor.shape}"
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _fill(tensor: Tensor, values: NDArray[np.floating]) -> Tensor:
    with no_grad():
        tensor.copy_(Tensor(values.astype(tensor.dtype, copy=False)))
    return tensor


def _draw_dtype(tensor: Tensor) -> type[np.float32] | type[np.float64]:
    return np.float32 if tensor.dtype == np.float32 else np.float64


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Rng = None) -> Tensor:
    """Fill with draws from U(a, b)."""
    if not a <= b:
        raise ValueError(f"uniform_ needs a <= b, got a={a} and b={b}")
    rng = random.generator() if generator is None else generator
    values = rng.random(tensor.shape, dtype=_draw_dtype(tensor))
    return _fill(tensor, values * (b - a) + a)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Rng = None) -> Tensor:
    """Fill with draws from N(mean, std^2)."""
    if std < 0:
        raise ValueError(f"normal_ needs std >= 0, got {std}")
    rng = random.generator() if generator is None else generator
    values = rng.standard_normal(tensor.shape, dtype=_draw_dtype(tensor))
    return _fill(tensor, values * std + mean)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    with no_grad():
        tensor.fill_(val)
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    return constant_(tensor, 1.0)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Rng = None) -> Tensor:
    """U(-a, a) with a = gain sqrt(6 / (fan_in + fan_out))."""
    bound = gain * math.sqrt(6.0 / sum(calculate_fan_in_and_fan_out(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Rng = None) -> Tensor:
    """N(0, std^2) with std = gain sqrt(2 / (fan_in + fan_out))."""
    std = gain * math.sqrt(2.0 / sum(calculate_fan_in_and_fan_out(tensor)))
    return normal_(tensor, 0.0, std, generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be fan_in or fan_out, got {mode!r}")
    fan_in, fan_out = calculate_fan_in_and_fan_out(tensor)
    fan = fan_in if mode == "fan_in" else fan_out
    if fan == 0:  # an empty weight: nothing will be drawn
        return 0.0
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Rng = None,
) -> Tensor:
    """U(-b, b) with b = gain sqrt(3 / fan); `a` is the negative slope of leaky_relu."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Rng = None,
) -> Tensor:
    """N(0, std^2) with std = gain / sqrt(fan); `a` is the negative slope of leaky_relu."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def default_linear_(weight: Tensor, bias: Tensor | None) -> None:
    """PyTorch's default for Linear and Conv2d: both from U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    # kaiming_uniform_ with slope sqrt(5): sqrt(3) sqrt(2 / 6) / sqrt(fan_in) = 1 / sqrt(fan_in)
    kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        fan_in, _ = calculate_fan_in_and_fan_out(weight)
        bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
        uniform_(bias, -bound, bound)
