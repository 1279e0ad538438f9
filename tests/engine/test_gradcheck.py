"""gradcheck: it passes what is right, and says where something is wrong."""

import re

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft.autograd import Function, gradcheck
from tinygrad_ft.gradcheck import LISTED, GradcheckError


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
    with pytest.raises(GradcheckError) as caught:
        gradcheck(Wrong.apply, (leaf(2, 3), leaf(2, 3, seed=1)))
    title, head, row = str(caught.value).splitlines()
    assert title == "gradcheck: order 1, input 1 of shape (2, 3): 1 of 6 elements wrong"
    columns = ["element", "backprop", "finite difference", "difference", "allowed"]
    assert re.split(r"\s{2,}", head.strip()) == columns
    element, backprop, numeric, difference, allowed = re.split(r"\s{2,}", row.strip())
    assert element == "(1, 2)"
    # the error of 0.25 times the weight that the projection gives this element
    assert float(backprop) - float(numeric) == pytest.approx(float(difference), rel=0.01)
    assert float(difference) > 100 * float(allowed)


class Scaled(Function):
    """out = x, whose gradient is wrong by 1, 2, 3, ... percent of each element's weight."""

    def forward(self, x):
        return x * 1.0

    def backward(self, grad_out):
        return grad_out * (1.0 + 0.01 * np.arange(grad_out.numel()).reshape(grad_out.shape))


def test_the_worst_elements_come_first() -> None:
    with pytest.raises(GradcheckError, match=r"\(3, 5\): 14 of 15 elements wrong") as caught:
        gradcheck(Scaled.apply, leaf(3, 5))
    _, _, *rows, last = str(caught.value).splitlines()
    differences = [float(re.split(r"\s{2,}", row.strip())[3]) for row in rows]
    assert len(rows) == LISTED
    assert differences == sorted(differences, reverse=True)
    assert last.strip() == f"Only the {LISTED} worst are listed."


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
    with pytest.raises(GradcheckError, match=r"order 2, input 0 of shape \(3,\): 3 of 3"):
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


class WrongTranspose(Function):
    """out = 2x, whose backward is right in value and wrong in its own backward."""

    def forward(self, x):
        return 2 * x

    def backward(self, grad_out):
        return Scaled.apply(grad_out) * 2.0


def test_a_wrong_derivative_by_the_weights_is_named() -> None:
    """The gradient is linear in what weights the outputs; order 2 differentiates it by that too."""
    with pytest.raises(
        GradcheckError, match=r"order 2, the weight of output 0 of shape \(3,\): 2 of 3"
    ):
        gradcheck(WrongTranspose.apply, leaf(3), order=2)


def test_a_path_that_leaves_the_graph_is_named() -> None:
    lost = lambda x, y: x * tg.tensor(y.numpy())  # noqa: E731
    with pytest.raises(GradcheckError, match=r"(?s)input 1 of shape \(2,\): 2 of 2.*detached"):
        gradcheck(lost, (leaf(2), leaf(2, seed=1)))


def test_an_input_that_nothing_depends_on() -> None:
    with pytest.raises(ValueError, match=r"input 1 of shape \(2,\): no output depends on it"):
        gradcheck(lambda x, y: x * 2, (leaf(3), leaf(2)))
    assert gradcheck(lambda x, y: x * 2, (leaf(3), leaf(0)))


def test_a_function_that_is_not_deterministic() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(GradcheckError, match=r"output 1 of shape \(3,\).*called again.*seed"):
        gradcheck(lambda x: (x * 2, x * rng.random(3)), leaf(3))

    class Drifts(Function):
        """out = x^2, whose backward gives another result each time."""

        def forward(self, x):
            self.save_input(0)
            return x * x

        def backward(self, grad_out):
            return grad_out * self.input(0) * (2.0 + 1e-9 * rng.random())

    assert gradcheck(Drifts.apply, leaf(3))
    with pytest.raises(GradcheckError, match=r"gradient of order 1, 0 of shape \(3,\).*called"):
        gradcheck(Drifts.apply, leaf(3), order=2)
    fewer = iter([2, 1])
    with pytest.raises(GradcheckError, match="output 1"):
        gradcheck(lambda x: [x] * next(fewer), leaf(3))


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
    with pytest.raises(TypeError, match=r"output 1 is float32 although"):
        gradcheck(lambda x: (x, x.float()), leaf(2))
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
