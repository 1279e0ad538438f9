"""Views of single ops where a picture says more than the arrays: what the page shows below them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_ft.explain import views_conv
from tinygrad_ft.explain.backprop import BackwardStep
from tinygrad_ft.explain.graph import Op
from tinygrad_ft.explain.summary import NUMBERS, histogram, number, numbers, picture
from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.observe import Observer, observing
from tinygrad_ft.tensor import Tensor

View = dict[str, Any]
#: terms of a sum, points of a curve and rows of a table that are shown
TERMS, POINTS, ROWS = 12, 80, 4


def forward_view(op: Op) -> View | None:
    """For the forward step of an op, or None."""
    make = FORWARD.get(op.name)
    if make is not None and _known(op):
        return make(op)
    return _curve(op) if _is_curve(op) and _known(op) else None


def backward_view(step: BackwardStep) -> View | None:
    """For the backward step of an op, or None."""
    make = BACKWARD.get(step.op.name)
    return make(step) if make is not None and _known(step.op) else None


def _known(op: Op) -> bool:
    values = [v for v in (*op.inputs, *op.outputs) if v is not None]
    return all(v.array is not None and v.array.size > 0 for v in values)


def _arrays(op: Op) -> list[np.ndarray]:
    return [v.array for v in op.inputs if v is not None and v.array is not None]


# ---- matrix product ------------------------------------------------------------------------------


def _product(title: str, names: list[str], a: np.ndarray, b: np.ndarray, out: np.ndarray) -> View:
    """`out = a @ b`: a few elements as row times column, the largest first.

    `whole` says that the page has all the numbers and can show any element.
    """
    while out.ndim > 2:
        a, b = (m[0] if m.ndim == out.ndim else m for m in (a, b))
        out = out[0]
    flat = np.argsort(-np.abs(np.nan_to_num(out)), axis=None, kind="stable")
    places = dict.fromkeys(int(flat[k]) for k in (0, out.size // 3, out.size // 2))
    probes = []
    for i, j in (np.unravel_index(place, out.shape) for place in places):
        row, column = a[i].astype(np.float64), b[:, j].astype(np.float64)
        first = np.argsort(-np.abs(row * column), kind="stable")[:TERMS]
        first = np.sort(first)
        rest = float(row @ column - row[first] @ column[first])
        probes.append(
            {
                "place": [int(i), int(j)],
                "value": number(out[i, j]),
                "at": [int(k) for k in first],
                "row": numbers(a[i][first]),
                "column": numbers(b[:, j][first]),
                "others": len(row) - len(first),
                "rest": number(np.float32(rest)),
            }
        )
    view: View = {"title": title, "names": names, "probes": probes, "inner": a.shape[1]}
    if max(a.size, b.size, out.size) <= NUMBERS and a.shape[1] <= 16:
        matrices = [(a.shape, numbers(a)), (b.shape, numbers(b)), (out.shape, numbers(out))]
        view["whole"] = [{"shape": list(shape), "numbers": data} for shape, data in matrices]
    return view


def _matmul(op: Op) -> View:
    a, b = _arrays(op)
    out = op.outputs[0].array
    assert out is not None
    return {"kind": "matmul", "products": [_product("out = a @ b", ["a", "b", "out"], a, b, out)]}


def _matmul_back(step: BackwardStep) -> View | None:
    a, b = _arrays(step.op)
    grad_out, (grad_a, grad_b) = step.incoming[0], step.outgoing
    products = []
    if grad_out is None or not a.ndim == b.ndim == 2:
        return None
    if grad_a is not None:
        names = ["grad_out", "b^T", "grad_a"]
        products.append(_product("grad_a = grad_out @ b^T", names, grad_out, b.T, grad_a))
    if grad_b is not None:
        names = ["a^T", "grad_out", "grad_b"]
        products.append(_product("grad_b = a^T @ grad_out", names, a.T, grad_out, grad_b))
    return {"kind": "matmul", "products": products}


# ---- batch norm ----------------------------------------------------------------------------------


def _batch_norm(op: Op) -> View:
    """Histograms of a few channels before and after, those that change most first."""
    x, weight, bias = _arrays(op)
    out = op.outputs[0].array
    assert out is not None
    dims = (0, *range(2, x.ndim))
    mean, var = x.mean(dims), x.var(dims)
    change = np.abs(mean) + np.abs(np.log(np.sqrt(var) + 1e-9))
    channels = [int(c) for c in np.argsort(-change, kind="stable")[:6]]
    return {
        "kind": "batch-norm",
        "channels": [
            {
                "channel": c,
                "before": histogram(x[:, c]),
                "after": histogram(out[:, c]),
                "mean": number(mean[c]),
                "std": number(np.sqrt(var[c])),
                "weight": number(weight[c]),
                "bias": number(bias[c]),
            }
            for c in channels
        ],
        "all": x.shape[1],
        "count": int(x.size // x.shape[1]),
    }


# ---- activations ---------------------------------------------------------------------------------


def _is_curve(op: Op) -> bool:
    """A function of one number, elementwise, without arguments."""
    one = len(op.inputs) == len(op.outputs) == 1 and op.call is not None and not op.call.params
    moved = {"Neg", "Clone", "Sum"}
    return one and op.inputs[0] is not None and op.name not in moved and _same_shape(op)


def _same_shape(op: Op) -> bool:
    assert op.inputs[0] is not None
    return op.inputs[0].shape == op.outputs[0].shape and op.outputs[0].dtype.kind == "f"


def _curve(op: Op) -> View:
    """The function's graph and the elements on it."""
    x, out = _arrays(op)[0].reshape(-1), op.outputs[0].array
    assert out is not None
    finite = x[np.isfinite(x)]
    reach = max(
        4.0 if op.name in ("Sigmoid", "Tanh", "ReLU") else 1.0, float(np.abs(finite).max(initial=0))
    )
    low = (
        0.01
        if finite.size and finite.min() > 0 and op.name not in ("Sigmoid", "Tanh", "ReLU")
        else -reach
    )
    xs = np.linspace(low, reach, 97)
    with no_grad(), observing(Observer()):
        ys = type(op.node).apply(Tensor._wrap(xs))._data
    every = max(1, -(-x.size // POINTS))
    round4 = lambda values: [number(np.float32(f"{v:.5g}")) for v in values]  # noqa: E731
    view: View = {
        "kind": "curve",
        "xs": round4(xs),
        "ys": round4(ys),
        "points": [round4(x[::every]), round4(out.reshape(-1)[::every])],
        "every": every,
    }
    if op.name == "ReLU":
        view |= {"kind": "relu", **_mask(op)}
    return view


def _mask(op: Op) -> View:
    passes = ~(_arrays(op)[0] < 0)
    return {
        "passing": int(passes.sum()),
        "of": int(passes.size),
        "mask": picture(passes.astype(np.float32)),
    }


def _relu_back(step: BackwardStep) -> View:
    return {"kind": "relu", **_mask(step.op)}


# ---- softmax and cross-entropy -------------------------------------------------------------------


def _log_softmax_back(step: BackwardStep) -> View | None:
    """grad_x = s * (p - y): the probabilities less the target, s the weight of the row.

    The gradient of the log-probabilities is -s * y, with y summing to 1.
    """
    log_p, g, grad_x = step.op.outputs[0].array, step.incoming[0], step.outgoing[0]
    assert log_p is not None
    dim = step.op.node.dim  # type: ignore[attr-defined]
    if g is None or grad_x is None or log_p.ndim != 2 or dim != 1:
        return None
    weights = -g[:ROWS].sum(1)
    targets = -g[:ROWS] / np.where(weights > 0, weights, 1)[:, None]
    return _p_minus_y(np.exp(log_p), targets, weights, grad_x)


def _cross_entropy_back(step: BackwardStep) -> View | None:
    """The same where the target is a class: y is 1 there, and s the weight of each item."""
    node, g, grad_x = step.op.node, step.incoming[0], step.outgoing[0]
    if g is None or grad_x is None:
        return None
    with no_grad():
        p = node.statistics("softmax")
    targets = np.eye(p.shape[1], dtype=p.dtype)[node.constant("labels")]
    used, each = node.used(), g / node.divisor  # type: ignore[attr-defined]
    weights = np.full(len(p), each) if used is None else used * each
    return _p_minus_y(p, targets, weights, grad_x)


def _p_minus_y(
    p: np.ndarray, targets: np.ndarray, weights: np.ndarray, grad_x: np.ndarray
) -> View | None:
    rows = [
        {
            "p": numbers(p[row]),
            "y": numbers(targets[row].astype(p.dtype)),
            "weight": number(np.float32(weights[row])),
            "gradient": numbers(grad_x[row]),
        }
        for row in range(min(ROWS, len(p)))
        if weights[row] > 0
    ]
    return {"kind": "softmax", "rows": rows, "all": len(p)} if rows else None


FORWARD: dict[str, Callable[[Op], View | None]] = {
    "Conv2d": views_conv.forward_view,
    "MatMul": _matmul,
    "BatchNorm": _batch_norm,
}
BACKWARD: dict[str, Callable[[BackwardStep], View | None]] = {
    "Conv2d": views_conv.backward_view,
    "MatMul": _matmul_back,
    "ReLU": _relu_back,
    "LogSoftmax": _log_softmax_back,
    "CrossEntropy": _cross_entropy_back,
}
