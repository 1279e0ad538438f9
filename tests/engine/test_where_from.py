"""Where a tensor came from: the user's line in `repr` and in errors, and NaN found in backward."""

import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import anomaly, autograd, models, nn
from tinygrad_ft.autograd import detect_anomaly, set_detect_anomaly
from tinygrad_ft.nn import functional as F

HERE = Path(__file__).name


@pytest.fixture(autouse=True)
def _off_before_and_after() -> Iterator[None]:
    assert not anomaly.enabled
    yield
    set_detect_anomaly(False)


def line() -> int:
    """That of the caller."""
    return sys._getframe(1).f_lineno


def leaf(*shape: int) -> tg.Tensor:
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return tg.Tensor(values, requires_grad=True)


class Fails(autograd.Function):
    """out = x"""

    def forward(self, x):
        return x + 0

    def backward(self, grad_out):
        raise ZeroDivisionError("no luck")


class Misfit(Fails):
    def backward(self, grad_out):
        return grad_out.sum()


class NotANumber(Fails):
    def backward(self, grad_out):
        gradient = grad_out.data.copy()
        gradient[..., 0] = np.nan
        return (tg.Tensor(gradient),)


def notes(make_loss) -> str:
    with pytest.raises(Exception) as caught:
        make_loss().backward()
    return f"{caught.value}\n" + "\n".join(caught.value.__notes__)


def test_repr_names_the_line_while_it_is_on() -> None:
    x = leaf(2)
    with detect_anomaly():
        y, here = x * 2, line()
        loss = y.sum()
        assert repr(y).endswith(f"grad_fn=<Mul at {HERE}:{here}>)")
        assert repr(loss).endswith(f"grad_fn=<Sum at {HERE}:{here + 1}>)")
    assert repr(y).endswith("grad_fn=<Mul>)")


@pytest.mark.parametrize("how", ["operator", "method", "function", "layer", "own"])
def test_the_line_is_the_users_however_the_op_was_called(how: str) -> None:
    x, layer = leaf(2, 2), nn.Sequential(nn.Linear(2, 2))
    with detect_anomaly():
        if how == "operator":
            y, here = x @ x, line()
        elif how == "method":
            y, here = x.reshape(4), line()
        elif how == "function":
            y, here = F.relu(x), line()
        elif how == "layer":
            y, here = layer(x), line()
        else:
            y, here = Fails.apply(x), line()
    assert y.grad_fn is not None
    assert y.grad_fn.made_at == (__file__, here)


def test_a_layer_of_ones_own_is_the_users_code() -> None:
    class Twice(nn.Module):
        def forward(self, x: tg.Tensor) -> tg.Tensor:
            self.here = line() + 1
            return x * 2

    layer = Twice()
    with detect_anomaly():
        y = nn.Sequential(layer)(leaf(2))
    assert y.grad_fn is not None
    assert y.grad_fn.made_at == (__file__, layer.here)


def test_in_a_network_that_comes_along_it_is_the_networks_line() -> None:
    with detect_anomaly():
        y = models.resnet8(num_classes=2, in_chans=1, width=4)(leaf(2, 1, 8, 8))
    assert y.grad_fn is not None
    place = y.grad_fn.made_at
    assert place is not None
    assert Path(place.file).parent.name == "models"
    assert "self.get_classifier()(x)" in place.source


@pytest.mark.parametrize(
    ("op", "problem"),
    [(Fails, "no luck"), (Misfit, "Misfit: the gradient of input 0 has shape ()")],
)
def test_an_error_in_backward_names_the_op_and_the_line(op, problem: str) -> None:
    x = leaf(2, 3)
    with detect_anomaly():
        y, here = op.apply(x), line()
        said = notes(lambda: y.sum())
    assert problem in said
    assert f"in the backward of {op.__name__} (inputs that need a gradient: (2, 3)); " in said
    assert f'made at File "{__file__}", line {here}: y, here = op.apply(x), line()' in said


