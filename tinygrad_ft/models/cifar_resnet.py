"""ResNets for small images: section 4.2 of He et al. 2015 (arXiv 1512.03385), depth 6n + 2.

A 3x3 stem, three stages of n blocks with `width`, 2 `width` and 4 `width` channels, the last
two halving height and width, global average pooling and one linear layer. Where the shape changes
the shortcut has no parameters (option A of the paper): every second pixel, zeros for the new
channels. Names in the state_dict are those of the published weights: `conv1, bn1,
layer{1..3}.{i}.conv{1,2}/bn{1,2}, linear`.
"""

from __future__ import annotations

from tinygrad_ft import nn
from tinygrad_ft.models.classifier import ImageClassifier, init_weights
from tinygrad_ft.models.registry import register
from tinygrad_ft.nn import functional as F
from tinygrad_ft.tensor import Tensor


class CifarBlock(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))"""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.new_channels = channels - in_channels

    def shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1 and self.new_channels == 0:
            return x
        before = self.new_channels // 2
        after = self.new_channels - before
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, after))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out)) + self.shortcut(x)
        return F.relu(out)


class CifarResNet(ImageClassifier):
    """See the head of this file. `zero_init_last` starts every block as the identity (its last
    batch norm has weight 0; Goyal et al. 2017)."""

    classifier_name: str = "linear"
    stage_names: tuple[str, ...] = ("layer1", "layer2", "layer3")

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_chans: int = 3,
        width: int = 16,
        zero_init_last: bool = False,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6 != 0:
            raise ValueError(f"CifarResNet needs a depth of 6n + 2 with n >= 1, got {depth}")
        n = (depth - 2) // 6
        self.input_size = (in_chans, 32, 32)
        self.conv1 = nn.Conv2d(in_chans, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, n, stride=1)
        self.layer2 = _stage(width, 2 * width, n, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, n, stride=2)
        self.num_features = 4 * width
        self.reset_classifier(num_classes)
        blocks = [module for module in self.modules() if isinstance(module, CifarBlock)]
        init_weights(self, [block.bn2 for block in blocks] if zero_init_last else [])

    def forward_features(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer1(x)
        x = self.layer2(x)
        features: Tensor = self.layer3(x)
        return features


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = CifarBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(CifarBlock(channels, channels) for _ in range(blocks - 1)))


@register(input_size=(3, 32, 32))
def resnet8(
    num_classes: int = 10, in_chans: int = 3, width: int = 16, zero_init_last: bool = False
) -> CifarResNet:
    """One block a stage: the smallest of the family, for demonstrations."""
    return CifarResNet(8, num_classes, in_chans, width, zero_init_last)


@register(input_size=(3, 32, 32))
def resnet20(
    num_classes: int = 10, in_chans: int = 3, width: int = 16, zero_init_last: bool = False
) -> CifarResNet:
    """ResNet-20: 0.27 million parameters at 10 classes and width 16."""
    return CifarResNet(20, num_classes, in_chans, width, zero_init_last)


@register(input_size=(3, 32, 32))
def resnet32(
    num_classes: int = 10, in_chans: int = 3, width: int = 16, zero_init_last: bool = False
) -> CifarResNet:
    """ResNet-32: 0.46 million parameters at 10 classes and width 16."""
    return CifarResNet(32, num_classes, in_chans, width, zero_init_last)


@register(input_size=(3, 32, 32))
def resnet44(
    num_classes: int = 10, in_chans: int = 3, width: int = 16, zero_init_last: bool = False
) -> CifarResNet:
    """ResNet-44: 0.66 million parameters at 10 classes and width 16."""
    return CifarResNet(44, num_classes, in_chans, width, zero_init_last)


@register(input_size=(3, 32, 32))
def resnet56(
    num_classes: int = 10, in_chans: int = 3, width: int = 16, zero_init_last: bool = False
) -> CifarResNet:
    """ResNet-56: 0.85 million parameters at 10 classes and width 16."""
    return CifarResNet(56, num_classes, in_chans, width, zero_init_last)
