"""Activations in pieces: ELU and its relatives, leaky ReLUs, and those made of straight lines.

At a kink the derivative is PyTorch's: that of the lower piece, and 0 at both ends of a range.
`inplace` changes nothing, as in `activation.py`.
"""

from __future__ import annotations

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._broadcasting import Broadcasting
from tinygrad_ft.ops._operands import float_operand, normalize_dim
from tinygrad_ft.ops._unary import activation, unary
from tinygrad_ft.ops.activation import mask
from tinygrad_ft.ops.selection import clamp, where
from tinygrad_ft.ops.unary import exp, sigmoid
from tinygrad_ft.tensor import Tensor, TensorLike

Grads = tuple[Tensor | None, ...]

# arXiv 1706.02515: with these, mean 0 and variance 1 are a stable point of a deep network
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


class ELU(Function):
    """out = scale * x where x > 0, else scale * alpha * (e^(k * x) - 1);
    grad_x = grad_out * scale where x > 0, else grad_out * scale * alpha * k * e^(k * x)"""

    def forward(self, x: np.ndarray, *, alpha: float, scale: float, k: float) -> np.ndarray:
        self.alpha, self.scale, self.k = alpha, scale, k
        self.save_input(0)
        # the exponential is not computed where it is not used and could overflow
        curve = np.expm1(np.minimum(x, 0) * k) * (scale * alpha)
        return np.where(x > 0, x * scale, curve)

    def backward(self, grad_out: Tensor) -> Grads:
        x = self.input(0)
        negative = where(x._data < 0, x, 0.0)
        curve = exp(negative * self.k) * (self.scale * self.alpha * self.k)
        return (grad_out * where(x._data > 0, self.scale, curve),)


class LeakyReLU(Function):
    """out = x where x > 0, else slope * x;  grad_x = grad_out where x > 0, else slope * grad_out"""

    def forward(self, x: np.ndarray, *, slope: float) -> np.ndarray:
        self.slope = slope
        self.save_constant("positive", x > 0)
        return np.where(x > 0, x, x * slope)

    def backward(self, grad_out: Tensor) -> Grads:
        return (where(self.constant("positive"), grad_out, grad_out * self.slope),)


