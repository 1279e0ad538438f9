"""Zeros, ties, infinities, NaN and numbers that overflow: as in PyTorch, except ReLU at 0."""

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F

INF, NAN = np.inf, np.nan
SPECIAL = [0.0, -0.0, 1.0, -2.0, INF, -INF, NAN, 1e4, -1e4, 3e38, -3e38, 1e-40]


def value_and_gradient(f, *arrays: np.ndarray) -> list[np.ndarray]:
    tensors = [tg.Tensor(a, requires_grad=True) for a in arrays]
    out = f(*tensors)
    out.backward(np.ones(out.shape, out.dtype))
    return [out.numpy(), *(t.grad.numpy() for t in tensors)]


def from_torch(f, *arrays: np.ndarray) -> list[np.ndarray]:
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    out = f(*tensors)
    out.backward(torch.ones_like(out))
    return [out.detach().numpy(), *(t.grad.numpy() for t in tensors)]


UNARY = ["exp", "log", "sqrt", "sin", "cos", "sigmoid", "tanh", "abs", "neg", "square"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_special_numbers(name: str, dtype: type) -> None:
    x = np.array(SPECIAL, dtype)
    ours = value_and_gradient(lambda t: getattr(t, name)(), x)
    theirs = from_torch(lambda t: getattr(t, name)(), x)
    for f, e in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum"])
def test_arithmetic_of_special_numbers(name: str) -> None:
    a, b = (g.ravel() for g in np.meshgrid(SPECIAL, SPECIAL))
    torch = pytest.importorskip("torch")
    ours = value_and_gradient(getattr(tg, name), a, b)
    theirs = from_torch(getattr(torch, name), a, b)
    np.testing.assert_allclose(ours[0], theirs[0])
    if name in ("maximum", "minimum"):
        # where one operand is NaN, PyTorch sends the whole gradient to both; here it is halved
        settled = ~(np.isnan(a) | np.isnan(b))
        ours, theirs = ([x[settled] for x in r] for r in (ours, theirs))
    for f, e in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(f, e)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, 0.5, -0.5, 0.0])
def test_powers_of_special_numbers(exponent: float) -> None:
    x = np.array([0.0, 1.0, 2.0, INF, NAN, 1e200])
    ours = value_and_gradient(lambda t: t**exponent, x)
    theirs = from_torch(lambda t: t**exponent, x)
    for f, e in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(f, e)


def test_zero_to_a_tensor() -> None:
    base, exponent = np.array([0.0, 0.0, 0.0, 2.0]), np.array([0.0, 1.0, 2.0, 0.0])
    ours = value_and_gradient(lambda a, b: a**b, base, exponent)
    theirs = from_torch(lambda a, b: a**b, base, exponent)
    for f, e in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(f, e)


def test_relu_has_derivative_one_at_zero() -> None:
    """The source document's f'(x) = 1 for x >= 0; a NaN passes in both directions."""
    x = np.array([-1.0, -0.0, 0.0, 1.0, INF, -INF, NAN])
    value, gradient = value_and_gradient(tg.relu, x)
    np.testing.assert_array_equal(value, [0, 0, 0, 1, INF, 0, NAN])
    np.testing.assert_array_equal(gradient, [0, 1, 1, 1, 1, 0, 1])


def test_ties_share_the_gradient() -> None:
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    np.testing.assert_allclose(
        value_and_gradient(lambda t: t.amax(1), x)[1], [[0, 0.5, 0.5], [1 / 3] * 3]
    )
    np.testing.assert_allclose(
        value_and_gradient(lambda t: t.max(1).values, x)[1], [[0, 1, 0], [1, 0, 0]]
    )
    halves = value_and_gradient(tg.maximum, np.array([2.0, 1.0]), np.array([2.0, 5.0]))
    np.testing.assert_allclose(halves[1:], [[0.5, 0], [0.5, 1]])


