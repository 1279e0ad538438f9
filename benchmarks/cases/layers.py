"""The layers between convolutions, float32, channels last: limited by memory, not by arithmetic.

Against PyTorch in channels_last, at shapes of ResNet-20 and ResNet-50."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import kernels
from benchmarks.case import Case
from benchmarks.settings import Settings

SHAPES = ((128, 16, 32, 32), (128, 64, 8, 8), (4, 64, 112, 112), (4, 256, 56, 56))
EPS = 1e-5
POOL = ((3, 3), (2, 2), (1, 1))  # window, stride, padding

Calls = dict[str, Callable[[], Any]]


def cases(settings: Settings) -> Iterator[Case]:
    for shape in SHAPES:
        n, c, h, _ = shape
        x, other = (_images(shape, seed) for seed in (0, 1))
        ours = _ours(x, other)
        theirs = _torch(x, other) if settings.wants("torch") else {}
        for name, call in ours.items():
            yield Case(
                name=f"{name} {c}@{h} b{n}",
                group=name,
                ours=call,
                peers={"torch eager channels_last": theirs[name]} if theirs else {},
                bytes=x.nbytes * (3 if name in ("add", "batch norm backward") else 2),
                items=n,
                tolerance=1e-3,
            )


def _images(shape: tuple[int, ...], seed: int) -> np.ndarray:
    n, c, h, w = shape
    out = kernels.empty_nhwc(n, c, h, w, np.float32)
    out[...] = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return out


def _ours(x: np.ndarray, other: np.ndarray) -> Calls:
    weight, bias = np.full(x.shape[1], 1.5, np.float32), np.full(x.shape[1], 0.5, np.float32)
    _, mean, var = kernels.batch_norm_forward(x, weight, bias, EPS)
    return {
        "relu": lambda: kernels.relu_forward(x)[0],
        "add": lambda: kernels.add(x, other),
        "batch norm forward": lambda: kernels.batch_norm_forward(x, weight, bias, EPS)[0],
        "batch norm backward": lambda: kernels.batch_norm_backward(
            other, x, weight, mean, var, EPS
        )[0],
        "scale and shift": lambda: kernels.channel_affine(x, weight, bias),
        "max pool 3x3 s2": lambda: kernels.max_pool2d_forward(x, *POOL, (1, 1), False)[0],
        "average pool 3x3 s2": lambda: kernels.avg_pool2d_forward(x, *POOL, False, True, None),
    }


def _torch(x: np.ndarray, other: np.ndarray) -> Calls:
    import torch

    tx, tother = torch.from_numpy(x), torch.from_numpy(other)  # channels last, as the arrays are
    c = x.shape[1]
    weight, bias = torch.full((c,), 1.5), torch.full((c,), 0.5)
    zero, one = torch.zeros(c), torch.ones(c)
    native = torch.ops.aten.native_batch_norm
    _, mean, inverse_std = native(tx, weight, bias, None, None, True, 0.1, EPS)
    backward = torch.ops.aten.native_batch_norm_backward

    def gradient() -> Any:
        saved = (weight, None, None, mean, inverse_std, True, EPS, [True, True, True])
        return backward(tother, tx, *saved)[0]

    return {
        "relu": lambda: torch.relu(tx),
        "add": lambda: tx + tother,
        "batch norm forward": lambda: native(tx, weight, bias, None, None, True, 0.1, EPS)[0],
        "batch norm backward": gradient,
        # evaluation-mode batch norm with mean 0 and variance 1
        "scale and shift": lambda: native(tx, weight, bias, zero, one, False, 0.1, 0.0)[0],
        "max pool 3x3 s2": lambda: torch.ops.aten.max_pool2d_with_indices(tx, *POOL)[0],
        "average pool 3x3 s2": lambda: torch.nn.functional.avg_pool2d(tx, *POOL),
    }
