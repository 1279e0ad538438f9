"""ResNet-18, -34 and -50 (He et al. 2015, arXiv 1512.03385) with torchvision's layers and
state_dict names: `conv1 bn1 layer{1..4}.{i}.conv{1,2,3}/bn{1,2,3}/downsample.{0,1} fc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tinygrad_ft import nn
from tinygrad_ft.models.classifier import ImageClassifier, init_weights
from tinygrad_ft.models.registry import register
from tinygrad_ft.nn import functional as F
from tinygrad_ft.tensor import Tensor


class BasicBlock(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + downsample(x)), both convolutions 3x3"""

    expansion: ClassVar[int] = 1

    def __init__(
        self, in_channels: int, planes: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out)) + identity
        return F.relu(out)


class Bottleneck(nn.Module):
    """1x1 down to `planes` channels, 3x3, 1x1 up to 4 `planes`, and the shortcut. The stride
    sits in the 3x3, as in torchvision ("v1.5"), not in the first 1x1 as in the paper."""

    expansion: ClassVar[int] = 4

    def __init__(
        self, in_channels: int, planes: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = downsample

    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out)) + identity
        return F.relu(out)


Block = type[BasicBlock] | type[Bottleneck]


class ResNet(ImageClassifier):
    """A stem, four stages of `layers[i]` blocks with `width` 2^i planes, pooling and one linear
    layer.

    The stem divides height and width by 4 (7x7 stride 2, then max pooling); with `small_input` it
    is a 3x3 of stride 1 without pooling, for images of about 32 pixels. `zero_init_last` starts
    every block as its shortcut (its last batch norm has weight 0; Goyal et al. 2017).
    """

    classifier_name: str = "fc"
    stage_names: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")

    def __init__(
        self,
        block: Block,
        layers: Sequence[int],
        num_classes: int = 1000,
        in_chans: int = 3,
        small_input: bool = False,
        width: int = 64,
        zero_init_last: bool = False,
    ) -> None:
        super().__init__()
        size = 32 if small_input else 224
        self.input_size = (in_chans, size, size)
        self.small_input = small_input
        if small_input:
            self.conv1 = nn.Conv2d(in_chans, width, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(in_chans, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        out = block.expansion * width
        self.layer1 = _stage(block, width, width, layers[0], stride=1)
        self.layer2 = _stage(block, out, 2 * width, layers[1], stride=2)
        self.layer3 = _stage(block, 2 * out, 4 * width, layers[2], stride=2)
        self.layer4 = _stage(block, 4 * out, 8 * width, layers[3], stride=2)
        self.num_features = 8 * out
        self.reset_classifier(num_classes)
        built = [m for m in self.modules() if isinstance(m, BasicBlock | Bottleneck)]
        init_weights(self, [block.last_norm() for block in built] if zero_init_last else [])

    def forward_features(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        if not self.small_input:
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        features: Tensor = self.layer4(x)
        return features


def _stage(block: Block, in_channels: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    channels = planes * block.expansion
    downsample = None
    if stride != 1 or in_channels != channels:
        downsample = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
        )
    first = block(in_channels, planes, stride, downsample)
    return nn.Sequential(first, *(block(channels, planes) for _ in range(blocks - 1)))


@register(input_size=(3, 224, 224))
def resnet18(
    num_classes: int = 1000,
    in_chans: int = 3,
    small_input: bool = False,
    width: int = 64,
    zero_init_last: bool = False,
) -> ResNet:
    """ResNet-18: 11.7 million parameters at 1000 classes."""
    return ResNet(
        BasicBlock, (2, 2, 2, 2), num_classes, in_chans, small_input, width, zero_init_last
    )


@register(input_size=(3, 224, 224))
def resnet34(
    num_classes: int = 1000,
    in_chans: int = 3,
    small_input: bool = False,
    width: int = 64,
    zero_init_last: bool = False,
) -> ResNet:
    """ResNet-34: 21.8 million parameters at 1000 classes."""
    return ResNet(
        BasicBlock, (3, 4, 6, 3), num_classes, in_chans, small_input, width, zero_init_last
    )


@register(input_size=(3, 224, 224))
def resnet50(
    num_classes: int = 1000,
    in_chans: int = 3,
    small_input: bool = False,
    width: int = 64,
    zero_init_last: bool = False,
) -> ResNet:
    """ResNet-50: 25.6 million parameters at 1000 classes."""
    return ResNet(
        Bottleneck, (3, 4, 6, 3), num_classes, in_chans, small_input, width, zero_init_last
    )
