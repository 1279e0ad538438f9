"""Whole models against hand-written twins in PyTorch: names, outputs, gradients, training."""

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import models, optim
from tinygrad_ft.nn import functional as F

torch = pytest.importorskip("torch")
tnn = torch.nn


def conv(a, b, kernel, stride=1):
    return tnn.Conv2d(a, b, kernel, stride, kernel // 2, bias=False)


class CifarBlock(tnn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(a, b, 3, stride), tnn.BatchNorm2d(b)
        self.conv2, self.bn2 = conv(b, b, 3), tnn.BatchNorm2d(b)
        self.stride, self.extra = stride, (b - a) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        x = tnn.functional.pad(
            x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra)
        )
        return (x + y).relu()


class CifarTwin(tnn.Module):
    def __init__(self, depth, classes, chans, width):
        super().__init__()
        n = (depth - 2) // 6
        self.conv1, self.bn1 = conv(chans, width, 3), tnn.BatchNorm2d(width)
        sizes = [width, width, 2 * width, 4 * width]
        for i in (1, 2, 3):
            first = CifarBlock(sizes[i - 1], sizes[i], 1 if i == 1 else 2)
            rest = [CifarBlock(sizes[i], sizes[i], 1) for _ in range(n - 1)]
            setattr(self, f"layer{i}", tnn.Sequential(first, *rest))
        self.linear = tnn.Linear(4 * width, classes)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class Basic(tnn.Module):
    expansion = 1

    def __init__(self, a, planes, stride, downsample):
        super().__init__()
        self.conv1, self.bn1 = conv(a, planes, 3, stride), tnn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3), tnn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class Bottle(tnn.Module):
    expansion = 4

    def __init__(self, a, planes, stride, downsample):
        super().__init__()
        self.conv1, self.bn1 = conv(a, planes, 1), tnn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3, stride), tnn.BatchNorm2d(planes)
        self.conv3, self.bn3 = conv(planes, 4 * planes, 1), tnn.BatchNorm2d(4 * planes)
        self.downsample = downsample

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class Twin(tnn.Module):
    def __init__(self, block, layers, classes, chans, width, small=False):
        super().__init__()
        self.small = small
        self.conv1 = conv(chans, width, 3) if small else conv(chans, width, 7, 2)
        self.bn1 = tnn.BatchNorm2d(width)
        channels = width
        for i, blocks in enumerate(layers):
            planes, stage = width * 2**i, []
            for j in range(blocks):
                stride = 2 if i > 0 and j == 0 else 1
                out, down = planes * block.expansion, None
                if stride != 1 or channels != out:
                    down = tnn.Sequential(conv(channels, out, 1, stride), tnn.BatchNorm2d(out))
                stage.append(block(channels, planes, stride, down))
                channels = out
            setattr(self, f"layer{i + 1}", tnn.Sequential(*stage))
        self.fc = tnn.Linear(channels, classes)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        if not self.small:
            x = tnn.functional.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def cifar(depth, classes=5, chans=3, width=8):
    own = getattr(models, f"resnet{depth}")(num_classes=classes, in_chans=chans, width=width)
    return own, CifarTwin(depth, classes, chans, width)


def big(name, classes=5, width=8, small=False):
    block = Bottle if name == "resnet50" else Basic
    layers = (2, 2, 2, 2) if name == "resnet18" else (3, 4, 6, 3)
    own = models.create_model(name, num_classes=classes, width=width, small_input=small)
    return own, Twin(block, layers, classes, 3, width, small)


PAIRS = {
    "resnet8 on grey images": (lambda: cifar(8, chans=1), (6, 1, 16, 16)),
    "resnet20": (lambda: cifar(20), (4, 3, 16, 16)),
    "resnet18": (lambda: big("resnet18"), (4, 3, 64, 64)),
    "resnet18, small input": (lambda: big("resnet18", small=True), (4, 3, 16, 16)),
    "resnet34": (lambda: big("resnet34", width=4), (4, 3, 64, 64)),
    "resnet50": (lambda: big("resnet50", width=4), (4, 3, 64, 64)),
}


def pair_with_same_weights(name):
    tg.manual_seed(0)
    make, shape = PAIRS[name]
    own, twin = make()
    twin.load_state_dict({k: torch.tensor(v.numpy()) for k, v in own.state_dict().items()})
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return own, twin, x, np.arange(shape[0]) % 5


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_names_and_shapes_of_the_full_models(name):
    own = models.create_model(name)
    block = Bottle if name == "resnet50" else Basic
    with torch.device("meta"):
        twin = Twin(block, (2, 2, 2, 2) if name == "resnet18" else (3, 4, 6, 3), 1000, 3, 64)
    shapes = {key: tuple(value.shape) for key, value in twin.state_dict().items()}
    assert {key: value.shape for key, value in own.state_dict().items()} == shapes


@pytest.mark.parametrize("name", PAIRS)
def test_outputs_and_gradients_in_float64(name):
    own, twin, x, y = pair_with_same_weights(name)
    own.double()
    twin.double()
    x = x.astype(np.float64)
    a, b = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    logits, expected = own(a), twin(b)
    np.testing.assert_allclose(logits.numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-10)
    F.cross_entropy(logits, tg.tensor(y)).backward()
    tnn.functional.cross_entropy(expected, torch.tensor(y)).backward()
    grads = {key: p.grad for key, p in own.named_parameters()} | {"input": a.grad}
    theirs = {key: p.grad for key, p in twin.named_parameters()} | {"input": b.grad}
    assert grads.keys() == theirs.keys()
    for key, grad in grads.items():
        size = max(1.0, float(theirs[key].abs().max()))
        np.testing.assert_allclose(
            grad.numpy() / size, theirs[key].numpy() / size, rtol=0, atol=1e-10, err_msg=key
        )
    buffers = dict(twin.named_buffers())
    for key, value in own.named_buffers():
        np.testing.assert_allclose(value.numpy(), buffers[key].numpy(), rtol=1e-9, err_msg=key)


@pytest.mark.parametrize("name", PAIRS)
def test_outputs_in_float32(name):
    own, twin, x, _ = pair_with_same_weights(name)
    with torch.no_grad():
        in_training = twin(torch.tensor(x)).numpy()
        in_evaluation = twin.eval()(torch.tensor(x)).numpy()
    out = own(tg.tensor(x))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.numpy(), in_training, rtol=2e-3, atol=2e-3)
    out = own.eval()(tg.tensor(x))
    np.testing.assert_allclose(out.numpy(), in_evaluation, rtol=2e-3, atol=2e-3)


def test_training_follows_pytorch():
    own, twin, x, y = pair_with_same_weights("resnet8 on grey images")
    options = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
    ours = optim.SGD(own.parameters(), **options)
    theirs = torch.optim.SGD(twin.parameters(), **options)
    schedule = optim.lr_scheduler.CosineAnnealingLR(ours, 8)
    other = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 8)
    losses, expected = [], []
    for _ in range(8):
        loss = F.cross_entropy(own(tg.tensor(x)), tg.tensor(y))
        ours.zero_grad()
        loss.backward()
        ours.step()
        schedule.step()
        losses.append(loss.item())

        loss = tnn.functional.cross_entropy(twin(torch.tensor(x)), torch.tensor(y))
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        other.step()
        expected.append(loss.item())
    assert losses == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert losses[-1] < 0.6 * losses[0]
