"""Functions of one number: each entry has the formulas, the forward and the gradient.

Integers become float32, except where the result of an integer is an integer (`abs`, `sign`,
`square`). Where a function has no value, as `log` below 0, the result is NaN.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_ft.ops._unary import UnaryOp, unary
from tinygrad_ft.tensor import Tensor

# ---- powers and roots ----------------------------------------------------------------------------

reciprocal = unary(
    "reciprocal",
    "One over x.",
    "out = 1 / x;  grad_x = -grad_out * out^2",
    lambda x: 1 / x,
    from_output=lambda grad_out, out: -grad_out * (out * out),
)

square = unary(
    "square",
    "x times itself.",
    "out = x^2;  grad_x = grad_out * 2 * x",
    lambda x: x * (x if x.dtype != np.bool_ else x.astype(np.int64)),
    from_input=lambda grad_out, x: grad_out * (x * 2),
    keeps_integers=True,
)

sqrt = unary(
    "sqrt",
    "The square root.",
    "out = sqrt(x);  grad_x = grad_out / (2 * out)",
    np.sqrt,
    from_output=lambda grad_out, out: grad_out / (out * 2.0),
)

rsqrt = unary(
    "rsqrt",
    "One over the square root.",
    "out = 1 / sqrt(x);  grad_x = -grad_out * out^3 / 2",
    lambda x: 1 / np.sqrt(x),
    from_output=lambda grad_out, out: grad_out * (out * out * out * -0.5),
)

# ---- exponentials and logarithms -----------------------------------------------------------------

exp = unary(
    "exp",
    "The exponential function.",
    "out = e^x;  grad_x = grad_out * out",
    np.exp,
    from_output=lambda grad_out, out: grad_out * out,
)

exp2 = unary(
    "exp2",
    "Two to the power of x.",
    "out = 2^x;  grad_x = grad_out * out * ln 2",
    np.exp2,
    from_output=lambda grad_out, out: grad_out * (out * math.log(2)),
)

expm1 = unary(
    "expm1",
    "The exponential minus one, exact to the last digits where x is near 0.",
    "out = e^x - 1;  grad_x = grad_out * e^x",
    np.expm1,
    from_input=lambda grad_out, x: grad_out * exp(x),
)

log = unary(
    "log",
    "The natural logarithm.",
    "out = ln x;  grad_x = grad_out / x",
    np.log,
    from_input=lambda grad_out, x: grad_out / x,
)

log2 = unary(
    "log2",
    "The logarithm to base 2.",
    "out = log2 x;  grad_x = grad_out / (x * ln 2)",
    np.log2,
    from_input=lambda grad_out, x: grad_out / (x * math.log(2)),
)

log10 = unary(
    "log10",
    "The logarithm to base 10.",
    "out = log10 x;  grad_x = grad_out / (x * ln 10)",
    np.log10,
    from_input=lambda grad_out, x: grad_out / (x * math.log(10)),
)

log1p = unary(
    "log1p",
    "The natural logarithm of 1 + x, exact to the last digits where x is near 0.",
    "out = ln(1 + x);  grad_x = grad_out / (1 + x)",
    np.log1p,
    from_input=lambda grad_out, x: grad_out / (x + 1.0),
)

# ---- angles --------------------------------------------------------------------------------------

sin = unary(
    "sin",
    "The sine, x in radians.",
    "out = sin x;  grad_x = grad_out * cos x",
    np.sin,
    from_input=lambda grad_out, x: grad_out * cos(x),
)

cos: UnaryOp = unary(
    "cos",
    "The cosine, x in radians.",
    "out = cos x;  grad_x = -grad_out * sin x",
    np.cos,
    from_input=lambda grad_out, x: -grad_out * sin(x),
)

tan = unary(
    "tan",
    "The tangent, x in radians.",
    "out = tan x;  grad_x = grad_out * (1 + out^2)",
    np.tan,
    from_output=lambda grad_out, out: grad_out * (out * out + 1.0),
)

_arc_slope: UnaryOp = unary(
    "arc_slope",
    "The derivative of the arc sine: infinite at -1 and 1, and so are its own derivatives there.",
    "out = 1 / sqrt((1 - x) * (1 + x));  grad_x = grad_out * x * out^3",
    lambda x: 1 / np.sqrt((1 - x) * (1 + x)),
    from_input=lambda grad_out, x: grad_out * (x * _arc_slope(x) ** 3),
)


def _finite(x: Tensor) -> Tensor:
    """x with the largest number for infinity, where derivatives of any order are then 0."""
    largest = float(np.finfo(x.dtype).max)
    return x.clamp(-largest, largest)


asin = unary(
    "asin",
    "The angle from -pi/2 to pi/2 whose sine is x.",
    "out = asin x;  grad_x = grad_out / sqrt((1 - x) * (1 + x))",
    np.arcsin,
    from_input=lambda grad_out, x: grad_out * _arc_slope(x),
)

acos = unary(
    "acos",
    "The angle from 0 to pi whose cosine is x.",
    "out = acos x;  grad_x = -grad_out / sqrt((1 - x) * (1 + x))",
    np.arccos,
    from_input=lambda grad_out, x: -grad_out * _arc_slope(x),
)

atan = unary(
    "atan",
    "The angle from -pi/2 to pi/2 whose tangent is x.",
    "out = atan x;  grad_x = grad_out / (1 + x^2)",
    np.arctan,
    from_input=lambda grad_out, x: grad_out / (square(_finite(x)) + 1.0),
)

# ---- hyperbolic, sigmoid, error function ---------------------------------------------------------

sinh = unary(
    "sinh",
    "The hyperbolic sine.",
    "out = sinh x;  grad_x = grad_out * cosh x",
    np.sinh,
    from_input=lambda grad_out, x: grad_out * cosh(x),
)

cosh: UnaryOp = unary(
    "cosh",
    "The hyperbolic cosine.",
    "out = cosh x;  grad_x = grad_out * sinh x",
    np.cosh,
    from_input=lambda grad_out, x: grad_out * sinh(x),
)

tanh = unary(
    "tanh",
    "The hyperbolic tangent.",
    "out = tanh x;  grad_x = grad_out * (1 - out^2)",
    np.tanh,
    from_output=lambda grad_out, out: grad_out * (1.0 - out * out),
)


def sigmoid_array(x: np.ndarray) -> np.ndarray:
    # e^-|x| never overflows: 1 / (1 + e) for x >= 0, e / (1 + e) for x < 0
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, x.dtype.type(1), e) / (1 + e)


sigmoid = unary(
    "sigmoid",
    "The logistic function, without overflow.",
    "out = 1 / (1 + e^-x);  grad_x = grad_out * out * (1 - out)",
    sigmoid_array,
    from_output=lambda grad_out, out: grad_out * (out * (1.0 - out)),
)


def _erf_array(x: np.ndarray) -> np.ndarray:
    # imported late: it takes longer than all of NumPy
    from scipy.special import erf

    out: np.ndarray = erf(x)
    return out


def gaussian(x: Tensor) -> Tensor:
    """e^(-x^2), with derivatives 0 and not NaN at infinity.

    Beyond 30 it is exactly 0, in float64 as well, so that x may be limited to that first.
    """
    limited = x.clamp(-30.0, 30.0)
    return exp(-limited * limited)


erf = unary(
    "erf",
    "The error function: 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x.",
    "out = erf(x);  grad_x = grad_out * 2 / sqrt(pi) * e^(-x^2)",
    _erf_array,
    from_input=lambda grad_out, x: grad_out * (gaussian(x) * (2 / math.sqrt(math.pi))),
)

# ---- sign ----------------------------------------------------------------------------------------

sign = unary(
    "sign",
    "-1, 0 or 1; 0 of a NaN.",
    "out = sign(x);  grad_x = 0",
    lambda x: np.subtract(x > 0, x < 0, dtype=np.int8).astype(x.dtype),
    keeps_integers=True,
)

abs = unary(
    "abs",
    "The absolute value; its derivative at 0 is taken as 0.",
    "out = |x|;  grad_x = grad_out * sign(x)",
    np.abs,
    from_input=lambda grad_out, x: grad_out * sign(x),
    keeps_integers=True,
)
