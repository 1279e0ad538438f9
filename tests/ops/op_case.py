"""What an entry of the table of ops is: what to call, on which inputs, and what must come out.

A case names a public function (`tinygrad_ft.mul`), a name of `nn.functional`, or a method of
Tensor; where several of these exist they are all tested. `expected` is an independent reference.
PyTorch's function of the same name, called in the same way, is the second oracle unless
`torch=False`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F

# ---- inputs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Input:
    """How to draw one input; integer and boolean inputs, and `fixed` ones, get no gradient."""

    draw: Callable[[np.random.Generator], np.ndarray]
    fixed: bool = False


def real(*shape: int) -> Input:
    return Input(lambda rng: np.asarray(rng.standard_normal(shape)))


def positive(*shape: int) -> Input:
    return Input(lambda rng: np.asarray(rng.uniform(0.5, 2.0, shape)))


def off_zero(*shape: int) -> Input:
    """At least 0.2 away from 0, where a function has a kink or a pole."""
    return Input(
        lambda rng: np.asarray(rng.uniform(0.2, 2, shape) * rng.choice([-1.0, 1.0], shape))
    )


def distinct(*shape: int) -> Input:
    """All elements at least 0.1 apart, so that no finite difference changes their order."""
    size = math.prod(shape)
    return Input(
        lambda rng: np.asarray((rng.permutation(size).reshape(shape) - size / 2) * 0.1 + 0.03)
    )


def fixed(*shape: int, positive: bool = False) -> Input:
    return Input(lambda rng: np.asarray(rng.uniform(0.5 if positive else -1, 2, shape)), fixed=True)


def mask(*shape: int) -> Input:
    return Input(lambda rng: np.asarray(rng.random(shape) < 0.5))


def labels(*shape: int, below: int) -> Input:
    return Input(lambda rng: np.asarray(rng.integers(0, below, shape)))


def exactly(value: Any) -> Input:
    return Input(lambda rng: np.array(value))


def probabilities(*shape: int) -> Input:
    """Sums to 1 along dimension 1."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        q = rng.uniform(0.1, 1.0, shape)
        return q / q.sum(1, keepdims=True)

    return Input(draw)


# ---- cases ---------------------------------------------------------------------------------------


def plainly(f: Callable, *tensors: Any) -> Any:
    return f(*tensors)


@dataclass(frozen=True)
class Case:
    name: str
    inputs: tuple[Input, ...]
    expected: Callable[..., Any]
    call: Callable[..., Any] = plainly
    """How to call a function `f` of that name on the inputs, with options where there are any."""
    order: int = 2
    """The highest order of derivative that is checked against finite differences."""
    note: str = ""
    torch: bool = True
    only: Any = None
    """The one owner of the name that is meant, where owners differ in arguments."""

    @property
    def id(self) -> str:
        return f"{self.name}-{self.note}" if self.note else self.name

    def arrays(self, dtype: Any = np.float64) -> list[np.ndarray]:
        rng = np.random.default_rng([ord(c) for c in self.id])
        drawn = [i.draw(rng) for i in self.inputs]
        return [a.astype(dtype) if a.dtype.kind == "f" else a for a in drawn]

    def tensors(self, arrays: list[np.ndarray]) -> list[tg.Tensor]:
        return [
            tg.Tensor(a, requires_grad=a.dtype.kind == "f" and not i.fixed)
            for a, i in zip(arrays, self.inputs, strict=True)
        ]

    def has_zero_size(self) -> bool:
        return any(a.size == 0 for a in self.arrays())

    def forms(self) -> list[Callable]:
        """All public callables of this name."""
        owners = [self.only] if self.only is not None else [tg, F, tg.Tensor]
        return [getattr(owner, self.name) for owner in owners if hasattr(owner, self.name)]

    def run(self, *tensors: Any) -> Any:
        return self.call(self.forms()[0], *tensors)

    def differentiable(self, result: Any) -> list[tg.Tensor]:
        outputs = result if isinstance(result, tuple | list) else [result]
        return [o for o in outputs if o.requires_grad]


def options(*args: Any, **kwargs: Any) -> Callable[..., Any]:
    """Call with these after the inputs."""
    return lambda f, *tensors: f(*tensors, *args, **kwargs)


def case(name: str, inputs: list[Input], expected: Callable, *more: Any, **settings: Any) -> Case:
    call = {"call": more[0]} if more else {}
    return Case(name, tuple(inputs), expected, **call, **settings)
