"""Cases of normalisation: over the batch, and within an item."""

from collections.abc import Callable
from typing import Any

import numpy as np
import op_reference as ref
import op_reference_image as image
from op_case import case, fixed, options, positive, real


def trained(x: np.ndarray, *affine: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    return ref.batch_norm(x, None, None, *affine, eps=eps)


def in_training(f: Callable, x: Any, *affine: Any, **kwargs: Any) -> Any:
    return f(x, None, None, *affine, training=True, **kwargs)


def then_relu(f: Callable, x: Any, weight: Any, bias: Any, *residual: Any) -> Any:
    """With what is computed together with a batch norm."""
    out = in_training(f, x, weight, bias)
    for r in residual:
        out = out + r
    return out.relu()


def trained_relu(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *residual: Any) -> np.ndarray:
    out = trained(x, weight, bias) + sum(residual)
    return np.where(out < 0, 0, out)


def own_statistics(f: Callable, x: Any, *affine: Any) -> Any:
    return f(x, None, None, *affine)


def of_instances(x: np.ndarray, *affine: np.ndarray) -> np.ndarray:
    return image.instance_norm(x, None, None, *affine)


def layer(*shape: int, eps: float = 1e-5) -> tuple[Callable, Callable]:
    """What to expect and how to call it, for the last dimensions."""
    return (
        lambda x, *affine: image.layer_norm(x, len(shape), *affine, eps=eps),
        lambda f, x, *affine: f(x, shape, *affine, eps=eps),
    )


def rms(*shape: int, eps: float | None = None) -> tuple[Callable, Callable]:
    return (
        lambda x, *weight: image.rms_norm(x, len(shape), *weight, eps=eps),
        lambda f, x, *weight: f(x, shape, *weight, eps=eps),
    )


def groups(count: int, eps: float = 1e-5) -> tuple[Callable, Callable]:
    return (
        lambda x, *affine: image.group_norm(x, count, *affine, eps=eps),
        lambda f, x, *affine: f(x, count, *affine, eps=eps),
    )


def response(*args: Any) -> tuple[Callable, Callable]:
    return lambda x: image.local_response_norm(x, *args), options(*args)


NORMS = [
    case("batch_norm", [real(3, 2, 2, 2), positive(2), real(2)], trained, in_training, order=3),
    case("batch_norm", [real(4, 3), positive(3), real(3)], trained, in_training, note="vectors"),
    case(
        "batch_norm",
        [real(3, 2, 2), positive(2), real(2)],
        trained_relu,
        then_relu,
        order=3,
        note="relu",
    ),
    case(
        "batch_norm",
        [real(3, 2, 2, 1), positive(2), real(2), real(3, 2, 2, 1)],
        trained_relu,
        then_relu,
        order=3,
        note="residual and relu",
    ),
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
    case("layer_norm", [real(2, 3), positive(3), real(3)], *layer(3), order=3),
    case("layer_norm", [real(2, 2, 3)], *layer(3), note="plain"),
    case("layer_norm", [real(2, 2, 3), positive(2, 3), real(2, 3)], *layer(2, 3), note="two"),
    case("layer_norm", [real(2, 2, 2), positive(2)], *layer(2, eps=0.1), note="no bias"),
    case("layer_norm", [real(5)], *layer(5), note="vector"),
    case("layer_norm", [real(0, 3), positive(3), real(3)], *layer(3), note="empty"),
    case("rms_norm", [real(2, 3), positive(3)], *rms(3, eps=0.1), order=3),
    case("rms_norm", [positive(2, 2, 3), positive(2, 3)], *rms(2, 3), note="two"),
    case("rms_norm", [positive(2, 4)], *rms(4), note="plain"),
    case("rms_norm", [real(0, 3), positive(3)], *rms(3), note="empty"),
    case("group_norm", [real(2, 4, 2), positive(4), real(4)], *groups(2), order=3),
    case("group_norm", [real(2, 4, 2, 1), positive(4), real(4)], *groups(1), note="one"),
    case("group_norm", [real(2, 2, 2, 2)], *groups(2, eps=0.1), note="plain"),
    case("group_norm", [real(2, 6), positive(6), real(6)], *groups(2), note="vectors"),
    case("group_norm", [real(0, 4, 2), positive(4), real(4)], *groups(2), note="empty"),
    case(
        "instance_norm",
        [real(2, 2, 3), positive(2), real(2)],
        of_instances,
        own_statistics,
        order=3,
    ),
    case("instance_norm", [real(1, 2, 2, 2)], of_instances, own_statistics, note="plain"),
    case(
        "instance_norm",
        [real(2, 2, 2), fixed(2), fixed(2, positive=True), positive(2), real(2)],
        image.instance_norm,
        options(use_input_stats=False),
        note="running",
    ),
    case("instance_norm", [real(0, 2, 3)], of_instances, own_statistics, note="empty"),
    case("local_response_norm", [real(2, 4, 2)], *response(3, 0.5, 0.75, 2.0)),
    case("local_response_norm", [real(1, 3, 2, 2)], *response(2, 0.1), note="even"),
    case("local_response_norm", [real(0, 3, 2)], *response(2), note="empty"),
]
