"""SGD, Adam and AdamW: trajectories against the formulas in plain NumPy, and against PyTorch."""

import itertools

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import optim

STEPS = 20
SHAPES = [(4, 3), (5,), (2, 3, 2, 2), ()]

SGD_OPTIONS = [
    {},
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.05},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
    {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05, "nesterov": True},
    {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.05, "maximize": True},
]
ADAM_OPTIONS = [
    {},
    {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3},
    {"lr": 0.05, "weight_decay": 0.1},
    {"lr": 0.05, "weight_decay": 0.1, "maximize": True},
]


def sgd_reference(p, grads, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False):
    v = 0
    for t, grad in enumerate(grads):
        g = grad + weight_decay * p
        v = g if t == 0 else momentum * v + (1 - dampening) * g
        p = p - lr * (g + momentum * v if nesterov else v if momentum else g)
    return p


def adam_reference(
    p, grads, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, decoupled=False
):
    m = v = 0
    for t, grad in enumerate(grads, start=1):
        if decoupled:
            p = p - lr * weight_decay * p
        g = grad if decoupled else grad + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        v_hat = v / (1 - betas[1] ** t)
        p = p - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v_hat) + eps)
    return p


def adamw_reference(p, grads, weight_decay=1e-2, **options):
    return adam_reference(p, grads, weight_decay=weight_decay, decoupled=True, **options)


REFERENCES = {"SGD": sgd_reference, "Adam": adam_reference, "AdamW": adamw_reference}
CASES = [
    *itertools.product(["SGD"], SGD_OPTIONS),
    *itertools.product(["Adam", "AdamW"], ADAM_OPTIONS),
]


def draw(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(dtype), rng.standard_normal((STEPS, *shape)).astype(
        dtype
    )


def run(name, options, start, grads):
    param = tg.tensor(start.copy(), requires_grad=True)
    optimizer = getattr(optim, name)([param], **options)
    for grad in grads:
        param.grad = tg.tensor(grad)
        optimizer.step()
    return param.numpy(), optimizer


@pytest.mark.parametrize("name, options", CASES)
def test_trajectory_is_the_formula(name, options):
    for shape in SHAPES:
        start, grads = draw(shape, np.float64)
        options = dict(options)
        sign = -1 if options.get("maximize") else 1
        plain = {k: v for k, v in options.items() if k != "maximize"}
        expected = REFERENCES[name](start, sign * grads, **plain)
        out, _ = run(name, options, start, grads)
        np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name, options", CASES)
def test_float32_stays_float32_and_agrees(name, options):
    start, grads = draw((4, 3), np.float32)
    expected, _ = run(name, options, start.astype(np.float64), grads.astype(np.float64))
    options = {k: np.float64(v) if isinstance(v, float) else v for k, v in options.items()}
    out, optimizer = run(name, options, start, grads)
    assert out.dtype == np.float32
    (state,) = optimizer.state.values()
    assert all(v.dtype == np.float32 for v in state.values() if isinstance(v, np.ndarray))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name, options", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_trajectory_is_pytorchs(name, options, dtype):
    torch = pytest.importorskip("torch")
    close = {"rtol": 1e-12, "atol": 1e-13} if dtype == np.float64 else {"rtol": 1e-5, "atol": 1e-6}
    start, grads = draw((4, 3), dtype)
    theirs = torch.tensor(start, requires_grad=True)
    optimizer = getattr(torch.optim, name)([theirs], **options)
    ours = tg.tensor(start.copy(), requires_grad=True)
    own = getattr(optim, name)([ours], **options)
    for grad in grads:
        theirs.grad = torch.tensor(grad)
        optimizer.step()
        ours.grad = tg.tensor(grad)
        own.step()
        np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), **close)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_defaults_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    ours = getattr(optim, name)([tg.zeros(1, requires_grad=True)]).defaults
    theirs = getattr(torch.optim, name)([torch.zeros(1, requires_grad=True)]).defaults
    assert ours == {key: theirs[key] for key in ours}


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_memory_order_of_gradients_does_not_matter(name):
    options = {"lr": 0.1, "weight_decay": 0.01}
    start, grads = draw((4, 3, 3, 3), np.float32)
    expected, _ = run(name, options, start, grads)
    turned = np.ascontiguousarray(grads.transpose(0, 1, 3, 4, 2)).transpose(0, 1, 4, 2, 3)
    out, _ = run(name, options, start, turned)
    np.testing.assert_array_equal(out, expected)
    assert (turned == grads).all()  # gradients are read only


