"""Copies of a whole tensor beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tinygrad_ft.ops.shape import broadcast_to, reshape
from tinygrad_ft.tensor import Tensor


def repeat(input: Tensor, repeats: Sequence[int]) -> Tensor:
    """The tensor `repeats[d]` times along each dimension d; missing dimensions come first.

    out[i] = x[i mod n]
    grad_x[i] = sum_k grad_out[i + k * n]
    """
    counts = tuple(int(r) for r in repeats)
    if len(counts) < input.ndim or any(c < 0 for c in counts):
        raise ValueError(
            f"repeat: repeats {counts} must be {input.ndim} or more numbers that are not negative, "
            f"for shape {input.shape}"
        )
    sizes = (1,) * (len(counts) - input.ndim) + input.shape
    # each dimension n becomes (repeats, n), and both together one again
    pairs = [n for c, s in zip(counts, sizes, strict=True) for n in (c, s)]
    single = [n for s in sizes for n in (1, s)]
    wide = broadcast_to(reshape(input, single), pairs)
    return reshape(wide, [c * s for c, s in zip(counts, sizes, strict=True)])


def tile(input: Tensor, dims: Sequence[int]) -> Tensor:
    """`repeat` in which missing counts are 1.

    out[i] = x[i mod n]
    grad_x[i] = sum_k grad_out[i + k * n]
    """
    counts = tuple(dims)
    return repeat(input, (1,) * (input.ndim - len(counts)) + counts)


def meshgrid(*tensors: Tensor | Sequence[Tensor], indexing: str = "ij") -> tuple[Tensor, ...]:
    """The coordinates of all points of a grid whose axes are the given vectors; views.

    out_1[i, j] = a[i];  out_2[i, j] = b[j]
    grad_a[i] = sum_j grad_out_1[i, j];  grad_b[j] = sum_i grad_out_2[i, j]

    `indexing` "xy" exchanges the first two dimensions.
    """
    flat = tensors[0] if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else tensors
    axes: list[Tensor] = list(flat)  # type: ignore[arg-type]
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: indexing must be 'ij' or 'xy', not {indexing!r}")
    if any(a.ndim > 1 for a in axes):
        shapes = ", ".join(str(a.shape) for a in axes)
        raise ValueError(f"meshgrid: needs vectors, got shapes {shapes}")
    order = list(range(len(axes)))
    if indexing == "xy" and len(axes) > 1:
        order[0], order[1] = 1, 0
    shape = [1] * len(axes)
    for place, a in zip(order, axes, strict=True):
        shape[place] = math.prod(a.shape)
    out = []
    for place, a in zip(order, axes, strict=True):
        single = [1] * len(axes)
        single[place] = -1 if a.numel() else 0
        out.append(broadcast_to(reshape(a, single), shape))
    return tuple(out)
