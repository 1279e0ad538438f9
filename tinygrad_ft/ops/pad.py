"""Padding: a border of a constant, or of copies of the tensor itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import kernels
from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import empty_like_layout
from tinygrad_ft.ops.axis_map import Recipe, axis_map
from tinygrad_ft.tensor import Scalar, Tensor

Grads = tuple[Tensor | None, ...]

MODES = ("constant", "reflect", "replicate", "circular")


class Pad(Function):
    """out = x with a border of the value;  grad_x = grad_out without the border

    A negative width crops; its gradient pads with zeros.
    """

    runs_ahead = True
    fresh_gradients = True

    def forward(
        self, x: np.ndarray, *, widths: tuple[tuple[int, int], ...], value: Scalar
    ) -> np.ndarray:
        self.widths = widths
        shape = tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True))
        # the same order of axes in memory as x, so that channels-last stays channels-last
        out = empty_like_layout(shape, x, later=True)
        source = tuple(
            slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, widths, strict=True)
        )
        target = tuple(
            slice(max(a, 0), n - max(b, 0)) for n, (a, b) in zip(shape, widths, strict=True)
        )
        kernels.place(out, out[target], x[source], value)
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        inverse = tuple((-a, -b) for a, b in self.widths)
        return (Pad.apply(grad_out, widths=inverse, value=0),)


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: Scalar | None = None
) -> Tensor:
    """A border around x: `pad` = (left, right, top, bottom, ...) from the last dimension backwards.

    out[i] = x[i - left] where 0 <= i - left < size, else value;
    grad_x[i] = sum_o grad_out[o] over all o with a copy of x[i]

    Negative widths crop. Mode "constant" fills with `value` (0 by default), in any dimensions. The
    modes that copy pad the last 1, 2 or 3 dimensions, of a tensor that has one or two more:
    "reflect" mirrors at the outermost element (widths below the size), "replicate" repeats it,
    "circular" goes on at the other end of what is left after cropping (widths up to its size).
    Raises ValueError if the widths do not fit the shape.
    """
    if mode not in MODES:
        raise ValueError(f"pad: mode {mode!r} is not known; use one of {', '.join(MODES)}")
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ValueError(f"pad: {len(pad)} widths do not fit a tensor of shape {input.shape}")
    pairs = [(int(pad[i]), int(pad[i + 1])) for i in range(0, len(pad), 2)]
    widths = tuple([(0, 0)] * (input.ndim - len(pairs)) + pairs[::-1])
    if any(n + a + b < 0 for n, (a, b) in zip(input.shape, widths, strict=True)):
        raise ValueError(f"pad: {tuple(pad)} crops more than shape {input.shape} has")
    if mode == "constant":
        return Pad.apply(input, widths=widths, value=0 if value is None else value)
    if value:
        raise ValueError(f"pad: mode {mode!r} takes no value, got {value}; use mode 'constant'")
    if not 1 <= len(pairs) <= 3 or input.ndim - len(pairs) not in (1, 2):
        raise ValueError(
            f"pad: mode {mode!r} pads the last 1, 2 or 3 dimensions of a tensor with one or two "
            f"more, got {len(pad)} widths and shape {input.shape}; use mode 'constant'"
        )
    out = input
    if mode == "circular":
        # what goes on at the other end is what is left
        crop = tuple((min(a, 0), min(b, 0)) for a, b in widths)
        out = Pad.apply(input, widths=crop, value=0) if min(pad) < 0 else input
        widths = tuple((max(a, 0), max(b, 0)) for a, b in widths)
    for dim in range(input.ndim - len(pairs), input.ndim):
        size, (before, after) = out.shape[dim], widths[dim]
        most = {"reflect": size - 1, "circular": size}.get(mode)
        if size == 0 or (most is not None and max(before, after) > most):
            raise ValueError(
                f"pad: mode {mode!r} with widths {(before, after)} does not fit size {size} of "
                f"dim {dim} (shape {input.shape})"
            )
        if (before, after) != (0, 0):
            out = axis_map(out, dim, Recipe(mode, size, size + before + after, before))
    return out
