"""The transformer encoder: PyTorch's state_dict, outputs, gradients; what it must not see."""

import itertools

import numpy as np
import pytest
import torch_twin as twin

import tinygrad_ft as tg
from tinygrad_ft import nn

RNG = np.random.default_rng(0)
L, N, E = 4, 2, 6


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def causal(length: int) -> np.ndarray:
    return np.triu(np.ones((length, length), bool), 1)


def padding() -> np.ndarray:
    return np.array([[False] * L, [False, False, True, True]])


def shaken(layer):
    """Weights that are all different: norms start as 1 and 0, biases as 0."""
    import torch

    rng = np.random.default_rng(1)
    for param in layer.parameters():
        param.data = torch.from_numpy(rng.standard_normal(tuple(param.shape)) * 0.5)
    return layer


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_against_torch(activation, norm_first, bias):
    torch = pytest.importorskip("torch")
    options = {"dropout": 0.0, "activation": activation, "norm_first": norm_first, "bias": bias}
    for batch_first, shape in ((True, (N, L, E)), (False, (L, N, E)), (False, (L, E))):
        ours = nn.TransformerEncoderLayer(E, 2, 5, **options, batch_first=batch_first).double()
        theirs = shaken(
            torch.nn.TransformerEncoderLayer(
                E, 2, 5, **options, batch_first=batch_first, dtype=torch.float64
            )
        )
        twin.agree(ours, theirs, [draw(*shape)], lambda layer, x: layer(x))


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_encoder_with_masks_against_torch(norm, norm_first):
    torch = pytest.importorskip("torch")
    options = {"dropout": 0.0, "batch_first": True, "norm_first": norm_first}
    for mask, pad in itertools.product((None, causal(L)), (None, padding())):
        ours = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(E, 2, 5, **options), 2, nn.LayerNorm(E) if norm else None
        ).double()
        theirs = shaken(
            torch.nn.TransformerEncoder(
                torch.nn.TransformerEncoderLayer(E, 2, 5, **options),
                2,
                torch.nn.LayerNorm(E) if norm else None,
                enable_nested_tensor=False,
            ).double()
        )
        names = [n for n, m in (("mask", mask), ("src_key_padding_mask", pad)) if m is not None]

        def call(encoder, x, *masks, names=names):
            return encoder(x, **dict(zip(names, masks, strict=True)))

        twin.agree(ours, theirs, [draw(N, L, E), *(m for m in (mask, pad) if m is not None)], call)


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_causal_encoder_does_not_see_what_comes(norm_first):
    layer = nn.TransformerEncoderLayer(E, 2, 5, batch_first=True, norm_first=norm_first)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    x = draw(1, L, E).astype(np.float32)
    mask = tg.tensor(causal(L))
    before = encoder(tg.tensor(x), mask, is_causal=True).numpy()
    x[:, 2:] = 7 * draw(1, L - 2, E)
    after = encoder(tg.tensor(x), mask, is_causal=True).numpy()
    np.testing.assert_array_equal(after[:, :2], before[:, :2])
    assert np.abs(after[:, 2:] - before[:, 2:]).max() > 0.01


def test_padding_does_not_matter():
    layer = nn.TransformerEncoderLayer(E, 2, 5, batch_first=True).eval()
    x = draw(N, L, E).astype(np.float32)
    full = layer(tg.tensor(x), src_key_padding_mask=tg.tensor(padding())).numpy()
    alone = layer(tg.tensor(x[1:, :2])).numpy()
    np.testing.assert_allclose(full[1:, :2], alone, rtol=1e-5, atol=1e-6)


def test_gradients_by_finite_differences():
    layer = nn.TransformerEncoderLayer(2, 1, 3, dropout=0.0, activation="gelu").double()
    x = tg.Tensor(draw(2, 1, 2), requires_grad=True)
    assert tg.gradcheck(layer, x, order=2)
    assert tg.gradcheck(lambda *params: layer(x), list(layer.parameters()))


def test_dropout_follows_mode_and_seed():
    layer = nn.TransformerEncoderLayer(E, 2, 5)
    x = tg.tensor(draw(L, N, E)).float()
    tg.manual_seed(0)
    first = layer(x).numpy()
    assert np.abs(layer(x).numpy() - first).max() > 0
    tg.manual_seed(0)
    np.testing.assert_array_equal(layer(x).numpy(), first)
    layer.eval()
    np.testing.assert_array_equal(layer(x).numpy(), layer(x).numpy())


def test_the_layers_are_copies():
    layer = nn.TransformerEncoderLayer(E, 2, 5)
    encoder = nn.TransformerEncoder(layer, 2)
    first, second = encoder.layers[0].linear1.weight, encoder.layers[1].linear1.weight
    np.testing.assert_array_equal(first.numpy(), second.numpy())
    first.data = first.data + 1
    assert (first.numpy() != second.numpy()).all()
    assert (first.numpy() != layer.linear1.weight.numpy()).all()


def test_errors():
    with pytest.raises(ValueError, match="'relu', 'gelu' or a function, got 'tanh'"):
        nn.TransformerEncoderLayer(E, 2, activation="tanh")
    with pytest.raises(ValueError, match="1 or more layers, got 0"):
        nn.TransformerEncoder(nn.TransformerEncoderLayer(E, 2, 5), 0)
    assert nn.TransformerEncoderLayer(E, 2, 5, activation=tg.tanh).activation is tg.tanh
