"""Changes in place: what they do, and where they are refused because a gradient would be lost."""

import numpy as np
import pytest

import tinygrad_ft as tg

CHANGES = {
    "add_": lambda t: t.add_(1),
    "sub_": lambda t: t.sub_(1),
    "mul_": lambda t: t.mul_(2),
    "div_": lambda t: t.div_(2),
    "copy_": lambda t: t.copy_(np.zeros(2)),
    "fill_": lambda t: t.fill_(0),
    "zero_": lambda t: t.zero_(),
    "write": lambda t: t.write("write"),
    "__setitem__": lambda t: t.__setitem__(0, 1.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_tensor_that_requires_grad_is_not_changed_while_recording(name: str) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    for target in (x, x * 2, x[:]):
        before = target.tolist()
        with pytest.raises(RuntimeError, match=rf"{name}: in-place.*\(2,\).*no_grad"):
            CHANGES[name](target)
        assert target.tolist() == before
    with tg.no_grad():
        CHANGES[name](x)
    CHANGES[name](x.detach())


@pytest.mark.parametrize(
    "change",
    [
        lambda total, x: total.add_(x),
        lambda total, x: total.copy_(x),
        lambda total, x: total.mul_(x * 2),
        lambda total, x: total.__setitem__(slice(None), x),
        lambda total, x: total.__iadd__(x),
    ],
)
def test_writing_a_recorded_value_somewhere_is_refused(change) -> None:
    """It would arrive there without its history, and its gradient would silently be lost."""
    total, x = tg.zeros(2), tg.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="takes part"):
        change(total, x)
    assert total.tolist() == [0, 0]
    with tg.no_grad():
        change(total, x)


def test_what_the_changes_do() -> None:
    x = tg.tensor([1.0, 2.0])
    same, memory = x, x.numpy()
    assert x.add_(tg.tensor([1.0, 1.0]), alpha=2) is x
    assert x.tolist() == [3, 4]
    assert x.sub_(1, alpha=2).tolist() == [1, 2]
    assert x.mul_(np.array([2.0, 3.0])).tolist() == [2, 6]
    assert x.div_(2).tolist() == [1, 3]
    assert x.copy_(tg.tensor([[7]])[0]).tolist() == [7, 7]
    assert x.fill_(2).tolist() == [2, 2]
    x[1] = 5
    x[tg.tensor([True, False])] = tg.tensor(4.0)
    assert memory.tolist() == [4, 5]
    x += 1
    x -= tg.tensor([1.0, 2.0])
    x *= 2
    x /= 4
    assert x is same
    assert memory.tolist() == [2, 2]
    assert x.dtype == np.float32
    assert x.zero_().tolist() == [0, 0]


def test_the_update_of_the_textbook_loop_changes_the_parameter() -> None:
    """`w -= lr * w.grad` under no_grad: w stays the same tensor."""
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    parameters = [w]
    (w * w).sum().backward()
    with tg.no_grad():
        for p in parameters:
            p -= 0.25 * p.grad
    assert w.tolist() == [0.5, 1.0]
    assert w.requires_grad
    assert w.is_leaf


def test_data_can_be_replaced_by_an_array_of_the_same_shape() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    x.data = np.array([3.0, 4.0])
    assert x.tolist() == [3, 4]
    assert x.dtype == np.float32
    assert x.requires_grad
    with pytest.raises(ValueError, match=r"\(3,\) cannot replace shape \(2,\)"):
        x.data = np.zeros(3)


def test_elements_of_a_view_are_those_of_its_base() -> None:
    x = tg.zeros(2, 3)
    x[0].add_(1)
    x[1, 2].fill_(5)
    x.T[0].mul_(3)
    x.reshape(6)[1] = 9
    assert x.tolist() == [[3, 9, 1], [0, 0, 5]]
