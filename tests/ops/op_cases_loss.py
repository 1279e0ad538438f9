"""Cases of the losses."""

import numpy as np
import op_reference as ref
from op_case import (
    Case,
    Input,
    case,
    exactly,
    fixed,
    labels,
    options,
    positive,
    probabilities,
    real,
)


def loss(note: str, inputs: list[Input], **settings) -> Case:
    """Cross-entropy; a third input is the class weights."""

    def expected(x: np.ndarray, target: np.ndarray, *weight: np.ndarray) -> np.ndarray:
        return ref.cross_entropy(x, target, *weight, **settings)

    order = 3 if note == "" else 2
    return case("cross_entropy", inputs, expected, options(**settings), order=order, note=note)


SCORES, TARGETS, WEIGHTS = real(4, 3), labels(4, below=3), fixed(3, positive=True)

CROSS_ENTROPIES = [
    loss("", [SCORES, TARGETS]),
    loss("sum", [SCORES, TARGETS], reduction="sum"),
    loss("none", [SCORES, TARGETS], reduction="none"),
    loss("weights", [SCORES, TARGETS, WEIGHTS]),
    loss("weights sum", [SCORES, TARGETS, WEIGHTS], reduction="sum"),
    loss("weights none", [SCORES, TARGETS, WEIGHTS], reduction="none"),
    loss("smoothing", [SCORES, TARGETS], label_smoothing=0.2),
    loss("smoothing weights", [SCORES, TARGETS, WEIGHTS], label_smoothing=0.2),
    loss("smoothing none", [SCORES, TARGETS, WEIGHTS], label_smoothing=0.2, reduction="none"),
    loss("ignore", [SCORES, exactly([2, 1, 2, 0])], ignore_index=2),
    loss("ignore negative", [SCORES, exactly([2, -100, 2, 0])]),
    loss("ignore all", [SCORES, exactly([2, 1]*2), WEIGHTS], ignore_index=1, label_smoothing=0.3),
    loss("one item", [real(3), exactly(1)]),
    loss("one item none", [real(3), exactly(1)], reduction="none"),
    loss("images", [real(2, 3, 2, 2), labels(2, 2, 2, below=3), WEIGHTS]),
    loss("images none", [real(2, 3, 2), labels(2, 2, below=3)], reduction="none"),
    loss("probabilities", [SCORES, probabilities(4, 3)]),
    loss("probabilities sum", [SCORES, probabilities(4, 3), WEIGHTS], reduction="sum"),
    loss("probabilities none", [SCORES, probabilities(4, 3)], reduction="none"),
    loss("probabilities all", [SCORES, probabilities(4, 3), WEIGHTS], label_smoothing=0.2),
    loss("probabilities images", [real(2, 3, 2), probabilities(2, 3, 2)]),
    loss("no items", [real(0, 3), labels(0, below=3)], reduction="sum"),
]  # fmt: skip


def likelihood(note: str, inputs: list[Input], **settings) -> Case:
    """Negative log-likelihood, one item at a time; a third input is the class weights."""

    def expected(x: np.ndarray, target: np.ndarray, *weight: np.ndarray) -> np.ndarray:
        w = weight[0] if weight else np.ones(x.shape[min(1, x.ndim - 1)], x.dtype)
        losses, total = np.zeros(target.shape, x.dtype), 0.0
        for item in np.ndindex(target.shape):
            chosen = target[item]
            if chosen != settings.get("ignore_index", -100):
                losses[item] = -w[chosen] * x[(*item[:1], chosen, *item[1:])]
                total += w[chosen]
        reduction = settings.get("reduction", "mean")
        if reduction == "none":
            return losses
        return losses.sum() / total if reduction == "mean" else losses.sum()

    return case("nll_loss", inputs, expected, options(**settings), note=note)


LIKELIHOODS = [
    likelihood("", [SCORES, TARGETS]),
    likelihood("sum", [SCORES, TARGETS, WEIGHTS], reduction="sum"),
    likelihood("none", [SCORES, TARGETS, WEIGHTS], reduction="none"),
    likelihood("weights", [SCORES, TARGETS, WEIGHTS]),
    likelihood("ignore", [SCORES, exactly([2, 1, 2, 0]), WEIGHTS], ignore_index=2),
    likelihood("ignore none", [SCORES, exactly([2, -100, 2, 0])], reduction="none"),
    likelihood("one item", [real(3), exactly(1)]),
    likelihood("images", [real(2, 3, 2, 1), labels(2, 2, 1, below=3), WEIGHTS]),
    likelihood("no items", [real(0, 3), labels(0, below=3)], reduction="sum"),
]


def between(*shape: int) -> Input:
    """Away from 0 and 1."""
    return Input(lambda rng: np.asarray(rng.uniform(0.2, 0.8, shape)))


YES_OR_NO = Input(lambda rng: np.array([0.0, 1.0, 1.0]), fixed=True)


