"""gradcheck: it passes what is right, and says where something is wrong."""

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft.autograd import Function, gradcheck
from tinygrad_ft.gradcheck import GradcheckError


def leaf(*shape: int, seed: int = 0) -> tg.Tensor:
    array = np.random.default_rng(seed).uniform(0.5, 2, shape)
    return tg.Tensor(array, requires_grad=True)


def test_right_gradients_pass_at_every_order() -> None:
    assert gradcheck(lambda x, y: x * y.exp() / x.sum(), (leaf(2, 3), leaf(3, seed=1)), order=4)
    assert gradcheck(lambda x: (x.sin(), x.max(0).values), leaf(3), order=2)
    assert gradcheck(lambda x: x * 2, leaf(2), order=5)  # linear: zero from order 2 on
    assert gradcheck(lambda x, y: x * y, (leaf(2), tg.tensor([1, 2])), order=2)


class Wrong(Function):
    """out = x * y^2, whose gradient of y is wrong in one element."""

    def forward(self, x, y):
        self.save_input(0)
        self.save_input(1)
        return x * y**2

    def backward(self, grad_out):
        x, y = self.input(0), self.input(1)
        slope = 2.0 * x * y
        error = np.zeros(slope.shape)
        error[1, 2] = 0.25
        return grad_out * y * y, grad_out * (slope + error)


def test_a_wrong_backward_is_located() -> None:
    with pytest.raises(GradcheckError, match=r"order 1, input 1, element \(1, 2\)") as caught:
        gradcheck(Wrong.apply, (leaf(2, 3), leaf(2, 3, seed=1)))
    assert "difference" in str(caught.value)


class WrongSecond(Function):
    """out = x^3 with the right gradient 3 x^2, which is built so that it loses its own gradient."""

    def forward(self, x):
        self.save_input(0)
        return x**3

    def backward(self, grad_out):
        x = self.input(0)
        return grad_out * (3.0 * x.detach() * x)


def test_a_wrong_second_derivative_is_noticed_at_order_two() -> None:
    assert gradcheck(WrongSecond.apply, leaf(3))
    with pytest.raises(GradcheckError, match=r"order 2, input 0, element \(0,\)"):
        gradcheck(WrongSecond.apply, leaf(3), order=2)


class WrongThird(Function):
    """out = x^4: the gradient 4 x^3 goes on as WrongSecond."""

    def forward(self, x):
        self.save_input(0)
        return x**4

    def backward(self, grad_out):
        return grad_out * (4.0 * WrongSecond.apply(self.input(0)))


def test_a_wrong_third_derivative_needs_order_three() -> None:
    assert gradcheck(WrongThird.apply, leaf(2), order=2)
    with pytest.raises(GradcheckError, match="order 3"):
        gradcheck(WrongThird.apply, leaf(2), order=3)


def test_a_gradient_that_is_nan_fails() -> None:
    x = tg.Tensor(np.zeros(1), requires_grad=True)
    with pytest.raises(GradcheckError, match="nan"):
        gradcheck(lambda x: x.sqrt() * x.sqrt() * 0.0, x)


def test_an_error_that_only_one_of_several_outputs_has() -> None:
    with pytest.raises(GradcheckError):
        gradcheck(lambda x, y: (x * y, Wrong.apply(x, y)), (leaf(2, 3), leaf(2, 3, seed=1)))


def test_what_it_refuses() -> None:
    single = tg.ones(2, requires_grad=True)
    with pytest.raises(TypeError, match=r"input 0 is float32.*float64"):
        gradcheck(lambda x: x * 2, single)
    with pytest.raises(TypeError, match="input 1"):
        gradcheck(lambda x, y: x * y.double(), (leaf(2), single))
    with pytest.raises(ValueError, match="no input requires grad"):
        gradcheck(lambda x: x * 2, tg.ones(2))
    with pytest.raises(ValueError, match="no output depends"):
        gradcheck(lambda x: x.detach(), leaf(2))
    with pytest.raises(ValueError, match="order"):
        gradcheck(lambda x: x, leaf(2), order=0)


def test_the_inputs_are_as_before_even_if_the_function_fails() -> None:
    x = leaf(3)
    before = x.numpy().copy()
    gradcheck(lambda x: x.exp(), x, order=2)
    np.testing.assert_array_equal(x.numpy(), before)
    assert x.grad is None
    calls = []

    def breaks(x):
        calls.append(1)
        if len(calls) == 4:
            raise KeyError("in the middle")
        return x * 2

    with pytest.raises(KeyError):
        gradcheck(breaks, x)
    np.testing.assert_array_equal(x.numpy(), before)
