"""`Observer`: watches a computation while it runs; nothing in the engine depends on one.

What is watched: every op forward, every op backward, the calls of modules, the beginning of a
`backward()` and the steps of optimizers. `current` is the observer, or None; those who tell it look
at it once, so a computation that no one watches costs a comparison with None an op.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinygrad_ft.function import Function
    from tinygrad_ft.nn.module import Module
    from tinygrad_ft.optim.optimizer import Optimizer
    from tinygrad_ft.tensor import Tensor


class Observer:
    """Does nothing; override what is of interest. What it is shown must not be changed."""

    def ran(
        self,
        node: Function,
        inputs: Sequence[Tensor | None],
        params: dict[str, Any],
        outputs: Sequence[Tensor],
    ) -> None:
        """An op ran forward, recorded for a gradient or not."""

    def ran_backward(
        self, node: Function, grads: Sequence[Tensor | None], results: Sequence[Tensor | None]
    ) -> None:
        """An op ran backward: `grads` of its outputs came in, `results` of its inputs go out."""

    def begins_backward(self, tensors: Tensor | Sequence[Tensor], weights: Any) -> None:
        """`backward()` was called and has done nothing yet."""

    def enters(self, module: Module) -> None:
        """A module was called."""

    def leaves(self, module: Module) -> None:
        """That module has returned."""

    def begins_step(self, optimizer: Optimizer) -> None:
        """An optimizer is about to change its parameters."""


current: Observer | None = None

O = TypeVar("O", bound=Observer)


@contextmanager
def observing(observer: O) -> Iterator[O]:
    """Let `observer` watch within a `with` block, instead of any other."""
    global current
    before, current = current, observer
    try:
        yield observer
    finally:
        current = before
