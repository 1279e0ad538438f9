"""Wrong calls of convolutions, pooling, norms, borders and resizing: early errors with shapes."""

import re

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F


def z(*shape: int, dtype: type = np.float32) -> tg.Tensor:
    return tg.zeros(*shape, dtype=dtype)


WRONG = [
    # call, error, words that the message has to contain
    (lambda: F.conv1d(z(2, 3, 4, 5), z(1, 3, 2)), ValueError, "conv1d (2, 3, 4, 5) (1, 3, 2)"),
    (lambda: F.conv1d(z(2, 3, 4), z(1, 2, 2)), ValueError, "conv1d (2, 3, 4) (1, 2, 2)"),
    (lambda: F.conv1d(z(2, 3, 4), z(1, 3, 5)), ValueError, "conv1d 5 4 (2, 3, 4)"),
    (lambda: F.conv1d(z(2, 3, 4), z(1, 3, 2), stride=(1, 2)), ValueError, "conv1d stride (1, 2)"),
    (lambda: F.conv1d(z(2, 3, 4), z(1, 3, 2), stride=1.5), ValueError, "conv1d stride 1.5"),
    (lambda: F.conv1d(z(2, 3, 4), z(2, 3, 2), z(1)), ValueError, "conv1d (1,) (2, 3, 2)"),
    (lambda: F.conv_transpose2d(z(3, 3), z(1, 1, 2, 2)), ValueError, "conv_transpose2d (3, 3)"),
    (
        lambda: F.conv_transpose2d(z(1, 2, 3, 3), z(3, 1, 2, 2)),
        ValueError,
        "conv_transpose2d (1, 2, 3, 3) (3, 1, 2, 2)",
    ),
    (
        lambda: F.conv_transpose2d(z(1, 2, 3, 3), z(2, 1, 2, 2), groups=3),
        ValueError,
        "conv_transpose2d 3 groups",
    ),
    (
        lambda: F.conv_transpose2d(z(1, 2, 3, 3), z(2, 1, 2, 2), z(2)),
        ValueError,
        "conv_transpose2d (2,) (2, 1, 2, 2)",
    ),
    (
        lambda: F.conv_transpose1d(z(1, 2, 3), z(2, 1, 2), stride=2, output_padding=2),
        ValueError,
        "conv_transpose1d output_padding (2,) (2,) (1,)",
    ),
    (
        lambda: F.conv_transpose1d(z(1, 2, 2), z(2, 1, 2), padding=2),
        ValueError,
        "conv_transpose1d (1, 2, 2) (2, 1, 2) (-1,)",
    ),
    (
        lambda: F.conv_transpose1d(z(1, 2, 2), z(2, 1, 2, dtype=np.float64)),
        TypeError,
        "conv_transpose1d float32 float64",
    ),
    (lambda: F.max_pool1d(z(4), 2), ValueError, "max_pool1d (4,) (N, C, L)"),
    (lambda: F.max_pool1d(z(1, 4), 5), ValueError, "max_pool1d (5,) (1, 1, 4)"),
    (lambda: F.max_pool1d(z(1, 4), 2, padding=2), ValueError, "max_pool1d (2,) padding"),
    (lambda: F.avg_pool1d(z(1, 1, 4), (2, 2)), ValueError, "avg_pool1d kernel_size (2, 2)"),
    (lambda: F.avg_pool2d(tg.tensor([[[1, 2]]]), (1, 2)), TypeError, "avg_pool2d int64"),
    (lambda: F.adaptive_avg_pool1d(z(1, 4), 0), ValueError, "adaptive_avg_pool1d output_size 0"),
    (lambda: F.adaptive_max_pool2d(z(4, 4), 2), ValueError, "adaptive_max_pool2d (4, 4)"),
    (lambda: F.adaptive_max_pool2d(z(1, 4, 4), 0), ValueError, "adaptive_max_pool2d (0, 0)"),
    (lambda: F.adaptive_max_pool2d(z(1, 4, 4), (1, 2, 3)), ValueError, "(1, 2, 3) pair"),
    (lambda: F.layer_norm(z(2, 3), (2,)), ValueError, "layer_norm (2,) (2, 3)"),
    (lambda: F.layer_norm(z(2, 3), ()), ValueError, "layer_norm () (2, 3)"),
    (lambda: F.layer_norm(z(2, 3), 3, z(2)), ValueError, "layer_norm weight (2,) (3,)"),
    (
        lambda: F.layer_norm(z(2, 3), 3, z(3), z(3, dtype=np.float64)),
        TypeError,
        "layer_norm bias float64 float32",
    ),
    (lambda: F.layer_norm(tg.tensor([1, 2]), 2), TypeError, "layer_norm int64 floating"),
    (lambda: F.rms_norm(z(2, 3), (2, 2)), ValueError, "rms_norm (2, 2) (2, 3)"),
    (lambda: F.group_norm(z(2, 3), 2), ValueError, "group_norm num_groups=2 (2, 3)"),
    (lambda: F.group_norm(z(2, 4), 2, z(3)), ValueError, "group_norm weight (3,) (2, 4)"),
    (lambda: F.group_norm(z(1, 2), 2), ValueError, "group_norm (1, 2) variance"),
    (lambda: F.instance_norm(z(2, 3)), ValueError, "instance_norm (2, 3)"),
    (lambda: F.instance_norm(z(2, 3, 1)), ValueError, "instance_norm (2, 3, 1)"),
    (lambda: F.instance_norm(z(2, 3, 4), z(2)), ValueError, "running_mean (2,) (2, 3, 4)"),
    (
        lambda: F.instance_norm(z(2, 3, 4), use_input_stats=False),
        ValueError,
        "instance_norm running_mean",
    ),
    (lambda: F.local_response_norm(z(2, 3), 2), ValueError, "local_response_norm (2, 3)"),
    (lambda: F.local_response_norm(z(2, 3, 4), 0), ValueError, "local_response_norm size 0"),
    (lambda: F.pad(z(2, 3), (1, 1), "mirror"), ValueError, "pad 'mirror' reflect"),
    (lambda: F.pad(z(2, 3), (1, 1), "reflect", 2.0), ValueError, "pad 'reflect' value 2.0"),
    (lambda: F.pad(z(2, 3), (3, 1), "reflect"), ValueError, "pad 'reflect' (3, 1) 3 (2, 3)"),
    (lambda: F.pad(z(2, 3), (0, 4), "circular"), ValueError, "pad 'circular' (0, 4) 3 (2, 3)"),
    (lambda: F.pad(z(2, 0), (1, 0), "replicate"), ValueError, "pad 'replicate' (2, 0)"),
    (lambda: F.pad(z(2, 3), (1,) * 4, "replicate"), ValueError, "pad 'replicate' 4 (2, 3)"),
    (lambda: F.interpolate(z(1, 1, 4), 2, mode="cubic"), ValueError, "interpolate 'cubic'"),
    (lambda: F.interpolate(z(1, 1, 4), 2, mode="bilinear"), ValueError, "(1, 1, 4) (N, C, H, W)"),
    (lambda: F.interpolate(z(1, 4), 2), ValueError, "interpolate (1, 4)"),
    (lambda: F.interpolate(z(1, 1, 4)), ValueError, "interpolate size scale_factor"),
    (lambda: F.interpolate(z(1, 1, 4), 2, 2.0), ValueError, "size=2 scale_factor=2.0"),
    (lambda: F.interpolate(z(1, 1, 4), (2, 2)), ValueError, "interpolate (1, 1, 4) (2, 2)"),
    (lambda: F.interpolate(z(1, 1, 4), 0), ValueError, "interpolate (1, 1, 4) 0"),
    (lambda: F.interpolate(z(1, 1, 4), scale_factor=0.2), ValueError, "(1, 1, 4) (0,)"),
    (lambda: F.interpolate(z(1, 1, 4), 2, align_corners=True), ValueError, "align_corners 'near"),
    (lambda: F.interpolate(z(1, 1, 4), 2, antialias=True), ValueError, "antialias area"),
    (
        lambda: F.interpolate(z(1, 1, 4), 2, recompute_scale_factor=True),
        ValueError,
        "recompute_scale_factor",
    ),
    (lambda: F.pixel_shuffle(z(3, 2, 2), 2), ValueError, "pixel_shuffle (3, 2, 2) 2"),
    (lambda: F.pixel_shuffle(z(2, 2), 1), ValueError, "pixel_shuffle (2, 2)"),
    (lambda: F.pixel_unshuffle(z(3, 2, 3), 2), ValueError, "pixel_unshuffle (3, 2, 3) 2"),
    (lambda: F.unfold(z(4, 4), 2), ValueError, "unfold (4, 4)"),
    (lambda: F.unfold(z(1, 4, 4), 5), ValueError, "unfold (5, 5) (4, 4)"),
    (lambda: F.unfold(z(1, 4, 4), 2, stride=0), ValueError, "unfold stride 0"),
    (lambda: F.fold(z(4,), 4, 2), ValueError, "fold (4,)"),
    (lambda: F.fold(z(1, 6, 9), 4, 2), ValueError, "fold (2, 2) 9 4 (1, 6, 9)"),
    (lambda: F.fold(z(1, 8, 8), 4, 2), ValueError, "fold (2, 2) 9 4 (1, 8, 8)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "words"), WRONG, ids=[f"{i}-{w[2]}" for i, w in enumerate(WRONG)]
)
def test_wrong_call(call, error, words) -> None:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    for word in re.findall(r"\([^)]*\)|\S+", words):
        assert word in message


def test_a_refused_call_leaves_running_statistics_alone() -> None:
    mean, var = tg.zeros(3), tg.ones(3)
    with pytest.raises(ValueError):
        F.instance_norm(z(2, 3, 1), mean, var)
    assert mean.tolist() == [0] * 3
    assert var.tolist() == [1] * 3
