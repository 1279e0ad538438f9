"""Cases of reductions with options, products, norms, scans, sorting and softmax's dtype."""

from collections.abc import Callable
from typing import Any

import numpy as np
import op_reference as ref
from op_case import Case, Input, case, distinct, exactly, labels, off_zero, options, real

ZEROS = exactly([[0.0, 2.0, -1.5], [0.0, 0.0, 3.0]])
ONE_ZERO = exactly([0.5, 0.0, -2.0, 3.0])
EMPTY_ROWS = options(1)

PRODUCTS_OF_ALL = [
    case("prod", [real(2, 3)], np.prod, order=3),
    case("prod", [real(2, 3, 2)], lambda x: x.prod(1), options(1), note="dim"),
    case("prod", [real(2, 5)], lambda x: x.prod(1, keepdims=True), options(-1, True), note="keep"),
    case("prod", [ONE_ZERO], np.prod, order=3, note="one zero"),
    case("prod", [ZEROS], lambda x: x.prod(1), options(1), order=3, note="two zeros"),
    case("prod", [ZEROS], np.prod, order=3, note="three zeros"),
    case("prod", [real()], lambda x: x, note="0-dim"),
    case("prod", [real()], lambda x: x, options(0), note="0-dim dim"),
    case("prod", [real(0, 3)], lambda x: np.ones(3), options(0), note="empty"),
    case("prod", [real(0, 3)], lambda x: np.ones(0), EMPTY_ROWS, note="empty rows"),
    case("prod", [real(0)], lambda x: np.ones(()), note="nothing"),
    case("cumprod", [real(2, 5)], lambda x: x.cumprod(1), options(1)),
    case("cumprod", [real(2, 3)], lambda x: x.cumprod(0), options(-2), order=3, note="first"),
    case("cumprod", [ZEROS], lambda x: x.cumprod(1), options(1), order=3, note="zeros"),
    case("cumprod", [ONE_ZERO], lambda x: x.cumprod(0), options(0), order=3, note="one zero"),
    case("cumprod", [real()], lambda x: x, options(0), note="0-dim"),
    case("cumprod", [real(0, 3)], lambda x: x, options(0), note="empty"),
]

SCANS = [
    case("cumsum", [real(2, 3)], lambda x: x.cumsum(1), options(1)),
    case("cumsum", [real(3, 2)], lambda x: x.cumsum(0), options(-2), order=3, note="first"),
    case("cumsum", [real()], lambda x: x, options(0), note="0-dim"),
    case("cumsum", [real(3, 0)], lambda x: x, options(1), note="empty"),
    case("cumsum", [labels(3, below=9), real(3)], lambda i, x: x + i.cumsum(),
         lambda f, i, x: x + f(i, 0), note="integers"),
    case("sum", [real(2, 3)], lambda x: np.full(3, x.shape[0] * 1.0) + x.sum(0),
         lambda f, x: f(x, 0) + f(x > 9, 0) + f(x < 9, 0), note="booleans"),
    case("sum", [real(2, 3)], lambda x: x.sum((0, 1)), options(()), note="no dims are all"),
    case("trace", [real(3, 3)], np.trace, order=3),
    case("trace", [real(2, 3)], np.trace, note="wide"),
    case("trace", [real(0, 3)], np.trace, note="empty"),
]  # fmt: skip

# of no rows at all PyTorch warns
MOMENTS = [
    case("mean", [real(0, 3)], lambda x: np.ones(0), EMPTY_ROWS, note="empty"),
    case("var", [real(2, 3)], lambda x: x.var(0), options(0, False), note="unbiased=False"),
    case("var", [real(2, 3)], np.var, options(False), note="first argument"),
    case("var", [real(2, 3)], lambda x: x.var(1, ddof=1, keepdims=True), options(1, keepdim=True),
         note="keepdim"),
    case("var", [real(0, 3)], lambda x: np.ones(0), EMPTY_ROWS, note="empty", torch=False),
    case("std", [real(2, 3)], lambda x: x.std(0), options(0, unbiased=False), note="unbiased"),
    case("std", [real(0, 3)], lambda x: np.ones(0), EMPTY_ROWS, note="empty", torch=False),
    case("var_mean", [real(2, 3)], lambda x: (x.var(ddof=1), x.mean())),
    case("var_mean", [real(2, 3)], lambda x: (x.var(0), x.mean(0)), options(0, correction=0),
         note="dim"),
    case("var_mean", [real(0, 3)], lambda x: (np.ones(0), np.ones(0)), EMPTY_ROWS, note="empty",
         torch=False),
    case("std_mean", [real(2, 3)], lambda x: (x.std(ddof=1), x.mean())),
    case("std_mean", [real(2, 3)],
         lambda x: (x.std(1, keepdims=True), x.mean(1, keepdims=True)),
         options(1, unbiased=False, keepdim=True), note="keepdim"),
    case("std_mean", [real(0, 3)], lambda x: (np.ones(0), np.ones(0)), EMPTY_ROWS, note="empty",
         torch=False),
    case("logsumexp", [real(0, 3)], lambda x: np.ones(0), EMPTY_ROWS, note="empty"),
    case("softmax", [labels(2, 3, below=4), real(2, 3)],
         lambda i, x: x * ref.softmax(i.astype(x.dtype), 1),
         lambda f, i, x: x * f(i, 1, dtype=x.numpy().dtype), torch=False, note="dtype"),
]  # fmt: skip


