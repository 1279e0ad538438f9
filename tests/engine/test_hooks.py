"""Hooks and retained gradients: what is seen, what is replaced, to any order, and no more."""

import copy
import gc
import weakref

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import autograd


def leaf(*values: float) -> tg.Tensor:
    array = np.array(values[0] if len(values) == 1 else values, np.float64)
    return tg.Tensor(array, requires_grad=True)


def test_a_hook_of_a_leaf_sees_the_whole_gradient_once_per_backward() -> None:
    x, seen = leaf(3.0), []
    x.register_hook(lambda g: seen.append(g.item()))
    (x * x + x).backward()  # three paths
    assert seen == [7]
    (x * 2).backward()
    assert seen == [7, 2]
    assert x.grad.item() == 9
    autograd.grad(x * x, x)
    assert seen == [7, 2, 6]


def test_a_hook_of_a_result_sees_the_whole_gradient_and_what_it_gives_goes_on() -> None:
    x, seen = leaf(2.0), []
    y = x * 3
    y.register_hook(lambda g: seen.append(g.item()))
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: seen.append(g.item()))
    (y * y).backward()
    assert seen == [12, 120]  # in the order they were registered
    assert x.grad.item() == 360


def test_a_hook_of_a_leaf_may_replace_what_is_accumulated() -> None:
    x = leaf(1.0, 5.0)
    x.register_hook(lambda g: g.clamp(-1, 1))
    (x * x).sum().backward()
    assert x.grad.tolist() == [1, 1]
    assert autograd.grad((x * x).sum(), x)[0].tolist() == [1, 1]
    assert x.grad.tolist() == [1, 1]


def test_grad_gives_the_gradient_of_a_result_after_its_hooks() -> None:
    x = leaf(2.0)
    y = x * 3
    y.register_hook(lambda g: g * 10)
    assert [g.item() for g in autograd.grad(y * y, [y, x])] == [120, 360]


def test_a_hook_is_not_called_off_the_way() -> None:
    x, w, seen = leaf(2.0), leaf(3.0), []
    y = x * 2
    y.register_hook(lambda g: seen.append("y"))
    w.register_hook(lambda g: seen.append("w"))
    autograd.grad(y * w, w)
    assert seen == ["w"]


def test_one_output_of_several() -> None:
    x, seen = leaf(1.0, 2.0, 3.0), []
    first, second = x.split([1, 2])
    second.register_hook(lambda g: seen.append(g.tolist()))
    first.sum().backward(retain_graph=True)
    assert seen == []
    (second * 2).sum().backward()
    assert seen == [[2, 2]]


def test_remove() -> None:
    x, seen = leaf(2.0), []
    for tensor in (x, x * 2):
        handle = tensor.register_hook(lambda g: seen.append(1))
        tensor.backward(retain_graph=True)
        handle.remove()
        handle.remove()
        tensor.backward()
    assert seen == [1, 1]


def test_a_hook_that_removes_itself() -> None:
    x, seen = leaf(2.0), []

    def once(gradient: tg.Tensor) -> None:
        seen.append(gradient.item())
        handle.remove()

    handle = x.register_hook(once)
    x.register_hook(lambda g: seen.append(-g.item()))
    (x * 1).backward()
    (x * 1).backward()
    assert seen == [1, -1, -1]


@pytest.mark.parametrize("of", ["leaf", "result"])
def test_gradients_through_a_hook_are_right_to_any_order(of: str) -> None:
    """The hook makes y' = f'(x)^2 of f = x^4; its derivatives are those of 16 x^6."""
    x = leaf(1.5)
    source = x if of == "leaf" else x * 1
    source.register_hook(lambda g: g * g)
    (first,) = autograd.grad(source**4, source if of == "leaf" else x, create_graph=True)
    np.testing.assert_allclose(first.item(), 16 * 1.5**6)
    # from here on without the hook: it would see the gradients of gradients as well
    source._watched.hooks.clear() if of == "leaf" else source.grad_fn.watched.clear()
    (second,) = autograd.grad(first, x, create_graph=True)
    (third,) = autograd.grad(second, x)
    np.testing.assert_allclose([second.item(), third.item()], [96 * 1.5**5, 480 * 1.5**4])


def test_a_hook_runs_recorded_only_with_create_graph() -> None:
    modes: list[bool] = []
    x = leaf(1.0)
    x.register_hook(lambda g: modes.append(tg.is_grad_enabled()))
    (x * x).backward()
    autograd.grad(x * x, x, create_graph=True)
    assert modes == [False, True]


