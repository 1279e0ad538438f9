"""Wrong calls: an early error that names the op and the shapes, and nothing is changed."""

import re

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F


def z(*shape: int, dtype: type = np.float32) -> tg.Tensor:
    return tg.zeros(*shape, dtype=dtype)


ints = tg.tensor([0, 1])

WRONG = [
    # call, error, words that the message has to contain
    (lambda: z(2, 3) + z(2), ValueError, "add (2, 3) (2,)"),
    (lambda: z(2, 3) - z(4, 3), ValueError, "sub (2, 3) (4, 3)"),
    (lambda: z(2, 3) * np.zeros(2), ValueError, "mul (2, 3) (2,)"),
    (lambda: z(2, 3) / z(2), ValueError, "div (2, 3) (2,)"),
    (lambda: z(2, 3) ** z(2), ValueError, "pow (2, 3) (2,)"),
    (lambda: tg.maximum(z(2, 3), z(2)), ValueError, "maximum (2, 3) (2,)"),
    (lambda: z(2, 3) == z(2), ValueError, "eq (2, 3) (2,)"),
    (lambda: tg.where(z(4) > 0, z(2, 3), z(3)), ValueError, "where (4,) (2, 3) (3,)"),
    (lambda: tg.where(z(3), z(3), z(3)), TypeError, "where boolean float32"),
    (lambda: z(3).clamp(), ValueError, "clamp min max"),
    (lambda: z(2, 3).sum(2), IndexError, "sum dim 2 2 dimensions"),
    (lambda: z(2, 3).sum((0, -2)), ValueError, "sum (0, -2) twice"),
    (lambda: z(2, 3).mean(-3), IndexError, "mean dim -3"),
    (lambda: ints.mean(), TypeError, "mean int64 float"),
    (lambda: z(0, 3).amax(0), ValueError, "amax 0 (0, 3)"),
    (lambda: z(0).max(), ValueError, "max: (0,)"),
    (lambda: z(0, 3).argmin(0), ValueError, "argmin 0 (0, 3)"),
    (lambda: z(2, 3).softmax(2), IndexError, "softmax dim 2"),
    (lambda: z(2, 3).logsumexp(5), IndexError, "logsumexp dim 5"),
    (lambda: z(2, 3).reshape(4), ValueError, "reshape (2, 3) (4,)"),
    (lambda: z(2, 3).reshape(-1, -1), ValueError, "reshape (2, 3) (-1, -1)"),
    (lambda: z(2, 3).reshape(-1, 4), ValueError, "reshape (2, 3) (-1, 4)"),
    (lambda: z(2, 0).reshape(-1, 0), ValueError, "reshape (2, 0) (-1, 0)"),
    (lambda: z(2, 3).T.view(6), ValueError, "view (6,) (3, 2) reshape"),
    (lambda: z(2, 3).permute(0, 0), ValueError, "permute (0, 0) 2 dimensions"),
    (lambda: z(2, 3).permute(0), ValueError, "permute (0,) 2"),
    (lambda: z(2, 3).transpose(0, 2), IndexError, "transpose dim 2"),
    (lambda: z(2, 3, 4).t(), ValueError, "t (2, 3, 4) permute"),
    (lambda: z(2, 3).expand(2, 4), ValueError, "broadcast_to (2, 3) (2, 4)"),
    (lambda: z(2, 3).expand(3), ValueError, "expand (3,) (2, 3)"),
    (lambda: z(2, 3).expand(-1, 2, 3), ValueError, "expand (-1, 2, 3) (2, 3)"),
    (lambda: z(2, 3).broadcast_to((3, 3)), ValueError, "broadcast_to (2, 3) (3, 3)"),
    (lambda: z(2, 3).flatten(1, 0), ValueError, "flatten 1 0"),
    (lambda: z(2, 3).squeeze(2), IndexError, "squeeze dim 2"),
    (lambda: z(2, 3).unsqueeze(3), IndexError, "unsqueeze dim 3"),
    (lambda: tg.cat([]), ValueError, "cat at least one"),
    (lambda: tg.cat([z(2, 3), z(2)]), ValueError, "cat (2, 3) (2,)"),
    (lambda: tg.cat([z(2, 3), z(2, 4)]), ValueError, "cat (2, 3) (2, 4) dim 0"),
    (lambda: tg.cat([z(2, 3), z(1, 0)]), ValueError, "cat (2, 3) (1, 0) dim 0"),
    (lambda: tg.stack([z(2), z(3)]), ValueError, "stack (2,) (3,)"),
    (lambda: F.pad(z(2), (1, 1, 1, 1)), ValueError, "pad 4 (2,)"),
    (lambda: F.pad(z(2), (1, 1), mode="reflect"), ValueError, "pad 'reflect' 'constant'"),
    (lambda: F.pad(z(2), (-3, 0)), ValueError, "pad (-3, 0) (2,)"),
    (lambda: z(2, 3)[2], IndexError, "index (2, 3)"),
    (lambda: z(2, 3)[0, 0, 0], IndexError, "index (2, 3)"),
    (lambda: z(2, 3)[tg.tensor([5])], IndexError, "index (2, 3)"),
    (lambda: z(2, 3)[z(2)], IndexError, "index (2, 3)"),
    (lambda: tg.take_along_dim(z(2, 3), z(2, 3), 1), TypeError, "take_along_dim float32"),
    (lambda: z(2, 3) @ z(2, 3), ValueError, "matmul (2, 3) (2, 3)"),
    (lambda: z(2, 3) @ z(()), ValueError, "matmul (2, 3) ()"),
    (lambda: z(2, 2, 3) @ z(3, 3, 4), ValueError, "matmul (2,) (3,)"),
    (lambda: z(2, 3) @ z(3, 2, dtype=np.float64), TypeError, "matmul float32 float64"),
    (lambda: tg.addmm(z(3, 3), z(2, 3), z(3, 4)), ValueError, "addmm (3, 3) (2, 4)"),
    (lambda: F.linear(z(2, 3), z(4, 2)), ValueError, "linear (2, 3) (4, 2)"),
    (lambda: F.linear(z(2, 3), z(4, 3), z(3)), ValueError, "linear (3,) (4, 3)"),
    (lambda: F.linear(z(2, 3), z(4, 3), z(2, 4)), ValueError, "linear (2, 4) (4, 3)"),
    (lambda: F.conv2d(z(1, 2, 4, 4), z(1, 3, 3, 3)), ValueError, "conv2d (1, 2, 4, 4)"),
    (lambda: F.conv2d(z(4, 4), z(1, 3, 3, 3)), ValueError, "conv2d (4, 4) (1, 3, 3, 3)"),
    (lambda: F.conv2d(z(1, 1, 2, 2), z(1, 1, 3, 3)), ValueError, "conv2d (1, 1, 3, 3)"),
    (lambda: F.conv2d(z(1, 1, 4, 4), z(1, 1, 3, 3), z(2)), ValueError, "conv2d (2,) (1, 1, 3, 3)"),
    (lambda: F.conv2d(z(1, 1, 4, 4), z(1, 1, 3, 3), stride=0), ValueError, "conv2d stride 1 0"),
    (lambda: F.conv2d(z(1, 1, 4, 4), z(1, 1, 3, 3), padding=-1), ValueError, "conv2d padding 0 -1"),
    (
        lambda: F.conv2d(z(1, 1, 4, 4), z(1, 1, 3, 3), stride=2, padding="same"),
        ValueError,
        "conv2d 'same' (2, 2) stride 1",
    ),
    (lambda: F.conv2d(z(1, 1, 4, 4), z(1, 1, 3, 3), padding="full"), ValueError, "conv2d 'full'"),
    (lambda: F.conv2d(z(1, 1, 4, 4), z(1, 1, 2, 2), stride=(1, 2, 3)), ValueError, "conv2d stride"),
    (lambda: F.conv2d(z(1, 2, 4, 4), z(3, 1, 3, 3), groups=2), ValueError, "conv2d groups=2"),
    (
        lambda: F.conv2d(z(1, 1, 4, 4), z(1, 1, 3, 3, dtype=np.float64)),
        TypeError,
        "conv2d float32 float64",
    ),
    (lambda: F.max_pool2d(z(4, 4), 2), ValueError, "max_pool2d (4, 4)"),
    (lambda: F.max_pool2d(z(1, 1, 4, 4), 5), ValueError, "max_pool2d (5, 5) (1, 1, 4, 4)"),
    (lambda: F.max_pool2d(z(1, 1, 4, 4), 2, padding=2), ValueError, "max_pool2d padding"),
    (lambda: F.avg_pool2d(z(1, 1, 4, 4), 0), ValueError, "avg_pool2d kernel_size 1 0"),
    (lambda: F.avg_pool2d(z(1, 1, 4, 4), 2, divisor_override=0), ValueError, "avg_pool2d divisor"),
    (lambda: F.adaptive_avg_pool2d(z(4), 2), ValueError, "adaptive_avg_pool2d (4,)"),
    (lambda: F.adaptive_avg_pool2d(z(1, 1, 4, 4), 0), ValueError, "adaptive_avg_pool2d 0"),
    (lambda: F.batch_norm(z(3), None, None, training=True), ValueError, "batch_norm (3,)"),
    (lambda: F.batch_norm(z(3, 2), z(3), z(2)), ValueError, "batch_norm running_mean (3,) (3, 2)"),
    (lambda: F.batch_norm(z(3, 2), None, None), ValueError, "batch_norm running_mean"),
    (lambda: F.batch_norm(z(1, 2), None, None, training=True), ValueError, "batch_norm (1, 2)"),
    (
        lambda: F.batch_norm(z(3, 2), None, None, z(2, dtype=np.float64), training=True),
        TypeError,
        "batch_norm weight float64 float32",
    ),
    (lambda: F.dropout(z(3), p=1.5), ValueError, "dropout 1.5"),
    (lambda: F.mse_loss(z(3), z(3, 1)), ValueError, "mse_loss (3,) (3, 1)"),
    (lambda: F.mse_loss(z(3), z(3), reduction="all"), ValueError, "mse_loss 'all' 'mean'"),
    (lambda: F.cross_entropy(z(2, 3), tg.tensor([0])), ValueError, "cross_entropy (2, 3) (1,)"),
    (lambda: F.cross_entropy(z(2, 3), tg.tensor([0, 3])), IndexError, "cross_entropy 3"),
    (lambda: F.cross_entropy(z(2, 3), tg.tensor([0, -1])), IndexError, "cross_entropy -1"),
    (lambda: F.cross_entropy(z(2, 3), z(2, 4)), ValueError, "cross_entropy (2, 4) (2, 3)"),
    (lambda: F.cross_entropy(z(2, 3), ints, z(2)), ValueError, "cross_entropy weight (2,) (3,)"),
    (lambda: F.cross_entropy(z(()), ints), ValueError, "cross_entropy class"),
    (lambda: F.cross_entropy(z(2, 3), ints, reduction="x"), ValueError, "cross_entropy 'x'"),
    (lambda: F.cross_entropy(z(2, 3), ints, label_smoothing=2), ValueError, "label_smoothing 2"),
    (lambda: z(2, 3).copy_(z(3, 3)), ValueError, "copy_ (3, 3) (2, 3)"),
    (lambda: z(3).add_(z(2, 3)), ValueError, "add_ (2, 3) (3,)"),
    (lambda: tg.tensor([1, 2]).mul_(0.5), TypeError, "mul_ int64 float"),
    (lambda: tg.tensor([1, 2]).div_(2), TypeError, "div_ int64"),
    (lambda: tg.tensor([[1.0], [1.0, 2.0]]), ValueError, "tensor array"),
    (lambda: tg.tensor(["a"]), TypeError, "tensor dtype"),
    (lambda: tg.tensor(1 + 2j), TypeError, "tensor complex128"),
    (lambda: z(3).to("complex64"), TypeError, "to complex64"),
    (lambda: tg.from_numpy([1.0]), TypeError, "from_numpy list"),
    (lambda: z(2, 3).item(), ValueError, "item (2, 3) 6"),
    (lambda: bool(z(2)), ValueError, "(2,) ambiguous"),
    (lambda: len(z(())), TypeError, "len()"),
    (lambda: tg.manual_seed(-1), ValueError, "manual_seed -1"),
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


def test_a_refused_change_in_place_changes_nothing() -> None:
    x = tg.tensor([1, 2])
    for call in (lambda: x.mul_(0.5), lambda: x.add_(tg.zeros(3)), lambda: x.copy_(tg.zeros(3))):
        with pytest.raises((TypeError, ValueError)):
            call()
    assert x.tolist() == [1, 2]
