"""The networks that are trained and run, and their input. Imports NumPy only: it is used in
processes whose start and memory are measured."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEARNING_RATE = 0.01
MOMENTUM = 0.9


@dataclass(frozen=True)
class Network:
    """A network of tinygrad_ft.models with its usual batch.

    model    name of the function in tinygrad_ft.models, with its options
    title    as tables show it
    size     height and width of the images
    learning_rate    of training steps
    steps_compared   how many losses in a row must agree before a training step is timed
    tolerance        and how well. With random weights and four images ResNet-50 amplifies
             rounding: its first gradient in float32 is 2 to 4% off float64 whoever computes it,
             and a loss that falls from 7.4 to 2.4 in one step, as it does at 0.01, is off as far
             (PyTorch's two memory formats 0.8% apart). At 1e-5 it falls by 0.7, about in proportion
             to the gradient, and everyone agrees to 2e-4
    """

    model: str
    title: str
    batch: int
    size: int
    options: dict[str, Any] = field(default_factory=dict)
    learning_rate: float = LEARNING_RATE
    steps_compared: int = 3
    tolerance: float = 1e-3

    @property
    def classes(self) -> int:
        return int(self.options["num_classes"])


RESNET20 = Network("resnet20", "CIFAR ResNet-20", 128, 32, {"num_classes": 10})
RESNET18 = Network("resnet18", "CIFAR ResNet-18", 64, 32, {"num_classes": 10, "small_input": True})
RESNET50 = Network("resnet50", "ResNet-50 at 224", 4, 224, {"num_classes": 1000}, 1e-5, 2, 5e-4)
NETWORKS = {network.model: network for network in (RESNET20, RESNET18, RESNET50)}


def random_batch(network: Network, batch: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Normal noise as images (batch, 3, size, size), and labels; the same every time."""
    random = np.random.default_rng(0)
    images = random.standard_normal((batch, 3, network.size, network.size), np.float32)
    return images, random.integers(0, network.classes, batch)
