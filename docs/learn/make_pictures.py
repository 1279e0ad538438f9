"""Draws the pictures of the lessons: `python docs/learn/make_pictures.py`.

The background is transparent and every colour is of medium lightness, so that the pictures can be
read on white and on black. Text becomes outlines: it looks the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

FOLDER = Path(__file__).parent / "pictures"

GREY = "#808894"
BLUE = "#3b82f6"
ORANGE = "#e07b10"
GREEN = "#1fa35a"
RED = "#e5484d"

STYLE = {
    "svg.hashsalt": "lessons",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "text.color": GREY,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def canvas(width: float, height: float) -> Axes:
    """An empty picture whose units are those of its size, 1 = an inch."""
    axes = plt.figure(figsize=(width, height)).add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return axes


def box(
    axes: Axes, x: float, y: float, text: str, colour: str = GREY, width: float = 1.1, **more: Any
) -> None:
    """A rounded box around (x, y)."""
    height = more.pop("height", 0.55)
    place = (x - width / 2, y - height / 2)
    shape = FancyBboxPatch(
        place, width, height, boxstyle="round,pad=0,rounding_size=0.12", ec=colour, fc="none", lw=2
    )
    axes.add_patch(shape)
    axes.text(x, y, text, ha="center", va="center", color=colour, weight="bold", **more)


def arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str = GREY,
    bend: float = 0.0,
) -> None:
    shape = FancyArrowPatch(
        start,
        end,
        arrowstyle="-|>",
        mutation_scale=16,
        color=colour,
        lw=2,
        connectionstyle=f"arc3,rad={bend}",
        shrinkA=0,
        shrinkB=0,
    )
    axes.add_patch(shape)


def cells(
    axes: Axes,
    x: float,
    y: float,
    values: np.ndarray,
    colour: str = GREY,
    size: float = 0.45,
    marked: Callable[[int, int], str | None] = lambda i, j: None,
) -> None:
    """A matrix with its upper left corner at (x, y); `marked` gives a cell's colour."""
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            found = marked(i, j)
            shape = Rectangle(
                (x + j * size, y - (i + 1) * size),
                size,
                size,
                fc=found or "none",
                ec=colour,
                lw=1.2,
                alpha=0.35 if found else 1,
            )
            axes.add_patch(shape)
            axes.add_patch(
                Rectangle(shape.get_xy(), size, size, fc="none", ec=found or colour, lw=1.4)
            )
            axes.text(
                x + (j + 0.5) * size,
                y - (i + 0.5) * size,
                str(value),
                ha="center",
                va="center",
                color=found or colour,
                weight="bold" if found else "normal",
                size=10.5,
            )


def chain_rule() -> None:
    axes = canvas(7.4, 2.3)
    for x, name in ((0.8, "x"), (3.7, "u = g(x)"), (6.5, "y = f(u)")):
        box(axes, x, 1.15, name, BLUE, 1.3)
    for start, end, slope in ((1.45, 3.05, "g'(x)"), (4.35, 5.85, "f'(u)")):
        arrow(axes, (start, 1.25), (end, 1.25))
        arrow(axes, (end, 1.02), (start, 1.02), ORANGE)
        axes.text((start + end) / 2, 0.62, f"× {slope}", ha="center", color=ORANGE, weight="bold")
    axes.text(3.7, 1.95, "forward: values", ha="center")
    axes.text(
        3.7, 0.12, "backward: slopes multiply,  dy/dx = f'(u) · g'(x)", ha="center", color=ORANGE
    )


