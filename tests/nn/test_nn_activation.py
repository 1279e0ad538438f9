"""Activation layers: PyTorch's constructors and repr, the function's values, PReLU's weight."""

from typing import Any

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import nn

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("CELU", (), {}),
    ("CELU", (0.5,), {}),
    ("CELU", (0.5,), {"inplace": True}),
    ("ELU", (), {}),
    ("ELU", (), {"alpha": 2.0}),
    ("ELU", (2.0,), {"inplace": True}),
    ("GELU", (), {}),
    ("GELU", (), {"approximate": "tanh"}),
    ("GLU", (), {}),
    ("GLU", (0,), {}),
    ("Hardsigmoid", (), {}),
    ("Hardswish", (), {}),
    ("Hardtanh", (), {}),
    ("Hardtanh", (-2.0, 0.5), {}),
    ("Hardtanh", (-2.0, 0.5), {"inplace": True}),
    ("LeakyReLU", (), {}),
    ("LeakyReLU", (0.2,), {}),
    ("LeakyReLU", (0.2,), {"inplace": True}),
    ("LogSigmoid", (), {}),
    ("LogSoftmax", (1,), {}),
    ("Mish", (), {}),
    ("Mish", (), {"inplace": True}),
    ("PReLU", (), {}),
    ("PReLU", (4, 0.1), {}),
    ("ReLU", (), {}),
    ("ReLU", (), {"inplace": True}),
    ("ReLU6", (), {}),
    ("ReLU6", (), {"inplace": True}),
    ("SELU", (), {}),
    ("SELU", (), {"inplace": True}),
    ("SiLU", (), {}),
    ("SiLU", (), {"inplace": True}),
    ("Sigmoid", (), {}),
    ("Softmax", (), {"dim": 0}),
    ("Softmin", (), {"dim": 1}),
    ("Softplus", (), {}),
    ("Softplus", (2.0, 1.0), {}),
    ("Softsign", (), {}),
    ("Tanh", (), {}),
    ("Tanhshrink", (), {}),
    ("Threshold", (0.1, 20.0), {}),
    ("Threshold", (0.1, 20.0), {"inplace": True}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), LAYERS)
def test_layer_is_that_of_torch(name: str, args: tuple, kwargs: dict) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    assert repr(ours) == repr(theirs)
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32) * 3
    data = tg.tensor(x)
    found, expected = ours(data), theirs(torch.tensor(x))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(data.numpy(), x, "inplace or not, the input stays as it was")
    np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_every_activation_layer_is_in_the_table() -> None:
    from tinygrad_ft.nn import activation

    classes = {
        n
        for n, c in vars(activation).items()
        if isinstance(c, type) and c.__module__ == activation.__name__ and not n.startswith("_")
    }
    assert classes == {name for name, _, _ in LAYERS}
    assert all(getattr(nn, n) is getattr(activation, n) for n in classes)


def test_prelu_learns_its_weight() -> None:
    layer = nn.PReLU(2)
    assert {n: p.shape for n, p in layer.named_parameters()} == {"weight": (2,)}
    assert layer.state_dict()["weight"].tolist() == [0.25, 0.25]
    layer.load_state_dict({"weight": np.array([0.5, 2.0], np.float32)})
    x = tg.tensor([[[-1.0], [-2.0]], [[3.0], [-4.0]]])
    out = layer(x)
    assert out.tolist() == [[[-0.5], [-4.0]], [[3.0], [-8.0]]]
    out.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [-1, -6]
