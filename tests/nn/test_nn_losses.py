"""Losses, embeddings, dropout of channels and similarities as layers: options, names, repr."""

import numpy as np
import pytest
import torch_twin as twin

import tinygrad_ft as tg
from tinygrad_ft import nn

RNG = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def between(*shape: int) -> np.ndarray:
    return RNG.uniform(0.1, 0.9, shape)


W2, W3 = np.array([0.5, 2.0]), np.array([0.5, 1.0, 3.0])
LABELS = np.array([0, 2, 1, 2])

# name, options, input, target
LOSSES = [
    ("CrossEntropyLoss", {"weight": W3, "label_smoothing": 0.1}, draw(4, 3), LABELS),
    ("NLLLoss", {"weight": W3, "ignore_index": 1}, draw(4, 3), LABELS),
    ("NLLLoss", {}, draw(4, 3, 2), np.stack([LABELS, LABELS[::-1]], 1)),
    ("BCELoss", {}, between(3, 2), between(3, 2)),
    ("BCELoss", {"weight": W2}, between(3, 2), between(3, 2)),
    ("BCEWithLogitsLoss", {"weight": W2, "pos_weight": W2}, draw(3, 2), between(3, 2)),
    ("KLDivLoss", {"log_target": True}, draw(3, 2), draw(3, 2)),
    ("KLDivLoss", {"reduction": "batchmean"}, draw(3, 2), between(3, 2)),
    ("L1Loss", {}, draw(3, 2), draw(3, 2)),
    ("MSELoss", {}, draw(3, 2), draw(3, 2)),
    ("SmoothL1Loss", {"beta": 0.5}, draw(3, 2), draw(3, 2)),
    ("HuberLoss", {"delta": 0.5}, draw(3, 2), draw(3, 2)),
]


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")
@pytest.mark.parametrize("name, options, x, target", LOSSES)
def test_losses_against_torch(name, options, x, target):
    torch = pytest.importorskip("torch")
    for reduction in ("mean", "sum", "none"):
        given = {"reduction": reduction, **options}

        def of(module, make, given=given):
            arrays = {k: make(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
            return getattr(module, name)(**arrays)

        ours, theirs = of(nn, tg.Tensor), of(torch.nn, torch.tensor)
        twin.agree(ours, theirs, [x, target], lambda loss, a, b: loss(a, b))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nn.KLDivLoss(reduction="average"), "KLDivLoss takes .* or 'batchmean', got"),
        (lambda: nn.L1Loss(reduction="batchmean"), "L1Loss takes reduction='mean' or 'sum' or"),
        (lambda: nn.SmoothL1Loss(beta=-1.0), "beta that is not negative"),
        (lambda: nn.HuberLoss(delta=0.0), "delta greater than 0"),
        (lambda: nn.Dropout2d(1.5), "Dropout2d needs a probability.*p=1.5"),
        (lambda: nn.Embedding(4, 2, padding_idx=4), "padding_idx 4 is no row of 4 rows"),
        (lambda: nn.Embedding(-1, 2), "not negative, got -1 and 2"),
        (lambda: nn.Embedding.from_pretrained([1.0, 2.0]), r"\(rows, width\).*\(2,\)"),
        (lambda: nn.Bilinear(0, 1, 1), "in1_features of 1 or more"),
    ],
)
def test_wrong_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- embedding -----------------------------------------------------------------------------------


def test_embedding_against_torch():
    torch = pytest.importorskip("torch")
    ids = RNG.integers(0, 5, (3, 4))
    for options in ({}, {"padding_idx": 2}, {"padding_idx": -1}, {"max_norm": 1.0}):
        ours = nn.Embedding(5, 3, **options).double()
        theirs = torch.nn.Embedding(5, 3, **options, dtype=torch.float64)
        twin.agree(ours, theirs, [ids], lambda layer, x: layer(x))
        assert repr(ours) == repr(theirs).replace("max_norm=1.0", "max_norm=1.0, norm_type=2.0")


def test_embedding_starts_normal_with_a_padding_row_of_zeros_that_stays():
    tg.manual_seed(0)
    layer = nn.Embedding(200, 50, padding_idx=3)
    rows = layer.weight.numpy()
    assert not rows[3].any()
    others = np.delete(rows, 3, 0)
    assert abs(others.mean()) < 0.05
    assert abs(others.std() - 1) < 0.05
    optimizer = tg.optim.SGD(layer.parameters(), lr=1.0)
    layer(tg.tensor([3, 4, 3])).sum().backward()
    before = layer.weight.numpy()[4].copy()
    optimizer.step()
    assert not layer.weight.numpy()[3].any()
    np.testing.assert_allclose(layer.weight.numpy()[4], before - 1, rtol=1e-6)


def test_embedding_from_pretrained():
    rows = draw(4, 2).astype(np.float32)
    layer = nn.Embedding.from_pretrained(rows)
    assert (layer.num_embeddings, layer.embedding_dim) == (4, 2)
    assert not layer.weight.requires_grad
    np.testing.assert_array_equal(layer(tg.tensor([[1, 3]])).numpy(), rows[[[1, 3]]])
    trained = nn.Embedding.from_pretrained(rows, freeze=False, padding_idx=1)
    trained(tg.tensor([0, 1])).sum().backward()
    np.testing.assert_array_equal(trained.weight.grad.numpy(), [[1, 1], [0, 0], [0, 0], [0, 0]])


# ---- the others ----------------------------------------------------------------------------------


def test_similarities_against_torch():
    torch = pytest.importorskip("torch")

    def call(layer, *x):
        return layer(*x)

    a, b = draw(3, 4), draw(3, 4)
    for name, options in (
        ("CosineSimilarity", {}),
        ("CosineSimilarity", {"dim": 0}),
        ("PairwiseDistance", {}),
        ("PairwiseDistance", {"p": 1.0, "keepdim": True}),
    ):
        layers = [getattr(m, name)(**options) for m in (nn, torch.nn)]
        twin.agree(*layers, [a, b], call)
    for bias in (True, False):
        ours = nn.Bilinear(4, 2, 3, bias).double()
        theirs = torch.nn.Bilinear(4, 2, 3, bias, dtype=torch.float64)
        twin.agree(ours, theirs, [a, draw(3, 2)], call)
        assert repr(ours) == repr(theirs)
    weight = nn.Bilinear(4, 50, 50).weight.numpy()
    assert 0.49 < np.abs(weight).max() <= 0.5


@pytest.mark.parametrize("kind, shape", [("Dropout1d", (40, 50, 3)), ("Dropout2d", (40, 50, 3, 2))])
def test_whole_channels_are_dropped_in_training(kind, shape):
    tg.manual_seed(0)
    layer, x = getattr(nn, kind)(0.3), tg.ones(shape)
    out = layer(x).numpy().reshape(40, 50, -1)
    assert (out == out[:, :, :1]).all()
    dropped = (out[:, :, 0] == 0).mean()
    assert abs(dropped - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 2000)
    np.testing.assert_allclose(out[out != 0], 1 / 0.7, rtol=1e-6)
    np.testing.assert_array_equal(layer.eval()(x).numpy(), x.numpy())
    assert repr(layer) == f"{kind}(p=0.3, inplace=False)"


def test_alpha_dropout_keeps_mean_and_variance():
    tg.manual_seed(0)
    x = tg.randn(500, 400)
    layer = nn.AlphaDropout(0.2)
    out = layer(x).numpy()
    assert abs(out.mean()) < 0.01
    assert abs(out.var() - 1) < 0.02
    np.testing.assert_array_equal(layer.eval()(x).numpy(), x.numpy())