def test_clamp_passes_the_gradient_at_its_limits() -> None:
    x = np.array([-1.0, -0.5, 0.0, 0.5, 1.0, NAN, INF])
    ours = value_and_gradient(lambda t: t.clamp(-0.5, 0.5), x)
    theirs = from_torch(lambda t: t.clamp(-0.5, 0.5), x)
    for f, e in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(f, e)


def test_clamp_between_equal_limits() -> None:
    x = np.array([-1.0, 0.0, 1.0, NAN])
    for low, high in ((0.0, 0.0), (0.5, -0.5), (NAN, 1.0)):
        limits = [np.full(4, low), np.full(4, high)]
        ours = value_and_gradient(lambda t, *l: t.clamp(*l), x, *limits)
        theirs = from_torch(lambda t, *l: t.clamp(*l), x, *limits)
        for f, e in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(f, e)


def test_the_gradient_of_an_extreme_that_is_nan_goes_to_the_nan() -> None:
    x = np.array([[1.0, NAN, 3.0, NAN], [1.0, 3.0, 3.0, 2.0]])
    for name in ("amax", "amin"):
        _, gradient = value_and_gradient(lambda t, name=name: getattr(t, name)(1), x)
        np.testing.assert_array_equal(gradient[0], [0, 0.5, 0, 0.5])
    # that of max() is PyTorch's too
    np.testing.assert_array_equal(
        *(f(lambda t: t.max(), x)[1] for f in (value_and_gradient, from_torch))
    )


@pytest.mark.parametrize("name", ["asin", "acos"])
def test_curvature_of_arcs_at_their_ends(name: str) -> None:
    x = tg.tensor([-1.0, -0.999, 0.0, 0.999, 1.0, 2.0], dtype=np.float64, requires_grad=True)
    (slope,) = tg.autograd.grad(getattr(x, name)().sum(), x, create_graph=True)
    (curvature,) = tg.autograd.grad(slope.sum(), x, create_graph=True)
    sign = 1 if name == "asin" else -1
    edge = 0.999 / (1 - 0.999**2) ** 1.5
    np.testing.assert_allclose(curvature.numpy() * sign, [-INF, -edge, 0, edge, INF, NAN])
    (third,) = tg.autograd.grad(curvature.sum(), x)
    np.testing.assert_array_equal(third.numpy()[[0, 2, 4]] * sign, [INF, 1, INF])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_curvature_of_atan_far_out(dtype: type) -> None:
    x = tg.tensor([-INF, -1e38, 1.0, 1e38, INF], dtype=dtype, requires_grad=True)
    (slope,) = tg.autograd.grad(x.atan().sum(), x, create_graph=True)
    (curvature,) = tg.autograd.grad(slope.sum(), x)
    np.testing.assert_allclose(slope.numpy(), [0, 0, 0.5, 0, 0], atol=1e-70)
    np.testing.assert_allclose(curvature.numpy(), [0, 0, -0.5, 0, 0], atol=1e-70)


@pytest.mark.parametrize("loss", [F.huber_loss, F.smooth_l1_loss])
def test_curvature_at_the_corners_of_rounded_losses(loss) -> None:
    x = tg.tensor([-1.0, -0.5, 0.5, 1.0, 2.0], requires_grad=True)
    (slope,) = tg.autograd.grad(loss(x, tg.zeros(5), "sum"), x, create_graph=True)
    assert slope.tolist() == [-1, -0.5, 0.5, 1, 1]
    assert tg.autograd.grad(slope.sum(), x)[0].tolist() == [0, 1, 1, 0, 0]


def test_std_of_equal_numbers() -> None:
    x = np.full((2, 3), 4.0)
    for f, e in zip(
        value_and_gradient(lambda t: t.std(1), x), from_torch(lambda t: t.std(1), x), strict=True
    ):
        np.testing.assert_allclose(f, e)


