"""Built-in computations to explain: small, real, each with something of its own to see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_ft as tg
from tinygrad_ft import nn, optim
from tinygrad_ft.explain.explanation import Explanation, explanation_of
from tinygrad_ft.explain.recording import recording
from tinygrad_ft.nn import functional as F
from tinygrad_ft.tensor import Tensor


class Run(NamedTuple):
    """What an example computed: the loss, the names of its tensors, and who takes the step."""

    loss: Tensor
    variables: dict[str, Any]
    optimizer: optim.Optimizer | None = None


class Example(NamedTuple):
    title: str
    text: str
    run: Callable[[], Run]


def layer() -> Run:
    x = tg.tensor(np.array([1.0, 2.0]))
    W = tg.tensor(np.array([[0.5, -0.25], [0.75, 1.0]]), requires_grad=True)
    b = tg.tensor(np.array([0.1, -0.2]), requires_grad=True)
    t = tg.tensor(np.array([1.0, 0.0]))
    z = W @ x + b
    a = tg.sigmoid(z)
    loss = ((a - t) ** 2).sum() / 2
    return Run(
        loss,
        {"x": x, "W": W, "b": b, "t": t, "z": z, "a": a, "loss": loss},
        optim.SGD([W, b], lr=0.5),
    )


def shared() -> Run:
    a = tg.tensor(np.array(2.0), requires_grad=True)
    b = tg.tensor(np.array(-3.0), requires_grad=True)
    c = a * b
    d = c + a
    loss = d * c
    return Run(loss, {"a": a, "b": b, "c": c, "d": d, "loss": loss})


def moons() -> Run:
    from sklearn.datasets import make_moons

    points, sides = make_moons(60, noise=0.15, random_state=0)
    x, y = tg.tensor(points).float(), tg.tensor(sides)
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    scores = model(x)
    loss = nn.CrossEntropyLoss()(scores, y)
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    return Run(loss, {"model": model, "x": x, "scores": scores, "loss": loss}, optimizer)


def _digits(count: int, size: int) -> tuple[Tensor, Tensor]:
    from tinygrad_ft.data.embedded import digits

    images, labels = digits(size).get_batch(np.arange(count))
    x = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    return tg.tensor(x), tg.tensor(labels)


def cnn() -> Run:
    image, label = _digits(1, 16)
    tg.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    scores = model(image)
    loss = nn.CrossEntropyLoss()(scores, label)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Run(loss, {"model": model, "image": image, "scores": scores, "loss": loss}, optimizer)


class Block(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + x)"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + x)


def residual() -> Run:
    image, label = _digits(8, 12)
    tg.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), Block(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 10),
    )  # fmt: skip
    loss = nn.CrossEntropyLoss()(model(image), label)
    return Run(loss, {"model": model, "image": image, "loss": loss})


def finetune() -> Run:
    from tinygrad_ft.models import create_model

    image, label = _digits(8, 16)
    tg.manual_seed(0)
    model = create_model("resnet8", num_classes=10, in_chans=1, width=4)
    for name, part in model.named_children():
        if name != "linear":
            nn.freeze(part)
    loss = nn.CrossEntropyLoss()(model(image), label)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    return Run(loss, {"model": model, "image": image, "loss": loss}, optimizer)


EXAMPLES = {
    "layer": Example("One layer by hand", "z = Wx + b, a = sigmoid(z), L = sum (a - t)² / 2, in "
                     "numbers that can be checked on paper; then one step of SGD.", layer),
    "shared": Example("A value that is used twice", "c = a · b goes two ways, and so does a. What "
                      "comes back on both is added up.", shared),
    "moons": Example("A small network on two moons", "Three linear layers, 60 points, "
                     "cross-entropy, and one step of AdamW.", moons),
    "cnn": Example("Two convolutions and one digit", "Windows over the image, maps, pooling, "
                   "scores; and back to every pixel and weight.", cnn),
    "residual": Example("A residual block", "The gradient goes back through the block and past it; "
                        "the two are added where the paths part.", residual),
    "finetune": Example("Fine-tuning with a frozen backbone", "The backbone runs forward only: no "
                        "gradient enters it, and only the head moves.", finetune),
}  # fmt: skip


def explain_example(name: str) -> Explanation:
    """Compute a built-in example, recorded, and explain it."""
    example = EXAMPLES[name]
    with recording() as recorded:
        run = example.run()
    return explanation_of(
        run.loss,
        recorded,
        title=example.title,
        text=example.text,
        variables=run.variables,
        optimizer=run.optimizer,
    )
