"""What a teacher would point at."""

from collections.abc import Callable

import numpy as np
import pytest
from explain_helpers import explained, network_loss

import tinygrad_ft as tg
from tinygrad_ft import nn
from tinygrad_ft.explain.advice import gradient_flow
from tinygrad_ft.explain.explanation import Explanation


def texts(e: Explanation, kind: str) -> list[str]:
    return [n.text for n in e.notes if n.kind == kind]


def test_nothing_to_say() -> None:
    _, compute = network_loss()
    assert explained(compute).notes == []


def test_dead_units() -> None:
    x = tg.tensor(np.abs(np.random.default_rng(0).standard_normal((6, 2))))
    w = tg.tensor(np.array([[1.0, -1.0, 2.0], [1.0, -2.0, 1.0]]), requires_grad=True)
    (text,) = texts(explained(lambda: tg.relu(x @ w).sum()), "dead")
    assert text.startswith("Dead ReLU: 1 of 3 units of ReLU are 0 for all 6 inputs")


def test_saturated() -> None:
    x = tg.tensor([[9.0, -9.0, 8.0, 0.0]], requires_grad=True)
    (text,) = texts(explained(lambda: tg.sigmoid(x).sum()), "saturated")
    assert "75% of the outputs of Sigmoid" in text
    assert not texts(explained(lambda: tg.sigmoid(x / 9).sum()), "saturated")


@pytest.mark.parametrize(("factor", "kind"), [(1e-2, "vanishing"), (1e2, "exploding"), (1, "")])
def test_norms_along_the_depth(factor: float, kind: str) -> None:
    weights = {f"w{i}": tg.tensor(np.eye(3), requires_grad=True) for i in range(4)}

    def compute() -> tg.Tensor:
        x = tg.tensor(np.ones((2, 3)))
        for w in list(weights.values())[:-1]:
            x = (x @ w) * factor
        return (x / factor**3 @ weights["w3"]).sum() if factor < 1 else (x @ weights["w3"]).sum()

    e = explained(compute, weights)
    assert [v.name for v, _, _ in gradient_flow(e.graph, e.backward)] == ["w0", "w1", "w2", "w3"]
    found = {n.kind for n in e.notes}
    assert found == set()  # all four see the same product of factors

    def uneven() -> tg.Tensor:
        x = tg.tensor(np.ones((2, 3)))
        loss = (x @ weights["w3"]).sum()
        for w in list(weights.values())[:-1]:
            x = tg.tanh(x @ w) * factor
            loss = loss + x.sum()
        return (x @ weights["w0"]).sum() * factor + (x.detach() / factor**3 @ weights["w3"]).sum()

    names = {n.kind for n in explained(uneven, weights).notes} - {"saturated"}
    assert names == ({kind} if kind else set())


def test_parameters_without_a_gradient_and_why() -> None:
    model, compute = network_loss(cut=True)
    nn.freeze(model.bn)
    spare = nn.Linear(2, 2)
    model.spare = spare
    e = explained(compute, {"model": model, "elsewhere": nn.Linear(1, 1)})
    assert texts(e, "frozen") == [
        "No gradient for model.bn.weight, model.bn.bias: frozen: requires_grad is off, so nothing "
        "asks for their gradient."
    ]
    assert texts(e, "detached")[0].startswith(
        "No gradient for model.conv.weight, model.conv.bias: cut off"
    )
    assert texts(e, "unused")[0].startswith(
        "No gradient for model.spare.weight, model.spare.bias: not"
    )
    assert not any("elsewhere" in n.text for n in e.notes)


def test_under_no_grad_counts_as_cut_off() -> None:
    w = tg.tensor([2.0], requires_grad=True)
    v = tg.tensor([3.0], requires_grad=True)

    def compute() -> tg.Tensor:
        with tg.no_grad():
            hidden = w * 5
        return (hidden * v).sum()

    assert texts(explained(compute, {"w": w, "v": v}), "detached")[0].startswith(
        "No gradient for w:"
    )


@pytest.mark.parametrize(
    ("compute", "first"),
    [
        (lambda x: (tg.log(x - 1) * 2).sum(), "Log is the first to give NaN or infinity."),
        (lambda x: tg.sqrt(x - 1).sum(), "The backward of Sqrt is the first to give"),
    ],
)
def test_not_finite(compute: Callable[[tg.Tensor], tg.Tensor], first: str) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    (text,) = texts(explained(lambda: compute(x)), "nan")
    assert text.startswith(first)
