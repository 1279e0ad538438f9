"""`gradcheck`: backprop against central finite differences, to any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_ft.engine import grad
from tinygrad_ft.grad_mode import enable_grad, no_grad
from tinygrad_ft.tensor import Tensor


class GradcheckError(AssertionError):
    """A gradient differs from its finite difference: which input and element, by how much."""


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

    Raises GradcheckError naming the order, the input and the element, and TypeError unless the
    inputs that require grad are float64.
    """
    tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if order < 1:
        raise ValueError(f"gradcheck: order must be 1 or more, got {order}")
    if not any(t.requires_grad for t in tensors):
        raise ValueError("gradcheck: no input requires grad")
    for i, t in enumerate(tensors):
        if t.requires_grad and t.dtype != np.float64:
            raise TypeError(f"gradcheck: input {i} is {t.dtype}; finite differences need float64")
    rng = np.random.default_rng(seed)
    function, arguments = f, tensors
    for level in range(1, order + 1):
        outputs = _outputs(function, arguments)
        if not outputs:
            raise ValueError("gradcheck: no output depends on an input that requires grad")
        weights = [Tensor(rng.standard_normal(o.shape)) for o in outputs]
        _check_level(function, arguments, weights, level, eps, atol, rtol)
        function, arguments = _gradient_function(function, arguments, weights)
    return True


def _outputs(f: Callable[..., Any], arguments: Sequence[Tensor]) -> list[Tensor]:
    with enable_grad():
        result = f(*arguments)
    outputs = [result] if isinstance(result, Tensor) else list(result)
    return [o for o in outputs if o is not None and o.requires_grad]


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
    weights: Sequence[Tensor],
    level: int,
    eps: float,
    atol: float,
    rtol: float,
) -> None:
    positions = [i for i, a in enumerate(arguments) if a.requires_grad]
    outputs = _outputs(f, arguments)
    by_backprop = grad(outputs, [arguments[i] for i in positions], weights, allow_unused=True)

    def projected() -> float:
        values = _outputs(f, arguments)
        return sum(float(np.vdot(v.data, w.data)) for v, w in zip(values, weights, strict=True))

    for position, gradient in zip(positions, by_backprop, strict=True):
        argument = arguments[position]
        analytic = np.zeros(argument.shape) if gradient is None else gradient.data
        for element in np.ndindex(argument.shape):
            numeric = _slope(projected, argument.data, element, eps)
            found = float(analytic[element])
            if not abs(found - numeric) <= atol + rtol * abs(numeric):
                raise GradcheckError(
                    f"gradcheck: order {level}, input {position}, element {element}: backprop "
                    f"{found:.10g}, finite difference {numeric:.10g}, difference "
                    f"{abs(found - numeric):.3g} (allowed {atol + rtol * abs(numeric):.3g})"
                )


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