def p_norm(
    p: float,
    note: str,
    x: Input,
    *more: Any,
    order: int = 2,
    torch: bool = True,
    **kwargs: Any,
) -> Case:
    """By the definition, one power and one root."""

    def expected(array: np.ndarray, dim: Any = None, keepdim: bool = False) -> Any:
        axis = None if dim is None else tuple(np.atleast_1d(dim))
        if np.isinf(p):
            return (np.max if p > 0 else np.min)(np.abs(array), axis, keepdims=keepdim)
        powers = np.abs(array) ** p if p else array != 0
        total = np.sum(powers.astype(array.dtype), axis, keepdims=keepdim)
        return total ** (1 / p) if p else total

    return case(
        "norm",
        [x],
        lambda a: expected(a, *more, **kwargs),
        options(p, *more, **kwargs),
        order=order,
        note=note,
        torch=torch,
    )


INF = float("inf")

VECTOR_NORMS = [
    case("norm", [real(2, 3)], lambda x: np.sqrt((x * x).sum()), order=3),
    case("norm", [real(2, 3, 2)], lambda x: np.sqrt((x * x).sum((0, 2))),
         options("fro", dim=(0, -1)), note="fro dims"),
    case("norm", [real(0, 3)], lambda x: np.zeros(3), options(2, 0), note="empty"),
    case("norm", [real()], np.abs, note="0-dim"),
    p_norm(2, "2", real(2, 3), 1),
    p_norm(2, "2 keepdim", real(2, 3), 0, keepdim=True),
    p_norm(1, "1", off_zero(2, 3), 0),
    # PyTorch has no second derivative of it
    p_norm(0, "0", off_zero(2, 3), 0, torch=False),
    p_norm(INF, "inf", distinct(2, 3), 1),
    p_norm(INF, "inf dims", distinct(2, 3), (0, 1), keepdim=True),
    p_norm(-INF, "-inf", distinct(2, 3), 1),
    p_norm(3, "3", off_zero(2, 3), 1, order=3),
    p_norm(4, "4", real(2, 3), 0, order=3),
    p_norm(4, "4 with a zero", ZEROS, 0 - 1),
    p_norm(2.5, "2.5", off_zero(2, 3), order=3),
    p_norm(1.5, "1.5", off_zero(2, 3), 1),
    p_norm(0.5, "0.5", off_zero(2, 3), 1),
    p_norm(-1, "-1", off_zero(2, 3), 1),
    p_norm(-2, "-2", off_zero(2, 3), 1),
    p_norm(INF, "empty rows", real(0, 3), 1),
    p_norm(3, "3 empty", real(0, 3), 0),
]  # fmt: skip


def along(x: np.ndarray, order: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    return np.take_along_axis(x, order, dim), order


def middle(x: np.ndarray, dim: int, keepdims: bool = False) -> tuple[np.ndarray, np.ndarray]:
    place = np.argsort(x, dim).take([(x.shape[dim] - 1) // 2], dim)
    values = np.take_along_axis(x, place, dim)
    return (values, place) if keepdims else (values.squeeze(dim), place.squeeze(dim))


def nothing(*shape: int) -> Callable:
    return lambda x: (np.zeros(shape), np.zeros(shape, np.int64))


def single(x: np.ndarray) -> tuple[np.ndarray, int]:
    return x, 0


ORDER = [
    case("sort", [distinct(2, 3)], lambda x: along(x, np.argsort(x, 1), 1)),
    case("sort", [distinct(3, 2)], lambda x: along(x, np.argsort(-x, 0), 0), options(0, True),
         note="descending"),
    case("sort", [distinct(3)], lambda x: along(x, np.argsort(-x), 0),
         options(descending=True, stable=True), note="stable"),
    case("sort", [real()], single, note="0-dim"),
    case("sort", [real(0, 3)], nothing(0, 3), options(0), note="empty"),
    case("topk", [distinct(2, 4)], lambda x: along(x, np.argsort(-x, 1)[:, :2], 1), options(2)),
    case("topk", [distinct(4, 2)], lambda x: along(x, np.argsort(x, 0)[:3], 0),
         options(3, 0, largest=False), note="smallest"),
    case("topk", [distinct(3)], nothing(0), options(0), note="none"),
    case("topk", [real()], single, options(1), note="0-dim"),
    case("topk", [real(0, 3)], nothing(0, 1), options(1), note="empty"),
    case("median", [distinct(2, 3)], lambda x: np.sort(x, None)[2]),
    case("median", [distinct(5)], np.median, note="odd"),
    case("median", [distinct(2, 4, 2)], lambda x: middle(x, 1), options(1), note="dim"),
    case("median", [distinct(3, 2)], lambda x: middle(x, 0, True), options(0, True),
         note="keepdim"),
    case("median", [real()], single, options(0), note="0-dim"),
    case("median", [real(0, 3)], nothing(0), EMPTY_ROWS, note="empty"),
]  # fmt: skip


def extremes(name: str, elementwise: Callable) -> list[Case]:
    return [
        case(name, [distinct(2, 3), real(3)], elementwise, note="second"),
        case(name, [distinct(2, 3), real(2, 1)], elementwise, lambda f, x, y: f(x, other=y),
             note="other"),
        case(name, [real()], single, options(0), note="0-dim"),
        case(name, [real(0, 3)], nothing(0), EMPTY_ROWS, note="empty"),
        case("a" + name, [real(0, 3)], lambda x: np.ones(0), EMPTY_ROWS, note="empty"),
    ]  # fmt: skip


EXTREMES = [*extremes("max", np.maximum), *extremes("min", np.minimum)]

REDUCTIONS_AND_SCANS = [
    *PRODUCTS_OF_ALL,
    *SCANS,
    *MOMENTS,
    *VECTOR_NORMS,
    *ORDER,
    *EXTREMES,
]
