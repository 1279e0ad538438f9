"""Layers: options reach the ops, buffers move, errors name the layer and the shapes."""

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import nn

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def test_linear_is_the_formula():
    layer = nn.Linear(4, 3)
    x = draw(2, 5, 4)
    expected = x @ layer.weight.numpy().T + layer.bias.numpy()
    np.testing.assert_allclose(layer(tg.tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert nn.Linear(4, 3, bias=False).bias is None
    assert list(nn.Linear(4, 3, bias=False).state_dict()) == ["weight"]


def direct_conv(x, w, stride, padding, dilation, groups):
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)).astype(np.float64)
    n, c, height, width = x.shape
    o, _, kh, kw = w.shape
    rows = (height - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    cols = (width - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    out = np.zeros((n, o, rows, cols))
    for k in range(o):
        first = k // (o // groups) * (c // groups)
        for i in range(rows):
            for j in range(cols):
                top, left = i * stride[0], j * stride[1]
                window = x[
                    :,
                    first : first + c // groups,
                    top : top + dilation[0] * (kh - 1) + 1 : dilation[0],
                    left : left + dilation[1] * (kw - 1) + 1 : dilation[1],
                ]
                out[:, k, i, j] = (window * w[k]).sum((1, 2, 3))
    return out


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)},
        {"kernel_size": 1, "groups": 2, "bias": False},
    ],
)
def test_conv2d_options_reach_the_op(options):
    layer = nn.Conv2d(4, 6, **options)
    x = draw(2, 4, 7, 6)
    expected = direct_conv(
        x, layer.weight.numpy(), layer.stride, layer.padding, layer.dilation, layer.groups
    )
    if layer.bias is not None:
        expected += layer.bias.numpy().reshape(1, -1, 1, 1)
    np.testing.assert_allclose(layer(tg.tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_conv2d_repr_and_same_padding():
    layer = nn.Conv2d(4, 8, 3, stride=2, padding=1, dilation=2, groups=4, bias=False)
    assert repr(layer) == (
        "Conv2d(4, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(2, 2), "
        "groups=4, bias=False)"
    )
    assert layer.weight.shape == (8, 1, 3, 3)
    same = nn.Conv2d(1, 2, 5, padding="same")
    assert same(tg.zeros((1, 1, 9, 8))).shape == (1, 2, 9, 8)
    assert same(tg.zeros((1, 9, 8))).shape == (2, 9, 8)
    assert repr(same) == "Conv2d(1, 2, kernel_size=(5, 5), stride=(1, 1), padding=same)"


@pytest.mark.parametrize(
    "layer, shape, message",
    [
        (nn.Linear(4, 2), (3, 5), r"Linear\(in_features=4.*input of shape \(3, 5\).*\(..., 4\)"),
        (nn.Conv2d(3, 16, 3), (8, 1, 32, 32), r"\(8, 1, 32, 32\): expected 3 channels"),
        (nn.Conv2d(3, 16, 3), (8, 32), r"Conv2d\(3, 16.*expected \(N, C, H, W\)"),
        (nn.BatchNorm2d(4), (8, 3, 2, 2), r"BatchNorm2d\(4.*\(8, 3, 2, 2\).*\(N, 4, H, W\)"),
        (nn.BatchNorm2d(4), (8, 4), r"expected \(N, 4, H, W\)"),
        (nn.BatchNorm1d(4), (8, 4, 2, 2), r"expected \(N, 4\) or \(N, 4, L\)"),
        (nn.BatchNorm1d(4), (1, 4), "more than one value per channel"),
        (nn.MaxPool2d(2), (8, 4), r"MaxPool2d\(kernel_size=2.*\(8, 4\)"),
        (nn.AvgPool2d(2), (8, 4), r"AvgPool2d\(kernel_size=2.*\(8, 4\)"),
        (nn.AdaptiveAvgPool2d(1), (8, 4), r"AdaptiveAvgPool2d\(output_size=1.*\(8, 4\)"),
    ],
)
def test_errors_name_the_layer_and_the_shape(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer(tg.zeros(shape))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(-1, 2),
        lambda: nn.Conv2d(0, 2, 3),
        lambda: nn.Conv2d(3, 4, 3, groups=2),
        lambda: nn.Conv2d(3, 4, 0),
        lambda: nn.Conv2d(3, 4, 3, padding=-1),
        lambda: nn.Conv2d(3, 4, 3, padding="reflect"),
        lambda: nn.BatchNorm2d(0),
        lambda: nn.Dropout(1.5),
        lambda: nn.CrossEntropyLoss(label_smoothing=2.0),
        lambda: nn.CrossEntropyLoss(reduction="average"),
        lambda: nn.MSELoss(reduction="average"),
    ],
)
def test_wrong_options(make):
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize("momentum", [0.1, 0.4, None])
@pytest.mark.parametrize("layer, shape", [("BatchNorm2d", (4, 3, 5, 2)), ("BatchNorm1d", (6, 3))])
def test_batch_norm_statistics(layer, shape, momentum):
    norm = getattr(nn, layer)(3, momentum=momentum)
    axes = (0, *range(2, len(shape)))
    per_channel = (1, 3) + (1,) * (len(shape) - 2)
    mean, var = np.zeros(3), np.ones(3)
    for step in range(1, 4):
        x = draw(*shape) * 2 + 1
        m, v = x.mean(axes), x.var(axes)
        share = 1 / step if momentum is None else momentum
        mean = (1 - share) * mean + share * m
        var = (1 - share) * var + share * x.var(axes, ddof=1)
        expected = (x - m.reshape(per_channel)) / np.sqrt(v.reshape(per_channel) + 1e-5)
        np.testing.assert_allclose(norm(tg.tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(norm.running_var.numpy(), var, rtol=1e-5)
    assert norm.num_batches_tracked.item() == 3
    assert norm.num_batches_tracked.dtype == np.int64

    norm.eval()
    kept = norm.running_mean.numpy().copy()
    x = draw(*shape)
    expected = (x - mean.reshape(per_channel)) / np.sqrt(var.reshape(per_channel) + 1e-5)
    np.testing.assert_allclose(norm(tg.tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(norm.running_mean.numpy(), kept)


def test_a_refused_batch_leaves_batch_norm_as_it_was():
    norm = nn.BatchNorm1d(4)
    with pytest.raises(ValueError, match="more than one value"):
        norm(tg.zeros((1, 4)))
    assert norm.num_batches_tracked.item() == 0


def test_batch_norm_without_affine_or_statistics():
    norm = nn.BatchNorm2d(3, affine=False, track_running_stats=False)
    assert not norm.state_dict()
    x = draw(4, 3, 2, 2)
    in_training = norm(tg.tensor(x)).numpy()
    np.testing.assert_array_equal(norm.eval()(tg.tensor(x)).numpy(), in_training)
    np.testing.assert_allclose(in_training.mean((0, 2, 3)), 0, atol=1e-6)


def test_batch_norm_reset():
    norm = nn.BatchNorm1d(2)
    norm(tg.tensor(draw(4, 2)))
    nn.init.zeros_(norm.weight)
    norm.reset_parameters()
    fresh = nn.BatchNorm1d(2).state_dict()
    for key, value in norm.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), fresh[key].numpy())


def test_dropout_follows_the_mode_and_the_seed():
    drop = nn.Dropout(0.25)
    x = tg.ones((200, 100))
    tg.manual_seed(1)
    first = drop(x).numpy()
    tg.manual_seed(1)
    np.testing.assert_array_equal(drop(x).numpy(), first)
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((first == 0).mean() - 0.25) < 0.02
    np.testing.assert_array_equal(drop.eval()(x).numpy(), x.numpy())


def test_pooling_options_reach_the_ops():
    x = draw(1, 1, 4, 4)
    image = tg.tensor(x)
    blocks = x.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(nn.MaxPool2d(2)(image).numpy()[0, 0], blocks.max((2, 3)))
    np.testing.assert_allclose(
        nn.AvgPool2d(2)(image).numpy()[0, 0], blocks.mean((2, 3)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        nn.AdaptiveAvgPool2d(1)(image).numpy(), x.mean((2, 3), keepdims=True), rtol=1e-5, atol=1e-6
    )
    assert nn.MaxPool2d(3, stride=2, padding=1)(image).shape == (1, 1, 2, 2)
    assert nn.MaxPool2d(3, 2, ceil_mode=True)(image).shape == (1, 1, 2, 2)
    inside = nn.AvgPool2d(3, 3, padding=1, count_include_pad=False)(image).numpy()
    np.testing.assert_allclose(inside[0, 0, 0, 0], x[0, 0, :2, :2].mean(), rtol=1e-5)
    assert nn.AdaptiveAvgPool2d((None, 2))(image).shape == (1, 1, 4, 2)


def test_activations_and_shapes():
    x = np.array([[-1.0, 0.5, 2.0]], np.float32)
    t = tg.tensor(x)
    np.testing.assert_array_equal(nn.ReLU()(t).numpy(), np.maximum(x, 0))
    np.testing.assert_allclose(nn.Sigmoid()(t).numpy(), 1 / (1 + np.exp(-x)), rtol=1e-6)
    np.testing.assert_allclose(nn.Tanh()(t).numpy(), np.tanh(x), rtol=1e-6)
    soft = np.exp(x) / np.exp(x).sum()
    np.testing.assert_allclose(nn.Softmax(dim=1)(t).numpy(), soft, rtol=1e-6)
    np.testing.assert_allclose(nn.LogSoftmax(dim=1)(t).numpy(), np.log(soft), rtol=1e-5)
    assert nn.Flatten()(tg.zeros((2, 3, 4, 5))).shape == (2, 60)
    assert nn.Flatten(0, 1)(tg.zeros((2, 3, 4))).shape == (6, 4)
    assert nn.Identity(3, name="unused")(t) is t


def test_losses():
    logits, labels = draw(4, 3), np.array([0, 2, 1, 2])
    weights = np.array([1.0, 2.0, 0.5], np.float32)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    picked = -log_p[np.arange(4), labels]
    x, y = tg.tensor(logits), tg.tensor(labels)

    def check(loss, expected):
        np.testing.assert_allclose(loss(x, y).numpy(), expected, rtol=1e-5)

    check(nn.CrossEntropyLoss(), picked.mean())
    check(nn.CrossEntropyLoss(reduction="none"), picked)
    w = weights[labels]
    check(nn.CrossEntropyLoss(tg.tensor(weights)), (w * picked).sum() / w.sum())
    check(nn.CrossEntropyLoss(ignore_index=2), picked[labels != 2].mean())
    smooth = 0.7 * picked - 0.3 * log_p.mean(1)
    check(nn.CrossEntropyLoss(label_smoothing=0.3), smooth.mean())
    assert list(nn.CrossEntropyLoss(tg.tensor(weights)).state_dict()) == ["weight"]

    a, b = draw(3, 2), draw(3, 2)
    out = nn.MSELoss(reduction="sum")(tg.tensor(a), tg.tensor(b)).item()
    assert out == pytest.approx(((a - b) ** 2).sum(), rel=1e-5)
    out = nn.MSELoss()(tg.tensor(a), tg.tensor(b)).item()
    assert out == pytest.approx(((a - b) ** 2).mean(), rel=1e-5)
