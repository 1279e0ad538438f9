"""The same training by several contenders, and how far their losses stray from each other."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

import tinygrad_ft as tg
from benchmarks.agreement_problem import Problem, Weights
from benchmarks.agreement_switches import switched
from benchmarks.networks import MOMENTUM
from benchmarks.torch_models import build
from benchmarks.torch_modes import Mode

WEIGHT_DECAY = 1e-4

REFERENCE = "PyTorch NCHW"
CHANNELS_LAST = "PyTorch channels_last"
ROUNDED = "PyTorch NCHW, weights 1 ulp off"
OURS = "ours"
DIRECT = "ours, no Winograd"
UNFUSED = "ours, no fusion"


@dataclass(frozen=True)
class Training:
    """What became of one training.

    losses    of each step, before its update
    accuracy  on the test images at the end, 0 to 1
    furthest  the furthest that the logit of an image's label has lain below the greatest logit
    """

    losses: NDArray[np.float64]
    accuracy: float
    furthest: float

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.losses).all())


def contenders() -> dict[str, Callable[[Problem], Training]]:
    """By name; all differences are taken to the first."""
    return {
        REFERENCE: lambda problem: train_torch(problem, Mode("NCHW")),
        CHANNELS_LAST: lambda problem: train_torch(problem, Mode("channels_last")),
        ROUNDED: lambda problem: train_torch(problem, Mode("NCHW"), rounded=True),
        OURS: train_ours,
        DIRECT: lambda problem: train_ours(problem, winograd=False),
        UNFUSED: lambda problem: train_ours(problem, fusion=False),
    }


def furthest_below(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Over a batch: how far the label's logit lies below the greatest, at most."""
    return float((logits.max(1) - logits[np.arange(len(labels)), labels]).max())


def train_ours(problem: Problem, winograd: bool = True, fusion: bool = True) -> Training:
    """Train with tinygrad_ft, by its public interface alone."""
    with switched(winograd, fusion):
        return _train_ours(problem)


def _train_ours(problem: Problem) -> Training:
    model = tg.models.create_model(problem.network.model, **problem.network.options)
    model.load_state_dict(problem.initial_weights())
    optimizer = tg.optim.SGD(
        model.parameters(), lr=problem.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    model.train()
    losses, furthest = [], 0.0
    for images, labels in problem.batches():
        logits = model(tg.tensor(images))
        loss = tg.nn.functional.cross_entropy(logits, tg.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.item()))
        furthest = max(furthest, furthest_below(logits.numpy(), labels))
    model.eval()
    right = count = 0
    with tg.inference_mode():
        for images, labels in problem.test_batches():
            right += int((model(tg.tensor(images)).numpy().argmax(1) == labels).sum())
            count += len(labels)
    return Training(np.array(losses), right / count, furthest)


def one_ulp_off(weights: Weights, seed: int) -> Weights:
    """Each weight moved to one of the two float32 numbers beside it, by chance; buffers as they
    are."""
    random = np.random.default_rng(seed)
    moved = {}
    for name, value in weights.items():
        limits = random.choice(np.array([-np.inf, np.inf], np.float32), value.shape)
        buffer = "running" in name or "num_batches" in name
        moved[name] = value if buffer else np.nextafter(value, limits)
    return moved


def torch_twin(problem: Problem, weights: Weights) -> torch.nn.Module:
    """The network in PyTorch, with these weights."""
    model = build(problem.network)
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    return model


def train_torch(problem: Problem, mode: Mode, rounded: bool = False) -> Training:
    """Train with PyTorch; `rounded`: from weights that are one unit in the last place off."""
    weights = problem.initial_weights()
    if rounded:
        weights = one_ulp_off(weights, problem.seed)
    model = mode.place(torch_twin(problem, weights)).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=problem.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    losses, furthest = [], 0.0
    for images, labels in problem.batches():
        logits = model(mode.place(torch.from_numpy(images)))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.item()))
        furthest = max(furthest, furthest_below(logits.detach().numpy(), labels))
    model.eval()
    right = count = 0
    with torch.inference_mode():
        for images, labels in problem.test_batches():
            logits = model(mode.place(torch.from_numpy(images)))
            right += int((logits.numpy().argmax(1) == labels).sum())
            count += len(labels)
    return Training(np.array(losses), right / count, furthest)
