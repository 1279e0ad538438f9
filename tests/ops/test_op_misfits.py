"""Shapes that do not fit and dtypes that are not floating, op by op: an error that names them."""

from typing import Any

import numpy as np
import pytest
from op_case import Case
from op_catalogue import CASES
from test_ops import as_list

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F

Shapes = list[tuple[int, ...]]

BROADCASTING = [
    "add", "atan2", "div", "eq", "ge", "gt", "le", "lt", "maximum", "minimum", "mul", "ne", "pow",
    "sub",
]  # fmt: skip

MISFITS: list[tuple[str, Shapes]] = [
    ("lerp", [(2, 3), (2, 3), (2,)]),
    ("matmul", [(2, 3), (2, 3)]),
    ("mv", [(2, 3), (2,)]),
    ("bmm", [(2, 2, 3), (3, 3, 2)]),
    ("bmm", [(2, 3), (3, 2)]),
    ("dot", [(2,), (3,)]),
    ("inner", [(2, 3), (3, 2)]),
    ("dot", [(2, 2), (2, 2)]),
    ("outer", [(2, 3), (2,)]),
    ("addmm", [(2, 4), (2, 3), (2, 4)]),
    ("tensordot", [(2, 3), (3, 3)]),
    ("linear", [(2, 3), (4, 2)]),
    ("conv1d", [(1, 2, 5), (1, 3, 3)]),
    ("conv2d", [(1, 2, 5, 5), (1, 3, 3, 3)]),
    ("conv_transpose1d", [(1, 2, 5), (3, 1, 3)]),
    ("conv_transpose2d", [(1, 2, 5, 5), (3, 1, 3, 3)]),
    ("mse_loss", [(2, 3), (2,)]),
    ("l1_loss", [(2, 3), (2,)]),
    ("smooth_l1_loss", [(2, 3), (2,)]),
    ("huber_loss", [(2, 3), (2,)]),
    ("kl_div", [(2, 3), (2,)]),
    ("binary_cross_entropy", [(2, 3), (2,)]),
    ("binary_cross_entropy_with_logits", [(2, 3), (2,)]),
    ("cross_entropy", [(2, 3), (2, 4)]),
    ("cosine_similarity", [(2, 3), (4, 3)]),
    ("prelu", [(2, 3), (2,)]),
    ("scaled_dot_product_attention", [(2, 4, 3), (2, 5, 2), (2, 5, 2)]),
    ("scaled_dot_product_attention", [(2, 4, 3), (2, 5, 3), (2, 4, 3)]),
]


def zeros(shapes: Shapes) -> list[tg.Tensor]:
    return [tg.zeros(s) for s in shapes]


def callables(name: str) -> list[Any]:
    return [getattr(o, name) for o in (tg, F, tg.Tensor) if hasattr(o, name)]


@pytest.mark.parametrize(
    ("name", "shapes"),
    [*((name, [(2, 3), (4,)]) for name in BROADCASTING), *MISFITS],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_shapes_that_do_not_fit_are_all_named(name: str, shapes: Shapes) -> None:
    found = callables(name)
    assert found
    for f in found:
        with pytest.raises(ValueError) as caught:
            f(*zeros(shapes))
        message = str(caught.value)
        assert message.startswith(f"{name}: ")
        assert all(str(shape) in message for shape in shapes), message


# ---- integers where floats belong ----------------------------------------------------------------

# integers are no probabilities
FIRST = {c.name: c for c in reversed(CASES) if c.name != "binary_cross_entropy"}


# PyTorch computes these with integers, its averages rounded; here a sum of products needs floats
FLOATS_ONLY = {
    "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d", "avg_pool1d", "avg_pool2d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "local_response_norm",
}  # fmt: skip

# PyTorch keeps integers in these three; here every activation makes float32 of them
WIDENED = {"hardtanh", "relu6", "threshold"}


def whole(array: np.ndarray) -> np.ndarray:
    """Distinct positive integers in the order of the floats."""
    if array.dtype.kind != "f":
        return array
    return np.argsort(np.argsort(array, axis=None)).reshape(array.shape) + 1


def from_torch(case: Case, arrays: list[np.ndarray]) -> list[np.ndarray] | None:
    """What PyTorch makes of integers; None where it refuses them, or is not installed."""
    try:
        import torch
    except ImportError:
        return None
    owners = (torch.nn.functional, torch, torch.Tensor)
    function = next((getattr(o, case.name) for o in owners if hasattr(o, case.name)), None)
    if not case.torch or function is None:
        return None
    try:
        found = case.call(function, *[torch.from_numpy(a.copy()) for a in arrays])
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None
    return [r.numpy() for r in as_list(found)]


@pytest.mark.parametrize("case", FIRST.values(), ids=FIRST)
def test_integers_give_right_numbers_or_an_error_that_names_the_dtype(case: Case) -> None:
    """As in PyTorch, in value and dtype; where PyTorch refuses, as the reference or refused too."""
    drawn = case.arrays()
    arrays = [whole(a) for a in drawn]
    if all(a is d for a, d in zip(arrays, drawn, strict=True)):
        pytest.skip("no floating input")
    theirs = from_torch(case, arrays)
    try:
        result = case.run(*[tg.Tensor(a) for a in arrays])
    except TypeError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert theirs is None or case.name in FLOATS_ONLY, refused
        assert "int64" in refused
        return
    assert case.name not in FLOATS_ONLY
    found = [np.asarray(r.data) for r in as_list(result)]
    floats = [a if a is d else a.astype(np.float64) for a, d in zip(arrays, drawn, strict=True)]
    with np.errstate(all="ignore"):
        expected = as_list(case.expected(*floats)) if theirs is None else theirs
    for f, e in zip(found, expected, strict=True):
        if theirs is not None:
            assert f.dtype == (np.float32 if case.name in WIDENED else e.dtype)
        np.testing.assert_allclose(f, e, rtol=1e-5, atol=1e-6)
