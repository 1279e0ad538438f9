"""Every differentiable op, one entry a variant: what to call, on which inputs, and what must come out.

A case names a public function (`tinygrad_ft.mul`), a name of `nn.functional`, or a method of Tensor; where
several of these exist they are all tested. `expected` is an independent NumPy reference. PyTorch's function
of the same name, called in the same way, is the second oracle unless `torch=False`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import op_reference as ref

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F

# ---- inputs ----------------------------------------------------------------------------------------


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


# ---- cases -----------------------------------------------------------------------------------------


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
    """The one owner of the name that is meant, where names of different owners differ in arguments."""

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


def unary(name: str, expected: Callable, draw: Callable = real, **settings: Any) -> list[Case]:
    return [
        case(name, [draw(2, 3)], expected, **settings),
        case(name, [draw()], expected, note="0-dim", **settings),
        case(name, [draw(0, 3)], expected, note="empty", **settings),
    ]


def binary(
    name: str, expected: Callable, left: Callable = real, right: Callable = real
) -> list[Case]:
    return [
        case(name, [left(2, 3), right(2, 3)], expected),
        case(name, [left(2, 1, 3), right(4, 1)], expected, note="broadcast"),
        case(name, [left(), right(3)], expected, note="0-dim"),
        case(name, [left(0, 3), right(1, 3)], expected, note="empty"),
    ]


def reversed_operator(name: str, number: float, expected: Callable, draw: Callable = real) -> Case:
    call = lambda f, x: f(x, number)  # noqa: E731
    return case(name, [draw(2, 3)], lambda x: expected(number, x), call)


ELEMENTWISE = [
    *binary("add", np.add),
    *binary("sub", np.subtract),
    *binary("mul", np.multiply),
    *binary("div", np.divide, right=off_zero),
    *binary("pow", np.power, left=positive),
    *binary("maximum", np.maximum, left=distinct),
    *binary("minimum", np.minimum, left=distinct),
    *binary("__add__", np.add),
    *binary("__sub__", np.subtract),
    *binary("__mul__", np.multiply),
    *binary("__truediv__", np.divide, right=off_zero),
    *binary("__pow__", np.power, left=positive),
    reversed_operator("__radd__", 2.0, np.add),
    reversed_operator("__rsub__", 2.0, np.subtract),
    reversed_operator("__rmul__", 2.0, np.multiply),
    reversed_operator("__rtruediv__", 2.0, np.divide, off_zero),
    reversed_operator("__rpow__", 2.0, np.power),
    case("mul", [real(2, 3)], lambda x: x * 3, options(3), note="integer"),
    case("pow", [real(2, 3)], lambda x: x**3, options(3), order=4, note="cube"),
    case("pow", [real(2, 3)], lambda x: x**2, options(2), order=3, note="square"),
    case("pow", [real(2, 3)], lambda x: x**0, options(0), note="zeroth"),
    case("pow", [positive(2, 3)], lambda x: x**-1.5, options(-1.5), note="negative"),
    case(
        "pow",
        [exactly([0.0, 0.0]), exactly([2.0, 3.0])],
        np.power,
        order=1,
        note="of zero",
        torch=False,
    ),
    *unary("neg", np.negative),
    *unary("__neg__", np.negative),
    *unary("__abs__", np.abs, off_zero),
    *unary("abs", np.abs, off_zero),
    *unary("exp", np.exp, order=3),
    *unary("log", np.log, positive, order=3),
    *unary("sqrt", np.sqrt, positive, order=3),
    *unary("square", np.square),
    *unary("sin", np.sin, order=3),
    *unary("cos", np.cos, order=3),
    *unary("sigmoid", lambda x: 1 / (1 + np.exp(-x)), order=3),
    *unary("tanh", np.tanh, order=3),
    *unary("relu", lambda x: np.where(x < 0, 0, x), off_zero),
    case("clamp", [real(3, 4)], lambda x: np.minimum(np.maximum(x, -0.5), 0.5), options(-0.5, 0.5)),
    case("clamp", [real(3)], lambda x: np.maximum(x, 0.1), options(min=0.1), note="min"),
    case("clamp", [real(3)], lambda x: np.minimum(x, 0.1), options(max=0.1), note="max"),
    case("where", [mask(2, 3), real(2, 3), real(2, 3)], np.where, only=tg),
    case("where", [mask(3), real(2, 1), real()], np.where, only=tg, note="broadcast"),
    case("where", [mask(0, 3), real(0, 3), real(1)], np.where, only=tg, note="empty"),
    case(
        "where",
        [mask(3), real(2, 3)],
        lambda m, x: np.where(m, x, -1.0),
        lambda f, m, x: f(x, m, tg.tensor(-1.0, dtype=x.dtype)),
        only=tg.Tensor,
        torch=False,
        note="method",
    ),
    case(
        "masked_fill",
        [mask(2, 3), real(2, 3)],
        lambda m, x: np.where(m, 7, x),
        lambda f, m, x: f(x, m, 7.0),
    ),
    case("clone", [real(2, 3)], np.copy),
]


def over(function: Callable) -> Callable[..., Callable]:
    return lambda *args, **kwargs: lambda x: function(x, *args, **kwargs)


def reductions(
    name: str, function: Callable, draw: Callable = real, empty: bool = True
) -> list[Case]:
    f = over(function)
    return [
        case(name, [draw(2, 3, 2)], f(axis=None)),
        case(name, [draw(2, 3, 2)], f(axis=1), options(1), note="dim"),
        case(name, [draw(2, 3, 2)], f(axis=(0, 2)), options((0, -1)), note="dims"),
        case(
            name,
            [draw(2, 3, 2)],
            f(axis=(0, 1), keepdims=True),
            options((0, 1), keepdim=True),
            note="keepdim",
        ),
        case(name, [draw()], f(axis=None), note="0-dim"),
        *([case(name, [draw(0, 3)], f(axis=0), options(0), note="empty")] if empty else []),
    ]


def variance(name: str, function: Callable) -> list[Case]:
    return [
        case(name, [real(2, 3)], lambda x: function(x, ddof=1), order=3),
        case(
            name,
            [real(2, 3, 2)],
            lambda x: function(x, axis=(0, 2), ddof=0, keepdims=True),
            options((0, 2), correction=0, keepdim=True),
            note="biased",
        ),
    ]


def extreme(name: str, value: Callable, index: Callable) -> list[Case]:
    def pair(keepdims: bool) -> Callable:
        return lambda x: (value(x, 1, keepdims=keepdims), index(x, 1, keepdims=keepdims))

    return [
        case(name, [distinct(2, 3)], value),
        case(name, [distinct(2, 3, 2)], pair(False), options(1), note="dim"),
        case(name, [distinct(2, 3, 2)], pair(True), options(1, keepdim=True), note="keepdim"),
    ]


def logsumexp(x: np.ndarray, dim: Any, keepdims: bool = False) -> np.ndarray:
    return np.log(np.exp(x).sum(dim, keepdims=keepdims))


REDUCTIONS = [
    *reductions("sum", np.sum),
    *reductions("mean", np.mean, empty=False),
    *reductions("amax", np.max, distinct, empty=False),
    *reductions("amin", np.min, distinct, empty=False),
    *variance("var", np.var),
    *variance("std", np.std),
    *extreme("max", np.max, np.argmax),
    *extreme("min", np.min, np.argmin),
    case("logsumexp", [real(2, 3)], lambda x: logsumexp(x, 1), options(1), order=3),
    case(
        "logsumexp", [real(2, 3, 2)], lambda x: logsumexp(x, (0, 2)), options((0, 2)), note="dims"
    ),
    case(
        "logsumexp",
        [real(2, 3)],
        lambda x: logsumexp(x, 0, True),
        options(0, keepdim=True),
        note="keepdim",
    ),
    case("softmax", [real(2, 3)], lambda x: ref.softmax(x, 1), options(1), order=3),
    case("softmax", [real(2, 3, 2)], lambda x: ref.softmax(x, 0), options(-3), note="first dim"),
    case("softmax", [real()], np.ones_like, options(0), note="0-dim"),
    case("softmax", [real(0, 3)], lambda x: x, options(1), note="empty"),
    case("log_softmax", [real(2, 3)], lambda x: np.log(ref.softmax(x, 1)), options(1), order=3),
    case(
        "log_softmax", [real(2, 3)], lambda x: np.log(ref.softmax(x, 0)), options(0), note="first"
    ),
    case("log_softmax", [real(3, 0)], lambda x: x, options(1), note="empty"),
]

SHAPES = [
    case("reshape", [real(2, 6)], lambda x: x.reshape(3, 4), options((3, -1))),
    case("reshape", [real(2, 0)], lambda x: x.reshape(0, 5), options((0, 5)), note="empty"),
    case("reshape", [real(1)], lambda x: x.reshape(()), options(()), note="to 0-dim"),
    case("view", [real(2, 6)], lambda x: x.reshape(3, 4), options(3, 4)),
    case("flatten", [real(2, 3, 2)], lambda x: x.reshape(2, 6), options(1)),
    case("flatten", [real()], lambda x: x.reshape(1), note="0-dim"),
    case("permute", [real(2, 3, 4)], lambda x: x.transpose(2, 0, 1), options((2, 0, -2))),
    case("transpose", [real(2, 3, 4)], lambda x: x.swapaxes(0, 2), options(0, -1)),
    case("t", [real(2, 3)], np.transpose),
    case("t", [real(3)], lambda x: x, note="vector"),
    case("expand", [real(3, 1)], lambda x: x * np.ones((2, 3, 4)), options(2, -1, 4)),
    case("broadcast_to", [real(3, 1)], lambda x: x * np.ones((2, 3, 4)), options((2, 3, 4))),
    case("broadcast_to", [real(1)], lambda x: np.zeros((0,)), options((0,)), note="empty"),
    case("squeeze", [real(1, 3, 1)], np.squeeze),
    case("squeeze", [real(1, 3, 1)], lambda x: x[:, :, 0], options((1, 2)), note="dims"),
    case("unsqueeze", [real(2, 3)], lambda x: x[:, :, None], options(-1)),
    case("unsqueeze", [real()], lambda x: x[None], options(0), note="0-dim"),
    case("contiguous", [real(2, 3)], lambda x: x),
    case(
        "cat",
        [real(2, 1), real(2, 3), real(2, 0)],
        lambda *a: np.concatenate(a, 1),
        lambda f, *x: f(x, 1),
    ),
    case("cat", [real(2)], lambda x: np.tile(x, 2), lambda f, x: f([x, x]), note="same twice"),
    case("stack", [real(2, 3), real(2, 3)], lambda *a: np.stack(a, 1), lambda f, *x: f(x, dim=1)),
    case("stack", [real(), real()], lambda *a: np.stack(a), lambda f, *x: f(x), note="0-dim"),
    case("pad", [real(2, 3)], lambda x: ref.pad(x, (1, 2)), options((1, 2))),
    case("pad", [real(2, 3)], lambda x: ref.pad(x, (1, -1, -1, 2), 3), options((1, -1, -1, 2), value=3.0), note="crop"),
    case("pad", [real(0, 3)], lambda x: ref.pad(x, (0, 0, 1, 0)), options((0, 0, 1, 0)), note="empty"),
    case("__getitem__", [real(3, 4)], lambda x: x[1], options(1), note="integer"),
    case("__getitem__", [real(3)], lambda x: x[-1], options(-1), note="element"),
    case("__getitem__", [real(3, 4)], lambda x: x[1:, ::2], options((slice(1, None), slice(None, None, 2)))),
    case("__getitem__", [real(3, 4)], lambda x: x[..., None, 0], options((..., None, 0)), note="new"),
    case("__getitem__", [real(3, 4)], lambda x: x[3:], options(slice(3, None)), note="empty"),
    case("__getitem__", [real(3, 4), exactly([2, 0, 2])], lambda x, i: x[i], note="rows twice"),
    case(
        "__getitem__",
        [real(3, 4), exactly([2, 0, 2]), exactly([1, 1, 1])],
        lambda x, i, j: x[i, j],
        lambda f, x, i, j: f(x, (i, j)),
        note="pairs",
    ),
    case("__getitem__", [real(3, 4), mask(3, 4)], lambda x, m: x[m], note="mask"),
    case(
        "take_along_dim",
        [real(2, 3), exactly([[2, 2], [0, 1]])],
        lambda x, i: np.take_along_axis(x, i, 1),
        options(1),
    ),
]  # fmt: skip

PRODUCTS = [
    case("matmul", [real(2, 3), real(3, 4)], np.matmul, order=3),
    case("__matmul__", [real(2, 3), real(3, 4)], np.matmul),
    case("__rmatmul__", [real(2, 3), real(4, 2)], lambda b, a: a @ b),
    case("matmul", [real(3), real(3)], np.matmul, note="vectors"),
    case("matmul", [real(2, 3), real(3)], np.matmul, note="matrix vector"),
    case("matmul", [real(3), real(2, 3, 2)], np.matmul, note="vector stack"),
    case("matmul", [real(2, 2, 3), real(3, 2)], np.matmul, note="stack matrix"),
    case("matmul", [real(2, 3), real(2, 3, 2)], np.matmul, note="matrix stack"),
    case("matmul", [real(2, 1, 2, 3), real(3, 3, 1)], np.matmul, note="broadcast"),
    case("matmul", [real(2, 0), real(0, 3)], np.matmul, note="empty inner"),
    case("matmul", [real(2, 0, 3), real(2, 3, 4)], np.matmul, note="empty stack"),
    case("matmul", [real(2, 0, 3), real(3, 4)], np.matmul, note="empty rows"),
    case("linear", [real(2, 3), real(4, 3), real(4)], lambda x, w, b: x @ w.T + b, order=3),
    case("linear", [real(2, 3, 2), real(4, 2)], lambda x, w: x @ w.T, note="no bias"),
    case("linear", [real(3), real(4, 3), real(4)], lambda x, w, b: w @ x + b, note="vector"),
    case("linear", [real(0, 3), real(4, 3)], lambda x, w: np.zeros((0, 4)), note="empty"),
]


def conv(note: str, x: Input, w: Input, *bias: Input, order: int = 2, **geometry: Any) -> Case:
    def expected(*arrays: np.ndarray) -> np.ndarray:
        return ref.conv2d(*arrays, **geometry)

    call = options(**geometry)
    return case("conv2d", [x, w, *bias], expected, call, order=order, note=note)


CONVOLUTIONS = [
    conv("", real(2, 2, 4, 3), real(2, 2, 3, 3), real(2), padding=1),
    conv("order 3", real(1, 2, 3, 3), real(2, 2, 2, 2), order=3),
    conv("pointwise", real(2, 3, 2, 2), real(2, 3, 1, 1)),
    conv("stride", real(1, 2, 5, 4), real(2, 2, 3, 2), stride=(2, 1), padding=(1, 0)),
    conv("dilation", real(1, 1, 6, 5), real(2, 1, 2, 2), dilation=(3, 2)),
    conv("groups", real(1, 4, 3, 3), real(4, 2, 2, 2), groups=2),
    conv("depthwise", real(1, 3, 3, 3), real(3, 1, 3, 3), real(3), padding=1, groups=3),
    conv("same", real(1, 1, 4, 4), real(1, 1, 3, 1), padding="same"),
    conv("valid", real(1, 1, 4, 4), real(1, 1, 3, 1), padding="valid"),
    conv("no batch", real(2, 3, 3), real(1, 2, 3, 3)),
    conv("unread border", real(1, 1, 6, 6), real(1, 1, 2, 2), stride=3),
]


def pool(name: str, note: str, x: Input, *args: Any, **kwargs: Any) -> Case:
    reference = getattr(ref, name)
    renamed = {"return_indices": "indices", "divisor_override": "divisor"}
    mapped = {renamed.get(k, k): v for k, v in kwargs.items()}

    def expected(array: np.ndarray) -> Any:
        return reference(array, *args, **mapped)

    return case(name, [x], expected, options(*args, **kwargs), order=3, note=note)


POOLS = [
    pool("max_pool2d", "", distinct(2, 1, 2, 4), 2),
    pool("max_pool2d", "overlap", distinct(1, 1, 3, 4), 3, (1, 2), 1),
    pool("max_pool2d", "dilation", distinct(1, 1, 5, 3), (2, 3), (1, 2), (0, 1), (3, 2)),
    pool("max_pool2d", "ceil", distinct(1, 1, 3, 4), 2, 2, ceil_mode=True),
    pool("max_pool2d", "indices", distinct(2, 3, 2), 2, 1, return_indices=True),
    pool("avg_pool2d", "", real(2, 1, 2, 4), 2),
    pool("avg_pool2d", "overlap", real(1, 1, 3, 3), 3, 2, 1),
    pool("avg_pool2d", "inside", real(1, 1, 3, 3), 3, 2, 1, count_include_pad=False),
    pool("avg_pool2d", "ceil", real(1, 1, 3, 4), (2, 3), 2, (0, 1), ceil_mode=True),
    pool("avg_pool2d", "divisor", real(2, 3, 2), 2, 1, divisor_override=3),
    pool("adaptive_avg_pool2d", "", real(1, 2, 4, 2), 2),
    pool("adaptive_avg_pool2d", "one", real(2, 2, 3, 2), 1),
    pool("adaptive_avg_pool2d", "uneven", real(1, 1, 5, 3), (3, 2)),
    pool("adaptive_avg_pool2d", "kept", real(2, 2, 3), (None, 3)),
]


def trained(x: np.ndarray, *affine: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    return ref.batch_norm(x, None, None, *affine, eps=eps)


def in_training(f: Callable, x: Any, *affine: Any, **kwargs: Any) -> Any:
    return f(x, None, None, *affine, training=True, **kwargs)


NORMS = [
    case("batch_norm", [real(3, 2, 2, 2), positive(2), real(2)], trained, in_training, order=3),
    case("batch_norm", [real(4, 3), positive(3), real(3)], trained, in_training, note="vectors"),
    case("batch_norm", [real(3, 2, 2)], trained, in_training, note="plain"),
    case(
        "batch_norm",
        [real(3, 2), positive(2), real(2)],
        lambda *a: trained(*a, eps=0.1),
        lambda f, *x: in_training(f, *x, eps=0.1),
        note="eps",
    ),
    case(
        "batch_norm",
        [real(3, 2, 2, 1), fixed(2), fixed(2, positive=True), positive(2), real(2)],
        ref.batch_norm,
        order=3,
        note="evaluation",
    ),
    case(
        "batch_norm",
        [real(0, 2, 2, 1), fixed(2), fixed(2, positive=True)],
        ref.batch_norm,
        note="empty",
    ),
]


def seeded_dropout(f: Callable, x: Any) -> Any:
    tg.manual_seed(3)
    return f(x, p=0.4)


def dropped(x: np.ndarray) -> np.ndarray:
    kept = np.random.Generator(np.random.PCG64(3)).random(x.shape, dtype=np.float32) >= 0.4
    return np.where(kept, x / 0.6, 0)


def loss(note: str, inputs: list[Input], **settings: Any) -> Case:
    """Cross-entropy; a third input is the class weights."""

    def expected(x: np.ndarray, target: np.ndarray, *weight: np.ndarray) -> np.ndarray:
        return ref.cross_entropy(x, target, *weight, **settings)

    order = 3 if note == "" else 2
    return case("cross_entropy", inputs, expected, options(**settings), order=order, note=note)


SCORES, TARGETS, WEIGHTS = real(4, 3), labels(4, below=3), fixed(3, positive=True)
LOSSES = [
    loss("", [SCORES, TARGETS]),
    loss("sum", [SCORES, TARGETS], reduction="sum"),
    loss("none", [SCORES, TARGETS], reduction="none"),
    loss("weights", [SCORES, TARGETS, WEIGHTS]),
    loss("weights sum", [SCORES, TARGETS, WEIGHTS], reduction="sum"),
    loss("weights none", [SCORES, TARGETS, WEIGHTS], reduction="none"),
    loss("smoothing", [SCORES, TARGETS], label_smoothing=0.2),
    loss("smoothing weights", [SCORES, TARGETS, WEIGHTS], label_smoothing=0.2),
    loss("smoothing none", [SCORES, TARGETS, WEIGHTS], label_smoothing=0.2, reduction="none"),
    loss("ignore", [SCORES, exactly([2, 1, 2, 0])], ignore_index=2),
    loss("ignore negative", [SCORES, exactly([2, -100, 2, 0])]),
    loss("ignore all options", [SCORES, exactly([2, 1, 2, 0]), WEIGHTS], ignore_index=1, label_smoothing=0.3),
    loss("one item", [real(3), exactly(1)]),
    loss("one item none", [real(3), exactly(1)], reduction="none"),
    loss("images", [real(2, 3, 2, 2), labels(2, 2, 2, below=3), WEIGHTS]),
    loss("images none", [real(2, 3, 2), labels(2, 2, below=3)], reduction="none"),
    loss("probabilities", [SCORES, probabilities(4, 3)]),
    loss("probabilities sum", [SCORES, probabilities(4, 3), WEIGHTS], reduction="sum"),
    loss("probabilities none", [SCORES, probabilities(4, 3)], reduction="none", label_smoothing=0.2),
    loss("probabilities all options", [SCORES, probabilities(4, 3), WEIGHTS], label_smoothing=0.2),
    loss("probabilities images", [real(2, 3, 2), probabilities(2, 3, 2)]),
    loss("no items", [real(0, 3), labels(0, below=3)], reduction="sum"),
    case("mse_loss", [real(2, 3), real(2, 3)], lambda x, y: ((x - y) ** 2).mean(), order=3),
    case("mse_loss", [real(2), real(2)], lambda x, y: ((x - y) ** 2).sum(), options(reduction="sum"), note="sum"),
    case("mse_loss", [real(2), real(2)], lambda x, y: (x - y) ** 2, options(reduction="none"), note="none"),
    case("dropout", [real(3, 4)], dropped, seeded_dropout, torch=False),
    case("dropout", [real(3)], lambda x: x, options(training=False), note="off", torch=False),
    case("dropout", [real(3)], np.zeros_like, options(p=1.0), note="all", torch=False),
]  # fmt: skip

CASES = [
    *ELEMENTWISE,
    *REDUCTIONS,
    *SHAPES,
    *PRODUCTS,
    *CONVOLUTIONS,
    *POOLS,
    *NORMS,
    *LOSSES,
]

NOT_DIFFERENTIABLE = {
    # made, not computed
    "tensor", "from_numpy", "zeros", "ones", "full", "zeros_like", "ones_like", "arange", "eye",
    "rand", "randn", "randint", "randperm",
    # results without a gradient
    "argmax", "argmin", "all", "any", "isnan", "isfinite",
    # what a tensor is
    "data", "grad", "shape", "dtype", "ndim", "size", "dim", "numel", "is_leaf", "grad_fn",
    "requires_grad", "numpy", "item", "tolist",
    # the graph
    "requires_grad_", "detach", "backward",
    # in place
    "write", "copy_", "fill_", "zero_", "add_", "sub_", "mul_", "div_",
    # dtypes, in test_cast.py
    "to", "float", "double", "long", "bool",
    # `t`, as a property
    "T",
}  # fmt: skip
"""Public names without a case: everything that has no derivative, or is tested in a file of its own."""
