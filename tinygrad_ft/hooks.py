"""Hooks: functions that see, and may replace, the gradient of a tensor while a backward runs.

A leaf keeps its hooks itself. Those of an op's result are kept by the op's node, for each output:
a node never holds its output tensors, so it cannot look there. For the same reason `retain_grad`
leaves a weak reference.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable

from tinygrad_ft.grad_mode import is_grad_enabled
from tinygrad_ft.tensor import Tensor

Hook = Callable[[Tensor], Tensor | None]

_keys = itertools.count()


class Watched:
    """What watches the gradient of one leaf, or of one output of a node."""

    __slots__ = ("hooks", "retained")

    def __init__(self) -> None:
        self.hooks: dict[int, Hook] = {}
        self.retained: weakref.ref[Tensor] | None = None

    def show(self, gradient: Tensor) -> Tensor:
        """Call the hooks, first registered first; the gradient as the last one leaves it."""
        for hook in tuple(self.hooks.values()):
            seen = gradient
            if not is_grad_enabled():
                # others may look at the same memory: a hook gets it read-only
                array = gradient._data.view()
                array.flags.writeable = False
                seen = Tensor._wrap(array)
            new = hook(seen)
            if new is None:
                continue
            if not isinstance(new, Tensor):
                raise TypeError(f"hook: must return a Tensor or None, not {type(new).__name__}")
            if new.shape != gradient.shape or new.dtype != gradient.dtype:
                raise ValueError(
                    f"hook: returned shape {new.shape} and dtype {new.dtype} for a gradient of "
                    f"shape {gradient.shape} and dtype {gradient.dtype}"
                )
            gradient = new
        return gradient


class Handle:
    """What `register_hook` gives; `remove()` takes the hook away again."""

    def __init__(self, watched: Watched, key: int) -> None:
        self._watched, self._key = watched, key

    def remove(self) -> None:
        self._watched.hooks.pop(self._key, None)


def watched_by(tensor: Tensor) -> Watched:
    """What watches this tensor's gradient; made if there is nothing yet."""
    node = tensor._node
    if node is None:
        if not hasattr(tensor, "_watched"):
            tensor._watched = Watched()
        return tensor._watched
    if node.watched is None:
        node.watched = {}
    return node.watched.setdefault(tensor._index, Watched())


def register_hook(tensor: Tensor, hook: Hook) -> Handle:
    """See `Tensor.register_hook`."""
    if not tensor.requires_grad:
        raise RuntimeError(
            f"register_hook: a tensor of shape {tensor.shape} that does not require grad gets no "
            "gradient"
        )
    watched, key = watched_by(tensor), next(_keys)
    watched.hooks[key] = hook
    return Handle(watched, key)


def retain_grad(tensor: Tensor) -> None:
    """See `Tensor.retain_grad`."""
    if not tensor.requires_grad:
        raise RuntimeError(
            f"retain_grad: a tensor of shape {tensor.shape} that does not require grad gets no "
            "gradient"
        )
    if tensor._node is not None:
        watched_by(tensor).retained = weakref.ref(tensor)


def retains_grad(tensor: Tensor) -> bool:
    """See `Tensor.retains_grad`."""
    node = tensor._node
    if node is None or node.watched is None or tensor._index not in node.watched:
        return False
    retained = node.watched[tensor._index].retained
    return retained is not None and retained() is tensor
