"""Activations: ReLU, and the smooth ones. x is the input of the activation, out = f(x) its output.

Beyond some limit each of these is exactly its asymptote, in float64 as well. Products such as
x * sigmoid(x) are computed from an x that is limited there first: at -inf the value is then 0 and
not -inf * 0, and derivatives of any order are numbers too.

`inplace`, which PyTorch's activations have, is taken so that its code runs, and changes nothing:
the result is the same, and the input is never overwritten.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

import kernels
from tinygrad_ft.deferred import Deferred
from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import as_tensor, float_operand
from tinygrad_ft.ops._unary import UnaryOp, activation, unary
from tinygrad_ft.ops.selection import where
from tinygrad_ft.ops.softmax import softmax
from tinygrad_ft.ops.unary import abs, gaussian, reciprocal, sigmoid, sigmoid_array, tanh
from tinygrad_ft.tensor import Tensor, TensorLike

Grads = tuple[Tensor | None, ...]

# e^-750 is 0
LIMIT = 750.0
# the normal distribution beyond 40 is 0
NORMAL_LIMIT = 40.0


class ReLU(Function):
    """out = x where x >= 0, else 0;  grad_x = grad_out where x >= 0, else 0

    The derivative at exactly 0 is 1 (f'(x) = 1 for x >= 0); PyTorch takes 0 there. A NaN stays NaN.
    """

    runs_ahead = True

    def forward(self, x: np.ndarray) -> np.ndarray:
        # "not negative" rather than ">= 0": NaN passes, in the value and in the gradient
        out, passes = kernels.relu_forward(x)
        self.save_constant("passes", passes)
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        return (mask(grad_out, self.constant("passes")),)


class Mask(Function):
    """out = x * scale where mask, else 0;  grad_x = grad_out * scale where mask, else 0"""

    runs_ahead = True

    def forward(self, x: np.ndarray, *, mask: np.ndarray, scale: float) -> np.ndarray:
        self.scale = scale
        self.save_constant("mask", mask)
        return kernels.mask_scale(x, mask, scale)

    def backward(self, grad_out: Tensor) -> Grads:
        return (mask(grad_out, self.constant("mask"), self.scale),)


class Softplus(Function):
    """out = ln(1 + e^(beta * x)) / beta where beta * x <= threshold, else x;
    grad_x = grad_out * sigmoid(beta * x) where beta * x <= threshold, else grad_out"""

    def forward(self, x: np.ndarray, *, beta: float, threshold: float) -> np.ndarray:
        self.beta, self.threshold = beta, threshold
        self.save_input(0)
        scaled = x * beta
        return np.where(scaled > threshold, x, _softplus_array(scaled) / beta)

    def backward(self, grad_out: Tensor) -> Grads:
        scaled = self.input(0) * self.beta
        return (grad_out * where(scaled._data > self.threshold, 1.0, sigmoid(scaled)),)


def _softplus_array(x: np.ndarray) -> np.ndarray:
    """ln(1 + e^x) without overflow, and with all digits where e^x is small."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def relu(input: TensorLike, inplace: bool = False) -> Tensor:
    """max(x, 0), with derivative 1 at exactly 0 (PyTorch has 0 there)."""
    if isinstance(input, Deferred) and (together := input.then_relu()) is not None:
        return together
    return ReLU.apply(as_tensor(input))


def mask(x: Tensor, mask: np.ndarray, scale: float = 1.0) -> Tensor:
    """x * scale where the boolean `mask` (same shape) holds, else 0."""
    return Mask.apply(x, mask=mask, scale=scale)


def softplus(input: TensorLike, beta: float = 1, threshold: float = 20) -> Tensor:
    """A smooth max(x, 0); above `threshold` it is x itself. ValueError if beta is 0."""
    if beta == 0:
        raise ValueError("softplus: beta must not be 0")
    x = float_operand("softplus", input)
    return Softplus.apply(x, beta=float(beta), threshold=float(threshold))


logsigmoid = unary(
    "logsigmoid",
    "The logarithm of the sigmoid, exact where the sigmoid itself would be 0.",
    "out = -ln(1 + e^-x);  grad_x = grad_out * sigmoid(-x)",
    lambda x: -_softplus_array(-x),
    from_input=lambda grad_out, x: grad_out * sigmoid(-x),
)


def _silu_slope(x: Tensor) -> Tensor:
    x = x.clamp(-LIMIT, LIMIT)
    s = sigmoid(x)
    return s + x * (s * (1.0 - s))


def _silu_array(x: np.ndarray) -> np.ndarray:
    x = np.maximum(x, -LIMIT)
    return x * sigmoid_array(x)


silu = activation(
    unary(
        "silu",
        "x times its sigmoid, also called swish. Source: Elfwing et al. 2017, arXiv 1702.03118.",
        "out = x * s;  s = sigmoid(x);  grad_x = grad_out * (s + x * s * (1 - s))",
        _silu_array,
        from_input=lambda grad_out, x: grad_out * _silu_slope(x),
    )
)


def _mish_slope(x: Tensor) -> Tensor:
    x = x.clamp(-LIMIT, LIMIT)
    t = tanh(softplus(x))
    return t + x * (1.0 - t * t) * sigmoid(x)


def _mish_array(x: np.ndarray) -> np.ndarray:
    x = np.maximum(x, -LIMIT)
    return x * np.tanh(_softplus_array(x))


mish = activation(
    unary(
        "mish",
        "x times the hyperbolic tangent of its softplus. Source: Misra 2019, arXiv 1908.08681.",
        "out = x * t;  t = tanh(softplus(x));\n"
        "grad_x = grad_out * (t + x * (1 - t^2) * sigmoid(x))",
        _mish_array,
        from_input=lambda grad_out, x: grad_out * _mish_slope(x),
    )
)


# ---- GELU ----------------------------------------------------------------------------------------


def _normal_cdf_array(x: np.ndarray) -> np.ndarray:
    # imported late: it takes longer than all of NumPy
    from scipy.special import ndtr

    out: np.ndarray = ndtr(x)
    return out


def _normal_density(x: Tensor) -> Tensor:
    return gaussian(x * math.sqrt(0.5)) * (1 / math.sqrt(2 * math.pi))


normal_cdf = unary(
    "normal_cdf",
    "The share of the standard normal distribution that is below x.",
    "out = Phi(x);  grad_x = grad_out * e^(-x^2 / 2) / sqrt(2 * pi)",
    _normal_cdf_array,
    from_input=lambda grad_out, x: grad_out * _normal_density(x),
)


def _gelu_slope(x: Tensor) -> Tensor:
    x = x.clamp(-NORMAL_LIMIT, NORMAL_LIMIT)
    return normal_cdf(x) + x * _normal_density(x)


def _gelu_array(x: np.ndarray) -> np.ndarray:
    x = np.maximum(x, -NORMAL_LIMIT)
    return x * _normal_cdf_array(x)


_gelu = unary(
    "gelu",
    "x times the normal distribution function Phi.",
    "out = x * Phi(x);  grad_x = grad_out * (Phi(x) + x * e^(-x^2 / 2) / sqrt(2 * pi))",
    _gelu_array,
    from_input=lambda grad_out, x: grad_out * _gelu_slope(x),
)

# (1 + tanh u) / 2 = sigmoid(2 u), which keeps its digits where tanh is near -1
SLOPE, CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715


def _gelu_tanh_slope(x: Tensor) -> Tensor:
    x = x.clamp(-NORMAL_LIMIT, NORMAL_LIMIT)
    square = x * x
    s = sigmoid(x * (square * CUBIC + 1.0) * SLOPE)
    return s + x * (s * (1.0 - s)) * ((square * (3 * CUBIC) + 1.0) * SLOPE)


def _gelu_tanh_array(x: np.ndarray) -> np.ndarray:
    limited = np.clip(x, -NORMAL_LIMIT, NORMAL_LIMIT)
    s = sigmoid_array(limited * (limited * limited * CUBIC + 1) * SLOPE)
    return np.maximum(x, -NORMAL_LIMIT) * s


_gelu_tanh = unary(
    "gelu_tanh",
    "GELU with the normal distribution function replaced by a sigmoid.",
    "out = x * s;  s = sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x^3));\n"
    "grad_x = grad_out * (s + x * s * (1 - s) * 2 * sqrt(2 / pi) * (1 + 0.134145 * x^2))",
    _gelu_tanh_array,
    from_input=lambda grad_out, x: grad_out * _gelu_tanh_slope(x),
)

_GELU: dict[str, UnaryOp] = {"none": _gelu, "tanh": _gelu_tanh}


def gelu(input: TensorLike, approximate: Literal["none", "tanh"] = "none") -> Tensor:
    """x times the normal distribution function Phi.

    out = x * Phi(x)
    grad_x = grad_out * (Phi(x) + x * e^(-x^2 / 2) / sqrt(2 * pi))

    With `approximate="tanh"` Phi(x) is replaced by (1 + tanh(u)) / 2 with
    u = sqrt(2 / pi) * (x + 0.044715 * x^3). Source: Hendrycks and Gimpel 2016, arXiv 1606.08415.
    """
    if approximate not in _GELU:
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return _GELU[approximate](input)


# ---- bounded, shrinking, normalising -------------------------------------------------------------


def _softsign_array(x: np.ndarray) -> np.ndarray:
    largest = np.finfo(x.dtype).max
    x = np.clip(x, -largest, largest)
    return x / (1 + np.abs(x))


def _softsign_slope(x: Tensor) -> Tensor:
    share = reciprocal(abs(x) + 1.0)
    return share * share


softsign = unary(
    "softsign",
    "From -1 to 1, with flat and heavy tails.",
    "out = x / (1 + |x|);  grad_x = grad_out / (1 + |x|)^2",
    _softsign_array,
    from_input=lambda grad_out, x: grad_out * _softsign_slope(x),
)


def _tanhshrink_slope(x: Tensor) -> Tensor:
    t = tanh(x)
    return t * t


tanhshrink = unary(
    "tanhshrink",
    "x without its hyperbolic tangent.",
    "out = x - tanh(x);  grad_x = grad_out * tanh(x)^2",
    lambda x: x - np.tanh(x),
    from_input=lambda grad_out, x: grad_out * _tanhshrink_slope(x),
)


def softmin(input: TensorLike, dim: int) -> Tensor:
    """e^-x normalised to sum 1 along `dim`.

    out[i] = e^-x[i] / sum_j e^-x[j]
    grad_x[i] = out[i] * (sum_j grad_out[j] * out[j] - grad_out[i])
    """
    return softmax(-float_operand("softmin", input), dim)
