"""Changing the size of images: interpolation, and moving pixels between space and channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinygrad_ft.ops._operands import float_operand
from tinygrad_ft.ops.axis_map import Recipe, axis_map
from tinygrad_ft.ops.shape import permute, reshape
from tinygrad_ft.tensor import Tensor

KINDS = {"linear": "linear", "bilinear": "linear", "bicubic": "cubic"}
"""What a mode does along each dimension; the other modes have their own name."""
DIMENSIONS = {"linear": 3, "bilinear": 4, "bicubic": 4}
"""The number of dimensions that a mode is for, where it is not for all."""
MODES = ("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "area")


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resize (N, C, L) or (N, C, H, W) to `size`, or by `scale_factor` to floor(size * factor).

    out = R @ x @ C^T;  grad_x = R^T @ grad_out @ C

    R and C are constant sparse matrices of weights for rows and columns.
    mode is "nearest", "nearest-exact", "area" (adaptive average), "linear" (3 dimensions),
    "bilinear" or "bicubic" (4 dimensions; Keys 1981 with a = -3/4). Output o lies at
    (o + 1/2) * scale - 1/2 of the input, and with `align_corners` at o * (size - 1) / (out - 1), so
    that the outermost pixels coincide. scale is 1 / scale_factor where that is given, unless
    `recompute_scale_factor`, and size / out otherwise. Source of the rules: PyTorch. Raises
    ValueError for arguments that do not fit each other or the shape; `antialias` is not supported.
    """
    if mode not in MODES:
        raise ValueError(f"interpolate: mode {mode!r} is not known; use one of {', '.join(MODES)}")
    if antialias:
        raise ValueError(
            "interpolate: antialias=True is not supported; average first, with mode 'area'"
        )
    if input.ndim not in (3, 4) or input.ndim != DIMENSIONS.get(mode, input.ndim):
        expected = {3: "(N, C, L)", 4: "(N, C, H, W)"}.get(DIMENSIONS.get(mode, 0))
        raise ValueError(
            f"interpolate: mode {mode!r} needs {expected or '(N, C, L) or (N, C, H, W)'}, got "
            f"{input.shape}"
        )
    if align_corners is not None and mode not in KINDS:
        raise ValueError(
            f"interpolate: align_corners is for modes {', '.join(KINDS)}, not {mode!r}"
        )
    x = float_operand("interpolate", input)
    sizes, scales = _target(x, size, scale_factor, recompute_scale_factor)
    kind = KINDS.get(mode, mode)
    for dim, (out_size, factor) in enumerate(zip(sizes, scales, strict=True), 2):
        n = x.shape[dim]
        scale = n / out_size if factor is None else 1 / factor
        if align_corners:
            scale = (n - 1) / (out_size - 1) if out_size > 1 else 0.0
        if out_size != n or (scale != 1 and kind != "area"):
            recipe = Recipe(kind, n, out_size, 0, scale, bool(align_corners))
            x = axis_map(x, dim, recipe)
    return x


def _target(
    x: Tensor,
    size: int | Sequence[int] | None,
    scale_factor: float | Sequence[float] | None,
    recompute: bool | None,
) -> tuple[list[int], list[float | None]]:
    """The size of each resized dimension, and the factor to use for it, None to work it out."""
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"interpolate: give size or scale_factor, one of them (got size={size}, scale_factor="
            f"{scale_factor})"
        )
    given: Any = size if size is not None else scale_factor
    values = list(given) if isinstance(given, Sequence) else [given] * (x.ndim - 2)
    if len(values) != x.ndim - 2 or any(v <= 0 for v in values):
        raise ValueError(
            f"interpolate: needs {x.ndim - 2} positive numbers for an input of shape {x.shape}, "
            f"got {given}"
        )
    if size is not None:
        if recompute:
            raise ValueError("interpolate: recompute_scale_factor is for scale_factor, not size")
        sizes = [int(v) for v in values]
    else:
        sizes = [math.floor(n * f) for n, f in zip(x.shape[2:], values, strict=True)]
    keep = size is None and not recompute
    factors = [float(f) if keep else None for f in values]
    if min(sizes) < 1 or min(x.shape[2:]) < 1:
        raise ValueError(f"interpolate: {x.shape} cannot be resized to {tuple(sizes)}")
    return sizes, factors


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Channels to space: (..., C r^2, H, W) -> (..., C, H r, W r), r the upscale factor.

    out[c, h * r + i, w * r + j] = x[c * r^2 + i * r + j, h, w];
    grad_x = pixel_unshuffle(grad_out)

    Source: Shi et al. 2016, arXiv:1609.05158. Raises ValueError if the channels do not divide.
    """
    r = upscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-3] % (r * r):
        raise ValueError(
            f"pixel_shuffle: needs (..., C r^2, H, W) with r = {r}, got shape {input.shape}"
        )
    *lead, channels, height, width = input.shape
    parts = reshape(input, (*lead, channels // (r * r), r, r, height, width))
    return reshape(
        permute(parts, (*range(len(lead)), *(d - 5 for d in (0, 3, 1, 4, 2)))),
        (*lead, channels // (r * r), height * r, width * r),
    )


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Space to channels: (..., C, H r, W r) -> (..., C r^2, H, W), the inverse of pixel_shuffle.

    out[c * r^2 + i * r + j, h, w] = x[c, h * r + i, w * r + j];
    grad_x = pixel_shuffle(grad_out)

    Raises ValueError if the image's sides do not divide.
    """
    r = downscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-2] % r or input.shape[-1] % r:
        raise ValueError(
            f"pixel_unshuffle: needs (..., C, H r, W r) with r = {r}, got shape {input.shape}"
        )
    *lead, channels, height, width = input.shape
    parts = reshape(input, (*lead, channels, height // r, r, width // r, r))
    return reshape(
        permute(parts, (*range(len(lead)), *(d - 5 for d in (0, 2, 4, 1, 3)))),
        (*lead, channels * r * r, height // r, width // r),
    )
