"""The networks of tinygrad_ft.models in PyTorch, with the same state_dict names."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.networks import Network


def _conv(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)


class CifarBlock(nn.Module):
    """Two 3x3 convolutions; the shortcut has no parameters."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(channels, out, 3, stride), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = _conv(out, out, 3), nn.BatchNorm2d(out)
        self.stride, self.extra = stride, (out - channels) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.extra:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra))
        y += x
        return F.relu(y, inplace=True)


class CifarResNet(nn.Module):
    """ResNet of depth 6n + 2 for 32-pixel images."""

    def __init__(self, depth: int, num_classes: int) -> None:
        super().__init__()
        n = (depth - 2) // 6
        self.conv1, self.bn1 = _conv(3, 16, 3), nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, n, 1)
        self.layer2 = self._stage(16, 32, n, 2)
        self.layer3 = self._stage(32, 64, n, 2)
        self.linear = nn.Linear(64, num_classes)

    @staticmethod
    def _stage(channels: int, out: int, blocks: int, stride: int) -> nn.Sequential:
        rest = [CifarBlock(out, out, 1) for _ in range(blocks - 1)]
        return nn.Sequential(CifarBlock(channels, out, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        x = self.linear(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))
        return x


class Block(nn.Module):
    """Basic block, or bottleneck, of the ResNets for large images."""

    def __init__(self, channels: int, planes: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        out = 4 * planes if bottleneck else planes
        if bottleneck:
            self.conv1, self.bn1 = _conv(channels, planes, 1), nn.BatchNorm2d(planes)
            self.conv2, self.bn2 = _conv(planes, planes, 3, stride), nn.BatchNorm2d(planes)
            self.conv3, self.bn3 = _conv(planes, out, 1), nn.BatchNorm2d(out)
        else:
            self.conv1, self.bn1 = _conv(channels, planes, 3, stride), nn.BatchNorm2d(planes)
            self.conv2, self.bn2 = _conv(planes, planes, 3), nn.BatchNorm2d(planes)
        self.bottleneck = bottleneck
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(_conv(channels, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.bottleneck:
            y = self.bn3(self.conv3(F.relu(y, inplace=True)))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class ResNet(nn.Module):
    """ResNet-18, or -50; `small_input` for the stem of 32-pixel images."""

    def __init__(
        self, blocks: tuple[int, ...], bottleneck: bool, num_classes: int, small_input: bool = False
    ) -> None:
        super().__init__()
        self.small_input = small_input
        self.conv1 = _conv(3, 64, 3) if small_input else _conv(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        wide = 4 if bottleneck else 1
        self.layer1 = self._stage(64, 64, blocks[0], 1, bottleneck)
        self.layer2 = self._stage(64 * wide, 128, blocks[1], 2, bottleneck)
        self.layer3 = self._stage(128 * wide, 256, blocks[2], 2, bottleneck)
        self.layer4 = self._stage(256 * wide, 512, blocks[3], 2, bottleneck)
        self.fc = nn.Linear(512 * wide, num_classes)

    @staticmethod
    def _stage(
        channels: int, planes: int, blocks: int, stride: int, bottleneck: bool
    ) -> nn.Sequential:
        out = 4 * planes if bottleneck else planes
        rest = [Block(out, planes, 1, bottleneck) for _ in range(blocks - 1)]
        return nn.Sequential(Block(channels, planes, stride, bottleneck), *rest)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        if not self.small_input:
            x = F.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))
        return x


def build(network: Network) -> nn.Module:
    """A network's twin, with PyTorch's initial weights."""
    if network.model == "resnet20":
        return CifarResNet(20, **network.options)
    if network.model == "resnet18":
        return ResNet((2, 2, 2, 2), False, **network.options)
    return ResNet((3, 4, 6, 3), True, **network.options)