@pytest.mark.parametrize("name, options", CASES)
def test_large_arrays_take_the_kernel_to_the_same_result(name, options):
    rng = np.random.default_rng(0)
    start = rng.standard_normal((7, 20_001)).astype(np.float32)
    grads = rng.standard_normal((3, *start.shape)).astype(np.float32)
    out, _ = run(name, options, start, grads)
    by_row = [run(name, options, start[i], grads[:, i])[0] for i in range(7)]
    np.testing.assert_allclose(out, np.stack(by_row), rtol=1e-4, atol=1e-6)


def test_parameters_without_gradient_are_skipped():
    a, b = tg.ones(2, requires_grad=True), tg.ones(2, requires_grad=True)
    optimizer = optim.AdamW([a, b], lr=0.1)
    a.grad = tg.ones(2)
    optimizer.step()
    assert a.tolist() != [1.0, 1.0]
    assert b.tolist() == [1.0, 1.0]
    assert b not in optimizer.state


def test_a_gradient_of_another_shape_is_refused():
    param = tg.ones((2, 2), requires_grad=True)
    param.grad = tg.ones(2)
    with pytest.raises(ValueError, match=r"shape \(2, 2\) has shape \(2,\)"):
        optim.SGD([param], lr=0.5).step()
    assert param.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_a_step_is_an_in_place_change_on_the_same_memory():
    param = tg.ones(2, requires_grad=True)
    memory = param.data
    stale = (param * param).sum()
    param.grad = tg.ones(2)
    optim.SGD([param], lr=0.5).step()
    assert param.data is memory
    assert memory.tolist() == [0.5, 0.5]
    with pytest.raises(RuntimeError, match="changed in place"):
        stale.backward()


def test_closure():
    param = tg.tensor([2.0], requires_grad=True)
    optimizer = optim.SGD([param], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (param * param).sum()
        loss.backward()
        return loss

    with tg.no_grad():
        assert optimizer.step(closure).item() == 4.0
    assert param.item() == 1.0


def test_sgd_finds_a_minimum():
    param = tg.tensor([3.0, -2.0], requires_grad=True)
    optimizer = optim.SGD([param], lr=0.1, momentum=0.9, nesterov=True)
    for _ in range(100):
        optimizer.zero_grad()
        ((param - tg.tensor([1.0, 1.0])) ** 2).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(param.numpy(), [1, 1], atol=1e-3)


def test_an_update_of_ones_own_is_called_for_every_parameter():
    class Halving(optim.SGD):
        def update(self, param, grad, state, group):
            super().update(param, grad, state, group)
            param *= 0.5

    params = [tg.nn.Parameter(np.full(n, 4.0, np.float32)) for n in (2, 3)]
    for optimizer in (Halving(params, lr=1.0, momentum=0.9), Halving(params, lr=1.0)):
        for _ in range(2):
            before = [p.numpy().copy() for p in params]
            for p in params:
                p.grad = tg.zeros(*p.shape)
            optimizer.step()
            for p, b in zip(params, before, strict=True):
                np.testing.assert_array_equal(p.numpy(), b / 2)


@pytest.mark.parametrize("maximize", [False, True])
def test_parameters_that_join_later_start_with_their_first_gradient(maximize):
    """v = g the first time, whatever the dampening, although others have a velocity already."""
    first, second = (tg.nn.Parameter(np.zeros(3, np.float32)) for _ in range(2))
    optimizer = optim.SGD([first, second], lr=1.0, momentum=0.5, dampening=0.5, maximize=maximize)
    sign = 1 if maximize else -1
    first.grad = tg.ones(3)
    optimizer.step()
    second.grad = tg.ones(3)
    optimizer.step()
    np.testing.assert_allclose(first.numpy(), sign * (1 + (0.5 * 1 + 0.5 * 1)))
    np.testing.assert_allclose(second.numpy(), sign * 1.0)
