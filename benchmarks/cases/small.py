"""Training steps of networks so small that it counts what is done between the kernels: a perceptron
and a CNN, with biases, for images of 28 x 28. Ours with `compile()` and without.

The layers are written once: both sides call them the same."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinygrad_ft as tg
from benchmarks.case import UNCOMPILED, Case
from benchmarks.our_network import Weights, training, weights_of
from benchmarks.settings import Settings
from tinygrad_ft import nn

SHAPES = {"perceptron": (784,), "CNN": (1, 28, 28)}
BATCHES = (32, 128)


def _build(name: str, nn: Any) -> Any:
    """With the layers of tinygrad_ft.nn or torch.nn."""
    if name == "perceptron":
        return nn.Sequential(
            nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
        )
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 120),
        nn.ReLU(),
        nn.Linear(120, 10),
    )


def cases(settings: Settings) -> Iterator[Case]:
    for name, shape in SHAPES.items():
        for batch in BATCHES:
            random = np.random.default_rng(0)
            images = random.standard_normal((batch, *shape), np.float32)
            data = (images, random.integers(0, 10, batch))
            tg.manual_seed(0)
            model = _build(name, nn)
            weights = weights_of(model)
            plain = _build(name, nn)
            plain.load_state_dict(weights)
            peers: dict[str, Callable[[], Any]] = {
                UNCOMPILED: training(plain, *data, compiled=False)
            }
            if settings.wants("torch"):
                peers |= _torch_steps(name, weights, data, settings)
            yield Case(
                name=f"{name} b{batch}",
                group="small networks",
                ours=training(model, *data),
                peers=peers,
                items=batch,
                tolerance=1e-3,
                calls_compared=3,
            )


def _torch_steps(
    name: str, weights: Weights, data: tuple[Any, Any], settings: Settings
) -> dict[str, Callable[[], Any]]:
    import torch

    from benchmarks import torch_network
    from benchmarks.torch_modes import modes

    steps = {}
    for mode in modes(settings.compiled):
        model = _build(name, torch.nn)
        model.load_state_dict({key: torch.tensor(value) for key, value in weights.items()})
        steps[mode.label] = torch_network.training(mode.place(model), *data, mode)
    return steps
