"""Whole training steps: forward, cross-entropy, backward, SGD with momentum; ours with `compile()`
and without.

All start with the same weights and train on the same batch; the losses of the first steps are
compared, so the gradients are part of the comparison."""

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.case import UNCOMPILED, Case
from benchmarks.networks import NETWORKS, Network
from benchmarks.our_network import Weights, build, training_step, weights_of
from benchmarks.settings import Settings


def cases(settings: Settings) -> Iterator[Case]:
    for network in NETWORKS.values():
        model = build(network)
        weights = weights_of(model)
        peers = {UNCOMPILED: training_step(build(network), network, network.batch, compiled=False)}
        if settings.wants("torch"):
            peers |= _torch_steps(network, settings, weights)
        yield Case(
            name=f"{network.title} b{network.batch}",
            group=f"training step {network.title}",
            ours=training_step(model, network, network.batch),
            peers=peers,
            items=network.batch,
            tolerance=network.tolerance,
            calls_compared=network.steps_compared,
        )


def _torch_steps(
    network: Network, settings: Settings, weights: Weights
) -> dict[str, Callable[[], Any]]:
    from benchmarks import torch_network
    from benchmarks.torch_modes import modes

    return {
        mode.label: torch_network.training_step(network, network.batch, mode, weights)
        for mode in modes(settings.compiled)
    }
