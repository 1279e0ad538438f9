"""ResNet-50 at 224 from a file in torchvision's key layout, stage by stage beside PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import models, nn, optim
from tinygrad_ft.io import load_weights
from tinygrad_ft.nn import functional as F
from tinygrad_ft.train import ModelCard, Preprocessing, load_model, load_pretrained

torch = pytest.importorskip("torch")
tnn = torch.nn

STAGES = ("stem", "layer1", "layer2", "layer3", "layer4", "pooled", "fc")


def conv(a: int, b: int, kernel: int, stride: int = 1) -> Any:
    return tnn.Conv2d(a, b, kernel, stride, kernel // 2, bias=False)


class Bottleneck(tnn.Module):
    """torchvision's, with its attribute names."""

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(channels, planes, 1), tnn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3, stride), tnn.BatchNorm2d(planes)
        self.conv3, self.bn3 = conv(planes, 4 * planes, 1), tnn.BatchNorm2d(4 * planes)
        self.downsample = None
        if stride != 1 or channels != 4 * planes:
            self.downsample = tnn.Sequential(
                conv(channels, 4 * planes, 1, stride), tnn.BatchNorm2d(4 * planes)
            )

    def forward(self, x: Any) -> Any:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + (self.downsample or tnn.Identity())(x)).relu()


class ResNet50(tnn.Module):
    """torchvision's, with its attribute names; `steps` gives what leaves every stage."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64, 7, 2), tnn.BatchNorm2d(64)
        channels = 64
        for i, blocks in enumerate((3, 4, 6, 3)):
            stage = []
            for j in range(blocks):
                stage.append(Bottleneck(channels, 64 << i, 2 if i and not j else 1))
                channels = 256 << i
            setattr(self, f"layer{i + 1}", tnn.Sequential(*stage))
        self.fc = tnn.Linear(2048, 1000)

    def steps(self, x: Any) -> Iterator[Any]:
        x = tnn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        yield x
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
            yield x
        x = x.mean((2, 3))
        yield x
        yield self.fc(x)


def steps(model: models.ImageClassifier, x: tg.Tensor) -> Iterator[tg.Tensor]:
    """What leaves every stage here."""
    seen: list[tg.Tensor] = []

    def note(module: nn.Module, args: tuple[tg.Tensor, ...], out: tg.Tensor) -> None:
        seen.extend([*args, out])

    hooks = [model.get_submodule(name).register_forward_hook(note) for name in STAGES[1:5]]
    scores = model(x)
    for hook in hooks:
        hook.remove()
    yield seen[0]  # what enters layer1
    yield from seen[1::2]
    yield model.forward_head(seen[-1], pre_logits=True)
    yield scores


@pytest.fixture(scope="module")
def twin() -> Any:
    """Random weights, and statistics that are not those of a new network."""
    torch.manual_seed(0)
    model = ResNet50().eval()
    for module in model.modules():
        if isinstance(module, tnn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            tnn.init.uniform_(module.weight, 0.5, 1.0)
            tnn.init.normal_(module.bias, 0, 0.1)
    return model


@pytest.fixture(scope="module")
def weights(twin: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(twin.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(twin: Any, images: np.ndarray) -> list[Any]:
    """What leaves every stage in PyTorch, in evaluation mode."""
    with torch.no_grad():
        return list(twin.steps(torch.tensor(images)))


def assert_close(found: np.ndarray, expected: np.ndarray, limit: float, what: str) -> None:
    """The error beside the spread of the values: rounding adds up from layer to layer."""
    error = float(np.abs(found - expected).max() / expected.std())
    assert error < limit, f"{what}: {error:.1e}"


def test_every_stage_is_pytorchs(twin, weights, images, expected):
    preprocessing = Preprocessing.named("imagenet", 224)
    classes = tuple(str(i) for i in range(1000))
    architecture = {"name": "resnet50", "num_classes": 1000}
    model, _ = load_model(weights, ModelCard(architecture, classes, preprocessing))
    assert set(load_weights(weights)) == set(twin.state_dict())
    with tg.no_grad():
        found = [value.numpy() for value in steps(model, tg.tensor(images))]
    assert len(found) == len(expected) == len(STAGES)
    for name, ours, theirs in zip(STAGES, found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert_close(ours, theirs.numpy(), 3e-5, name)


def test_a_new_head_is_trained_as_pytorch_does(weights, images, expected):
    """The last layer replaced, the rest frozen, two steps of SGD; then everything is compared."""
    tg.manual_seed(0)
    model = models.resnet50(num_classes=5)
    report = load_pretrained(model, weights)
    assert report.replaced == {
        "fc.weight": ((1000, 2048), (5, 2048)), "fc.bias": ((1000,), (5,)),
    }  # fmt: skip
    assert not report.missing and not report.unexpected and not report.mismatched
    assert report.share == 1
    body = {n: v.numpy().copy() for n, v in model.state_dict().items() if not n.startswith("fc.")}
    for _, stage in model.stage_modules()[:-1]:
        nn.freeze(stage)
    model.train()

    other = tnn.Linear(2048, 5)
    other.load_state_dict({n: torch.tensor(v.numpy()) for n, v in model.fc.state_dict().items()})
    features = expected[-2]  # of the body in evaluation mode, as a frozen one is
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
    ours = optim.SGD([p for p in model.parameters() if p.requires_grad], **options)
    theirs = torch.optim.SGD(other.parameters(), **options)
    labels = np.array([3, 1])
    for step in range(2):
        loss = F.cross_entropy(model(tg.tensor(images)), tg.tensor(labels))
        ours.zero_grad()
        loss.backward()
        ours.step()
        wanted = tnn.functional.cross_entropy(other(features), torch.tensor(labels))
        theirs.zero_grad()
        wanted.backward()
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-4), step
        assert_close(model.fc.weight.grad.numpy(), other.weight.grad.numpy(), 1e-3, "gradient")
        theirs.step()
    for name, value in model.fc.state_dict().items():
        assert_close(value.numpy(), other.state_dict()[name].numpy(), 1e-4, name)
    for name, value in body.items():
        assert np.array_equal(model.state_dict()[name].numpy(), value), name
