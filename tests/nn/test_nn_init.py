"""Initialisation: fans, gains, and the spread of what is drawn."""

import math

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import nn
from tinygrad_ft.nn import init


def test_fans():
    assert init.calculate_fan_in_and_fan_out(tg.zeros((5, 7))) == (7, 5)
    assert init.calculate_fan_in_and_fan_out(tg.zeros((8, 4, 3, 2))) == (24, 48)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        init.calculate_fan_in_and_fan_out(tg.zeros(3))


def test_gains():
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("linear") == init.calculate_gain("sigmoid") == 1
    assert init.calculate_gain("leaky_relu", 0.5) == math.sqrt(2 / 1.25)
    assert init.calculate_gain("leaky_relu") == math.sqrt(2 / 1.0001)
    with pytest.raises(ValueError, match="unknown nonlinearity 'swish'"):
        init.calculate_gain("swish")


SHAPE = (64, 32, 3, 3)  # 18432 draws: the standard error of a spread is 0.5 %
FAN_IN, FAN_OUT = 288, 576


@pytest.mark.parametrize(
    "fill, std",
    [
        (lambda t: init.normal_(t, 0.5, 2.0), 2.0),
        (lambda t: init.kaiming_normal_(t, nonlinearity="relu"), math.sqrt(2 / FAN_IN)),
        (lambda t: init.kaiming_normal_(t, mode="fan_out"), math.sqrt(2 / FAN_OUT)),
        (lambda t: init.kaiming_normal_(t, a=1), math.sqrt(1 / FAN_IN)),
        (lambda t: init.xavier_normal_(t, gain=3), 3 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
    ],
)
def test_normal_draws(fill, std):
    tg.manual_seed(0)
    tensor = tg.zeros(SHAPE)
    assert fill(tensor) is tensor
    values = tensor.numpy()
    assert values.dtype == np.float32
    assert values.std() == pytest.approx(std, rel=0.02)
    assert np.abs(values - values.mean()).max() > 3 * std  # a uniform draw ends at sqrt(3) std


@pytest.mark.parametrize(
    "fill, low, high",
    [
        (lambda t: init.uniform_(t, 2.0, 5.0), 2.0, 5.0),
        (lambda t: init.kaiming_uniform_(t, nonlinearity="relu"), None, math.sqrt(6 / FAN_IN)),
        (lambda t: init.xavier_uniform_(t), None, math.sqrt(6 / (FAN_IN + FAN_OUT))),
    ],
)
def test_uniform_draws(fill, low, high):
    low = -high if low is None else low
    tg.manual_seed(0)
    values = fill(tg.zeros(SHAPE)).numpy()
    width = high - low
    assert low <= values.min() < low + 0.01 * width
    assert high - 0.01 * width < values.max() <= high
    assert values.std() == pytest.approx(width / math.sqrt(12), rel=0.02)


@pytest.mark.parametrize(
    "layer, fan_in", [(nn.Linear(100, 200), 100), (nn.Conv2d(20, 40, 3, groups=2), 90)]
)
def test_defaults_of_linear_and_conv(layer, fan_in):
    bound = 1 / math.sqrt(fan_in)
    layer.reset_parameters()
    for param in (layer.weight, layer.bias):
        assert 0.9 * bound < np.abs(param.numpy()).max() <= bound
    assert layer.weight.numpy().std() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_seeds_and_generators_decide():
    def drawn(**options):
        return init.normal_(tg.zeros((3, 4)), **options).tolist()

    tg.manual_seed(7)
    first = drawn()
    assert drawn() != first
    tg.manual_seed(7)
    assert drawn() == first
    own = drawn(generator=np.random.default_rng(3))
    assert own == drawn(generator=np.random.default_rng(3)) != first


def test_constants_and_parameters_that_require_grad():
    layer = nn.Linear(3, 2)
    init.ones_(layer.weight)
    init.constant_(layer.bias, 0.25)
    assert layer.weight.tolist() == [[1.0] * 3] * 2
    assert layer.bias.tolist() == [0.25] * 2
    assert layer.weight.requires_grad
    assert layer.weight.is_leaf
    assert init.zeros_(layer.bias).tolist() == [0.0] * 2


def test_wrong_options():
    with pytest.raises(ValueError, match="a <= b"):
        init.uniform_(tg.zeros(2), 1.0, 0.0)
    with pytest.raises(ValueError, match="std >= 0"):
        init.normal_(tg.zeros(2), std=-1.0)
    with pytest.raises(ValueError, match="fan_in or fan_out"):
        init.kaiming_normal_(tg.zeros((2, 2)), mode="fan")


def test_float64_is_drawn_in_full_precision():
    values = init.uniform_(tg.tensor(np.zeros((4, 4)))).numpy()
    assert values.dtype == np.float64
    assert (values != values.astype(np.float32)).any()


def test_gains_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name, param in [("relu", None), ("tanh", None), ("leaky_relu", 0.2), ("selu", None)]:
        assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)
