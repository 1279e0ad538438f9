"""The finite differences beside the gradients: real runs of the recorded ops, in float64."""

import numpy as np
import pytest
from explain_helpers import explained, network_loss, value

import tinygrad_ft as tg
from tinygrad_ft.explain import replay
from tinygrad_ft.explain.replay import Replay, chosen_elements


@pytest.mark.parametrize(("double", "allowed"), [(True, 1e-6), (False, 1e-4)])
def test_they_agree_with_backprop(double: bool, allowed: float) -> None:
    """Through convolution, batch norm, ReLU, mean, linear and cross-entropy; at every value."""
    checks = []
    for smoothing in (0.0, 0.1):  # the loss as one op, and made of several
        _, compute = network_loss(double=double, smoothing=smoothing)
        e = explained(compute)
        assert e.unchecked == ""
        found = [c for of_value in e.checks.values() for c in of_value]
        assert len(e.checks) == len(e.backward.gradients) - 1
        checks += found
    assert len(found) > 50
    for c in checks:
        assert not c.corner
        assert c.apart <= allowed * max(abs(c.difference), 0.1)


def test_they_would_show_a_wrong_gradient() -> None:
    from tinygrad_ft.autograd import Function

    class Wrong(Function):
        """out = x^2;  grad_x = 3 * grad_out"""

        def forward(self, x: np.ndarray) -> np.ndarray:
            return x * x

        def backward(self, grad_out: tg.Tensor) -> tuple[tg.Tensor]:
            return (grad_out * 3,)

    x = tg.tensor([2.0], requires_grad=True)
    e = explained(lambda: Wrong.apply(x).sum(), {"x": x})
    (check,) = e.checks[value(e, "x").number]
    assert check.backprop == 3 and check.difference == pytest.approx(4) and check.apart > 0.99


def test_random_masks_are_the_same_when_it_runs_again() -> None:
    x = tg.ones(50, requires_grad=True)
    tg.manual_seed(0)
    e = explained(lambda: (tg.dropout(x, 0.5) ** 2).sum(), {"x": x})
    checks = e.checks[value(e, "x").number]
    assert checks and all(c.apart < 1e-5 for c in checks)
    assert {c.backprop for c in checks} == {8.0}


def test_a_corner_is_called_one() -> None:
    x = tg.tensor([0.0, 1.0], requires_grad=True)
    e = explained(lambda: tg.relu(x).sum(), {"x": x})
    at_zero, beside = e.checks[value(e, "x").number]
    assert at_zero.corner and at_zero.backprop == 1 and at_zero.difference == pytest.approx(0.5)
    assert not beside.corner


def test_a_detached_value_is_a_constant() -> None:
    x = tg.tensor([3.0], requires_grad=True)
    e = explained(lambda: (x * (x * 2).detach()).sum(), {"x": x})
    (check,) = e.checks[value(e, "x").number]
    assert check.backprop == 6 and check.difference == pytest.approx(6)


def test_another_loss_is_noticed() -> None:
    x = tg.tensor([3.0], requires_grad=True)
    e = explained(lambda: (x * 2).sum(), {"x": x})
    value(e, "loss").array = np.array([7.0])
    with pytest.raises(ValueError, match="another loss"):
        Replay(e.graph)


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too much of it leaves checks out and says so, the cheap ones and the parameters last."""
    monkeypatch.setattr(replay, "WORK", 10_000)
    _, compute = network_loss()
    e = explained(compute)
    assert 0 < len(e.checks) < len(e.backward.gradients) - 1
    assert f"for {len(e.checks)} of {len(e.backward.gradients) - 1} values" in e.unchecked


def test_chosen_elements_are_apart_and_the_largest_is_among_them() -> None:
    gradient = np.array([[1.0, -9.0, 2.0], [0.5, 3.0, 0.1]])
    chosen = chosen_elements(gradient, 3)
    assert chosen[0] == (0, 1) and len(set(chosen)) == 3
    assert chosen_elements(np.ones((2,)), 3) == [(0,), (1,)]
    assert chosen_elements(np.ones((0, 3)), 3) == []
    assert chosen_elements(np.array(2.0), 3) == [()]
