"""Layers and functions take PyTorch's arguments: the same names, order and defaults.

Ours may have more, which an older PyTorch does not know yet.
"""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tinygrad_ft import nn
from tinygrad_ft.nn import functional as F

torch = pytest.importorskip("torch")

# where the data live, and what PyTorch itself has replaced long ago
NOT_HERE = {
    "device", "dtype", "out", "size_average", "reduce", "_stacklevel", "_weight", "_freeze",
    "min_value", "max_value", "enable_nested_tensor", "mask_check",
}  # fmt: skip
NO_CHOICE = {
    "Embedding": {"scale_grad_by_freq", "sparse"},
    "BatchNorm1d": {"bias"},
    "BatchNorm2d": {"bias"},
    "InstanceNorm1d": {"bias"},
    "InstanceNorm2d": {"bias"},
    "GroupNorm": {"bias"},
}
"""Options of layers that are always as by default; an attempt to choose raises TypeError."""
# PyTorch guesses a dim, and warns
GUESSED = {"Softmax", "LogSoftmax", "Softmin", "softmax", "log_softmax", "softmin"}

LAYERS = sorted(set(nn.__all__) & set(torch.nn.modules.__all__))
FUNCTIONS = sorted(set(F.__all__))


def parameters(f: Callable, left_out: set[str] = NOT_HERE) -> dict[str, Any]:
    found = {n: p.default for n, p in inspect.signature(f).parameters.items()}
    return {n: d for n, d in found.items() if n not in left_out}


def compare(ours: dict[str, Any], theirs: dict[str, Any], guesses_dim: bool) -> None:
    assert [n for n in ours if n in theirs] == list(theirs)
    # PyTorch's containers take nothing as None, its transformer a function for its name
    different = {n for n in theirs if ours[n] != theirs[n] and ours[n] not in ((), "relu")}
    assert different == ({"dim"} if guesses_dim else set())


@pytest.mark.parametrize("name", LAYERS)
def test_constructor(name: str) -> None:
    theirs = parameters(getattr(torch.nn, name).__init__, NOT_HERE | NO_CHOICE.get(name, set()))
    ours = parameters(getattr(nn, name).__init__)
    if "args" in theirs:
        pytest.skip("PyTorch's constructor does not name its arguments")
    compare(ours, theirs, name in GUESSED)


@pytest.mark.parametrize("name", LAYERS)
def test_forward(name: str) -> None:
    ours, theirs = (list(parameters(getattr(lib, name).forward)) for lib in (nn, torch.nn))
    if "args" not in ours:
        assert ours == theirs


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    try:
        theirs = parameters(getattr(torch.nn.functional, name))
    except ValueError:
        pytest.skip("PyTorch does not say what it takes")
    ours = parameters(getattr(F, name))
    if "args" in theirs:
        pytest.skip("PyTorch's function does not name its arguments")
    compare(ours, theirs, name in GUESSED)
