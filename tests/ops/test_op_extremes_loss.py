"""Losses at probabilities of exactly 0 and 1, at huge scores, at ties; attention without keys."""

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import autograd
from tinygrad_ft.nn import functional as F

INF = np.inf


def three(f, x: np.ndarray) -> list[np.ndarray]:
    """Value, gradient, and gradient of the gradient's sum."""
    t = tg.Tensor(x, requires_grad=True)
    out = f(t)
    (first,) = autograd.grad(out, t, np.ones(out.shape, x.dtype), create_graph=True)
    if not first.requires_grad:
        return [out.numpy(), first.numpy(), np.zeros_like(x)]
    (second,) = autograd.grad(first, t, np.ones(x.shape, x.dtype))
    return [out.numpy(), first.numpy(), second.numpy()]


def three_of_torch(f, x: np.ndarray) -> list[np.ndarray]:
    torch = pytest.importorskip("torch")
    t = torch.from_numpy(x.copy()).requires_grad_()
    out = f(t)
    (first,) = torch.autograd.grad(out, t, torch.ones_like(out), create_graph=True)
    second = torch.zeros_like(t)
    if first.requires_grad:
        (second,) = torch.autograd.grad(first, t, torch.ones_like(t))
    return [r.detach().numpy(force=True) for r in (out, first, second)]


def agree(ours: list[np.ndarray], theirs: list[np.ndarray], rtol: float = 1e-5) -> None:
    for f, e in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(f, e, rtol=rtol, atol=1e-6)


GOALS = np.array([0.0, 1.0, 0.3])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("probability", [0.0, 1.0, 1e-30, 1e-6, 0.5])
def test_binary_cross_entropy_at_the_ends(probability: float, dtype: type) -> None:
    torch = pytest.importorskip("torch")
    x, goal = np.full(3, probability, dtype), GOALS.astype(dtype)
    ours = three(lambda t: F.binary_cross_entropy(t, tg.tensor(goal), reduction="none"), x)
    goal = torch.from_numpy(goal)
    theirs = three_of_torch(
        lambda t: torch.nn.functional.binary_cross_entropy(t, goal, reduction="none"), x
    )
    assert all(np.isfinite(a).all() and a.dtype == dtype for a in ours)
    agree(ours, theirs, 1e-4)


