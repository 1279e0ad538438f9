"""`backward` and `grad`: what is computed, accumulated, kept, refused - as in PyTorch."""

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import autograd


def leaf(*values: float) -> tg.Tensor:
    array = np.array(values[0] if len(values) == 1 else values, np.float64)
    return tg.Tensor(array, requires_grad=True)


def test_gradients_accumulate() -> None:
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    first = x.grad
    (x * x).sum().backward()
    assert x.grad.tolist() == [5, 7]
    assert x.grad is first
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_a_value_used_twice_collects_both_gradients() -> None:
    x = leaf(3.0)
    y = x * x  # the leaf twice
    z = y * y + y  # a result three times
    z.backward()
    assert x.grad.item() == 4 * 3**3 + 2 * 3


def test_a_chain_and_a_diamond_in_any_order_of_creation() -> None:
    x = leaf(2.0)
    a = x * 2
    b = x * 3
    c = b * a
    d = a + 1
    (d * c).backward()
    # (2x + 1) 6x^2 = 12x^3 + 6x^2
    assert x.grad.item() == 36 * 4 + 12 * 2


def test_backward_of_a_leaf() -> None:
    x = leaf(1.0, 2.0)
    x.backward(np.array([3.0, 4.0]))
    x.backward(tg.tensor([1.0, 1.0]))
    assert x.grad.tolist() == [4, 5]
    one = leaf(5.0)
    one.backward()
    assert one.grad.item() == 1
    (same,) = autograd.grad(one, one)
    assert same.item() == 1


def test_the_gradient_of_the_output() -> None:
    x = leaf(1.0, 2.0)
    (x * x).backward(np.array([1.0, 10.0]))
    assert x.grad.tolist() == [2, 40]
    x.grad = None
    (x * x).backward(tg.tensor([1.0, 10.0]))  # float32: converted
    assert x.grad.dtype == np.float64
    assert x.grad.tolist() == [2, 40]
    x.grad = None
    (x[0] * 3).backward(2.0)
    assert x.grad.tolist() == [6, 0]


def test_one_element_of_any_shape_needs_no_gradient() -> None:
    x = leaf(2.0).reshape(1, 1)
    (gradient,) = autograd.grad(x * x, x)
    assert gradient.tolist() == [[4]]


def test_several_outputs() -> None:
    x, y = leaf(2.0), leaf(3.0)
    outputs = [x * y, x + y, x * 5]
    found = autograd.grad(outputs, [x, y], [None, tg.tensor(10.0), np.array(100.0)])
    assert [f.item() for f in found] == [3 + 10 + 500, 2 + 10]
    autograd.backward([x * y, x * x])
    assert (x.grad.item(), y.grad.item()) == (3 + 4, 2)
    autograd.backward([y, y])
    assert y.grad.item() == 4


def test_grad_of_results_on_the_way() -> None:
    x = leaf(2.0)
    y = x * x
    z = y * 3
    loss = z * y
    dz, dy, dx = autograd.grad(loss, [z, y, x], retain_graph=True)
    assert dz.item() == 4
    assert dy.item() == 12 + 4 * 3  # directly, and through z
    assert dx.item() == dy.item() * 4
    (own,) = autograd.grad(loss, [loss])
    assert own.item() == 1
    assert x.grad is None
    assert y.grad is None


def test_grad_of_one_output_of_an_op_with_several() -> None:
    x = leaf(3.0, 1.0, 2.0)
    values, indices = x.max(0)
    assert not indices.requires_grad
    assert autograd.grad(values, x)[0].tolist() == [1, 0, 0]
    a, b = (x * 2).unsqueeze(0), (x * 3).unsqueeze(0)
    both = tg.cat([a, b])
    assert autograd.grad(both[1].sum(), [a, b])[1].tolist() == [[1, 1, 1]]


def test_higher_orders() -> None:
    x = leaf(2.0)
    y = x**5
    for factor, power in ((5, 4), (20, 3), (60, 2), (120, 1), (120, 0)):
        (y,) = autograd.grad(y, x, create_graph=True)
        assert y.item() == factor * 2**power
    (zero,) = autograd.grad(y, x, allow_unused=True)
    assert zero is None or zero.item() == 0


def test_backward_through_a_gradient() -> None:
    """The penalty on a gradient's norm, as in WGAN-GP: .grad then holds second derivatives."""
    x = leaf(1.0, 2.0)
    (slope,) = autograd.grad((x**3).sum(), x, create_graph=True)
    assert slope.requires_grad
    (slope * slope).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [36 * 1.0**3, 36 * 2.0**3])


def test_create_graph_makes_a_grad_that_can_be_differentiated() -> None:
    x = leaf(2.0)
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    (second,) = autograd.grad(x.grad, x)
    assert second.item() == 12
    x.grad = None  # x -> its gradient -> the graph -> x: a cycle, as in PyTorch