class PReLU(Broadcasting):
    """out = x where x > 0, else w * x;  grad_x = grad_out where x > 0, else grad_out * w;
    grad_w = grad_out * min(x, 0)"""

    def forward(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        self.remember_shapes(x, w)
        self.save_input(0)
        self.save_input(1, needed_by=0)
        return np.where(x > 0, x, w * x)

    def backward(self, grad_out: Tensor) -> Grads:
        x = self.input(0)
        grad_x = grad_w = None
        if self.needs_input_grad[0]:
            grad_x = where(x._data > 0, grad_out, grad_out * self.input(1))
        if self.needs_input_grad[1]:
            # limited before it is multiplied, so that an infinity above 0 is not 0 * inf
            grad_w = self.fit(1, grad_out * clamp(x, max=0.0))
        return grad_x, grad_w


class Hardtanh(Function):
    """out = min(max(x, low), high);  grad_x = grad_out where low < x and x < high, else 0"""

    def forward(self, x: np.ndarray, *, low: float, high: float) -> np.ndarray:
        self.save_constant("inside", ~((x <= low) | (x >= high)))
        return np.clip(x, low, high)

    def backward(self, grad_out: Tensor) -> Grads:
        return (mask(grad_out, self.constant("inside")),)


class Hardsigmoid(Function):
    """out = min(max(x + 3, 0), 6) / 6;  grad_x = grad_out / 6 where -3 < x and x < 3, else 0"""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.save_constant("inside", (x > -3) & (x < 3))
        return np.clip(x + 3, 0, 6) / 6

    def backward(self, grad_out: Tensor) -> Grads:
        return (mask(grad_out, self.constant("inside"), 1 / 6),)


class Threshold(Function):
    """out = x where x > threshold, else value;  grad_x = grad_out where x > threshold, else 0"""

    def forward(self, x: np.ndarray, *, threshold: float, value: float) -> np.ndarray:
        passes = ~(x <= threshold)
        self.save_constant("passes", passes)
        return np.where(passes, x, x.dtype.type(value))

    def backward(self, grad_out: Tensor) -> Grads:
        return (mask(grad_out, self.constant("passes")),)


def _hardswish_array(x: np.ndarray) -> np.ndarray:
    # limited first: -inf * 0 would be NaN; and divided first: x * 6 could overflow
    x = np.maximum(x, -3)
    return x * (np.minimum(x + 3, 6) / 6)


def _hardswish_slope(x: Tensor) -> Tensor:
    line = where(x._data <= -3, 0.0, x / 3.0 + 0.5)
    return where(x._data < 3, line, 1.0)


hardswish = activation(
    unary(
        "hardswish",
        "x times its hardsigmoid. Source: Howard et al. 2019, arXiv 1905.02244.",
        "out = x * min(max(x + 3, 0), 6) / 6;\n"
        "grad_x = 0 where x <= -3, else grad_out * (x / 3 + 1 / 2) where x < 3, else grad_out",
        _hardswish_array,
        from_input=lambda grad_out, x: grad_out * _hardswish_slope(x),
    )
)


# ---- what users call -----------------------------------------------------------------------------


def elu(input: TensorLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where it is positive; below, an exponential that ends at -alpha.

    out = x where x > 0, else alpha * (e^x - 1)
    grad_x = grad_out where x > 0, else grad_out * alpha * e^x

    Source: Clevert et al. 2015, arXiv 1511.07289.
    """
    return ELU.apply(float_operand("elu", input), alpha=float(alpha), scale=1.0, k=1.0)


def celu(input: TensorLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """ELU without a kink at 0, whatever alpha is. ValueError if alpha is 0.

    out = x where x > 0, else alpha * (e^(x / alpha) - 1)
    grad_x = grad_out where x > 0, else grad_out * e^(x / alpha)

    Source: Barron 2017, arXiv 1704.07483.
    """
    if alpha == 0:
        raise ValueError("celu: alpha must not be 0")
    x = float_operand("celu", input)
    return ELU.apply(x, alpha=float(alpha), scale=1.0, k=1 / float(alpha))


def selu(input: TensorLike, inplace: bool = False) -> Tensor:
    """ELU scaled so that deep networks keep mean 0 and variance 1.

    out = 1.0507 * x where x > 0, else 1.7581 * (e^x - 1)
    grad_x = grad_out * 1.0507 where x > 0, else grad_out * 1.7581 * e^x

    1.0507009873554805 is the scale and 1.7580993408473766 scale times alpha. Source: Klambauer et
    al. 2017, arXiv 1706.02515.
    """
    return ELU.apply(float_operand("selu", input), alpha=SELU_ALPHA, scale=SELU_SCALE, k=1.0)


def leaky_relu(input: TensorLike, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where it is positive, else `negative_slope` times x; at 0 the slope is `negative_slope`."""
    return LeakyReLU.apply(float_operand("leaky_relu", input), slope=float(negative_slope))


def prelu(input: TensorLike, weight: Tensor) -> Tensor:
    """Leaky ReLU with a learned slope: one for all, or one a channel (dimension 1 of x).

    At 0 the slope is `weight`. Source: He et al. 2015, arXiv 1502.01852.
    """
    x = float_operand("prelu", input)
    if weight.dtype != x.dtype:
        raise TypeError(f"prelu: weight is {weight.dtype}, but the input is {x.dtype}")
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        raise ValueError(
            f"prelu: weight of shape {weight.shape} does not fit an input of shape {x.shape}; it "
            f"holds one slope, or {channels}: one for each channel"
        )
    shape = (1, channels, *(1,) * (x.ndim - 2)) if weight.numel() > 1 else (1,) * x.ndim
    return PReLU.apply(x, weight.reshape(shape))


def hardtanh(
    input: TensorLike, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x limited to [min_val, max_val]; at the limits the derivative is 0 (`clamp` has 1 there)."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val={min_val} is above max_val={max_val}")
    x = float_operand("hardtanh", input)
    return Hardtanh.apply(x, low=float(min_val), high=float(max_val))


def relu6(input: TensorLike, inplace: bool = False) -> Tensor:
    """x limited to [0, 6]; at 0 and at 6 the derivative is 0.

    out = min(max(x, 0), 6)
    grad_x = grad_out where 0 < x and x < 6, else 0
    """
    return Hardtanh.apply(float_operand("relu6", input), low=0.0, high=6.0)


def hardsigmoid(input: TensorLike, inplace: bool = False) -> Tensor:
    """A sigmoid of three straight lines; at -3 and 3 the derivative is 0."""
    return Hardsigmoid.apply(float_operand("hardsigmoid", input))


def threshold(input: TensorLike, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where it is above `threshold`, else `value`."""
    x = float_operand("threshold", input)
    return Threshold.apply(x, threshold=float(threshold), value=float(value))


def glu(input: TensorLike, dim: int = -1) -> Tensor:
    """The first half a along `dim` times the sigmoid of the second half b: a gated linear unit.

    out = a * sigmoid(b)
    grad_a = grad_out * sigmoid(b)
    grad_b = grad_out * a * sigmoid(b) * (1 - sigmoid(b))

    Source: Dauphin et al. 2016, arXiv 1612.08083.
    """
    x = float_operand("glu", input)
    if x.ndim == 0:
        raise ValueError("glu: needs a dimension to halve, but the input is 0-dimensional")
    d = normalize_dim("glu", dim, x.ndim)
    half, odd = divmod(x.shape[d], 2)
    if odd:
        raise ValueError(f"glu: dim {dim} of shape {x.shape} is odd and cannot be halved")
    before = (slice(None),) * d
    return x[(*before, slice(half))] * sigmoid(x[(*before, slice(half, None))])