def graph() -> None:
    axes = canvas(7.4, 3.1)
    places = {"a": (1.0, 2.35), "b": (1.0, 0.75), "s": (3.6, 1.55), "y": (6.2, 1.55)}
    texts = {"a": "a = 2", "b": "b = 3", "s": "a + b = 5", "y": "y = 7"}
    for name, (x, y) in places.items():
        box(axes, x, y, texts[name], BLUE if name in "ab" else GREY, 1.4)
    arrow(axes, (1.7, 2.2), (2.9, 1.75))
    arrow(axes, (1.7, 0.9), (2.9, 1.35))
    arrow(axes, (4.3, 1.55), (5.5, 1.55))
    arrow(axes, (1.7, 2.5), (6.1, 1.9), bend=-0.22)
    for (x, y), text in {
        (6.2, 1.0): "gradient 1",
        (3.6, 1.0): "gradient 1",
        (1.0, 0.22): "gradient 1",
        (1.0, 2.82): "gradient 1 + 1 = 2",
    }.items():
        axes.text(x, y, text, ha="center", va="center", color=ORANGE, weight="bold")
    axes.text(4.9, 2.62, "a is used twice", ha="left", va="center")


def layer() -> None:
    axes = canvas(8.2, 2.2)
    axes.set_ylim(0.75, 2.95)
    for x, y, text, colour in (
        (0.75, 1.75, "x", BLUE),
        (2.75, 1.75, "z = W x + b", GREY),
        (5.05, 1.75, "a = f(z)", GREY),
        (7.35, 1.75, "L", GREY),
        (2.05, 2.6, "W", BLUE),
        (3.45, 2.6, "b", BLUE),
    ):
        width = 1.6 if "=" in text else 0.75
        box(axes, x, y, text, colour, width, height=0.45)
    arrow(axes, (1.15, 1.85), (1.92, 1.85))
    arrow(axes, (3.57, 1.85), (4.22, 1.85))
    arrow(axes, (5.87, 1.85), (6.95, 1.85))
    arrow(axes, (2.1, 2.36), (2.35, 2.0))
    arrow(axes, (3.4, 2.36), (3.15, 2.0))
    for start, end in (
        ((6.95, 1.65), (5.87, 1.65)),
        ((4.22, 1.65), (3.57, 1.65)),
        ((1.92, 1.65), (1.15, 1.65)),
    ):
        arrow(axes, start, end, ORANGE)
    for x, y, text in (
        (6.42, 1.2, "delta = a − t"),
        (4.05, 1.2, "delta_z =\ndelta · f'(z)"),
        (1.35, 1.2, "dx = Wᵀ delta_z"),
        (0.85, 2.6, "dW = delta_z xᵀ"),
        (4.55, 2.6, "db = delta_z"),
    ):
        axes.text(x, y, text, ha="center", va="center", color=ORANGE, weight="bold", size=11)


def broadcasting() -> None:
    axes = canvas(8.2, 2.6)
    b = np.array([[5, 7, 1]])
    axes.text(1.0, 2.35, "forward: copy", ha="left", weight="bold", color=BLUE)
    cells(axes, 0.3, 1.6, b, BLUE)
    arrow(axes, (1.8, 1.38), (2.35, 1.38), BLUE)
    cells(axes, 2.5, 2.05, np.repeat(b, 3, axis=0), BLUE)
    axes.text(5.2, 2.35, "backward: sum", ha="left", weight="bold", color=ORANGE)
    cells(axes, 4.5, 2.05, np.array([[1, 0, 2], [3, 1, 0], [0, 2, 4]]), ORANGE)
    arrow(axes, (6.0, 1.38), (6.5, 1.38), ORANGE)
    cells(axes, 6.65, 1.6, np.array([[4, 3, 6]]), ORANGE)
    axes.text(0.98, 0.85, "b (3,)", ha="center")
    axes.text(3.18, 0.4, "copies (3, 3)", ha="center")
    axes.text(5.18, 0.4, "their gradients", ha="center")
    axes.text(7.33, 0.85, "gradient of b", ha="center")


