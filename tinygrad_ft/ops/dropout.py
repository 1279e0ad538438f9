"""Dropout of elements and of whole channels (Srivastava et al. 2014), in training only.

`inplace` is taken so that PyTorch's code runs, and changes nothing: the result is the same, and the
input is never overwritten.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_ft.ops._operands import float_operand
from tinygrad_ft.ops.activation import mask
from tinygrad_ft.ops.selection import where
from tinygrad_ft.random import generator
from tinygrad_ft.repeating import repeat
from tinygrad_ft.tensor import Tensor

# the negative limit of SELU: -scale * alpha, with the constants of arXiv 1706.02515
SELU_FLOOR = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Set each element to 0 with probability p and scale the rest, so that the mean stays.

    out = x / (1 - p) where kept, else 0
    grad_x = grad_out / (1 - p) where kept, else 0

    Each element is drawn on its own from `tinygrad_ft.random`. The identity unless `training`.
    """
    _check("dropout", p)
    if not training or p == 0:
        return input
    return mask(float_operand("dropout", input), _kept(input.shape, p), _scale(p))


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Set whole channels of (N, C, L) or (C, L) to 0 with probability p and scale the rest.

    out = x / (1 - p) where the channel is kept, else 0
    grad_x = grad_out / (1 - p) where the channel is kept, else 0
    """
    return _channels("dropout1d", input, p, training, {2: "(C, L)", 3: "(N, C, L)"})


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Set whole channels of (N, C, H, W) or (C, H, W) to 0 with probability p and scale the rest.

    out = x / (1 - p) where the channel is kept, else 0
    grad_x = grad_out / (1 - p) where the channel is kept, else 0

    Neighbouring pixels are alike, so that dropping single ones would hide little. A 3-d input is
    one image, (C, H, W). Source: Tompson et al. 2015, arXiv 1411.4280.
    """
    return _channels("dropout2d", input, p, training, {3: "(C, H, W)", 4: "(N, C, H, W)"})


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Dropout for SELU networks: keeps mean 0 and variance 1.

    out = a * x + b where kept, else a * s + b, s = -1.7580993408
    grad_x = grad_out * a where kept, else 0

    s is the negative limit of SELU, a = 1 / sqrt((1 - p) * (1 + p * s^2)), b = -a * p * s. The
    identity unless `training`, which is False by default as in PyTorch; all 0 with p = 1.
    Source: Klambauer et al. 2017, arXiv 1706.02515.
    """
    _check("alpha_dropout", p)
    if not training or p == 0:
        return input
    x = float_operand("alpha_dropout", input)
    if p == 1:
        return mask(x, np.zeros(x.shape, np.bool_))
    a = 1 / math.sqrt((1 - p) * (1 + p * SELU_FLOOR**2))
    b = -a * p * SELU_FLOOR
    return where(_kept(x.shape, p), x * a + b, a * SELU_FLOOR + b)


def _check(op: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"{op}: p must be a probability, got {p}")


def _scale(p: float) -> float:
    return 0.0 if p == 1 else 1 / (1 - p)


def _kept(shape: tuple[int, ...], p: float) -> np.ndarray:
    kept = np.empty(shape, np.bool_)

    def draw() -> None:
        np.greater_equal(generator().random(shape, dtype=np.float32), p, out=kept)

    repeat(draw)
    return kept


def _channels(op: str, x: Tensor, p: float, training: bool, shapes: dict[int, str]) -> Tensor:
    _check(op, p)
    if x.ndim not in shapes:
        raise ValueError(f"{op}: needs {' or '.join(shapes.values())}, got shape {x.shape}")
    if not training or p == 0:
        return x
    leading = 2 if x.ndim == max(shapes) else 1
    kept = _kept((*x.shape[:leading], *(1,) * (x.ndim - leading)), p)
    return mask(float_operand(op, x), np.broadcast_to(kept, x.shape), _scale(p))
