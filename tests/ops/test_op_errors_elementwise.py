"""Wrong calls of elementwise ops and activations: early, and naming the op and the shapes."""

import re

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import nn
from tinygrad_ft.nn import functional as F


def z(*shape: int, dtype: type = np.float32) -> tg.Tensor:
    return tg.zeros(*shape, dtype=dtype)


ints = tg.tensor([0, 1])

WRONG = [
    # call, error, words that the message has to contain
    (lambda: tg.add(z(2, 3), z(2), alpha=2), ValueError, "add (2, 3) (2,)"),
    (lambda: tg.add(ints, ints, alpha=0.5), TypeError, "add alpha=0.5 int64"),
    (lambda: ints.sub(ints, alpha=0.5), TypeError, "sub alpha=0.5 int64"),
    (lambda: tg.atan2(z(2), z(3)), ValueError, "atan2 (2,) (3,)"),
    (lambda: tg.lerp(z(2), z(3), 0.5), ValueError, "lerp (2,) (3,)"),
    (lambda: tg.lerp(z(2), z(2), z(3)), ValueError, "lerp (2,) (3,)"),
    (lambda: tg.clamp(z(2), z(3)), ValueError, "clamp (2,) (3,)"),
    (lambda: tg.clamp(z(2), z(2), z(3)), ValueError, "clamp (2,) (3,)"),
    (lambda: tg.clip(z(2)), ValueError, "clamp min max"),
    (lambda: tg.div(z(2), z(2), rounding_mode="up"), ValueError, "div rounding_mode 'up' 'floor'"),
    (lambda: tg.div(z(2), z(3), rounding_mode="floor"), ValueError, "div (2,) (3,)"),
    (lambda: tg.div(ints, ints, rounding_mode="trunc"), ZeroDivisionError, "div (2,) int64"),
    (lambda: ints // ints, ZeroDivisionError, "floor_divide (2,) int64"),
    (lambda: ints % 0, ZeroDivisionError, "remainder (2,) int64"),
    (lambda: z(2) // z(3), ValueError, "floor_divide (2,) (3,)"),
    (lambda: z(2) % z(3), ValueError, "remainder (2,) (3,)"),
    (lambda: ints**-1, ValueError, "pow int64 (2,) negative float"),
    (lambda: ints ** tg.tensor([1, -1]), ValueError, "pow int64 (2,) negative"),
    (lambda: tg.logical_and(z(2), z(3)), ValueError, "logical_and (2,) (3,)"),
    (lambda: F.softplus(z(2), beta=0), ValueError, "softplus beta 0"),
    (lambda: F.celu(z(2), 0.0), ValueError, "celu alpha 0"),
    (lambda: F.gelu(z(2), "fast"), ValueError, "gelu approximate 'fast' 'tanh'"),
    (lambda: F.hardtanh(z(2), 1, -1), ValueError, "hardtanh min_val=1 max_val=-1"),
    (lambda: F.prelu(z(2, 3), z(2)), ValueError, "prelu (2,) (2, 3) 3"),
    (lambda: F.prelu(z(3), z(3)), ValueError, "prelu (3,)"),
    (lambda: F.prelu(z(2, 3), z(1, 3)), ValueError, "prelu (1, 3) (2, 3)"),
    (lambda: F.prelu(z(2, 3), z(3, dtype=np.float64)), TypeError, "prelu float64 float32"),
    (lambda: F.glu(z(2, 3)), ValueError, "glu (2, 3) odd"),
    (lambda: F.glu(z(2, 3), 2), IndexError, "glu dim 2"),
    (lambda: F.glu(tg.tensor(1.0)), ValueError, "glu 0-dimensional"),
    (lambda: F.softmin(z(2, 3), 2), IndexError, "dim 2"),
    (lambda: nn.CELU(0), ValueError, "CELU alpha 0"),
    (lambda: nn.GELU("fast"), ValueError, "GELU 'fast'"),
    (lambda: nn.Hardtanh(1, 1), ValueError, "Hardtanh min_val=1 max_val=1"),
    (lambda: nn.PReLU(0), ValueError, "PReLU num_parameters 0"),
    (lambda: nn.Softplus(0), ValueError, "Softplus beta 0"),
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


def test_clamp_in_place() -> None:
    x = tg.tensor([-1.0, 0.5, 3.0])
    assert x.clamp_(0, 1) is x
    assert x.tolist() == [0, 0.5, 1]
    assert x.clamp_(min=tg.tensor([0.2, 0.6, 0.1])).tolist() == pytest.approx([0.2, 0.6, 1])
    assert tg.tensor([1, 5]).clamp_(max=3).tolist() == [1, 3]
    y = x.detach()
    recorded = tg.ones(3, requires_grad=True)
    version = y._version.count
    for call, error, message in (
        (lambda: y.clamp_(), ValueError, "clamp: give min, max or both"),
        (lambda: y.clamp_(tg.zeros(2, 3)), ValueError, r"clamp_: shape \(2, 3\).*\(3,\)"),
        (lambda: y.clamp_(tg.zeros(3, dtype=np.float64)), TypeError, "clamp_: .*float32.*float64"),
        (lambda: tg.tensor([1, 5]).clamp_(max=3.5), TypeError, "clamp_: .*int64.*float32"),
        (lambda: y.clamp_(max=recorded), RuntimeError, r"clamp_: in-place .*\(3,\)"),
        (lambda: recorded.clamp_(0, 1), RuntimeError, r"clamp_: in-place .*\(3,\)"),
    ):
        with pytest.raises(error, match=message):
            call()
    assert y.tolist() == pytest.approx([0.2, 0.6, 1])
    assert y._version.count == version
    out = recorded.detach().requires_grad_().exp()
    out.detach().clamp_(max=1)
    with pytest.raises(RuntimeError, match="Exp: its output"):
        out.sum().backward()


@pytest.mark.parametrize("name", ["exp", "sqrt", "tanh", "sigmoid", "rsqrt", "reciprocal"])
def test_a_changed_output_is_named(name: str) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    out = getattr(tg, name)(x)
    out.detach().zero_()
    with pytest.raises(RuntimeError, match=rf"{name.capitalize()}: its output, of shape \(2,\)"):
        out.sum().backward()


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "elu", "softplus", "logsigmoid"])
def test_a_changed_input_is_named(name: str) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    out = getattr(F, name)(x)
    x.detach().zero_()
    with pytest.raises(RuntimeError, match=rf"(?i){name}: its input 0, of shape \(2,\)"):
        out.sum().backward()
