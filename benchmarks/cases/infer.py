"""Logits of one batch, in evaluation mode, without gradients."""

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.case import Case
from benchmarks.networks import RESNET50, Network
from benchmarks.our_network import Weights, build, inference, weights_of
from benchmarks.settings import Settings


def cases(settings: Settings) -> Iterator[Case]:
    network = RESNET50
    model = build(network)
    peers = _torch_calls(network, settings, weights_of(model)) if settings.wants("torch") else {}
    yield Case(
        name=f"{network.title} b{network.batch}",
        group=f"inference {network.title}",
        ours=inference(model, network, network.batch),
        peers=peers,
        items=network.batch,
        tolerance=1e-3,
    )


def _torch_calls(
    network: Network, settings: Settings, weights: Weights
) -> dict[str, Callable[[], Any]]:
    from benchmarks import torch_network
    from benchmarks.torch_modes import modes

    return {
        mode.label: torch_network.inference(network, network.batch, mode, weights)
        for mode in modes(settings.compiled)
    }
