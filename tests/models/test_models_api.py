"""Models: names, shapes, heads, stages, the registry, and an independent forward pass in NumPy."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import models, nn, optim

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "data" / "resnet20-12fca82f.th"
SMALL = ["resnet8", "resnet20", "resnet32", "resnet44", "resnet56"]
ALL = [*SMALL, "resnet18", "resnet34", "resnet50"]


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def count(model):
    return sum(p.numel() for p in model.parameters())


# ---- an independent forward pass -----------------------------------------------------------------


def conv(x, w, stride=1, padding=1):
    """Sum over the taps of the window, each a product over channels."""
    x = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2)).astype(np.float64)
    rows = (x.shape[2] - w.shape[2]) // stride + 1
    cols = (x.shape[3] - w.shape[3]) // stride + 1
    out = 0
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            seen = x[:, :, i : i + stride * rows : stride, j : j + stride * cols : stride]
            out = out + np.einsum("nchw,oc->nohw", seen[:, :, :rows, :cols], w[:, :, i, j])
    return out


def norm(x, state, name):
    weight, bias, mean, var = (
        state[f"{name}.{key}"].reshape(-1, 1, 1).astype(np.float64)
        for key in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def relu(x):
    return np.maximum(x, 0)


def cifar_forward(state, x, blocks):
    x = relu(norm(conv(x, state["conv1.weight"]), state, "bn1"))
    for stage in (1, 2, 3):
        for i in range(blocks):
            name = f"layer{stage}.{i}"
            stride = 2 if stage > 1 and i == 0 else 1
            y = relu(norm(conv(x, state[f"{name}.conv1.weight"], stride), state, f"{name}.bn1"))
            y = norm(conv(y, state[f"{name}.conv2.weight"]), state, f"{name}.bn2")
            shortcut = x
            if stride == 2:
                quarter = np.zeros_like(x[:, ::2, ::2, ::2])  # half of the added channels
                shortcut = np.concatenate([quarter, x[:, :, ::2, ::2], quarter], 1)
            x = relu(y + shortcut)
    return x.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"]


def bottleneck_forward(state, x):
    x = relu(norm(conv(x, state["conv1.weight"], 2, 3), state, "bn1"))
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    size = (x.shape[2] - 3) // 2 + 1
    taps = [x[:, :, i:, j:][:, :, ::2, ::2][:, :, :size, :size] for i in range(3) for j in range(3)]
    x = np.max(taps, axis=0)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for i in range(blocks):
            name = f"layer{stage}.{i}"
            stride = 2 if stage > 1 and i == 0 else 1
            y = relu(norm(conv(x, state[f"{name}.conv1.weight"], 1, 0), state, f"{name}.bn1"))
            y = relu(norm(conv(y, state[f"{name}.conv2.weight"], stride), state, f"{name}.bn2"))
            y = norm(conv(y, state[f"{name}.conv3.weight"], 1, 0), state, f"{name}.bn3")
            if i == 0:
                x = conv(x, state[f"{name}.downsample.0.weight"], stride, 0)
                x = norm(x, state, f"{name}.downsample.1")
            x = relu(y + x)
    return x.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]


def randomise_norms(model):
    """Batch norms that do something: a fresh model's are the identity in evaluation."""
    rng = np.random.default_rng(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                tensor.data[...] = rng.uniform(0.5, 1.5, tensor.shape)
            for tensor in (module.bias, module.running_mean):
                tensor.data[...] = rng.normal(0, 0.2, tensor.shape)
    return model


def arrays(model):
    return {key: value.numpy() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("depth", [8, 20])
def test_cifar_resnet_is_the_paper(depth):
    tg.manual_seed(0)
    model = randomise_norms(getattr(models, f"resnet{depth}")(num_classes=7, width=8)).eval()
    x = images(2, 3, 12, 10)
    expected = cifar_forward(arrays(model), x, (depth - 2) // 6)
    np.testing.assert_allclose(model(tg.tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_resnet50_is_the_paper():
    tg.manual_seed(0)
    model = randomise_norms(models.resnet50(num_classes=7, width=8)).double().eval()
    x = images(1, 3, 36, 33).astype(np.float64)
    expected = bottleneck_forward(arrays(model), x)
    np.testing.assert_allclose(model(tg.tensor(x)).numpy(), expected, rtol=1e-9, atol=1e-9)


# ---- names and sizes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, parameters",
    [  # the paper's table 6 for the first four, torchvision's documentation for the last three
        ("resnet20", 0.27e6),
        ("resnet32", 0.46e6),
        ("resnet44", 0.66e6),
        ("resnet56", 0.85e6),
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
    ],
)
def test_parameter_counts_are_the_published_ones(name, parameters):
    found = count(models.create_model(name))
    assert found == pytest.approx(parameters, abs=0.006e6 if parameters < 1e6 else 0)


def test_names_of_the_published_cifar_weights():
    norm_keys = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = ["conv1.weight", *(f"bn1.{k}" for k in norm_keys)]
    for stage in (1, 2, 3):
        for block in range(3):
            for i in (1, 2):
                name = f"layer{stage}.{block}"
                expected += [f"{name}.conv{i}.weight", *(f"{name}.bn{i}.{k}" for k in norm_keys)]
    expected += ["linear.weight", "linear.bias"]
    assert list(models.resnet20().state_dict()) == expected


@pytest.mark.skipif(
    not PUBLISHED.exists(), reason="the published weights are not beside the checkout"
)
def test_published_weights_fit():
    weights = tg.load_weights(PUBLISHED)
    model = models.resnet20()
    assert set(weights) == {k for k in model.state_dict() if not k.endswith("tracked")}
    result = model.load_state_dict(weights)
    assert repr(result) == "<All keys matched successfully>"
    x = images(2, 3, 32, 32)
    expected = cifar_forward(weights, x, 3)
    out = model.eval()(tg.tensor(x)).numpy()
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "name, shape, features",
    [
        ("resnet8", (1, 16, 16), (32, 4, 4)),
        ("resnet20", (3, 32, 32), (32, 8, 8)),
        ("resnet18", (3, 64, 64), (64, 2, 2)),
        ("resnet50", (1, 33, 47), (256, 2, 2)),
    ],
)
def test_shapes(name, shape, features):
    model = models.create_model(name, num_classes=5, in_chans=shape[0], width=8).eval()
    x = tg.tensor(images(2, *shape))
    maps = model.forward_features(x)
    assert maps.shape == (2, *features)
    assert model.num_features == features[0]
    pooled = model.forward_head(maps, pre_logits=True)
    np.testing.assert_allclose(pooled.numpy(), maps.numpy().mean((2, 3)), rtol=1e-4, atol=1e-5)
    logits = model(x)
    assert logits.shape == (2, 5)
    np.testing.assert_array_equal(model.forward_head(maps).numpy(), logits.numpy())


def test_small_input_keeps_the_resolution():
    model = models.resnet18(num_classes=5, small_input=True, width=8).eval()
    assert model.forward_features(tg.zeros((1, 3, 32, 32))).shape == (1, 64, 4, 4)
    assert model.conv1.weight.shape == (8, 3, 3, 3)
    assert model.input_size == (3, 32, 32)
    assert models.resnet18(width=8).input_size == (3, 224, 224)


def test_wrong_channels_are_named():
    with pytest.raises(ValueError, match=r"Conv2d\(3, 16.*\(8, 1, 32, 32\): expected 3 channels"):
        models.resnet8()(tg.zeros((8, 1, 32, 32)))


# ---- heads and stages ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet8", "resnet18"])
def test_reset_classifier(name):
    model = models.create_model(name, num_classes=5, width=8).eval()
    x = tg.tensor(images(2, 3, 32, 32))
    old, body = model.get_classifier(), model.forward_features(x).numpy()
    model.reset_classifier(3)
    assert model.get_classifier() is not old
    assert model.get_classifier().weight.shape == (3, model.num_features)
    assert not model.get_classifier().training
    assert model.num_classes == model.config["num_classes"] == 3
    assert model(x).shape == (2, 3)
    np.testing.assert_array_equal(model.forward_features(x).numpy(), body)
    assert list(model.state_dict())[-1] == f"{model.classifier_name}.bias"

    model.reset_classifier(0)
    assert isinstance(model.get_classifier(), nn.Identity)
    assert model(x).shape == (2, model.num_features)
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        model.reset_classifier(-1)
    assert model.double().num_classes == 0
    model.reset_classifier(4)
    assert model.get_classifier().weight.dtype == np.float64


def test_models_without_classes():
    model = models.resnet8(num_classes=0, width=4)
    assert model(tg.zeros((2, 3, 8, 8))).shape == (2, 16)


@pytest.mark.parametrize("name", ALL)
def test_stages_hold_every_parameter_once_in_order(name):
    model = models.create_model(name, num_classes=3, width=4)
    stages = model.stage_modules()
    names = [stage for stage, _ in stages]
    layers = [f"layer{i}" for i in range(1, 4 if name in SMALL else 5)]
    assert names == ["stem", *layers, "linear" if name in SMALL else "fc"]
    grouped = [id(p) for _, stage in stages for p in stage.parameters()]
    assert grouped == [id(p) for p in model.parameters()]


def test_freezing_stages_leaves_them_as_they_were():
    tg.manual_seed(0)
    model = models.resnet8(num_classes=3, width=4)
    for _, stage in model.stage_modules()[:-2]:
        nn.freeze(stage)
    before = {k: v.tobytes() for k, v in arrays(model).items()}
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model.train()
    x, y = tg.tensor(images(4, 3, 8, 8)), tg.tensor(np.array([0, 1, 2, 0]))
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    changed = {k.split(".")[0] for k, v in arrays(model).items() if v.tobytes() != before[k]}
    assert changed == {"layer3", "linear"}


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "resnet50"])
def test_zero_init_last_makes_blocks_their_shortcuts(name):
    model = models.create_model(name, num_classes=3, width=4, zero_init_last=True)
    zeroed = [
        key
        for key, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d) and not module.weight.numpy().any()
    ]
    last = ".bn3" if name == "resnet50" else ".bn2"
    blocks = {"resnet8": 3, "resnet18": 8, "resnet50": 16}[name]
    assert len(zeroed) == blocks
    assert all(key.endswith(last) for key in zeroed)
    block, x = (
        model.layer1[-1],
        tg.tensor(np.abs(images(2, model.layer1[-1].conv1.in_channels, 4, 4))),
    )
    if name != "resnet50":
        np.testing.assert_array_equal(block(x).numpy(), x.numpy())


