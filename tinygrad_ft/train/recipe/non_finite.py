"""Where a NaN or an infinity came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.nn import Module
from tinygrad_ft.nn.norm import BatchNorm
from tinygrad_ft.tensor import Tensor


class NonFiniteValue(ArithmeticError):
    """A number of a training step is infinite or NaN: `what` became so, and `where` first."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what}: {where}")
        self.what, self.where = what, where


def all_finite(array: np.ndarray) -> bool:
    """Whether no element is infinite or NaN."""
    # the sum is finite but for bad elements, or for very large ones: one pass without a copy
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):
            return True
    return bool(np.isfinite(array).all())


def bad_weight(model: Module) -> str | None:
    """The name of the first parameter or buffer that is not finite; None if all are."""
    for name, value in model.state_dict().items():
        if not all_finite(value.numpy()):
            return name
    return None


def _bad_used_weight(model: Module) -> str | None:
    """Like `bad_weight`, without the statistics of batch norms that learn: those are not used, and
    the step that is being looked at has changed them already."""
    for prefix, module in model.named_modules():
        learning = isinstance(module, BatchNorm) and module.training and not module.frozen
        used: list[tuple[str, Tensor]] = [*module.named_parameters(prefix, recurse=False)]
        used += [] if learning else module.named_buffers(prefix, recurse=False)
        for name, value in used:
            if not all_finite(value.numpy()):
                return name
    return None


def check_gradients(model: Module) -> None:
    """NonFiniteValue if a gradient is not finite. The walk back begins at the last layer, so the
    last one in the model's order is where it began."""
    for name, param in reversed(list(model.named_parameters())):
        if param.grad is not None and not all_finite(param.grad.numpy()):
            raise NonFiniteValue(
                "a gradient became infinite or NaN",
                f"the loss is finite, the first bad gradient on the way back is that of {name}",
            )


def first_appearance(model: Module, forward: Callable[[], Tensor], inputs: np.ndarray) -> str:
    """Where the first non-finite number of a step came from, in words.

    Looks at the weights, then at `inputs`, then runs `forward` again and looks at what every module
    of `model` is given and gives, in the order in which they run. Statistics of batch norms are put
    back afterwards.
    """
    if name := _bad_used_weight(model):
        return f"{name} is not finite already, from an earlier step"
    if not all_finite(inputs):
        return "the images of the batch are not finite already"
    found: list[str] = []

    def watch(name: str) -> Callable[[Module, tuple[Any, ...], Any], None]:
        def look(module: Module, args: tuple[Any, ...], output: Any) -> None:
            if found:
                return
            kind = type(module).__name__
            if any(isinstance(a, Tensor) and not all_finite(a.numpy()) for a in args):
                found.append(f"it first appeared in what goes into {name} ({kind})")
            elif isinstance(output, Tensor) and not all_finite(output.numpy()):
                found.append(f"it first appeared in the output of {name} ({kind})")

        return look

    before = {name: np.array(value.numpy()) for name, value in model.state_dict().items()}
    handles = [
        module.register_forward_hook(watch(name or "the model"))
        for name, module in model.named_modules()
    ]
    try:
        with no_grad():
            forward()
    finally:
        for handle in handles:
            handle.remove()
        model.load_state_dict(before)
    return found[0] if found else "every layer's output is finite, the loss of it is not"
