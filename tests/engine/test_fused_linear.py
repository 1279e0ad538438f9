"""A linear layer as one op: the bits of a matrix product and an addition, and their gradients'."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tinygrad_ft as tg
from kernels import workers
from tinygrad_ft import autograd, nn
from tinygrad_ft.nn import functional as F


@pytest.fixture(autouse=True)
def restore():
    yield
    tg.set_fusion(True)


def operands(shape, outputs, bias, dtype, transposed, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape[::-1] if transposed else shape).astype(dtype)
    arrays = [x.T if transposed else x, rng.standard_normal((outputs, shape[-1])).astype(dtype)]
    if bias:
        arrays.append(rng.standard_normal(outputs).astype(dtype))
    return [tg.Tensor(a, requires_grad=True) for a in arrays]


def everything(*given):
    """Value, gradients, and gradients of the gradients."""
    inputs = operands(*given)
    out = F.linear(*inputs)
    first = autograd.grad((out * out).sum(), inputs, create_graph=True)
    loss = sum(((g * g).sum() for g in first), tg.tensor(0.0, dtype=out.dtype))
    second = autograd.grad(loss, inputs)
    plain = [t.detach().requires_grad_() for t in inputs]
    (F.linear(*plain) ** 2).sum().backward()
    grads = [t.grad for t in plain]
    same = [t.detach().numpy().copy() for t in (out, *first, *grads)]
    return same, [t.numpy() for t in second], out


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=3),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from([np.float32, np.float64]),
    st.booleans(),
)
@example([300, 16], 40, True, np.float32, False)  # many rows
@example([3, 600], 100, True, np.float32, False)  # few
def test_bits(shape, outputs, bias, dtype, transposed):
    given = tuple(shape), outputs, bias, dtype, transposed
    fused, second, out = everything(*given)
    assert type(out.grad_fn).__name__ == "Linear" or len(shape) != 2
    tg.set_fusion(False)
    apart, wanted, out = everything(*given)
    tg.set_fusion(True)
    assert type(out.grad_fn).__name__ != "Linear"
    for a, b in zip(fused, apart, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(second, wanted, strict=True):  # summed in another order
        np.testing.assert_allclose(a, b, rtol=0, atol=1e3 * np.finfo(dtype).eps * abs(b).max())
    x, w, *b = (t.numpy().astype(np.float64) for t in operands(*given))
    exact = x @ w.T + (b[0] if b else 0)
    scale = np.abs(x) @ np.abs(w).T + 10
    assert (np.abs(fused[0] - exact) <= scale * (shape[-1] + 1) * np.finfo(dtype).eps).all()


def test_a_head_runs_ahead_of_its_kernels():
    """Pooling and the last layer are put off like the convolutions before them."""
    tg.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    x = np.random.default_rng(0).standard_normal((64, 8, 8, 16), np.float32).transpose(0, 3, 1, 2)
    pending = []

    class Watched(nn.Module):
        def forward(self, x):
            out = model(x)
            pending.append(workers.ahead.pending)
            return out

    before = tg.get_num_threads()
    tg.set_num_threads(2)
    try:
        out = Watched()(tg.Tensor(x))
    finally:
        tg.set_num_threads(before)
    assert pending == [True]
    weight, bias = (p.numpy() for p in model.parameters())
    np.testing.assert_allclose(out.numpy(), x.mean((2, 3)) @ weight.T + bias, atol=1e-5)
