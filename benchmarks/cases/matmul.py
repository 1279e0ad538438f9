"""Matrix products, float32: squares, odd sizes, and the 1x1 convolutions of ResNet-50 at batch 4.

Everyone writes to an array that is there already."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.case import Case
from benchmarks.settings import Settings
from kernels import matmul

SQUARES = (128, 256, 512, 1024, 2048)
ODD = ((127, 129, 131), (255, 257, 253), (513, 511, 509), (1000, 1001, 999), (1537, 770, 1031))
# rows (pixels of the batch), input channels, output channels
ONE_BY_ONE = (
    (12544, 64, 64),
    (12544, 64, 256),
    (12544, 256, 64),
    (3136, 256, 512),
    (3136, 128, 512),
    (3136, 512, 128),
    (784, 512, 1024),
    (784, 256, 1024),
    (784, 1024, 256),
    (196, 1024, 2048),
    (196, 512, 2048),
    (196, 2048, 512),
)


def cases(settings: Settings) -> Iterator[Case]:
    for size in SQUARES:
        yield _case(settings, f"square {size}", size, size, size)
    for m, k, n in ODD:
        yield _case(settings, f"odd {m}x{k}x{n}", m, k, n)
    for m, k, n in ONE_BY_ONE:
        yield _case(settings, f"1x1 {m}x{k}x{n}", m, k, n)


def _case(settings: Settings, name: str, m: int, k: int, n: int) -> Case:
    random = np.random.default_rng(0)
    a = random.standard_normal((m, k), np.float32)
    b = random.standard_normal((k, n), np.float32)
    peers: dict[str, Callable[[], Any]] = {}
    if settings.wants("numpy"):
        peers["numpy"] = partial(np.matmul, a, b, out=np.empty((m, n), np.float32))
    if settings.wants("torch"):
        import torch

        ta, tb = torch.from_numpy(a), torch.from_numpy(b)
        peers["torch"] = partial(torch.matmul, ta, tb, out=torch.empty(m, n))
    return Case(
        name=name,
        group="matmul",
        ours=partial(matmul, a, b, out=np.empty((m, n), np.float32)),
        peers=peers,
        flops=2 * m * k * n,
        bytes=4 * (m * k + k * n + m * n),
    )
