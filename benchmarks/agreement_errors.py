"""The rounding of single 3x3 convolutions, Winograd's and direct, against float64."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.agreement_switches import switched
from benchmarks.cases._convolutions import GROUPS, Convolution
from benchmarks.tables import Table
from kernels import conv2d_forward, conv2d_grad_input, conv2d_grad_weight

Array = NDArray[np.floating]

PASSES = ("forward", "input gradient", "weight gradient")

# every 3x3 layer of CIFAR ResNet-20, CIFAR ResNet-18 and ResNet-50 at 224
STEMS = (Convolution(3, 16, 32, 128), Convolution(3, 64, 32, 64))
STRIDED = tuple(shape for shape in GROUPS["strided, 1x1, stem"] if shape.kernel == 3)
LAYERS = (*GROUPS["3x3 stride 1"], *STRIDED, *STEMS)


@dataclass(frozen=True)
class LayerErrors:
    """Of each of PASSES: the root mean square of the error as a share of the result's.

    winograd   None where the layer is computed directly in any case
    """

    layer: Convolution
    winograd: list[float | None]
    direct: list[float]


def relative_error(found: Array, right: Array) -> float:
    """The norm of the difference as a share of the norm of what is right."""
    difference = found.astype(np.float64) - right
    return float(np.linalg.norm(difference) / np.linalg.norm(right))


def layer_errors(layer: Convolution) -> LayerErrors:
    """Measure one layer on random numbers, the same every time.

    The inputs are what a ReLU makes of normal noise, weights are drawn as He et al. 2015 do, the
    gradient of the result is normal noise. What is right is the same function in float64, which
    NumPy computes."""
    random = np.random.default_rng(0)
    x = np.maximum(random.standard_normal(layer.x_shape, np.float32), 0)
    weight = random.standard_normal(layer.weight_shape, np.float32)
    weight *= np.float32(math.sqrt(2 / (layer.out * layer.kernel**2)))
    grad = random.standard_normal(layer.out_shape, np.float32)
    right = _passes(layer, *(array.astype(np.float64) for array in (x, weight, grad)))
    with switched(winograd=True):
        winograd = _passes(layer, x, weight, grad)
    with switched(winograd=False):
        direct = _passes(layer, x, weight, grad)
    return LayerErrors(
        layer,
        [
            None if np.array_equal(found, other) else relative_error(found, exact)
            for found, other, exact in zip(winograd, direct, right, strict=True)
        ],
        [relative_error(found, exact) for found, exact in zip(direct, right, strict=True)],
    )


def _passes(layer: Convolution, x: Array, weight: Array, grad: Array) -> Sequence[Array]:
    """The results of PASSES."""
    options = (layer.stride, layer.padding)
    return (
        conv2d_forward(x, weight, *options),
        conv2d_grad_input(grad, weight, x.shape, *options),
        conv2d_grad_weight(grad, x, weight.shape, *options),
    )


def error_table(found: Sequence[LayerErrors]) -> Table:
    """Errors of single convolutions."""
    table = Table(
        "relative root mean square error of 3x3 convolutions against float64",
        ["layer", *(f"{name}: {which}" for name in PASSES for which in ("Winograd", "direct"))],
        set(),
    )
    sections: dict[str, list[list[str]]] = {}
    for errors in found:
        layer = errors.layer
        section = "3 input channels" if layer.channels == 3 else f"stride {layer.stride}"
        cells = [layer.name]
        for winograd, direct in zip(errors.winograd, errors.direct, strict=True):
            cells += ["-" if winograd is None else f"{winograd:.1e}", f"{direct:.1e}"]
        sections.setdefault(section, []).append(cells)
    table.sections = list(sections.items())
    table.notes = ["-: computed directly in any case"]
    return table