def test_an_unused_input() -> None:
    x, y = leaf(1.0), leaf(2.0, 3.0)
    with pytest.raises(RuntimeError, match=r"input 1, of shape \(2,\).*allow_unused"):
        autograd.grad(x * 2, [x, y])
    found = autograd.grad(x * 2, [x, y], allow_unused=True)
    assert found[0].item() == 2
    assert found[1] is None


def test_the_same_input_twice() -> None:
    x = leaf(3.0)
    assert [g.item() for g in autograd.grad(x * x, [x, x])] == [6, 6]


def test_second_backward() -> None:
    x = leaf(2.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8
    with pytest.raises(RuntimeError, match=r"Mul: a second backward.*retain_graph=True"):
        y.backward()
    assert x.grad.item() == 8  # nothing was added before the error
    # where nothing had to be kept nothing is missing
    z = x + 1
    z.backward()
    z.backward()
    assert x.grad.item() == 10


def test_what_was_not_visited_is_not_freed() -> None:
    x, y = leaf(2.0), leaf(3.0)
    a, b = x * x, y * y
    autograd.grad(a + b, x)
    assert autograd.grad(b, y)[0].item() == 6
    with pytest.raises(RuntimeError, match="second backward"):
        autograd.grad(a, x)


def test_nothing_to_differentiate() -> None:
    x = tg.tensor([1.0, 2.0])
    with pytest.raises(RuntimeError, match="does not depend on anything that requires grad"):
        x.sum().backward()
    with pytest.raises(RuntimeError, match=r"input 0, of shape \(2,\), does not require grad"):
        autograd.grad(leaf(1.0) * 2, x)
    with pytest.raises(RuntimeError, match=r"implied only for a scalar.*\(2,\)"):
        leaf(1.0, 2.0).backward()
    with pytest.raises(ValueError, match=r"\(3,\), its output \(2,\)"):
        leaf(1.0, 2.0).backward(np.zeros(3))
    with pytest.raises(ValueError, match="2 outputs but 1 gradients"):
        autograd.grad([leaf(1.0), leaf(1.0)], leaf(1.0), [None])


def test_what_is_no_tensor() -> None:
    x = leaf(2.0)
    with pytest.raises(TypeError, match="grad: input 1 must be a Tensor, not ndarray"):
        autograd.grad(x * x, [x, x.numpy()])
    with pytest.raises(TypeError, match="backward: output 1 must be a Tensor, not float"):
        autograd.backward([x * x, 3.0])


def test_only_floats_can_require_grad() -> None:
    for make in (
        lambda: tg.tensor([1, 2], requires_grad=True),
        lambda: tg.tensor([True]).requires_grad_(),
        lambda: setattr(tg.tensor([1]), "requires_grad", True),
    ):
        with pytest.raises(TypeError, match="only floating dtypes"):
            make()
    result = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match="detach"):
        result.requires_grad = False
    assert result.requires_grad_().requires_grad


def test_detach_cuts_the_graph_and_shares_memory() -> None:
    x = leaf(1.0, 2.0)
    d = (x * 2).detach()
    assert not d.requires_grad
    assert d.is_leaf
    (x * d).sum().backward()
    assert x.grad.tolist() == [2, 4]


def test_two_leaves_never_share_the_memory_of_their_gradients() -> None:
    """One Add hands the same array to both; clipping one in place must not change the other."""
    for create_graph in (False, True):
        x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
        (x + y).backward(np.array([1.0, 2.0]), create_graph=create_graph)
        with tg.no_grad():
            x.grad.mul_(10)
        assert y.grad.tolist() == [1, 2]
        assert x.grad.tolist() == [10, 20]


def test_the_callers_gradient_is_not_changed() -> None:
    x = leaf(1.0, 2.0)
    seed = tg.tensor(np.array([1.0, 1.0]))
    autograd.backward([x, x + 0, x], [seed, seed, seed])
    x.backward(seed)
    assert seed.tolist() == [1, 1]
    assert x.grad.tolist() == [4, 4]
    with tg.no_grad():
        x.grad.zero_()
    assert seed.tolist() == [1, 1]


def test_gradients_have_memory_of_their_own_and_can_be_written() -> None:
    """The gradient of a sum is one number seen many times: read-only until it is copied."""
    x = leaf(1.0, 2.0)
    x.sum().backward()
    with tg.no_grad():
        x.grad.add_(1)
    assert x.grad.tolist() == [2, 2]


def test_a_million_paths_are_one_walk() -> None:
    """Each value is used twice by the next: 2^40 paths, 40 nodes."""
    x = leaf(1.0)
    y = x
    for _ in range(40):
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**40


def test_no_grad_touched_when_a_backward_fails() -> None:
    class Fails(autograd.Function):
        def forward(self, x: np.ndarray) -> np.ndarray:
            return x + 0

        def backward(self, grad_out: tg.Tensor) -> tuple:
            raise ZeroDivisionError("broken")

    x, y = leaf(1.0), leaf(2.0)
    with pytest.raises(ZeroDivisionError, match="broken") as caught:
        (Fails.apply(x) * y * y).backward()
    assert "in the backward of Fails" in caught.value.__notes__[0]
    assert x.grad is None
    assert y.grad is None
