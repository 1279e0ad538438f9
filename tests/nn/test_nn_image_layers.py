"""Layers on images and sequences: wrong options and inputs, freezing, resetting, conversion."""

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import nn


@pytest.mark.parametrize(
    "layer, shape, message",
    [
        (nn.Conv1d(3, 4, 2), (2, 4, 5), r"Conv1d\(3, 4.*\(2, 4, 5\): expected 3 channels"),
        (nn.Conv1d(3, 4, 2), (2, 3, 5, 5), r"Conv1d\(3, 4.*expected \(N, C, L\) or \(C, L\)"),
        (nn.ConvTranspose2d(3, 4, 2), (2, 2, 5, 5), r"ConvTranspose2d.*expected 3 channels"),
        (nn.MaxPool1d(2), (8,), r"MaxPool1d\(kernel_size=2.*\(8,\): expected \(N, C, L\)"),
        (nn.AvgPool1d(2), (1, 1, 2, 2), r"AvgPool1d\(kernel_size=\(2,\).*\(1, 1, 2, 2\)"),
        (nn.AdaptiveMaxPool2d(2), (8, 4), r"AdaptiveMaxPool2d\(output_size=2.*\(8, 4\)"),
        (nn.InstanceNorm2d(4), (8, 3, 2, 2), r"InstanceNorm2d\(4.*\(N, 4, H, W\) or \(4, H, W\)"),
        (nn.InstanceNorm1d(4), (4, 3, 2), r"InstanceNorm1d\(4.*\(N, 4, L\) or \(4, L\)"),
        (nn.GroupNorm(2, 4), (8, 3, 2), r"GroupNorm\(2, 4.*\(8, 3, 2\): expected \(N, 4, ...\)"),
        (nn.LayerNorm((2, 3)), (3, 2), r"LayerNorm\(\(2, 3\).*\(3, 2\): expected \(..., 2, 3\)"),
        (nn.RMSNorm(3), (3, 2), r"RMSNorm\(\(3,\).*\(3, 2\): expected \(..., 3\)"),
        (nn.ReflectionPad1d(1), (8,), r"ReflectionPad1d\(\(1, 1\)\).*\(8,\): expected \(N, C, L\)"),
        (nn.ConstantPad2d(1, 2.0), (8, 4), r"ConstantPad2d\(.*\(8, 4\): expected \(N, C, H, W\)"),
        (nn.Upsample(size=3, mode="bilinear"), (1, 1, 4), r"'bilinear' needs .*\(1, 1, 4\)"),
    ],
)
def test_errors_name_the_layer_and_the_shape(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer(tg.zeros(shape))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nn.Conv1d(3, 4, (2, 2)), "Conv1d: kernel_size must be an int"),
        (lambda: nn.Conv1d(3, 4, 2, groups=2), "Conv1d: 3 input and 4 output"),
        (lambda: nn.Conv2d(3, 4, 2, stride=2, padding="same"), "Conv2d: padding 'same' needs"),
        (lambda: nn.Conv2d(3, 4, 2, padding_mode="mirror"), "padding_mode is zeros or reflect"),
        (lambda: nn.ConvTranspose2d(3, 4, 2, padding_mode="reflect"), "padding_mode is zeros, got"),
        (lambda: nn.ConvTranspose1d(0, 4, 2), "ConvTranspose1d needs 1 or more channels"),
        (lambda: nn.AvgPool1d(0), "AvgPool1d: kernel_size must be at least 1, got 0"),
        (lambda: nn.GroupNorm(3, 4), "4 channels cannot be split into 3 groups"),
        (lambda: nn.LayerNorm(()), "normalized_shape needs positive sizes"),
        (lambda: nn.RMSNorm((2, 0)), "normalized_shape needs positive sizes"),
        (lambda: nn.InstanceNorm1d(0), "InstanceNorm1d needs 1 or more channels"),
        (lambda: nn.ZeroPad2d((1, 2)), r"ZeroPad2d: padding is an int or 4 of them, got \(1, 2\)"),
    ],
)
def test_wrong_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_freezing_stops_instance_statistics():
    norm = nn.InstanceNorm2d(2, affine=True, track_running_stats=True)
    x = tg.randn(3, 2, 4, 4)
    norm(x)
    kept = norm.running_mean.numpy().copy()
    assert kept.any()
    nn.freeze(norm)
    frozen = norm.train()(x).numpy()
    np.testing.assert_array_equal(norm.running_mean.numpy(), kept)
    np.testing.assert_array_equal(norm.eval()(x).numpy(), frozen)
    nn.unfreeze(norm)
    norm.train()(x)
    assert (norm.running_mean.numpy() != kept).all()
    norm.reset_running_stats()
    assert not norm.running_mean.numpy().any()


@pytest.mark.parametrize("layer", [nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.RMSNorm(4)])
def test_reset_parameters(layer):
    fresh = {k: v.numpy().copy() for k, v in layer.state_dict().items()}
    for parameter in layer.parameters():
        nn.init.constant_(parameter, 3.0)
    layer.reset_parameters()
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), fresh[key])


@pytest.mark.parametrize(
    "layer, shape",
    [
        (nn.ConvTranspose2d(2, 3, 2), (1, 2, 3, 3)),
        (nn.LayerNorm(3), (2, 3)),
        (nn.RMSNorm(3), (2, 3)),
        (nn.GroupNorm(1, 2), (1, 2, 3)),
    ],
)
def test_float64_layers_pass_gradcheck(layer, shape):
    x = tg.randn(*shape, dtype=np.float64, requires_grad=True)
    layer.double()
    assert layer(x).dtype == np.float64
    assert tg.gradcheck(lambda x, *_: layer(x), [x, *layer.parameters()], 2)
