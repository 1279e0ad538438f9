"""Cases of matrix products, convolution, pooling, normalisation, dropout and losses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import op_reference as ref
from op_case import (
    Case,
    Input,
    case,
    distinct,
    exactly,
    fixed,
    labels,
    options,
    positive,
    probabilities,
    real,
)

import tinygrad_ft as tg

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
SUM, NONE = options(reduction="sum"), options(reduction="none")

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
    loss("ignore all", [SCORES, exactly([2, 1]*2), WEIGHTS], ignore_index=1, label_smoothing=0.3),
    loss("one item", [real(3), exactly(1)]),
    loss("one item none", [real(3), exactly(1)], reduction="none"),
    loss("images", [real(2, 3, 2, 2), labels(2, 2, 2, below=3), WEIGHTS]),
    loss("images none", [real(2, 3, 2), labels(2, 2, below=3)], reduction="none"),
    loss("probabilities", [SCORES, probabilities(4, 3)]),
    loss("probabilities sum", [SCORES, probabilities(4, 3), WEIGHTS], reduction="sum"),
    loss("probabilities none", [SCORES, probabilities(4, 3)], reduction="none"),
    loss("probabilities all", [SCORES, probabilities(4, 3), WEIGHTS], label_smoothing=0.2),
    loss("probabilities images", [real(2, 3, 2), probabilities(2, 3, 2)]),
    loss("no items", [real(0, 3), labels(0, below=3)], reduction="sum"),
    case("mse_loss", [real(2, 3), real(2, 3)], lambda x, y: ((x - y) ** 2).mean(), order=3),
    case("mse_loss", [real(2), real(2)], lambda x, y: ((x - y) ** 2).sum(), SUM, note="sum"),
    case("mse_loss", [real(2), real(2)], lambda x, y: (x - y) ** 2, NONE, note="none"),
    case("dropout", [real(3, 4)], dropped, seeded_dropout, torch=False),
    case("dropout", [real(3)], lambda x: x, options(training=False), note="off", torch=False),
    case("dropout", [real(3)], np.zeros_like, options(p=1.0), note="all", torch=False),
]  # fmt: skip