def binary(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    return -(t * np.log(x) + (1 - t) * np.log(1 - x))


def logits(x: np.ndarray, t: np.ndarray, p: np.ndarray | float = 1.0) -> np.ndarray:
    yes = 1 / (1 + np.exp(-x))
    return -(p * t * np.log(yes) + (1 - t) * np.log(1 - yes))


def divergence(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    return t * (np.log(t) - x)


SUM, NONE = options(reduction="sum"), options(reduction="none")
BATCHMEAN = options(reduction="batchmean")
BCE, BCE_LOGITS = "binary_cross_entropy", "binary_cross_entropy_with_logits"
ROW = fixed(3, positive=True)


def with_pos_weight(f, x, t, p, **kwargs):
    return f(x, t, pos_weight=p, **kwargs)


def in_logs(f, x, t):
    return f(x, t, reduction="none", log_target=True)


PROBABILITY_LOSSES = [
    case(BCE, [between(2, 3), between(2, 3)], lambda x, t: binary(x, t).mean(), order=3),
    case(BCE, [between(3), YES_OR_NO], binary, NONE, note="none"),
    case(BCE, [between(2, 3), between(2, 3), ROW],
         lambda x, t, w: (binary(x, t) * w).sum(), SUM, note="weight"),
    case(BCE, [between(2, 3), between(2, 3), fixed(2, 1)],
         lambda x, t, w: (binary(x, t) * w).mean(), note="weight mean"),
    case(BCE_LOGITS, [real(2, 3), between(2, 3)], lambda x, t: logits(x, t).mean(), order=3),
    case(BCE_LOGITS, [real(3), YES_OR_NO], logits, NONE, note="none"),
    case(BCE_LOGITS, [real(2, 3), between(2, 3), ROW],
         lambda x, t, w: (logits(x, t) * w).sum(), SUM, note="weight"),
    case(BCE_LOGITS, [real(2, 3), between(2, 3), positive(3)],
         lambda x, t, p: logits(x, t, p).mean(), with_pos_weight, note="pos_weight", torch=False),
    case(BCE_LOGITS, [real(2, 3), between(2, 3), ROW],
         lambda x, t, p: logits(x, t, p).mean(), with_pos_weight, note="pos_weight fixed"),
    # PyTorch warns that this mean is not the divergence
    case("kl_div", [real(2, 3), probabilities(2, 3)],
         lambda x, t: divergence(x, t).mean(), torch=False),
    case("kl_div", [real(2, 3), probabilities(2, 3)], divergence, NONE, order=3, note="none"),
    case("kl_div", [real(2, 2), probabilities(2, 2)],
         lambda x, t: divergence(x, t).sum(), SUM, note="sum"),
    case("kl_div", [real(2, 3), probabilities(2, 3)],
         lambda x, t: divergence(x, t).sum() / 2, BATCHMEAN, note="batchmean"),
    case("kl_div", [real(2, 2), real(2, 2)],
         lambda x, t: np.exp(t) * (t - x), in_logs, note="log_target"),
]  # fmt: skip


def apart(*shape: int) -> Input:
    """Far from the corners at 0 and at +-1 of a difference with values between -0.05 and 0.05."""
    return Input(lambda rng: np.asarray(rng.choice([-2.3, -0.6, -0.3, 0.4, 0.7, 1.9], shape)))


def near_zero(*shape: int) -> Input:
    return Input(lambda rng: np.asarray(rng.uniform(-0.05, 0.05, shape)))


def huber(x: np.ndarray, y: np.ndarray, delta: float = 1.0) -> np.ndarray:
    d = np.abs(x - y)
    return np.where(d < delta, d * d / 2, delta * (d - delta / 2))


def weighted(f, x, y, w):
    return f(x, y, weight=w)


SIX, TARGET, WEIGHT = apart(2, 3), near_zero(2, 3), fixed(2, 3, positive=True)

REGRESSION_LOSSES = [
    case("mse_loss", [real(2, 3), real(2, 3)], lambda x, y: ((x - y) ** 2).mean(), order=3),
    case("mse_loss", [real(2), real(2)], lambda x, y: ((x - y) ** 2).sum(), SUM, note="sum"),
    case("mse_loss", [real(2), real(2)], lambda x, y: (x - y) ** 2, NONE, note="none"),
    case("mse_loss", [real(2, 3), real(2, 3), WEIGHT],
         lambda x, y, w: (w * (x - y) ** 2).sum() / w.sum(), weighted, note="weight"),
    case("l1_loss", [SIX, TARGET], lambda x, y: np.abs(x - y).mean()),
    case("l1_loss", [SIX, TARGET], lambda x, y: np.abs(x - y), NONE, note="none"),
    case("l1_loss", [SIX, TARGET, WEIGHT],
         lambda x, y, w: (w * np.abs(x - y)).sum() / w.sum(), weighted, note="weight"),
    case("huber_loss", [SIX, TARGET], lambda x, y: huber(x, y).mean(), order=3),
    case("huber_loss", [SIX, TARGET], lambda x, y: huber(x, y, 0.5),
         options(reduction="none", delta=0.5), note="none"),
    case("huber_loss", [SIX, TARGET, WEIGHT],
         lambda x, y, w: (w * huber(x, y)).mean(), weighted, note="weight"),
    case("smooth_l1_loss", [SIX, TARGET], lambda x, y: huber(x, y).mean()),
    case("smooth_l1_loss", [SIX, TARGET], lambda x, y: huber(x, y, 0.5).sum() / 0.5,
         options(reduction="sum", beta=0.5), note="sum"),
    case("smooth_l1_loss", [SIX, TARGET], lambda x, y: np.abs(x - y),
         options(reduction="none", beta=0.0), note="beta 0"),
]  # fmt: skip

EMPTY = [
    case(name, [real(0, 3), real(0, 3)], lambda x, t: np.zeros((), x.dtype), SUM, note="empty")
    for name in (BCE, BCE_LOGITS, "huber_loss", "kl_div", "l1_loss", "mse_loss", "smooth_l1_loss")
]

LOSSES = [*CROSS_ENTROPIES, *LIKELIHOODS, *PROBABILITY_LOSSES, *REGRESSION_LOSSES, *EMPTY]
