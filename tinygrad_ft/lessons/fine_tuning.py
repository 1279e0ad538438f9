"""Lesson 9, fine-tuning: the gradient of the new head, on features that stay as they are."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.lessons.lesson import Case, Lesson, Mistake, case, shapes

TEMPLATE = '''\
"""Lesson 9: with a frozen backbone only the head learns: softmax and cross-entropy, by hand."""

import numpy as np


def head_backward(features, W, b, labels):
    """dL/dW and dL/db of L = the mean over the examples of -log p[label].

    features (N, D) come from the frozen backbone; W (classes, D), b (classes), labels (N).
    """
    logits = features @ W.T + b
    HOLE
    return dW, db
'''


def _answer(
    shifted: str = "logits - logits.max(axis=1, keepdims=True)",
    delta: str = "(p - target) / len(labels)",
    ends: str = "dW = delta.T @ features\ndb = delta.sum(axis=0)",
) -> str:
    return (
        f"e = np.exp({shifted})\n"
        "p = e / e.sum(axis=1, keepdims=True)\n"
        "target = np.eye(len(b))[labels]\n"
        f"delta = {delta}\n"
        f"{ends}"
    )


ANSWER = _answer()

MISTAKES = (
    Mistake(
        _answer(delta="p - target"),
        "the loss is the mean over the examples, so each of them counts 1 / N: divide by "
        "len(labels)",
    ),
    Mistake(
        _answer(delta="(target - p) / len(labels)"),
        "the sign is wrong: with more probability on a wrong class the loss grows, so it is "
        "p - target",
    ),
    Mistake(
        _answer(delta="p / len(labels)"),
        "1 is missing at the right class: the gradient of the logits is p - target, with the "
        "labels as one-hot rows",
    ),
    Mistake(
        _answer(delta="(logits - target) / len(labels)"),
        "the logits are no probabilities yet: softmax comes first",
    ),
    Mistake(
        _answer(shifted="logits"),
        "exp of a large logit overflows; softmax stays the same if the largest logit of each row "
        "is taken away first",
    ),
    Mistake(
        _answer(ends="dW = features.T @ delta\ndb = delta.sum(axis=0)"),
        "dW has to have the shape of W, (classes, D): delta.T @ features",
    ),
    Mistake(
        _answer(ends="dW = delta.T @ features\ndb = delta.mean(axis=0)"),
        "the 1 / N is in delta already; b is added to every example, so its gradient is the sum",
    ),
    Mistake(
        _answer(delta="-target / p / len(labels)"),
        "this is the gradient of the probabilities; on through the softmax it becomes p - target",
    ),
)


def loss(features: np.ndarray, W: np.ndarray, b: np.ndarray, labels: np.ndarray) -> float:
    logits = features @ W.T + b
    top = logits.max(axis=1, keepdims=True)
    log_p = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return float(-log_p[np.arange(len(labels)), labels].mean())


def cases() -> list[Case]:
    rng = np.random.default_rng(9)
    found = []
    for n, d, classes, scale in ((3, 3, 3, 1.0), (4, 2, 3, 1.0), (2, 3, 4, 400.0)):
        features, W = rng.standard_normal((n, d)), rng.standard_normal((classes, d)) * scale
        labels = rng.integers(0, classes, n)
        about = shapes(features=features, W=W) + ", large logits" * (scale > 1)
        arguments = (features, W, rng.standard_normal(classes), labels)
        found.append(case(loss, arguments, [1, 2], about))
    return found


LESSON = Lesson(
    number=9,
    slug="fine_tuning",
    title="Pretraining and fine-tuning",
    task="The backbone is frozen and its features are given. Write the rest of "
    "`head_backward(features, W, b, labels)`: the gradients of the head's weight and bias for the "
    "mean cross-entropy. Large logits must not overflow.",
    name="head_backward",
    arguments=("features", "W", "b", "labels"),
    results=("dW", "db"),
    template=TEMPLATE,
    answer=ANSWER,
    mistakes=MISTAKES,
    cases=cases,
)
