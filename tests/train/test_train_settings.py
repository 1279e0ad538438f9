"""Settings refuse what makes no sense, naming the option; schedules and groups do what they say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import yaml
from train_helpers import make_model

from tinygrad_ft import nn
from tinygrad_ft.io.state import flatten_state, unflatten_state
from tinygrad_ft.optim import AdamW
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train import Settings, SettingsError
from tinygrad_ft.train.optimization import make_optimizer, make_scheduler

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "--epochs must be at least 1, not 0"),
        ({"batch_size": 1}, "--batch-size must be at least 2, not 1"),
        ({"lr": -0.1}, "--lr must be a positive number, not -0.1"),
        ({"lr": NAN}, "--lr must be a positive number, not nan"),
        ({"lr": INF}, "--lr must be a positive number, not inf"),
        ({"head_lr": 0.0}, "--head-lr must be a positive number"),
        ({"momentum": 1.0}, r"--momentum must be in \[0, 1\)"),
        ({"weight_decay": -1e-4}, "--weight-decay must be not negative"),
        ({"warmup_epochs": INF}, "--warmup-epochs must be not negative"),
        ({"warmup_epochs": 3.0, "epochs": 3}, "--warmup-epochs must be less than the 3 epochs"),
        ({"label_smoothing": 1.0}, "--label-smoothing must be in"),
        ({"clip_grad": 0.0}, "--clip-grad must be a positive number"),
        ({"labels_fraction": 0.0}, "--labels-fraction must be in"),
        ({"labels_fraction": 1.5}, "--labels-fraction must be in"),
        ({"labels_per_class": 0}, "--labels-per-class must be at least 1"),
        ({"labels_per_class": 5, "labels_fraction": 0.5}, "--labels-fraction must be 1 with"),
        ({"val_fraction": 1.0}, "--val-fraction must be in"),
        ({"seed": -1}, "--seed must be in"),
        ({"optimizer": "lion"}, "--optimizer must be one of sgd, adamw, not 'lion'"),
        ({"tta": "crop"}, "--tta must be one of none, flip, not 'crop'"),
        ({"schedule": "linear"}, "--schedule must be one of cosine, onecycle, step, constant"),
        ({"augment": "mixup"}, "--augment must be one of none, flip"),
        ({"accumulate": 0}, "--accumulate must be at least 1"),
        ({"layer_decay": 0.0}, r"--layer-decay must be in \(0, 1\]"),
        ({"layer_decay": 1.1}, r"--layer-decay must be in \(0, 1\]"),
        ({"mixup": -1.0}, "--mixup must be not negative"),
        ({"cutmix": INF}, "--cutmix must be not negative"),
        ({"class_weights": "x"}, "--class-weights must be one of none, balanced"),
        ({"class_weights": "balanced", "balanced_sampler": True}, "both make up for rare classes"),
        ({"ema": 1.0}, "--ema must be between 0 and 1"),
        ({"patience": 0}, "--patience must be at least 1"),
        ({"head_epochs": -1}, "--head-epochs must be not negative"),
        ({"head_epochs": 3, "epochs": 3}, "--head-epochs must be less than the 3 epochs"),
        ({"head_epochs": 4, "epochs": 3}, "--head-epochs must be less than the 3 epochs"),
        ({"head_epochs": 1, "freeze": "backbone"}, "--head-epochs excludes --freeze backbone"),
        ({"head_epochs": 1, "freeze": "2", "unfreeze_every": 1}, "--head-epochs excludes"),
        ({"unfreeze_every": 1}, "--unfreeze-every needs something frozen"),
        ({"unfreeze_every": 1, "freeze": "0"}, "--unfreeze-every needs something frozen"),
        ({"unfreeze_every": 0, "freeze": "2"}, "--unfreeze-every must be at least 1"),
        ({"unfreeze_every": 5, "freeze": "2", "epochs": 5}, "or no stage is ever unfrozen"),
        ({"feature_cache_mb": -1}, "--feature-cache-mb must be not negative"),
        ({"freeze": "head"}, "--freeze must be none, backbone or a number of stages"),
        ({"freeze": "-1"}, "--freeze must be none, backbone or a number of stages"),
    ],
)
def test_wrong_settings(values, message):
    with pytest.raises(SettingsError, match=message):
        Settings(**values)


def test_settings_survive_yaml_and_checkpoints():
    settings = Settings(lr=1e-5, head_lr=0.3, freeze="2", clip_grad=None, labels_per_class=3)
    settings = replace(settings, ema=0.999, patience=3, mixup=0.2, balanced_sampler=True)
    values = settings.as_dict()
    assert Settings.from_dict(yaml.safe_load(yaml.safe_dump(values))) == settings
    assert Settings.from_dict(unflatten_state(*flatten_state(values))) == settings
    assert Settings.from_dict({**values, "quiet": True}) == settings


def rates(settings: Settings, steps_per_epoch: int) -> np.ndarray:
    """The rate of the first group at every step of a run."""
    optimizer = make_optimizer(make_model(), settings)
    scheduler = make_scheduler(optimizer, settings, steps_per_epoch)
    found = []
    for _ in range(settings.epochs * steps_per_epoch):
        found.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    return np.array(found)


@pytest.mark.parametrize("epochs, steps", [(1, 1), (1, 2), (3, 1), (5, 1), (4, 7), (3, 11)])
def test_the_step_schedule_falls_at_a_half_and_three_quarters(epochs, steps):
    found = rates(Settings(epochs=epochs, lr=0.4, schedule="step"), steps)
    share = np.arange(epochs * steps) / (epochs * steps)  # of all steps, how much has gone before
    expected = np.where(share < 0.5, 0.4, np.where(share < 0.75, 0.04, 0.004))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_constant_schedule():
    assert (rates(Settings(epochs=3, lr=0.3, schedule="constant"), 5) == 0.3).all()


def test_the_cosine_schedule_with_warm_up():
    found = rates(Settings(epochs=4, lr=0.2, warmup_epochs=0.5), 10)
    warm = 5
    expected = [0.2 * (t + 1) / (warm + 1) for t in range(warm)]
    expected += [0.1 * (1 + math.cos(math.pi * t / (40 - warm))) for t in range(40 - warm)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("warmup_epochs, steps", [(0.9, 1), (0.99, 30)])
def test_a_long_warm_up_leaves_a_step_at_the_full_rate(warmup_epochs, steps):
    found = rates(Settings(epochs=1, lr=0.2, warmup_epochs=warmup_epochs), steps)
    assert found[-1] == 0.2


def test_the_one_cycle_schedule():
    """Up by a half cosine in 30% of the steps, down by one to the start / 10,000."""
    total, peak, start = 24, 0.3, 0.3 / 25
    up = 0.3 * total - 1
    expected = []
    for t in range(total):
        low, share = (start, t / up) if t <= up else (start / 1e4, 1 - (t - up) / (total - 1 - up))
        expected.append(low + (peak - low) * (1 - math.cos(math.pi * share)) / 2)
    found = rates(Settings(epochs=4, lr=0.3, schedule="onecycle"), 6)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_one_cycle_schedule_keeps_the_momentum_that_was_asked_for():
    settings = Settings(epochs=1, momentum=0.7, schedule="onecycle")
    optimizer = make_optimizer(make_model(), settings)
    scheduler = make_scheduler(optimizer, settings, 8)
    for _ in range(8):
        scheduler.step()
        assert {g["momentum"] for g in optimizer.param_groups} == {0.7}


@pytest.mark.parametrize("schedule", ["cosine", "onecycle", "step", "constant"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_head_rate_and_body_rate_keep_their_ratio(schedule, optimizer):
    settings = Settings(epochs=3, lr=0.01, head_lr=0.07, schedule=schedule, optimizer=optimizer)
    model = make_model()
    made = make_optimizer(model, settings)
    scheduler = make_scheduler(made, settings, 4)
    head = {id(p) for p in model.get_classifier().parameters()}
    for _ in range(12):
        body_lr = {g["lr"] for g in made.param_groups if id(g["params"][0]) not in head}
        head_lr = {g["lr"] for g in made.param_groups if id(g["params"][0]) in head}
        assert len(body_lr) == len(head_lr) == 1
        assert head_lr.pop() == pytest.approx(7 * body_lr.pop())
        scheduler.step()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_every_parameter_is_in_one_group_and_only_matrices_decay(optimizer):
    settings = Settings(lr=0.1, weight_decay=0.5, momentum=0.0, optimizer=optimizer)
    model = make_model()
    made = make_optimizer(model, settings)
    assert isinstance(made, AdamW) == (optimizer == "adamw")
    grouped = [id(p) for group in made.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = Tensor(np.zeros(p.shape, np.float32))
    made.step()  # without gradients only the decay moves anything
    for name, p in model.named_parameters():
        factor = 1 - 0.1 * 0.5 if p.ndim > 1 else 1.0
        np.testing.assert_allclose(p.numpy(), factor * before[name], rtol=1e-6, err_msg=name)


def test_frozen_parameters_are_in_no_group():
    model = make_model()
    nn.freeze(model.stage_modules()[1][1])
    frozen = {id(p) for p in model.layer1.parameters()}
    made = make_optimizer(model, Settings())
    assert frozen.isdisjoint(id(p) for group in made.param_groups for p in group["params"])
    nn.freeze(model)
    with pytest.raises(SettingsError, match="leaves nothing to train"):
        make_optimizer(model, Settings())
