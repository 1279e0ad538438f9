"""The networks' twins in PyTorch are the same networks."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import our_network
from benchmarks.networks import RESNET18, RESNET20, RESNET50

torch = pytest.importorskip("torch")

from benchmarks import torch_network  # noqa: E402
from benchmarks.runner import difference  # noqa: E402
from benchmarks.torch_modes import Mode, modes  # noqa: E402

SMALL = {
    "resnet20": replace(RESNET20, batch=8, size=16),
    "resnet18": replace(RESNET18, batch=8, size=8),
    "resnet50": replace(RESNET50, batch=2, size=64),
}


@pytest.mark.parametrize("name", SMALL)
def test_same_logits_in_evaluation(name):
    network = SMALL[name]
    model = our_network.build(network)
    weights = our_network.weights_of(model)
    ours = our_network.inference(model, network, network.batch)()
    theirs = torch_network.inference(network, network.batch, Mode("channels_last"), weights)()
    assert ours.shape == (network.batch, network.classes)
    assert not difference([ours], [theirs], 1e-4)


@pytest.mark.parametrize("layout", ["NCHW", "channels_last"])
def test_same_losses_in_training(layout):
    network = SMALL["resnet20"]
    model = our_network.build(network)
    weights = our_network.weights_of(model)
    ours = our_network.training_step(model, network, network.batch)
    theirs = torch_network.training_step(network, network.batch, Mode(layout), weights)
    losses = [ours() for _ in range(3)]
    np.testing.assert_allclose(losses, [theirs() for _ in range(3)], rtol=1e-3)
    # a step with other gradients would be noticed
    assert abs(losses[2] - losses[0]) > 0.01 * losses[0]


def test_modes():
    assert [mode.label for mode in modes(compiled=True)] == [
        "torch eager NCHW",
        "torch eager channels_last",
        "torch compile NCHW",
        "torch compile channels_last",
    ]
    assert len(list(modes(compiled=False))) == 2
    x = torch.zeros(2, 3, 4, 5)
    assert Mode("channels_last").place(x).is_contiguous(memory_format=torch.channels_last)
    assert Mode("NCHW").place(x).is_contiguous()
