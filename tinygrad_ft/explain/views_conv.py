"""What a convolution does at one place: the window and its products, and the way back.

With s stride, d dilation, b padding (images and windows have two axes; one is written here):

    forward, one output     y[n, o, i] = sum_{c, p} w[o, c, p] * x[n, c, s i + d p - b]
    backward, one weight    touches y[n, o, i] for every image n and place i
    backward, one pixel k   touches the y[n, o, i] with s i + d p - b = k for some p
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ft.explain.backprop import BackwardStep
from tinygrad_ft.explain.graph import Op
from tinygrad_ft.explain.summary import number, numbers, picture

#: so many channels of a window are shown one by one, the most important first
CHANNELS = 3


class _Window:
    """Where the window lies, and the input with zeros around it."""

    def __init__(self, op: Op) -> None:
        assert op.inputs[0] is not None and op.inputs[1] is not None
        x, w = op.inputs[0].array, op.inputs[1].array
        assert x is not None and w is not None
        self.w = w.astype(np.float64)
        geometry = op.node.geometry  # type: ignore[attr-defined]
        self.stride, self.padding, self.dilation, self.groups = geometry
        top, left = self.padding
        self.padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, top), (left, left)))
        self.shape = x.shape

    def channels_of(self, o: int) -> np.ndarray:
        """The input channels that output channel `o` sees."""
        count = self.w.shape[1]
        return np.arange(count) + o // (self.w.shape[0] // self.groups) * count

    def patch(self, n: int, o: int, i: int, j: int) -> np.ndarray:
        """(C, kH, kW): what the window sees."""
        (sy, sx), (dy, dx) = self.stride, self.dilation
        kh, kw = self.w.shape[2:]
        rows, columns = i * sy + dy * np.arange(kh), j * sx + dx * np.arange(kw)
        return self.padded[n][self.channels_of(o)][:, rows][:, :, columns]

    def corner(self, i: int, j: int) -> list[int]:
        """Top, left, height and width of the window in pixels of the image."""
        (sy, sx), (by, bx), (dy, dx) = self.stride, self.padding, self.dilation
        kh, kw = self.w.shape[2:]
        return [i * sy - by, j * sx - bx, (kh - 1) * dy + 1, (kw - 1) * dx + 1]


def forward_view(op: Op) -> dict[str, Any] | None:
    """A few outputs of image 1, each with its window, the weights, the products and their sum."""
    out = op.outputs[0].array
    known = all(v is not None and v.array is not None for v in op.inputs)
    if out is None or not known or out.size == 0 or not hasattr(op.node, "geometry"):
        return None
    window = _Window(op)
    probes = []
    for o, i, j in _places(out[0]):
        patch, weights = window.patch(0, o, i, j), window.w[o]
        probes.append(
            {
                "place": [0, o, i, j],
                "value": number(out[0, o, i, j]),
                "window": window.corner(i, j),
                **_terms(patch, weights, window.channels_of(o)),
            }
        )
    return {"kind": "conv", "probes": probes, "names": ["x", "w"]}


def _places(maps: np.ndarray) -> list[tuple[int, int, int]]:
    """The output with the largest value, the one in the middle, and the first."""
    best = np.unravel_index(
        int(np.nanargmax(np.abs(maps))) if np.isfinite(maps).any() else 0, maps.shape
    )
    channels, height, width = maps.shape
    found = [best, (min(1, channels - 1), height // 2, width // 2), (0, 0, 0)]
    return list(dict.fromkeys((int(o), int(i), int(j)) for o, i, j in found))


def _terms(a: np.ndarray, b: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Two stacks of tables that are multiplied and summed; the largest tables, and the rest."""
    sums = (a * b).sum(axis=(1, 2))
    first = np.argsort(-np.abs(sums), kind="stable")[:CHANNELS]
    return {
        "tables": [
            {
                "channel": int(labels[c]),
                "rows": a.shape[1],
                "a": numbers(a[c].astype(np.float32)),
                "b": numbers(b[c].astype(np.float32)),
                "sum": number(np.float32(sums[c])),
            }
            for c in first
        ],
        "others": len(sums) - len(first),
        "rest": number(np.float32(sums.sum() - sums[first].sum())),
    }


def backward_view(step: BackwardStep) -> dict[str, Any] | None:
    """One weight with all the places it touched, and one pixel with all the outputs it touched."""
    op, grad_out = step.op, step.incoming[0]
    known = all(v is not None and v.array is not None for v in op.inputs)
    if grad_out is None or not known or not hasattr(op.node, "geometry"):
        return None
    window = _Window(op)
    grad_x, grad_w = step.outgoing[0], step.outgoing[1]
    view: dict[str, Any] = {"kind": "conv-back"}
    if grad_w is not None and grad_w.size:
        view["weight"] = _weight_probe(window, grad_out, grad_w)
    if grad_x is not None and grad_x.size:
        view["pixel"] = _pixel_probe(window, grad_out, grad_x)
    return view if len(view) > 1 else None


def _weight_probe(window: _Window, grad_out: np.ndarray, grad_w: np.ndarray) -> dict[str, Any]:
    o, c, p, q = _largest(grad_w)
    (sy, sx), (dy, dx) = window.stride, window.dilation
    height, width = grad_out.shape[2:]
    rows, columns = p * dy + sy * np.arange(height), q * dx + sx * np.arange(width)
    channel = int(window.channels_of(o)[c])
    seen = window.padded[:, channel][:, rows][:, :, columns]
    products = seen * grad_out[:, o]
    return {
        "place": [o, c, p, q],
        "value": number(grad_w[o, c, p, q]),
        "channel": channel,
        "pictures": [picture(a[:1]) for a in (grad_out[:, o], seen, products)],
        "first": number(np.float32(products[0].sum())),
        "images": len(products),
        "places": int(products[0].size),
        "total": number(np.float32(products.sum())),
    }


def _pixel_probe(window: _Window, grad_out: np.ndarray, grad_x: np.ndarray) -> dict[str, Any]:
    c, k, l = _largest(grad_x[0])
    (sy, sx), (by, bx), (dy, dx) = window.stride, window.padding, window.dilation
    outputs, own, kh, kw = window.w.shape
    group = c // own
    per_group = outputs // window.groups
    mine = np.arange(group * per_group, (group + 1) * per_group)
    g = np.zeros((len(mine), kh, kw))
    touched: list[list[int]] = []
    for p in range(kh):
        for q in range(kw):
            y, y_off = divmod(k + by - p * dy, sy)
            x, x_off = divmod(l + bx - q * dx, sx)
            inside = 0 <= y < grad_out.shape[2] and 0 <= x < grad_out.shape[3]
            if inside and not y_off and not x_off:
                g[:, p, q] = grad_out[0, mine, y, x]
                touched.append([int(y), int(x)])
    terms = _terms(g, window.w[mine, c - group * own], mine)
    total = float((g * window.w[mine, c - group * own]).sum())
    return {
        "place": [0, c, k, l],
        "value": number(grad_x[0, c, k, l]),
        "touched": touched,
        "total": number(np.float32(total)),
        **terms,
    }


def _largest(array: np.ndarray) -> tuple[int, ...]:
    flat = int(np.argmax(np.abs(np.nan_to_num(array))))
    return tuple(int(i) for i in np.unravel_index(flat, array.shape))