def test_a_gradient_cannot_be_changed_in_place_by_a_hook() -> None:
    """One array may be the gradient of several tensors."""
    x, y = leaf(1.0), leaf(2.0)
    x.register_hook(lambda g: g.mul_(10))
    with pytest.raises(RuntimeError, match=r"mul_: .*read-only.*clone"):
        (x + y).backward()
    assert x.grad is None
    assert y.grad is None


def test_what_a_hook_keeps_does_not_change_later() -> None:
    x, kept = leaf(1.0, 2.0), []
    x.register_hook(kept.append)
    for _ in range(2):
        (x * 3 + x).sum().backward()
        with tg.no_grad():
            x.grad.mul_(5)
    assert [k.tolist() for k in kept] == [[4, 4], [4, 4]]


@pytest.mark.parametrize("of", ["leaf", "result"])
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda g: 1.0, TypeError, "hook: must return a Tensor or None, not float"),
        (lambda g: tg.zeros(3, dtype=np.float64), ValueError, r"hook: returned shape \(3,\)"),
        (lambda g: g.float(), ValueError, r"dtype float32 .* float64"),
        (lambda g: 1 / 0, ZeroDivisionError, "division"),
    ],
)
def test_a_wrong_hook_leaves_every_grad_alone(wrong, error, message: str, of: str) -> None:
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    product = x * y
    (product if of == "result" else x).register_hook(wrong)
    with pytest.raises(error, match=message):
        product.sum().backward()
    assert x.grad is None
    assert y.grad is None


def test_tensors_without_a_gradient_have_no_hooks() -> None:
    for tensor in (tg.ones(2), tg.tensor([1]), leaf(1.0).detach()):
        with pytest.raises(RuntimeError, match=r"register_hook: .* does not require grad"):
            tensor.register_hook(print)
        with pytest.raises(RuntimeError, match=r"retain_grad: .* does not require grad"):
            tensor.retain_grad()


def test_copies_have_no_hooks() -> None:
    x, seen = leaf(1.0), []
    x.register_hook(lambda g: seen.append(1))
    copy.deepcopy(x).backward()
    assert seen == []


# ---- retain_grad ---------------------------------------------------------------------------------


def test_retain_grad() -> None:
    x = leaf(2.0)
    y = x * 3
    z = y * y
    y.retain_grad()
    y.retain_grad()
    z.retain_grad()
    x.retain_grad()  # a leaf does anyway
    assert (x.retains_grad, y.retains_grad, z.retains_grad) == (False, True, True)
    assert not (y * 1).retains_grad
    z.backward(retain_graph=True)
    assert (x.grad.item(), y.grad.item(), z.grad.item()) == (36, 12, 1)
    z.backward()
    assert (x.grad.item(), y.grad.item(), z.grad.item()) == (72, 24, 2)


def test_a_retained_gradient_is_that_after_the_hooks_and_owns_its_memory() -> None:
    x = leaf(1.0, 2.0)
    y = x + 0
    y.retain_grad()
    y.register_hook(lambda g: g * 2)
    y.sum().backward()
    with tg.no_grad():
        y.grad.mul_(100)
    assert y.grad.tolist() == [200, 200]
    assert x.grad.tolist() == [2, 2]


def test_grad_touches_no_retained_gradient() -> None:
    x = leaf(2.0)
    y = x * 3
    y.retain_grad()
    autograd.grad(y * y, x)
    assert y.grad is None


def test_a_retained_gradient_can_be_differentiated() -> None:
    x = leaf(2.0)
    y = x * 3
    y.retain_grad()
    (y**3).backward(create_graph=True)
    (second,) = autograd.grad(y.grad, x)
    assert second.item() == 6 * 6 * 3
    x.grad = y.grad = None  # gradients that are graphs of themselves: a cycle, as in PyTorch


def test_retaining_keeps_no_tensor_alive() -> None:
    gc.disable()
    try:
        x = leaf(2.0)
        y = x * 3
        y.retain_grad()
        y.register_hook(lambda g: None)
        z, gone = y + 1, weakref.ref(y)
        del y
        assert gone() is None
        z.backward()
        node = weakref.ref(z.grad_fn)
        del z
        assert node() is None
    finally:
        gc.enable()
    assert x.grad.item() == 3


def test_as_in_pytorch() -> None:
    torch = pytest.importorskip("torch")

    def run(t) -> list:
        x = t.tensor([1.0, -2.0, 3.0], requires_grad=True)
        seen = []
        a = x * x
        b = a + x
        a.retain_grad()
        b.retain_grad()
        a.register_hook(lambda g: g * 0.5)
        b.register_hook(lambda g: seen.append(g.tolist()))
        x.register_hook(lambda g: g + 1)
        (b * b * a).sum().backward()
        return [seen, a.grad.tolist(), b.grad.tolist(), x.grad.tolist()]

    assert run(tg) == run(torch)
