"""A NaN or an infinity is traced to the layer that it came from."""

from __future__ import annotations

import re

import numpy as np
import pytest
from train_helpers import arrays, colours, contents, make_model, make_trainer, same

from tinygrad_ft import nn
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train import NonFiniteLoss, Settings
from tinygrad_ft.train.recipe.non_finite import (
    NonFiniteValue,
    all_finite,
    bad_weight,
    check_gradients,
    first_appearance,
)

IMAGES = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)


def test_finite_or_not():
    assert all_finite(np.array([1.0, -2.0]))
    assert all_finite(np.full(4, 3e38, np.float32))  # though their sum is not
    assert all_finite(np.zeros(0, np.float32))
    assert all_finite(np.array([1, 2]))
    for bad in (np.nan, np.inf, -np.inf):
        assert not all_finite(np.array([1.0, bad]))
    assert not all_finite(np.array([np.inf, -np.inf]))


def appearance(model, images: np.ndarray = IMAGES) -> str:
    return first_appearance(model, lambda: model(Tensor(images)), images)


@pytest.mark.parametrize("name", ["conv1.weight", "layer2.0.bn1.running_var", "linear.bias"])
def test_a_bad_weight_is_named(name):
    model = make_model().eval()
    model.state_dict()[name].data.reshape(-1)[0] = np.nan
    assert bad_weight(model) == name
    assert appearance(model).startswith(f"{name} is not finite already, from an earlier step")


def test_statistics_that_the_bad_step_itself_has_spoilt_are_not_blamed():
    model = make_model().train()
    model.layer2[0].bn1.running_mean.data[:] = np.nan
    model.layer1[0].conv2.weight.data[:] = 3e38
    assert "in the output of layer1.0.conv2" in appearance(model)
    nn.freeze(model.layer2)
    assert appearance(model).startswith("layer2.0.bn1.running_mean is not finite already")


def test_bad_images_are_named():
    images = IMAGES.copy()
    images[2, 1, 0, 0] = np.inf
    assert appearance(make_model(), images) == "the images of the batch are not finite already"


@pytest.mark.parametrize(
    "name", ["conv1", "layer1.0.conv2", "layer2.0.bn1", "layer3.0.bn2", "linear"]
)
def test_the_layer_that_overflows_is_named(name):
    """Finite weights so large that the output is not."""
    model = make_model().train()
    layer = model.get_submodule(name)
    layer.weight.data[:] = 3e38
    before = arrays(model)
    assert appearance(model) == (
        f"it first appeared in the output of {name} ({type(layer).__name__})"
    )
    assert same(arrays(model), before)  # statistics too
    assert not any(module._forward_hooks for module in model.modules())


def test_nothing_to_be_found():
    assert appearance(make_model()) == "every layer's output is finite, the loss of it is not"


def test_a_bad_gradient_is_traced_to_where_the_walk_back_met_it():
    model = make_model()
    check_gradients(model)  # none at all
    for p in model.parameters():
        p.grad = Tensor(np.zeros(p.shape, np.float32))
    check_gradients(model)
    for name in ("conv1.weight", "layer2.0.conv1.weight"):
        dict(model.named_parameters())[name].grad.data[0] = np.inf
    with pytest.raises(NonFiniteValue, match=r"way back is that of layer2\.0\.conv1\.weight"):
        check_gradients(model)


def test_a_run_says_the_layer_and_keeps_what_it_had(tmp_path):
    trainer = make_trainer(tmp_path, Settings(epochs=3, batch_size=8), val=colours(2, seed=1))
    step = trainer.step

    def overflowing(images: np.ndarray, labels: np.ndarray) -> tuple[float, int]:
        if trainer.position.epoch == 1 and trainer.position.batch == 1:
            trainer.model.layer2[0].conv1.weight.data[:] = 3e38
        return step(images, labels)

    trainer.step = overflowing
    before: dict[str, bytes] = {}
    finish = trainer._finish_epoch

    def note() -> None:
        finish()
        before.update(contents(tmp_path))

    trainer._finish_epoch = note
    message = (
        "the loss became nan in epoch 2, batch 2, at learning rate 0.0665 (it first appeared in "
        "the output of layer2.0.conv1 (Conv2d)); try a lower --lr or --clip-grad 1 (the last "
        f"checkpoint in {tmp_path} is from before it)"
    )
    with pytest.raises(NonFiniteLoss) as error:
        trainer.fit()
    assert re.sub(r"rate [\d.]+", "rate R", str(error.value)) == message.replace("0.0665", "R")
    assert contents(tmp_path) == before
