"""The first gradient of a network in float32, layer by layer, against float64.

A ReLU is where rounding is not small: a value that rounding carries across 0 switches the gradient
of its place on or off. So the gradients are taken twice: as they are, and with every ReLU replaced
by a product with the mask that it has in float64. What the second loses is rounding, the rest of
what the first loses is switched places."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import tinygrad_ft as tg
from benchmarks.agreement_errors import relative_error
from benchmarks.agreement_problem import Batch, Problem, Weights
from benchmarks.agreement_switches import switched
from benchmarks.agreement_training import (
    CHANNELS_LAST,
    DIRECT,
    OURS,
    REFERENCE,
    torch_twin,
)
from benchmarks.torch_modes import Mode
from tinygrad_ft.ops.activation import mask as masked

Masks = list[NDArray[np.bool_]]
Gradients = dict[str, NDArray[Any]]
DOUBLE, TORCH_DOUBLE = "float64", "PyTorch float64"


@dataclass(frozen=True)
class Backward:
    """One forward and backward pass.

    gradients   of all parameters, by name
    masks       of all ReLUs in the order of their calls: where they let something through
    """

    gradients: Gradients
    masks: Masks


@dataclass(frozen=True)
class Comparison:
    """Everyone's first gradient.

    layers    names of the layers, a convolution with its batch norm, and the last, linear one
    double    ours in float64
    free      by contender: as they are
    held      by contender: with the masks of `double`
    checks    the largest relative difference, and the masks that differ, between `double` and
              PyTorch in float64
    """

    layers: list[str]
    double: Backward
    free: dict[str, Backward]
    held: dict[str, Backward]
    checks: tuple[float, int]

    def errors(self, runs: dict[str, Backward]) -> list[list[float]]:
        """By layer and contender: the relative L2 error of the layer's gradients."""
        return [
            [
                relative_error(
                    of_layer(run.gradients, layer), of_layer(self.double.gradients, layer)
                )
                for run in runs.values()
            ]
            for layer in self.layers
        ]

    def flips(self) -> list[list[int]]:
        """By ReLU and contender: how many values are let through by one of it and float64 only."""
        columns = [flipped(run.masks, self.double.masks) for run in self.free.values()]
        return [list(row) for row in zip(*columns, strict=True)]


def flipped(masks: Masks, others: Masks) -> list[int]:
    return [int((a != b).sum()) for a, b in zip(masks, others, strict=True)]


def of_layer(gradients: Gradients, layer: str) -> NDArray[Any]:
    """All gradients of a layer in one vector."""
    names = [f"{layer}.weight"]
    if "conv" in layer:
        norm = "bn".join(layer.rsplit("conv", 1))
        names += [f"{norm}.weight", f"{norm}.bias"]
    else:
        names.append(f"{layer}.bias")
    return np.concatenate([gradients[name].ravel() for name in names])


@contextmanager
def _relu_of(functional: Any, relu: Callable[..., Any]) -> Iterator[None]:
    """Let `functional.relu`, which the networks call, be another within a `with` block."""
    before = functional.relu
    functional.relu = relu
    try:
        yield
    finally:
        functional.relu = before


def our_backward(
    weights: Weights, problem: Problem, batch: Batch, dtype: Any, masks: Masks | None = None
) -> Backward:
    """One pass of ours in some dtype; with given masks, or those that come about."""
    model = tg.models.create_model(problem.network.model, **problem.network.options)
    model.load_state_dict(weights)
    model.to(dtype).train()
    found: Masks = []
    plain = tg.nn.functional.relu

    def relu(x: tg.Tensor) -> tg.Tensor:
        out = plain(x) if masks is None else masked(x, masks[len(found)])
        found.append(out.numpy() > 0)
        return out

    with _relu_of(tg.nn.functional, relu):
        logits = model(tg.tensor(batch[0].astype(dtype)))
        tg.nn.functional.cross_entropy(logits, tg.tensor(batch[1])).backward()
    gradients = {
        name: p.grad.numpy().copy() for name, p in model.named_parameters() if p.grad is not None
    }
    return Backward(gradients, found)


def torch_backward(
    weights: Weights,
    problem: Problem,
    batch: Batch,
    dtype: torch.dtype,
    mode: Mode,
    masks: Masks | None = None,
) -> Backward:
    """The same by PyTorch."""
    model = mode.place(torch_twin(problem, weights).to(dtype)).train()
    found: Masks = []
    plain = torch.nn.functional.relu

    def relu(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        if masks is None:
            out = plain(x)
        else:
            out = x.masked_fill(torch.from_numpy(~masks[len(found)]), 0)
        found.append((out.detach() > 0).numpy())
        return out

    with _relu_of(torch.nn.functional, relu):
        logits = model(mode.place(torch.from_numpy(batch[0]).to(dtype)))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(batch[1])).backward()
    gradients = {name: p.grad.numpy().copy() for name, p in model.named_parameters()}
    return Backward(gradients, found)


def compare(problem: Problem) -> Comparison:
    """The first gradient of the problem by everyone."""
    weights = problem.initial_weights()
    batch = next(problem.batches())
    nchw, last = Mode("NCHW"), Mode("channels_last")

    def ours(winograd: bool, masks: Masks | None) -> Backward:
        with switched(winograd):
            return our_backward(weights, problem, batch, np.float32, masks)

    def everyone(masks: Masks | None) -> dict[str, Backward]:
        float32 = torch.float32
        return {
            OURS: ours(True, masks),
            DIRECT: ours(False, masks),
            REFERENCE: torch_backward(weights, problem, batch, float32, nchw, masks),
            CHANNELS_LAST: torch_backward(weights, problem, batch, float32, last, masks),
        }

    double = our_backward(weights, problem, batch, np.float64)
    other = torch_backward(weights, problem, batch, torch.float64, nchw)
    layers = [
        name.removesuffix(".weight")
        for name in weights
        if name.endswith(".weight") and ("conv" in name or "linear" in name)
    ]
    apart = max(
        relative_error(of_layer(other.gradients, layer), of_layer(double.gradients, layer))
        for layer in layers
    )
    checks = apart, sum(flipped(other.masks, double.masks))
    return Comparison(layers, double, everyone(None), everyone(double.masks), checks)