def test_targets_of_binary_cross_entropy_have_finite_gradients() -> None:
    """(100, at x = 0, for the logarithm that is -100): PyTorch gives an infinity here."""
    t = tg.Tensor(np.array([0.5, 0.5, 0.5]), requires_grad=True)
    F.binary_cross_entropy(tg.tensor([0.0, 1.0, 0.5]).double(), t, reduction="sum").backward()
    np.testing.assert_allclose(t.grad.numpy(), [100, -100, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_of_huge_scores(dtype: type) -> None:
    x = np.repeat(np.array([-1e4, -40.0, 0.0, 40.0, 1e4], dtype), 3)
    goal = np.tile(GOALS, 5).astype(dtype)
    value, first, second = three(
        lambda t: F.binary_cross_entropy_with_logits(t, tg.tensor(goal), reduction="none"), x
    )
    # max(x, 0) - x t + log(1 + e^-|x|);  sigmoid(x) - t;  sigmoid'(x)
    tail = np.exp(-np.abs(x))
    yes = np.where(x >= 0, 1, tail) / (1 + tail)
    np.testing.assert_allclose(value, np.maximum(x, 0) - x * goal + np.log1p(tail), rtol=1e-5)
    np.testing.assert_allclose(first, yes - goal, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(second, tail / (1 + tail) ** 2, rtol=1e-4, atol=1e-15)


def test_a_confident_right_answer_keeps_its_digits() -> None:
    """log(1 + e^-30) = 9.4e-14 in float32: not lost beside the score, as x - x t would lose it."""
    loss = F.binary_cross_entropy_with_logits(tg.tensor([30.0, -30.0]), tg.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(np.log1p(np.exp(-30.0)), rel=1e-4)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_nll_loss_ignores_infinite_items(reduction: str) -> None:
    x = np.array([[-INF, np.nan, 3.0], [-1.0, -2.0, -3.0]])
    value, first, _ = three(lambda t: F.nll_loss(t, tg.tensor([-100, 1]), reduction=reduction), x)
    assert value == 2
    np.testing.assert_array_equal(first, [[0, 0, 0], [0, -1, 0]])


def test_kl_div_of_impossible_outcomes_is_zero() -> None:
    x = tg.Tensor(np.log([0.2, 0.5, 0.3]), requires_grad=True)
    goal = tg.Tensor(np.array([0.0, 0.6, 0.4]), requires_grad=True)
    out = F.kl_div(x, goal, reduction="none")
    first = autograd.grad(out, [x, goal], np.ones(3), create_graph=True)
    second = autograd.grad([g.sum() for g in first], [x, goal], allow_unused=True)
    assert out[0].item() == 0
    assert all(np.isfinite(g.numpy()).all() for g in [*first, *second] if g is not None)


@pytest.mark.parametrize(
    "name, options",
    [
        ("l1_loss", {}),
        ("mse_loss", {}),
        ("huber_loss", {"delta": 0.5}),
        ("smooth_l1_loss", {"beta": 0.5}),
        ("smooth_l1_loss", {"beta": 0.0}),
    ],
)
def test_differences_at_corners_and_beyond(name: str, options: dict) -> None:
    """Ties, both sides of the corner, numbers whose square overflows, infinities."""
    torch = pytest.importorskip("torch")
    x = np.array([0.0, -0.0, 0.4999, -0.5001, 3e30, -3e30, INF, -INF], np.float32)
    options = {**options, "reduction": "none"}
    zeros = np.zeros_like(x)
    ours = three(lambda t: getattr(F, name)(t, tg.tensor(zeros), **options), x)
    theirs = three_of_torch(
        lambda t: getattr(torch.nn.functional, name)(t, torch.from_numpy(zeros), **options), x
    )
    agree(ours, theirs)


def test_vectors_of_zeros() -> None:
    torch = pytest.importorskip("torch")
    x = np.array([[0.0, 0.0], [3.0, 4.0]])
    other = np.array([[1.0, 2.0], [0.0, 0.0]])
    cosine = three(lambda t: F.cosine_similarity(t, tg.tensor(other, dtype=np.float64)), x)
    expected = three_of_torch(
        lambda t: torch.nn.functional.cosine_similarity(t, torch.from_numpy(other)), x
    )
    agree(cosine[:2], expected[:2])
    assert np.isfinite(cosine[2]).all()
    agree(three(F.normalize, x)[:2], three_of_torch(torch.nn.functional.normalize, x)[:2])


@pytest.mark.parametrize("kind", ["boolean", "added"])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_attention_of_masked_and_huge_scores(kind: str, size: float) -> None:
    """As in PyTorch, a row without a key gives 0, and no NaN comes from what is masked."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((3, 2)) * size for _ in range(3))
    allowed = np.array([[True, False, True], [False] * 3, [False, True, False]])
    mask = allowed if kind == "boolean" else np.where(allowed, 0.5, -INF)
    for place in range(3):

        def put(tensor, make, place=place):
            parts = [make(q), make(k), make(v)]
            parts[place] = tensor
            return (*parts, make(mask))

        ours = three(
            lambda t, put=put: F.scaled_dot_product_attention(*put(t, tg.Tensor)), (q, k, v)[place]
        )
        theirs = three_of_torch(
            lambda t, put=put: torch.nn.functional.scaled_dot_product_attention(
                *put(t, torch.from_numpy)
            ),
            (q, k, v)[place],
        )
        np.testing.assert_array_equal(ours[0][1], 0)
        assert all(np.isfinite(a).all() for a in ours)
        agree(ours, theirs)
