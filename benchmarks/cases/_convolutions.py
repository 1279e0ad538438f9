"""The convolutions that are measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Convolution:
    """channels -> out channels at size x size pixels."""

    channels: int
    out: int
    size: int
    batch: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    groups: int = 1

    @property
    def padding(self) -> int:
        """So much that a stride of 1 keeps the size."""
        return self.dilation * (self.kernel - 1) // 2

    @property
    def out_size(self) -> int:
        reach = self.dilation * (self.kernel - 1)
        return (self.size + 2 * self.padding - reach - 1) // self.stride + 1

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        return (self.batch, self.channels, self.size, self.size)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.out, self.channels // self.groups, self.kernel, self.kernel)

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        return (self.batch, self.out, self.out_size, self.out_size)

    @property
    def name(self) -> str:
        options = [f"s{self.stride}"] if self.stride > 1 else []
        options += [f"dilation {self.dilation}"] if self.dilation > 1 else []
        options += [f"groups {self.groups}"] if self.groups > 1 else []
        channels = f"{self.channels}>{self.out}" if self.channels != self.out else f"{self.out}"
        kernel = f"{self.kernel}x{self.kernel}"
        return " ".join([kernel, f"{channels}@{self.size}", *options, f"b{self.batch}"])


def _same(channels: int, size: int, batch: int) -> Convolution:
    return Convolution(channels, channels, size, batch)


GROUPS = {
    # CIFAR ResNet-20, CIFAR ResNet-18, ResNet-50 at 224
    "3x3 stride 1": (
        _same(16, 32, 128),
        _same(32, 16, 128),
        _same(64, 8, 128),
        _same(64, 32, 64),
        _same(128, 16, 64),
        _same(256, 8, 64),
        _same(512, 4, 64),
        _same(64, 56, 4),
        _same(128, 28, 4),
        _same(256, 14, 4),
        _same(512, 7, 4),
    ),
    # the other convolutions of the same networks
    "strided, 1x1, stem": (
        Convolution(16, 32, 32, 128, stride=2),
        Convolution(32, 64, 16, 128, stride=2),
        Convolution(64, 128, 32, 64, stride=2),
        Convolution(128, 256, 16, 64, stride=2),
        Convolution(256, 512, 8, 64, stride=2),
        Convolution(128, 128, 56, 4, stride=2),
        Convolution(256, 256, 28, 4, stride=2),
        Convolution(512, 512, 14, 4, stride=2),
        Convolution(64, 64, 56, 4, kernel=1),
        Convolution(64, 256, 56, 4, kernel=1),
        Convolution(256, 64, 56, 4, kernel=1),
        Convolution(128, 512, 28, 4, kernel=1),
        Convolution(512, 128, 28, 4, kernel=1),
        Convolution(256, 1024, 14, 4, kernel=1),
        Convolution(1024, 256, 14, 4, kernel=1),
        Convolution(512, 2048, 7, 4, kernel=1),
        Convolution(2048, 512, 7, 4, kernel=1),
        Convolution(64, 128, 32, 64, kernel=1, stride=2),
        Convolution(256, 512, 56, 4, kernel=1, stride=2),
        Convolution(512, 1024, 28, 4, kernel=1, stride=2),
        Convolution(1024, 2048, 14, 4, kernel=1, stride=2),
        Convolution(3, 64, 224, 4, kernel=7, stride=2),
    ),
    # shapes that no path was written for: how far does the speed fall?
    "cliffs": (
        Convolution(3, 16, 32, 128),
        Convolution(17, 17, 32, 64),
        Convolution(100, 100, 28, 16),
        Convolution(32, 32, 32, 64, kernel=5),
        Convolution(64, 64, 28, 16, dilation=2),
        Convolution(64, 64, 56, 16, groups=64),
    ),
}
