"""What nobody asked for is not computed and not kept: frozen layers, `grad` of a few inputs."""

import weakref
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

import kernels
import tinygrad_ft as tg
from tinygrad_ft import autograd
from tinygrad_ft.nn import functional as F


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    """How often each kernel is called."""
    counted: Counter = Counter()

    def count(name: str):
        kernel = getattr(kernels, name)

        def counting(*args, **kwargs):
            counted[name] += 1
            return kernel(*args, **kwargs)

        return counting

    for name in (
        "conv2d_forward",
        "conv2d_grad_input",
        "conv2d_grad_weight",
        "matmul",
        "batch_norm_backward",
        "mask_scale",
    ):
        monkeypatch.setattr(kernels, name, count(name))
    return counted


def image(grad: bool = False) -> tg.Tensor:
    return tg.Tensor(np.ones((2, 3, 5, 5)), requires_grad=grad)


def filters(out: int = 3, grad: bool = True) -> tg.Tensor:
    return tg.Tensor(np.full((out, 3, 3, 3), 0.1), requires_grad=grad)


def test_a_frozen_backbone_costs_nothing(calls: Counter) -> None:
    """Two frozen layers below a trained one: no backward kernel runs for them, nothing is kept."""
    hidden = image()
    kept = []
    for _ in range(2):
        hidden = F.conv2d(hidden, filters(grad=False), padding=1).relu()
        hidden = F.batch_norm(hidden, tg.zeros(3).double(), tg.ones(3).double())
        assert hidden.is_leaf
        kept.append(weakref.ref(hidden.data))
    head = filters(2)
    F.conv2d(hidden, head).sum().backward()
    assert calls == {"conv2d_forward": 3, "conv2d_grad_weight": 1}
    assert head.grad is not None
    assert kept[0]() is None, "the activation of a frozen layer is kept"


def test_a_frozen_layer_above_a_trained_one_passes_the_gradient_on(calls: Counter) -> None:
    trained, frozen = filters(), filters(grad=False)
    hidden = F.conv2d(image(), trained, padding=1)
    activation = weakref.ref(hidden.data)
    out = F.conv2d(hidden, frozen, padding=1)
    del hidden
    assert activation() is None, "kept although only the gradient of a frozen weight needs it"
    out.sum().backward()
    assert calls == {"conv2d_forward": 2, "conv2d_grad_input": 1, "conv2d_grad_weight": 1}


def test_the_first_layer_needs_no_gradient_of_the_image(calls: Counter) -> None:
    F.conv2d(image(), filters()).sum().backward()
    assert calls == {"conv2d_forward": 1, "conv2d_grad_weight": 1}
    F.conv2d(image(grad=True), filters(grad=False)).sum().backward()
    assert calls == {"conv2d_forward": 2, "conv2d_grad_weight": 1, "conv2d_grad_input": 1}


def test_matmul_computes_one_gradient_if_one_is_asked(calls: Counter) -> None:
    x = tg.ones(2, 3)
    w = tg.ones(3, 4, requires_grad=True)
    (x @ w).sum().backward()
    assert calls["matmul"] == 2
    out = tg.ones(2, 3, requires_grad=True) @ w
    autograd.grad(out.sum(), w)
    assert calls["matmul"] == 4


@pytest.mark.parametrize("op", [lambda a, b: a * b, lambda a, b: a / b, tg.matmul])
def test_an_operand_is_kept_only_for_the_gradient_of_the_other(op) -> None:
    a = tg.Tensor(np.ones((3, 3)), requires_grad=True) + 0
    b = tg.Tensor(np.ones((3, 3)))
    kept = weakref.ref(a.data)
    out = op(a, b)
    del a
    assert kept() is None
    assert out.requires_grad


def test_grad_runs_only_what_lies_between(calls: Counter) -> None:
    ran = []

    class Spy(autograd.Function):
        def forward(self, x, *, name):
            self.tag = name
            return x + 0

        def backward(self, grad_out):
            ran.append(self.tag)
            return grad_out

    def spy(x: tg.Tensor, name: str) -> tg.Tensor:
        return Spy.apply(x, name=name)

    x, y = tg.ones(1, requires_grad=True), tg.ones(1, requires_grad=True)
    below = spy(x, "below")
    middle = spy(below, "middle")
    side = spy(y, "side")
    loss = spy(middle * side, "top")
    autograd.grad(loss, middle, retain_graph=True)
    assert ran == ["top"]
    ran.clear()
    autograd.grad(loss, below, retain_graph=True)
    assert ran == ["top", "middle"]
    ran.clear()
    autograd.grad(loss, y, retain_graph=True)
    assert ran == ["top", "side"]
    ran.clear()
    autograd.grad(loss, [y, middle], retain_graph=True)
    assert sorted(ran) == ["side", "top"]
    ran.clear()
    loss.backward()
    assert sorted(ran) == ["below", "middle", "side", "top"]


def test_grad_of_the_image_skips_the_gradients_of_the_weights(calls: Counter) -> None:
    x, w = image(grad=True), filters()
    out = F.conv2d(x, w).sum()
    autograd.grad(out, x, retain_graph=True)
    assert calls == {"conv2d_forward": 1, "conv2d_grad_input": 1}
    autograd.grad(out, w)
    assert calls == {"conv2d_forward": 1, "conv2d_grad_input": 1, "conv2d_grad_weight": 1}


def test_asking_for_a_part_leaves_the_node_as_it_was() -> None:
    x, w = image(grad=True), filters()
    out = F.conv2d(x, w)
    autograd.grad(out.sum(), x, retain_graph=True)
    assert out.grad_fn.needs_input_grad == (True, True)


def test_nothing_is_kept_under_no_grad() -> None:
    w = filters()
    hidden = image()
    with tg.no_grad():
        out = F.conv2d(hidden, w).relu()
    kept = weakref.ref(hidden.data)
    del hidden
    assert kept() is None
    assert out.is_leaf


def test_an_op_without_recorded_inputs_makes_no_node() -> None:
    assert (tg.ones(2) * 2).grad_fn is None
    assert (tg.ones(2) * tg.ones(2, requires_grad=True).detach()).is_leaf