def matrix_product() -> None:
    axes = canvas(8.2, 3.3)
    size = 0.38
    a, b = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[1, 0], [0, 1], [2, 2]])
    cells(axes, 0.4, 1.35, a, size=size, marked=lambda i, j: BLUE if i == 1 else None)
    cells(axes, 1.85, 2.8, b, size=size, marked=lambda i, j: GREEN if j == 0 else None)
    cells(
        axes, 1.85, 1.35, a @ b, size=size, marked=lambda i, j: ORANGE if (i, j) == (1, 0) else None
    )
    axes.text(0.97, 1.5, "a (M, K)", ha="center")
    axes.text(2.23, 2.95, "b (K, N)", ha="center")
    axes.text(2.75, 0.95, "out (M, N)", ha="left", va="center")
    axes.text(1.7, 0.22, "16 = 4·1 + 5·0 + 6·2", ha="center", color=ORANGE, weight="bold")
    x = 4.7
    for y, left, right, name, shape in (
        (2.3, "grad", "bᵀ", "grad_a", "(M, N) @ (N, K) = (M, K)"),
        (1.0, "aᵀ", "grad", "grad_b", "(K, M) @ (M, N) = (K, N)"),
    ):
        box(axes, x + 0.35, y, left, ORANGE if left == "grad" else BLUE, 0.9)
        axes.text(x + 1.0, y, "@", ha="center", va="center", weight="bold")
        box(axes, x + 1.6, y, right, ORANGE if right == "grad" else GREEN, 0.9)
        axes.text(x + 2.2, y, "=", ha="center", va="center", weight="bold")
        box(axes, x + 2.9, y, name, ORANGE, 1.05)
        axes.text(x + 1.6, y - 0.55, shape, ha="center", va="center", size=11)


def convolution() -> None:
    def window(i: int, j: int) -> str | None:
        return BLUE if i in (1, 2) and j in (1, 2) else None

    def middle(i: int, j: int) -> str | None:
        return ORANGE if (i, j) == (1, 1) else None

    axes = canvas(8.2, 3.0)
    size = 0.38
    image = np.array([[1, 2, 0, 1], [0, 1, 3, 2], [2, 0, 1, 1], [1, 1, 0, 2]])
    w = np.array([["p", "q"], ["r", "s"]])

    cells(axes, 0.25, 2.35, image, size=size, marked=window)
    cells(axes, 2.05, 1.98, w, BLUE, size=size)
    arrow(axes, (2.88, 1.6), (3.2, 1.6))
    out = np.array([["", "", ""], ["", "y", ""], ["", "", ""]])
    cells(axes, 3.3, 2.17, out, size=size - 0.02, marked=middle)
    axes.text(2.2, 2.72, "forward", ha="center", weight="bold", color=BLUE)
    axes.text(2.2, 0.4, "y = p·1 + q·3 + r·0 + s·1", ha="center")

    cells(axes, 4.95, 2.17, np.where(out == "y", "g", ""), size=size - 0.02, marked=middle)
    arrow(axes, (6.12, 1.6), (6.45, 1.6), ORANGE)
    back = np.full((4, 4), "", object)
    back[1, 1:3], back[2, 1:3] = ["gp", "gq"], ["gr", "gs"]
    cells(axes, 6.5, 2.35, back, size=size, marked=lambda i, j: ORANGE if window(i, j) else None)
    axes.text(6.4, 2.72, "backward", ha="center", weight="bold", color=ORANGE)
    axes.text(
        6.4,
        0.4,
        "to the image: + g · window\nto the window: + g · pixels",
        ha="center",
        va="center",
    )


def batch_norm() -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(4, 1.2, 500), rng.normal(8, 0.9, 250)])
    _, (left, right) = plt.subplots(1, 2, figsize=(8.2, 2.7), layout="constrained")
    for axes, values, colour, title in (
        (left, x, BLUE, "before"),
        (right, (x - x.mean()) / x.std(), ORANGE, "after: mean 0, variance 1"),
    ):
        axes.hist(values, bins=18, color=colour, alpha=0.75)
        axes.axvline(values.mean(), color=GREY, lw=2, ls="--")
        axes.set_title(title, color=colour, weight="bold")
        axes.set(xlim=(-4, 12), yticks=[])
        axes.spines["left"].set_visible(False)


