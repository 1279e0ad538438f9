"""Lesson 4, broadcasting and its transpose: summing a gradient over the copies."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.lessons.lesson import Case, Lesson, Mistake, finite_differences

TEMPLATE = '''\
"""Lesson 4: an array was broadcast; bring its gradient back to its own shape."""

import numpy as np


def unbroadcast(grad, shape):
    """The gradient of an array of `shape` from that of its broadcast copy."""
    HOLE
'''

ANSWER = """\
new = grad.ndim - len(shape)
grad = grad.sum(axis=tuple(range(new)))
stretched = tuple(i for i, n in enumerate(shape) if n == 1)
return grad.sum(axis=stretched, keepdims=True)"""

MISTAKES = (
    Mistake(
        "new = grad.ndim - len(shape)\nreturn grad.sum(axis=tuple(range(new)))",
        "the axes that broadcasting put in front are summed; the ones of length 1 that it "
        "stretched are still to be",
    ),
    Mistake(
        "new = grad.ndim - len(shape)\n"
        "grad = grad.sum(axis=tuple(range(new)))\n"
        "return grad.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1))",
        "the stretched axes are summed, but they are gone from the shape: keep them with length 1 "
        "(keepdims=True)",
    ),
    Mistake(
        "new = grad.ndim - len(shape)\n"
        "grad = grad.mean(axis=tuple(range(new)))\n"
        "return grad.mean(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)",
        "every copy adds its own change to the loss: the gradients add up, they are not averaged",
    ),
    Mistake(
        "new = grad.ndim - len(shape)\n"
        "grad = grad[(0,) * new]\n"
        "return grad[tuple(slice(0, n) for n in shape)]",
        "this is the gradient of the first copy alone; every copy counts, so sum over them",
    ),
    Mistake(
        "return np.resize(grad, shape)",
        "cutting the array to size drops most of the gradient; sum over the axes that were copied",
    ),
    Mistake(
        "return np.full(shape, grad.sum())",
        "sum only over the axes that were copied; the others keep their own gradients",
    ),
    Mistake("return grad", "this is the gradient of the copies, in their shape"),
)

SHAPES = (
    ((3, 4), (4,)),
    ((3, 4), (3, 1)),
    ((2, 3, 4), (3, 1)),
    ((2, 3), ()),
    ((2, 1, 3), (1, 3)),
    ((2, 3), (2, 3)),
)


def loss(x: np.ndarray, grad: np.ndarray) -> float:
    """sum of grad * copies, whose gradient with respect to the copies is grad."""
    return float((np.broadcast_to(x, grad.shape) * grad).sum())


def cases() -> list[Case]:
    rng = np.random.default_rng(4)
    found = []
    for large, small in SHAPES:
        x, grad = rng.standard_normal(small), rng.standard_normal(large)
        expected = finite_differences(loss, (x, grad), [0])
        found.append(Case((grad, small), expected, f"{small} broadcast to {large}"))
    return found


LESSON = Lesson(
    number=4,
    slug="broadcasting",
    title="Broadcasting and its transpose",
    task="Write `unbroadcast(grad, shape)`: an array of `shape` was broadcast to `grad.shape`, and "
    "`grad` is the gradient of the copies. Give the gradient of the array itself, in `shape`.",
    name="unbroadcast",
    arguments=("grad", "shape"),
    results=("the gradient",),
    template=TEMPLATE,
    answer=ANSWER,
    mistakes=MISTAKES,
    cases=cases,
)
