"""Optimizer: parameter groups, options, state dicts."""

import copy

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import nn, optim

MAKERS = [
    lambda params: optim.SGD(params, lr=0.1, momentum=0.9),
    lambda params: optim.Adam(params, lr=0.1, weight_decay=0.1),
    lambda params: optim.AdamW(params, lr=0.1),
]


def params(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    shapes = shapes or ((3, 2), (4,))
    return [
        tg.tensor(rng.standard_normal(s).astype(np.float32), requires_grad=True) for s in shapes
    ]


def step(optimizer, seed):
    rng = np.random.default_rng(seed)
    for group in optimizer.param_groups:
        for param in group["params"]:
            param.grad = tg.tensor(rng.standard_normal(param.shape).astype(np.float32))
    optimizer.step()


def bits(tensors):
    return [t.numpy().tobytes() for t in tensors]


def test_groups_have_their_own_options():
    a, b = params()
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 1.0}], lr=0.1, momentum=0.5)
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 1.0]
    assert [g["momentum"] for g in optimizer.param_groups] == [0.5, 0.5]
    before = [a.numpy().copy(), b.numpy().copy()]
    a.grad, b.grad = tg.ones((3, 2)), tg.ones(4)
    optimizer.step()
    np.testing.assert_allclose(a.numpy(), before[0] - 0.1, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(b.numpy(), before[1] - 1.0, rtol=1e-6, atol=1e-7)


def test_a_group_given_as_dict_is_not_kept():
    (a, b) = params()
    group = {"params": iter([a])}
    optimizer = optim.SGD([group])
    assert list(group) == ["params"]
    optimizer.add_param_group({"params": (p for p in [b]), "lr": 0.5})
    assert optimizer.param_groups[1]["params"][0] is b
    assert optimizer.param_groups[1]["lr"] == 0.5


def test_named_parameters():
    net = nn.Linear(2, 1)
    optimizer = optim.SGD(net.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.param_groups[0]["params"][1] is net.bias


def test_zero_grad():
    a, b = params()
    optimizer = optim.SGD([a, b])
    a.grad = tg.ones((3, 2))
    optimizer.zero_grad(set_to_none=False)
    assert not a.grad.numpy().any()
    assert b.grad is None
    optimizer.zero_grad()
    assert a.grad is None


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: optim.SGD([p], lr=-0.1), "SGD: invalid learning rate: -0.1"),
        (lambda p: optim.SGD([p], lr=float("nan")), "invalid learning rate: nan"),
        (lambda p: optim.SGD([p], momentum=-1), "SGD: invalid momentum: -1"),
        (lambda p: optim.SGD([p], weight_decay=-1), "SGD: invalid weight decay: -1"),
        (lambda p: optim.SGD([p], nesterov=True), "Nesterov momentum requires a momentum"),
        (lambda p: optim.SGD([p], momentum=0.9, dampening=0.1, nesterov=True), "Nesterov"),
        (lambda p: optim.SGD([{"params": [p], "lr": -1}]), "invalid learning rate: -1"),
        (lambda p: optim.Adam([p], lr=-1), "Adam: invalid learning rate: -1"),
        (lambda p: optim.AdamW([p], eps=-1), "AdamW: invalid epsilon: -1"),
        (lambda p: optim.Adam([p], betas=(0.9, 1.0)), "invalid beta at index 1: 1.0"),
        (lambda p: optim.Adam([p], betas=(0.9,)), "betas are two numbers"),
        (lambda p: optim.AdamW([p], weight_decay=-1), "invalid weight decay"),
        (lambda p: optim.SGD([]), "empty parameter list"),
        (lambda p: optim.SGD([p, p]), r"parameter 1 of shape \(3, 2\) is in the groups twice"),
        (lambda p: optim.SGD([p * 2]), "result of an operation"),
        (lambda p: optim.SGD([("w", p), p]), "with names or none"),
    ],
)
def test_wrong_values(make, message):
    with pytest.raises(ValueError, match=message):
        make(params()[0])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: optim.SGD(p), "got one Tensor"),
        (lambda p: optim.SGD([np.ones(2)]), "optimizes Tensors, got ndarray"),
        (lambda p: optim.SGD([{"params": {p}}]), "has no order"),
        (lambda p: optim.SGD([{"lr": 1}]), "a dict with 'params'"),
    ],
)
def test_wrong_types(make, message):
    with pytest.raises(TypeError, match=message):
        make(params()[0])