def test_the_line_is_named_without_being_asked_for() -> None:
    y, here = Fails.apply(leaf(2)), line()
    said = notes(lambda: y.sum())
    assert "in the backward of Fails" in said
    assert f'made at File "{__file__}", line {here}: y, here = Fails.apply(leaf(2)), line()' in said


def test_a_value_changed_in_place_is_reported_with_its_line() -> None:
    x = leaf(2)
    with detect_anomaly():
        y = x * x
        with tg.no_grad():
            x.add_(1)
        said = notes(lambda: y.sum())
    assert "Mul: its input 1, of shape (2,), is needed for the gradient but was changed" in said
    assert "y = x * x" in said


def test_a_line_without_a_source_is_named_all_the_same() -> None:
    names = {"Fails": Fails, "x": leaf(2)}
    with detect_anomaly():
        exec(compile("\n\ny = Fails.apply(x)", "<typed in>", "exec"), names)
        assert repr(names["y"]).endswith("<Fails at <typed in>:3>)")
    assert notes(lambda: names["y"].sum()).endswith('made at File "<typed in>", line 3')


def test_the_first_nan_of_a_backward_is_found() -> None:
    x = leaf(2, 3)
    with detect_anomaly():
        y, here = NotANumber.apply(x * 2), line()
        said = notes(lambda: (y * 3).sum())
    assert (
        "NotANumber: backward gave 2 NaN among the 6 elements of the gradient of input 0, of shape "
        "(2, 3); the gradient that came in was finite"
    ) in said
    assert f"line {here}" in said
    assert x.grad is None


def test_nan_of_an_infinite_gradient_says_so() -> None:
    x = tg.Tensor(np.zeros(1), requires_grad=True)
    with detect_anomaly():
        y = tg.sqrt(x) * 0  # 0 * inf
        said = notes(lambda: y.sum())
    assert "Sqrt: backward gave 1 NaN among the 1 elements of the gradient of input 0" in said
    with detect_anomaly():
        said = notes(lambda: (tg.sqrt(x * 0) ** 1).sum())
    assert "the gradient that came in was not finite either" in said


@pytest.mark.parametrize("nan_allowed", ["off", "check_nan"])
def test_nan_passes_where_it_was_not_asked_about(nan_allowed: str) -> None:
    x = leaf(2)
    if nan_allowed == "check_nan":
        with detect_anomaly(check_nan=False):
            NotANumber.apply(x).sum().backward()
    else:
        NotANumber.apply(x).sum().backward()
    assert x.grad is not None
    assert np.isnan(x.grad.data[0])


def test_the_switch_goes_back_to_what_it_was() -> None:
    assert not anomaly.enabled
    with detect_anomaly(check_nan=False):
        assert (anomaly.enabled, anomaly.check_nan) == (True, False)
        with set_detect_anomaly(False):
            assert not anomaly.enabled
        with pytest.raises(ValueError), detect_anomaly():
            leaf(2).reshape(3)
        assert (anomaly.enabled, anomaly.check_nan) == (True, False)
    set_detect_anomaly(True)
    assert (anomaly.enabled, anomaly.check_nan) == (True, True)


def test_results_and_gradients_are_the_same_bits() -> None:
    x = leaf(3, 4)

    def gradient() -> np.ndarray:
        (found,) = autograd.grad((x.tanh() @ x.T).sum(), x, create_graph=True)
        return found.detach().numpy()

    expected = gradient()
    with detect_anomaly():
        assert np.array_equal(gradient(), expected)


def test_a_line_keeps_no_frame_alive() -> None:
    class Big:
        pass

    def compute() -> tuple[tg.Tensor, weakref.ref[Big]]:
        big = Big()
        return leaf(2) * 2, weakref.ref(big)

    with detect_anomaly():
        y, big = compute()
    assert y.grad_fn is not None and y.grad_fn.made_at is not None
    assert big() is None
