"""Small computations, recorded and explained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import tinygrad_ft as tg
from tinygrad_ft import nn
from tinygrad_ft.explain import recording
from tinygrad_ft.explain.explanation import Explanation, explanation_of
from tinygrad_ft.explain.graph import Op, Value


def explained(
    compute: Callable[[], tg.Tensor],
    variables: Mapping[str, Any] | None = None,
    optimizer: Any = None,
) -> Explanation:
    with recording() as recorded:
        loss = compute()
    return explanation_of(loss, recorded, title="a test", variables=variables, optimizer=optimizer)


def value(e: Explanation, name: str) -> Value:
    found = [v for v in e.graph.values if v.name == name]
    assert len(found) == 1, f"{name} among {[v.name for v in e.graph.values]}"
    return found[0]


def op(e: Explanation, name: str) -> Op:
    return next(o for o in e.graph.ops if o.name == name)


def gradient(e: Explanation, name: str) -> np.ndarray:
    return e.backward.gradients[value(e, name).number]


class Network(nn.Module):
    """A convolution with a batch norm, and a head that is cut off if asked for."""

    def __init__(self, cut: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 4)
        self.cut = cut

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        x = tg.relu(self.bn(self.conv(x))).mean((2, 3))
        return self.head(x.detach() if self.cut else x)


def network_loss(
    cut: bool = False, double: bool = False, smoothing: float = 0.0
) -> tuple[Network, Any]:
    """A network on four random images and a function that computes its loss."""
    tg.manual_seed(3)
    model = Network(cut)
    rng = np.random.default_rng(0)
    images = tg.tensor(rng.standard_normal((4, 2, 7, 6)).astype(np.float32))
    if double:
        model, images = model.double(), images.double()
    labels = tg.tensor(np.array([0, 1, 2, 3]))
    return model, lambda: nn.functional.cross_entropy(
        model(images), labels, label_smoothing=smoothing
    )