def test_a_refused_group_changes_nothing():
    a, b = params()
    optimizer = optim.SGD([a])
    with pytest.raises(ValueError, match="invalid learning rate"):
        optimizer.add_param_group({"params": [b], "lr": -1})
    with pytest.raises(ValueError, match="twice"):
        optimizer.add_param_group({"params": [b, a]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("make", MAKERS)
def test_resumed_run_has_the_same_bits(make):
    straight = params()
    optimizer = make(straight)
    for seed in range(3):
        step(optimizer, seed)
    saved_params = [t.numpy().copy() for t in straight]
    saved = copy.deepcopy(optimizer.state_dict())
    for seed in range(3, 6):
        step(optimizer, seed)

    resumed = [tg.tensor(array, requires_grad=True) for array in saved_params]
    again = make(resumed)
    again.load_state_dict(saved)
    for seed in range(3, 6):
        step(again, seed)
    assert bits(resumed) == bits(straight)


@pytest.mark.parametrize("make", MAKERS)
def test_state_is_plain_and_loading_copies(make):
    optimizer = make(params())
    step(optimizer, 0)
    state = optimizer.state_dict()
    assert list(state["state"]) == [0, 1]
    assert state["param_groups"][0]["params"] == [0, 1]
    for values in state["state"].values():
        assert all(isinstance(v, int | np.ndarray) for v in values.values())
    twin = make(params())
    twin.load_state_dict(state)
    for a, b in zip(optimizer.state.values(), twin.state.values(), strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            if isinstance(value, np.ndarray):
                assert not np.shares_memory(value, b[key])
                assert value.tobytes() == b[key].tobytes()
    step(optimizer, 1)
    assert optimizer.state_dict()["param_groups"] == twin.state_dict()["param_groups"]


def test_options_are_taken_over():
    optimizer = optim.SGD(params(), lr=0.5, momentum=0.9)
    optimizer.param_groups[0]["initial_lr"] = 1.0
    twin = optim.SGD(params(), lr=0.1, momentum=0.0)
    own = twin.param_groups[0]["params"]
    twin.load_state_dict(optimizer.state_dict())
    assert twin.param_groups[0]["lr"] == 0.5
    assert twin.param_groups[0]["momentum"] == 0.9
    assert twin.param_groups[0]["initial_lr"] == 1.0
    assert all(a is b for a, b in zip(twin.param_groups[0]["params"], own, strict=True))


def wrong_states():
    good = optim.SGD(params(), lr=0.1, momentum=0.9)
    step(good, 0)
    state = good.state_dict()

    def changed(**group):
        return {**state, "param_groups": [{**state["param_groups"][0], **group}]}

    short = {"momentum_buffer": np.zeros((2, 3), np.float32)}
    return {
        r"the loaded momentum_buffer of parameter 0 has shape \(2, 3\), the parameter \(3, 2\)": {
            **state,
            "state": {**state["state"], 0: short},
        },
        r"groups of \[3\] parameters, this optimizer \[2\]": changed(params=[0, 1, 2]),
        r"groups of \[\] parameters": {**state, "param_groups": []},
        "invalid learning rate: -1": changed(lr=-1),
        "unknown parameters": {**state, "state": {7: {}}},
        r"lacks the option\(s\) dampening, momentum, nesterov": optim.Adam(params()).state_dict(),
        "has the keys 'state' and 'param_groups'": {"state": {}},
    }


@pytest.mark.parametrize("message", wrong_states())
def test_a_wrong_state_is_refused_and_changes_nothing(message):
    tensors = params()
    optimizer = optim.SGD(tensors, lr=0.3, momentum=0.5)
    step(optimizer, 1)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(wrong_states()[message])
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for index, values in before["state"].items():
        np.testing.assert_array_equal(
            after["state"][index]["momentum_buffer"], values["momentum_buffer"]
        )


def test_repr_lists_the_options():
    text = repr(optim.SGD([{"params": params()}], lr=0.25))
    assert text.startswith("SGD (\nParameter Group 0\n")
    assert "    lr: 0.25\n" in text
