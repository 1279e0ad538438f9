"""`gradcheck`: backprop against central finite differences, to any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ft.engine import grad
from tinygrad_ft.grad_mode import enable_grad, no_grad
from tinygrad_ft.tensor import Tensor

#: how many wrong elements a message lists, the worst first
LISTED = 8


class GradcheckError(AssertionError):
    """A gradient differs from its finite difference, or cannot be compared with one."""


class _Settings(NamedTuple):
    eps: float
    atol: float
    rtol: float


def gradcheck(
    f: Callable[..., Any],
    inputs: Tensor | Sequence[Tensor],
    order: int = 1,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-4,
    seed: int = 0,
) -> bool:
    """Check the gradients of `f(*inputs)` up to `order` and return True.

    Every element x_j of each float64 input that requires grad is moved by +-eps, and
    (L(x + eps e_j) - L(x - eps e_j)) / (2 eps) is compared with the gradient of
    L = sum_i <v_i, f_i(x)>, v drawn at random (a random projection sees every output at once).
    Order n + 1 checks the gradient function of order n in the same way, in the inputs and in v.

    Raises GradcheckError with the order, the input and a table of the elements that differ most, or
    if a second call of `f` gives other values. Raises TypeError if an input that requires grad, or
    an output, is not float64, and ValueError if no output depends on an input that requires grad.
    """
    tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if order < 1:
        raise ValueError(f"gradcheck: order must be 1 or more, got {order}")
    if not any(t.requires_grad for t in tensors):
        raise ValueError("gradcheck: no input requires grad")
    for i, t in enumerate(tensors):
        if t.requires_grad and t.dtype != np.float64:
            raise TypeError(
                f"gradcheck: input {i} is {t.dtype}; finite differences need float64, so convert "
                "it with .double() first"
            )
    rng = np.random.default_rng(seed)
    settings = _Settings(eps, atol, rtol)
    names = [f"input {i}" for i in range(len(tensors))]
    function, arguments = f, tensors
    for level in range(1, order + 1):
        outputs = _outputs(function, arguments)
        _check_outputs(function, arguments, outputs, level)
        weights = [Tensor(rng.standard_normal(o.shape)) for o in outputs]
        _check_level(function, arguments, outputs, weights, names, level, settings)
        function, arguments = _gradient_function(function, arguments, weights)
        what = "output" if level == 1 else f"gradient of order {level - 1}"
        names += [f"the weight of {what} {i}" for i in range(len(weights))]
    return True


def _outputs(f: Callable[..., Any], arguments: Sequence[Tensor]) -> list[Tensor]:
    with enable_grad():
        result = f(*arguments)
    outputs = [result] if isinstance(result, Tensor) else list(result)
    return [o for o in outputs if o is not None and o.requires_grad]


def _check_outputs(
    f: Callable[..., Any], arguments: Sequence[Tensor], outputs: Sequence[Tensor], level: int
) -> None:
    """There are some, in float64, and they are the same when computed again."""
    if not outputs:
        raise ValueError("gradcheck: no output depends on an input that requires grad")
    for i, out in enumerate(outputs):
        if out.dtype != np.float64:
            raise TypeError(
                f"gradcheck: output {i} is {out.dtype} although the inputs are float64; finite "
                "differences need float64 throughout"
            )
    again = _outputs(f, arguments)
    what = "output" if level == 1 else f"gradient of order {level - 1},"
    for i, first in enumerate(outputs):
        second = again[i].data if i < len(again) else None
        if second is None or not np.array_equal(first.data, second, equal_nan=True):
            raise GradcheckError(
                f"gradcheck: {what} {i} of shape {first.shape} is another one when the function is "
                "called again with the same inputs; a function that draws random numbers has to "
                "seed them in each call"
            )


def _gradient_function(
    f: Callable[..., Any], arguments: Sequence[Tensor], weights: Sequence[Tensor]
) -> tuple[Callable[..., Any], list[Tensor]]:
    """The function (inputs, weights) -> gradients of the inputs, for the next order."""
    count = len(arguments)
    positions = [i for i, a in enumerate(arguments) if a.requires_grad]

    def gradient(*args: Tensor) -> list[Tensor | None]:
        outputs = _outputs(f, args[:count])
        wanted = [args[i] for i in positions]
        return list(grad(outputs, wanted, args[count:], create_graph=True, allow_unused=True))

    return gradient, [*arguments, *(Tensor(w.data.copy(), requires_grad=True) for w in weights)]


def _check_level(
    f: Callable[..., Any],
    arguments: Sequence[Tensor],
    outputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    names: Sequence[str],
    level: int,
    settings: _Settings,
) -> None:
    positions = [i for i, a in enumerate(arguments) if a.requires_grad]
    by_backprop = grad(outputs, [arguments[i] for i in positions], weights, allow_unused=True)

    def projected() -> float:
        values = _outputs(f, arguments)
        return sum(float(np.vdot(v.data, w.data)) for v, w in zip(values, weights, strict=True))

    for position, gradient in zip(positions, by_backprop, strict=True):
        array = arguments[position].data
        numeric = np.empty(array.shape)
        for element in np.ndindex(array.shape):
            numeric[element] = _slope(projected, array, element, settings.eps)
        analytic = np.zeros(array.shape) if gradient is None else gradient.data
        title = f"gradcheck: order {level}, {names[position]} of shape {array.shape}"
        _compare(title, gradient is not None, analytic, numeric, settings)
        if gradient is None and level == 1 and array.size:
            raise ValueError(
                f"{title}: no output depends on it; leave its requires_grad off, or return what "
                "depends on it"
            )


def _compare(
    title: str, connected: bool, analytic: np.ndarray, numeric: np.ndarray, settings: _Settings
) -> None:
    """GradcheckError with a table of the worst elements, unless all agree."""
    with np.errstate(all="ignore"):
        allowed = settings.atol + settings.rtol * np.abs(numeric)
        difference = np.abs(analytic - numeric)
        wrong = ~(difference <= allowed)
    if not wrong.any():
        return
    badness = np.where(wrong, np.nan_to_num(difference, nan=np.inf, posinf=np.inf), -1.0)
    worst = np.argsort(-badness, axis=None, kind="stable")[: min(LISTED, int(wrong.sum()))]
    rows = [("element", "backprop", "finite difference", "difference", "allowed")]
    for flat in worst:
        e = tuple(int(i) for i in np.unravel_index(flat, wrong.shape))
        numbers = f"{analytic[e]:.8g}", f"{numeric[e]:.8g}", f"{difference[e]:.3g}"
        rows.append((str(e), *numbers, f"{allowed[e]:.3g}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    count = f"{int(wrong.sum())} of {wrong.size} elements wrong"
    notes = []
    if not connected:
        notes.append(
            "No output depends on it in the graph, yet the values do: was it detached, or did its "
            "path lead through NumPy?"
        )
    if len(worst) < wrong.sum():
        notes.append(f"Only the {len(worst)} worst are listed.")
    raise GradcheckError("\n".join([f"{title}: {count}", *(f"  {x}" for x in (*lines, *notes))]))


def _slope(
    f: Callable[[], float], array: np.ndarray, element: tuple[int, ...], eps: float
) -> float:
    """The central difference quotient of f in one element of an array that it reads."""
    kept = array[element]
    try:
        with no_grad():
            array[element] = kept + eps
            above = f()
            array[element] = kept - eps
            below = f()
    finally:
        array[element] = kept
    return (above - below) / (2 * eps)
