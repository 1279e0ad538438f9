"""Training and running a network with tinygrad_ft, by its public interface alone."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

import tinygrad_ft as tg
from benchmarks.networks import LEARNING_RATE, MOMENTUM, Network, random_batch
from tinygrad_ft import models, nn, optim
from tinygrad_ft.nn import functional as F

Step = Callable[[], float]
Weights = dict[str, NDArray[np.float32]]


def build(network: Network) -> nn.Module:
    """The network with random weights, the same every time."""
    tg.manual_seed(0)
    return models.create_model(network.model, **network.options)


def weights_of(model: nn.Module) -> Weights:
    """Copies of all parameters and buffers."""
    return {name: np.array(value.numpy()) for name, value in model.state_dict().items()}


def training_step(
    model: nn.Module, network: Network, batch: int, steps: int = 1, compiled: bool = True
) -> Step:
    """A call that trains a network for some steps on one batch and returns the last loss."""
    rate = network.learning_rate
    return training(model, *random_batch(network, batch), steps, compiled, rate)


def training(
    model: nn.Module,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    steps: int = 1,
    compiled: bool = True,
    learning_rate: float = LEARNING_RATE,
) -> Step:
    """The same for any module and batch."""
    x, y = tg.tensor(images), tg.tensor(labels)
    optimizer = optim.SGD(model.parameters(), lr=learning_rate, momentum=MOMENTUM)
    model.train()
    if compiled:
        model.compile(fullgraph=True)

    def step() -> float:
        for _ in range(steps):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float(loss.item())

    return step


def inference(model: nn.Module, network: Network, batch: int) -> Callable[[], NDArray[np.float32]]:
    """A call that returns the logits of one batch, in evaluation mode."""
    x = tg.tensor(random_batch(network, batch)[0])
    model.eval()

    def run() -> NDArray[np.float32]:
        with tg.inference_mode():
            logits: NDArray[np.float32] = model(x).numpy()
        return logits

    return run