def residual() -> None:
    """The experiment of the lesson."""
    import tinygrad_ft as tg

    def norms(with_plus: bool, depth: int = 20, width: int = 64) -> list[float]:
        rng = np.random.default_rng(0)
        states = [tg.tensor(rng.standard_normal((8, width)), requires_grad=True)]
        for _ in range(depth):
            w = tg.tensor(rng.standard_normal((width, width)) / np.sqrt(width) / 4)
            new = tg.relu(states[-1] @ w)
            states.append(states[-1] + new if with_plus else new)
        loss = (states[-1] * tg.tensor(rng.standard_normal((8, width)))).sum()
        found = tg.autograd.grad(loss, states)
        return [float(np.linalg.norm(g.numpy())) for g in found if g is not None]

    _, axes = plt.subplots(figsize=(7.4, 3.0), layout="constrained")
    for with_plus, colour, name in ((True, GREEN, "y = x + F(x)"), (False, RED, "y = F(x)")):
        found = norms(with_plus)
        axes.semilogy(found, color=colour, lw=2.5, marker="o", ms=4)
        axes.text(1.2, found[1] * (30 if with_plus else 3e3), name, color=colour, weight="bold")
    axes.set(
        xlabel="layer (0 is the input)", ylabel="length of the gradient", xticks=range(0, 21, 5)
    )
    axes.set_ylim(1e-15, 1e6)


def fine_tuning() -> None:
    axes = canvas(8.2, 2.9)
    stages = ["stem", "layer1", "layer2", "layer3", "head"]
    rows = [(2.15, "--freeze backbone", 4), (1.35, "--freeze 3", 3), (0.55, "--freeze none", 0)]
    for y, name, frozen in rows:
        axes.text(0.1, y, name, va="center", size=11, weight="bold")
        for i, stage in enumerate(stages):
            box(axes, 2.75 + 1.18 * i, y, stage, GREY if i < frozen else ORANGE, 1.0, height=0.46)
    axes.text(2.25, 2.65, "stands still", color=GREY, weight="bold")
    axes.text(7.97, 2.65, "learns", color=ORANGE, weight="bold", ha="right")


def memory_order() -> None:
    axes = canvas(8.2, 2.6)
    size = 0.3
    blank = np.full((5, 10), "")
    axes.text(1.85, 2.3, "down a column", ha="center", weight="bold", color=RED)
    axes.text(6.2, 2.3, "along a row", ha="center", weight="bold", color=GREEN)
    cells(axes, 0.35, 2.1, blank, size=size, marked=lambda i, j: RED if j == 2 else None)
    cells(axes, 4.7, 2.1, blank, size=size, marked=lambda i, j: GREEN if i == 1 else None)
    axes.text(1.85, 0.25, "a new cache line for every number", ha="center")
    axes.text(6.2, 0.25, "16 numbers of every cache line", ha="center")


def register_tile() -> None:
    axes = canvas(8.2, 2.9)
    for j, name in enumerate(("vector of b", "vector of b")):
        box(axes, 3.6 + 2.5 * j, 2.5, name, GREEN, 2.3, height=0.42)
    for i in range(4):
        y = 1.9 - 0.5 * i
        box(axes, 1.2, y, f"a[{i}, k]", BLUE, 1.3, height=0.4)
        axes.text(2.15, y, "×", ha="center", va="center", weight="bold")
        for j in range(2):
            box(
                axes,
                3.6 + 2.5 * j,
                y,
                f"s{2 * i + j} += a[{i}, k] · b",
                ORANGE,
                2.3,
                height=0.4,
                size=10.5,
            )


PICTURES = {
    picture.__name__: picture
    for picture in (
        chain_rule,
        graph,
        layer,
        broadcasting,
        matrix_product,
        convolution,
        batch_norm,
        residual,
        fine_tuning,
        memory_order,
        register_tile,
    )
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with plt.rc_context(STYLE):
        for name, draw in PICTURES.items():
            draw()
            plt.savefig(FOLDER / f"{name}.svg", transparent=True, metadata={"Date": None})
            plt.close()


if __name__ == "__main__":
    main()
