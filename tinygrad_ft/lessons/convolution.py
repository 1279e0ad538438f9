"""Lesson 6, convolution: its gradients are convolutions."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.lessons.lesson import Case, Lesson, Mistake, case, shapes

TEMPLATE = '''\
"""Lesson 6: y[i, j] = sum over p, q of w[p, q] * x[i + p, j + q], and its way back."""

import numpy as np


def conv_backward(grad, x, w):
    """dL/dx and dL/dw from grad = dL/dy; one image, one channel, no padding."""
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    rows, columns = grad.shape  # of y
    for p in range(w.shape[0]):
        for q in range(w.shape[1]):
            HOLE
    return dx, dw
'''

_WINDOW = "[p : p + rows, q : q + columns]"
_DX = f"dx{_WINDOW} += w[p, q] * grad"
_DW = f"dw[p, q] = (grad * x{_WINDOW}).sum()"
ANSWER = f"{_DX}\n{_DW}"

MISTAKES = (
    Mistake(
        f"dx{_WINDOW} = w[p, q] * grad\n{_DW}",
        "the windows overlap: a pixel is in several of them and gets a gradient from each, so add "
        "(+=)",
    ),
    Mistake(
        f"dx{_WINDOW} += w[-1 - p, -1 - q] * grad\n{_DW}",
        "the kernel is turned once too often: where each output sends its gradient back to its "
        "window, w stays as it is (it looks turned only where each pixel collects)",
    ),
    Mistake(
        f"{_DX}\ndw[-1 - p, -1 - q] = (grad * x{_WINDOW}).sum()",
        "dw is turned around: w[p, q] met x[i + p, j + q] on the way forward, and does so on the "
        "way back",
    ),
    Mistake(
        f"{_DX}\ndw[p, q] = (grad * x{_WINDOW}).mean()",
        "the weight is used at every place of the window, and all of these add up: sum, not mean",
    ),
    Mistake(
        f"{_DX}\ndw[p, q] = grad[0, 0] * x[p, q]",
        "this is the first window alone; the same weight is used at every place, so sum over them",
    ),
    Mistake(
        f"dx[:rows, :columns] += w[p, q] * grad\n{_DW}",
        "w[p, q] looked at the pixels that lie p rows and q columns further: dx has to be shifted "
        "as x was",
    ),
    Mistake(_DX, "dw is still empty: each w[p, q] collects grad times the pixels that it met"),
    Mistake(_DW, "dx is still empty: each grad goes back to the pixels of its window, times w"),
)


def loss(grad: np.ndarray, x: np.ndarray, w: np.ndarray) -> float:
    """sum of grad * y, whose gradient with respect to y is grad."""
    total = 0.0
    for i in range(grad.shape[0]):
        for j in range(grad.shape[1]):
            total += grad[i, j] * (w * x[i : i + w.shape[0], j : j + w.shape[1]]).sum()
    return float(total)


def cases() -> list[Case]:
    rng = np.random.default_rng(6)
    found = []
    for (height, width), (kh, kw) in (((5, 5), (3, 3)), ((4, 6), (2, 3)), ((3, 3), (1, 1))):
        x, w = rng.standard_normal((height, width)), rng.standard_normal((kh, kw))
        grad = rng.standard_normal((height - kh + 1, width - kw + 1))
        found.append(case(loss, (grad, x, w), [1, 2], shapes(x=x, w=w)))
    return found


LESSON = Lesson(
    number=6,
    slug="convolution",
    title="Convolution, whose gradients are convolutions",
    task="Write the two lines inside the loops of `conv_backward(grad, x, w)`: what the weight "
    "w[p, q] adds to `dx`, and its own gradient `dw[p, q]`. One image, one channel, no padding.",
    name="conv_backward",
    arguments=("grad", "x", "w"),
    results=("dx", "dw"),
    template=TEMPLATE,
    answer=ANSWER,
    mistakes=MISTAKES,
    cases=cases,
)
