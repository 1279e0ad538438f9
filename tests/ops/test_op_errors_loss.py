"""What losses, attention, dropout and similarities refuse, and what the message says."""

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F

X, Y = tg.zeros(2, 3), tg.zeros(3)
LABELS = tg.tensor([0, 1])
SDPA = F.scaled_dot_product_attention
PAIRS = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "smooth_l1_loss",
]


@pytest.mark.parametrize("name", PAIRS)
def test_shapes_must_be_equal(name: str) -> None:
    """Broadcasting (N,) against (N, 1) is the classic mistake."""
    with pytest.raises(ValueError, match=rf"{name}: input \(2, 3\) and target \(3,\) differ"):
        getattr(F, name)(X, Y)


@pytest.mark.parametrize("name", PAIRS)
def test_unknown_reduction(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: reduction must be .* not 'average'"):
        getattr(F, name)(X, X, reduction="average")


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_class_indices(name: str) -> None:
    loss = getattr(F, name)
    for target, error, message in (
        (tg.tensor([0, 3]), IndexError, "target 3 is no class index below 3"),
        (tg.tensor([-1, 0]), IndexError, "target -1 is no class"),
        (tg.tensor([0, 1, 2]), ValueError, r"input \(2, 3\) needs class indices of shape \(2,\)"),
        (tg.tensor([True, False]), TypeError, "class indices must be integers, not bool"),
    ):
        with pytest.raises(error, match=f"{name}: .*{message}"):
            loss(X, target)
    with pytest.raises(ValueError, match=rf"{name}: weight has shape \(2,\), expected \(3,\)"):
        loss(X, LABELS, weight=tg.ones(2))
    with pytest.raises(ValueError, match="class dimension"):
        loss(tg.tensor(1.0), tg.tensor(0))
    with pytest.raises(ValueError, match="reduction"):
        loss(X, LABELS, reduction="average")


@pytest.mark.parametrize(
    "use, error, message",
    [
        (lambda: F.nll_loss(X, tg.tensor([0.0, 1.0])), TypeError, "integers, not float32"),
        (lambda: F.cross_entropy(X, Y), ValueError, r"\(2, 3\), got \(3,\) of float32"),
        (lambda: F.cross_entropy(X, LABELS, label_smoothing=1.5), ValueError, "got 1.5"),
        (lambda: F.binary_cross_entropy(X - 0.5, X), ValueError, "between 0 and 1, got -0.5"),
        (lambda: F.binary_cross_entropy(X * np.nan, X), ValueError, "input .* got nan"),
        (lambda: F.binary_cross_entropy(X, X + 2), ValueError, "target .* got 2.0"),
        (lambda: F.binary_cross_entropy(X, X, tg.ones(2)), ValueError, "weight.*do not broadcast"),
        (lambda: F.binary_cross_entropy(X, X, tg.ones(2, 2, 3)), ValueError, "does not fit"),
        (
            lambda: F.binary_cross_entropy_with_logits(X, X, pos_weight=tg.ones(2)),
            ValueError,
            "pos_weight.*do not broadcast",
        ),
        (lambda: F.kl_div(tg.tensor(0.0), 1.0, "batchmean"), ValueError, "batch dimension"),
        (lambda: F.mse_loss(X, X, weight=Y), ValueError, r"weight \(3,\) and input \(2, 3\)"),
        (lambda: F.huber_loss(X, X, delta=0), ValueError, "delta must be greater than 0, got 0"),
        (lambda: F.smooth_l1_loss(X, X, beta=-1), ValueError, "beta must not be negative, got -1"),
        (lambda: SDPA(X, X, tg.zeros(3, 3)), ValueError, r"query \(2, 3\).*value \(3, 3\)"),
        (lambda: SDPA(Y, X, X), ValueError, r"query \(3,\)"),
        (lambda: SDPA(X, X, X, tg.ones(2, 2), is_causal=True), ValueError, "not both"),
        (lambda: SDPA(X, X, X, LABELS), TypeError, "boolean or float32, not int64"),
        (lambda: SDPA(X, X, X, tg.ones(3, 2, 2)), ValueError, r"a mask of shape \(3, 2, 2\)"),
        (lambda: SDPA(X, X, X, enable_gqa=True), ValueError, "heads"),
        (
            lambda: SDPA(tg.zeros(3, 2, 2), tg.zeros(2, 2, 2), tg.zeros(2, 2, 2), enable_gqa=True),
            ValueError,
            r"multiple.*query \(3, 2, 2\)",
        ),
        (lambda: SDPA(X, X, X, dropout_p=2.0), ValueError, "probability, got 2"),
        (lambda: F.dropout2d(X), ValueError, r"dropout2d: needs \(C, H, W\) or .*\(2, 3\)"),
        (lambda: F.dropout1d(Y), ValueError, r"dropout1d: needs \(C, L\) or"),
        (lambda: F.alpha_dropout(X, -0.1), ValueError, "alpha_dropout: p must be a probability"),
        (lambda: F.cosine_similarity(X, tg.zeros(2)), ValueError, "do not broadcast"),
        (lambda: F.cosine_similarity(X, X, dim=2), IndexError, "dim 2 is out of range"),
        (lambda: F.pairwise_distance(X, tg.zeros(2)), ValueError, "do not broadcast"),
        (lambda: F.bilinear(X, X, tg.zeros(1, 3, 2)), ValueError, r"a weight of shape \(1, 3, 2\)"),
        (
            lambda: F.bilinear(X, X, tg.zeros(1, 3, 3), tg.zeros(2)),
            ValueError,
            r"bias of shape \(2,\)",
        ),
    ],
)  # fmt: skip
def test_errors(use, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        use()
