"""Training and running a network with PyTorch, in one of its modes."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from benchmarks.networks import LEARNING_RATE, MOMENTUM, Network, random_batch
from benchmarks.torch_models import build
from benchmarks.torch_modes import Mode

Weights = Mapping[str, NDArray[np.float32]]


def _model(network: Network, mode: Mode, weights: Weights | None) -> torch.nn.Module:
    model = build(network)
    if weights is not None:
        model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    placed: torch.nn.Module = mode.place(model)
    return placed


def training_step(
    network: Network, batch: int, mode: Mode, weights: Weights | None = None
) -> Callable[[], float]:
    """A call that trains a network on one batch and returns the loss."""
    data = random_batch(network, batch)
    return training(_model(network, mode, weights), *data, mode, network.learning_rate)


def training(
    model: torch.nn.Module,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    mode: Mode,
    learning_rate: float = LEARNING_RATE,
) -> Callable[[], float]:
    """The same for any module and batch."""
    model.train()
    x, y = mode.place(torch.from_numpy(images)), torch.from_numpy(labels)
    # fused is PyTorch's fastest way to update
    parameters = model.parameters()
    optimizer = torch.optim.SGD(parameters, lr=learning_rate, momentum=MOMENTUM, fused=True)

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(x), y)

    forward = torch.compile(loss_of) if mode.compiled else loss_of

    def step() -> float:
        loss = forward(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def inference(
    network: Network, batch: int, mode: Mode, weights: Weights
) -> Callable[[], NDArray[np.float32]]:
    """A call that returns the logits of one batch, in evaluation mode."""
    model = _model(network, mode, weights).eval()
    x = mode.place(torch.from_numpy(random_batch(network, batch)[0]))
    forward = torch.compile(model) if mode.compiled else model

    def run() -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = forward(x).numpy()
        return logits

    return run