ROWS = {
    "large": [1e4, -1e4, 1e4],
    "spread": [0.0, 1e4, -1e4],
    "equal": [5e3, 5e3, 5e3],
    "one minus infinity": [-INF, 0.0, 1.0],
    "all minus infinity": [-INF, -INF, -INF],
    "infinity": [INF, 0.0, 1.0],
    "nan": [NAN, 0.0, 1.0],
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_family_at_extremes(name: str, row: str, dtype: type) -> None:
    x = np.array([ROWS[row], [1.0, 2.0, 3.0]], dtype)
    ours = value_and_gradient(lambda t: getattr(t, name)(1), x)
    theirs = from_torch(lambda t: getattr(t, name)(1), x)
    # PyTorch's gradient of logsumexp is exp(x - out), which loses digits where x is large
    tolerance = 5e-4 if name == "logsumexp" and dtype == np.float32 else 1e-5
    for f, e in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(f, e, rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["indices", "probabilities", "weights"])
def test_cross_entropy_at_extremes(row: str, smoothing: float, kind: str) -> None:
    torch = pytest.importorskip("torch")
    x = np.array([ROWS[row], [1.0, 2.0, 3.0]], np.float32)
    target = np.array([[0.2, 0.5, 0.3]] * 2, np.float32) if kind == "probabilities" else [0, 2]
    weight = np.array([0.5, 1.0, 2.0], np.float32) if kind == "weights" else None

    def loss(functional, make):
        return lambda t: functional.cross_entropy(
            t,
            make(target),
            None if weight is None else make(weight),
            reduction="none",
            label_smoothing=smoothing,
        )

    ours = value_and_gradient(loss(F, tg.tensor), x)
    theirs = from_torch(loss(torch.nn.functional, torch.tensor), x)
    for f, e in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_ignored_items_do_not_matter_even_if_infinite(smoothing: float) -> None:
    x = np.array([[-INF, NAN, 3.0], [1.0, 2.0, 3.0]])
    value, gradient = value_and_gradient(
        lambda t: F.cross_entropy(t, tg.tensor([-100, 1]), label_smoothing=smoothing), x
    )
    alone, alone_gradient = value_and_gradient(
        lambda t: F.cross_entropy(t, tg.tensor([1]), label_smoothing=smoothing), x[1:]
    )
    np.testing.assert_allclose(value, alone)
    np.testing.assert_allclose(gradient[1:], alone_gradient)


def test_mean_of_nothing_is_nan() -> None:
    assert np.isnan(tg.zeros(0).mean().item())
    assert np.isnan(F.cross_entropy(tg.zeros(0, 3), tg.zeros(0, dtype=np.int64)).item())
    everything_ignored = F.cross_entropy(tg.zeros(2, 3), tg.tensor([-100, -100]))
    assert np.isnan(everything_ignored.item())
    assert tg.zeros(0, 3).logsumexp(0).numpy().tolist() == [-INF] * 3


def test_max_pool_lets_nan_through() -> None:
    x = np.array([[[[1.0, NAN], [3.0, 2.0]]]])
    for dtype in (np.float64, np.float32):
        value, gradient = value_and_gradient(lambda t: F.max_pool2d(t, 2), x.astype(dtype))
        assert np.isnan(value).all()
        np.testing.assert_array_equal(gradient, [[[[0, 1], [0, 0]]]])


def test_the_gradient_where_nothing_is_chosen_is_not_nan() -> None:
    """0 and not 0 * inf: `where` and `masked_fill` select."""
    x = np.array([0.0, 4.0])
    _, gradient = value_and_gradient(lambda t: tg.where(tg.tensor([False, True]), t.sqrt(), 0.0), x)
    assert np.isnan(gradient[0])  # sqrt itself has an infinite slope at 0: as in PyTorch
    _, gradient = value_and_gradient(
        lambda t: t.masked_fill(tg.tensor([True, False]), 1.0).log(), x
    )
    np.testing.assert_array_equal(gradient, [0, 0.25])
