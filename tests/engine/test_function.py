"""The contract of an op: what a wrong or incomplete Function is told."""

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft.autograd import Function, grad, gradcheck


def leaf(*shape: int) -> tg.Tensor:
    array = np.random.default_rng(0).standard_normal(shape)
    return tg.Tensor(array, requires_grad=True)


class Cube(Function):
    """out = x^3;  grad_x = grad_out * 3 x^2"""

    def forward(self, x):
        self.save_input(0)
        return x**3

    def backward(self, grad_out):
        x = self.input(0)
        return grad_out * 3.0 * x * x


def test_a_function_of_the_user() -> None:
    x = leaf(2, 3)
    assert gradcheck(Cube.apply, x, order=4)
    assert repr(Cube.apply(x).grad_fn) == "<Cube>"


def test_missing_forward_and_backward() -> None:
    class Nothing(Function):
        pass

    class Double(Function):
        def forward(self, x):
            return 2 * x

    with pytest.raises(NotImplementedError, match="Nothing: forward"):
        Nothing.apply(leaf(2))
    with pytest.raises(NotImplementedError, match="Double: backward is not written"):
        Double.apply(leaf(2)).sum().backward()


def test_an_input_that_is_no_tensor() -> None:
    with pytest.raises(TypeError, match="Cube: input 0 must be a Tensor, not ndarray"):
        Cube.apply(np.ones(2))
    with tg.no_grad(), pytest.raises(TypeError, match="Cube: input 0 must be a Tensor, not list"):
        Cube.apply([1.0])


def returning(*gradients: object) -> type[Function]:
    class Wrong(Function):
        def forward(self, *arrays):
            return arrays[0] * 1.0

        def backward(self, grad_out):
            return tuple(g(grad_out) if callable(g) else g for g in gradients)

    return Wrong


def test_a_wrong_number_of_gradients() -> None:
    with pytest.raises(RuntimeError, match="Wrong: backward gave 2 gradients for 1 inputs"):
        returning(None, None).apply(leaf(2)).sum().backward()


def test_a_gradient_of_the_wrong_shape() -> None:
    wrong = returning(None, lambda g: g.sum())
    with pytest.raises(RuntimeError, match=r"input 1 has shape \(\).*the input \(3,\)"):
        wrong.apply(leaf(3), leaf(3)).sum().backward()


def test_a_gradient_of_the_wrong_dtype() -> None:
    with pytest.raises(RuntimeError, match=r"input 0 .*float32, the input .*float64"):
        returning(lambda g: g.float()).apply(leaf(3)).sum().backward()


def test_a_gradient_that_is_no_tensor() -> None:
    with pytest.raises(TypeError, match="input 0 must be a Tensor, not ndarray"):
        returning(lambda g: g.numpy()).apply(leaf(3)).sum().backward()


def test_a_gradient_nobody_asked_for_is_ignored() -> None:
    function = returning(lambda g: g, lambda g: g.sum())
    x = leaf(3)
    function.apply(x, tg.zeros(3, dtype=np.float64)).sum().backward()
    assert x.grad.tolist() == [1, 1, 1]


def test_absent_inputs_and_none_as_gradient() -> None:
    class AddMaybe(Function):
        def forward(self, x, y):
            return x + 0 if y is None else x + y

        def backward(self, grad_out):
            assert self.needs_input_grad == (True, False)
            return grad_out, None

    x = leaf(2)
    AddMaybe.apply(x, None).sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_a_float_array_as_attribute_is_refused() -> None:
    class Keeps(Function):
        keep = staticmethod(lambda x: x)

        def forward(self, x):
            self.kept = self.keep(x)
            return x * 2

        def backward(self, grad_out):
            return grad_out * 2.0

    class KeepsTensor(Keeps):
        keep = staticmethod(tg.Tensor)

    for function in (Keeps, KeepsTensor):
        with pytest.raises(TypeError, match=r"Keeps.*: the float array 'kept'.*save_input"):
            function.apply(leaf(2))
        with tg.no_grad():
            function.apply(leaf(2))  # nothing is recorded, nothing can be lost


def test_constants_are_no_floats() -> None:
    class Constant(Function):
        def forward(self, x):
            self.save_constant("slope", np.ones(2))
            return x * 2

    with pytest.raises(
        TypeError, match="Constant: 'slope' has dtype float64; only boolean and int"
    ):
        Constant.apply(leaf(2))


class Statistics(Function):
    """out = x * max(x), whose backward is right only where it is not recorded."""

    def forward(self, x):
        self.save_statistics("top", x.max())
        return x * 2

    def backward(self, grad_out):
        return grad_out * float(self.statistics("top"))


def test_statistics_are_refused_while_the_backward_is_recorded() -> None:
    x = leaf(2)
    grad(Statistics.apply(x).sum(), x)
    with pytest.raises(RuntimeError, match="Statistics: the saved 'top' carries no history"):
        grad(Statistics.apply(x).sum(), x, create_graph=True)


def test_taking_what_was_not_saved() -> None:
    class Forgets(Function):
        def forward(self, x):
            return x * 2

        def backward(self, grad_out):
            return grad_out * self.input(0)

    with pytest.raises(RuntimeError, match="Forgets: 'input 0' was not saved"):
        Forgets.apply(leaf(2)).sum().backward()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda x, w, y: w.mul_(2), "Mul: its input 1"),
        (lambda x, w, y: w.__setitem__(0, 5.0), "Mul: its input 1"),
        (lambda x, w, y: w.detach().zero_(), "Mul: its input 1"),
        (lambda x, w, y: w[1:].fill_(3.0), "Mul: its input 1"),
        (lambda x, w, y: w.reshape(2, 1).add_(1), "Mul: its input 1"),
        (lambda x, w, y: w.expand(3, 2).__class__(w).add_(1), "Mul: its input 1"),
        (lambda x, w, y: setattr(w, "data", np.zeros(2)), "Mul: its input 1"),
        (lambda x, w, y: y.detach().zero_(), "Exp: its output"),
    ],
)
def test_a_saved_array_changed_in_place_is_noticed(change, name: str) -> None:
    x, w = leaf(2), tg.Tensor(np.array([1.0, 2.0]))
    y = (x * w).exp()
    change(x, w, y)
    with pytest.raises(RuntimeError, match=rf"{name}, of shape \(2,\).*changed in place"):
        y.sum().backward()
    assert x.grad is None


def test_a_change_that_does_not_matter_is_allowed() -> None:
    x, w = leaf(2), tg.Tensor(np.array([1.0, 2.0]))
    y = x + w  # an addition needs neither of its operands
    w.zero_()
    y.sum().backward()
    z = x * w.clone()
    w.zero_()
    (z * w.T.reshape(2)).sum().backward()
    scattered = tg.Tensor(np.ones((2, 2)).T[:, :1])
    copy = tg.Tensor(np.ones((2, 3))).T.reshape(6)  # had to be copied: no view
    out = leaf(6) * copy
    scattered.zero_()
    out.sum().backward()


def test_reshape_that_copies_is_no_view() -> None:
    base = tg.Tensor(np.ones((2, 3)))
    copied, viewed = base.T.reshape(6), base.reshape(6)
    x = leaf(6)
    from_copy, from_view = (x * copied).sum(), (x * viewed).sum()
    base.zero_()
    from_copy.backward()
    with pytest.raises(RuntimeError, match="changed in place"):
        from_view.backward()