def test_initial_spread_of_convolutions():
    tg.manual_seed(0)
    weight = models.resnet8(width=32).layer3[0].conv1.weight.numpy()
    assert weight.std() == pytest.approx(np.sqrt(2 / (128 * 9)), rel=0.02)


def test_same_seed_same_weights():
    def digest(seed):
        tg.manual_seed(seed)
        state = arrays(models.resnet8(width=4))
        return hashlib.sha256(b"".join(v.tobytes() for v in state.values())).digest()

    assert digest(3) == digest(3) != digest(4)


# ---- the registry --------------------------------------------------------------------------------


def test_every_model_is_listed_and_described():
    assert models.list_models() == ALL
    for name in ALL:
        info = models.model_info(name)
        assert info.name == name
        assert info.summary
        assert info.input_size == ((3, 32, 32) if name in SMALL else (3, 224, 224))
        assert info.options["num_classes"] == (10 if name in SMALL else 1000)


@pytest.mark.parametrize("name", ALL)
def test_config_rebuilds_the_architecture(name):
    model = models.create_model(name, num_classes=3, in_chans=2, width=4)
    model.reset_classifier(6)
    twin = models.create_model(**model.config)
    twin.load_state_dict(model.state_dict())
    assert twin.config == model.config
    assert getattr(models, name)(6, 2, width=4).config == model.config


def test_unknown_names_and_options():
    with pytest.raises(ValueError, match=r"unknown model 'resnt20': did you mean resnet20\?"):
        models.create_model("resnt20")
    with pytest.raises(ValueError, match="unknown model 'vgg': Known models: resnet8"):
        models.create_model("vgg")
    with pytest.raises(
        TypeError, match="resnet20 has no option small_input; its options are num_c"
    ):
        models.create_model("resnet20", small_input=True)
    with pytest.raises(ValueError, match="depth of 6n"):
        models.CifarResNet(18)
