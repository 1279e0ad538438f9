"""Module: registration, walking, modes, hooks, printing."""

import copy
from collections import OrderedDict

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.act = nn.ReLU()
        self.rest = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.25), nn.Linear(4, 2))
        self.scale = nn.Parameter(np.ones(2, np.float32))
        self.register_buffer("steps", tg.tensor([0.0]))
        self.register_buffer("scratch", tg.tensor([7.0]), persistent=False)

    def forward(self, x):
        return self.rest(self.act(self.norm(self.first(x)))) * self.scale


def test_names_in_order_of_registration():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == [
        "scale",
        "first.weight",
        "first.bias",
        "norm.weight",
        "norm.bias",
        "rest.0.weight",
        "rest.0.bias",
        "rest.2.weight",
        "rest.2.bias",
    ]
    assert [name for name, _ in net.named_buffers()] == [
        "steps",
        "scratch",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    ]
    assert [name for name, _ in net.named_children()] == ["first", "norm", "act", "rest"]
    assert [name for name, _ in net.named_modules()][:6] == [
        "",
        "first",
        "norm",
        "act",
        "rest",
        "rest.0",
    ]
    assert {"first", "scale", "steps", "forward"} <= set(dir(net))
    assert len(list(net.modules())) == 8
    assert len(list(net.parameters(recurse=False))) == 1
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in net.parameters())


def test_shared_module_is_walked_once_but_saved_under_both_names():
    shared = nn.Linear(2, 2)
    net = nn.Sequential(shared, nn.ReLU(), shared)
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias"]
    assert len(list(net.modules())) == 3
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert len(list(net.named_parameters(remove_duplicate=False))) == 4
    assert len(list(net.named_modules(remove_duplicate=False))) == 4


def test_assignment_moves_a_name_between_kinds():
    net = nn.Module()
    net.thing = 3
    net.thing = nn.Linear(1, 1)
    assert "thing" in net._modules
    assert "thing" not in net.__dict__
    net.thing = nn.Parameter(np.zeros(1, np.float32))
    assert not net._modules
    assert list(net.state_dict()) == ["thing"]
    net.thing = None
    assert net.thing is None
    assert not net.state_dict()
    del net.thing
    assert not hasattr(net, "thing")


def test_buffers_are_replaced_by_assignment():
    net = Net()
    net.steps = tg.tensor([5.0])
    assert net.state_dict()["steps"].item() == 5.0
    with pytest.raises(TypeError, match="buffer 'steps'"):
        net.steps = 5.0
    assert net.steps.item() == 5.0


@pytest.mark.parametrize("value", [np.ones(2), tg.tensor([1.0]), 3])
def test_a_parameter_is_not_replaced_by_something_else(value):
    net = Net()
    before = net.scale
    with pytest.raises(TypeError, match="parameter 'scale'"):
        net.scale = value
    assert net.scale is before


def test_wrong_registrations():
    net = Net()
    with pytest.raises(TypeError, match="must be a Parameter"):
        net.register_parameter("p", tg.tensor([1.0]))
    with pytest.raises(TypeError, match="must be a Tensor"):
        net.register_buffer("b", np.ones(1))
    with pytest.raises(TypeError, match="must be a Module"):
        net.add_module("m", lambda x: x)
    with pytest.raises(ValueError, match="without dots"):
        net.register_module("a.b", nn.ReLU())
    with pytest.raises(ValueError, match="exists already"):
        net.register_module("forward", nn.ReLU())
    with pytest.raises(TypeError, match="module 'act'"):
        net.act = 3


def test_forgotten_super_init_is_named():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)"):
        Forgetful()


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="Net has no attribute 'nothing'"):
        _ = Net().nothing


def test_train_eval_apply_and_requires_grad():
    net = Net()
    assert all(m.training for m in net.modules())
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())
    with pytest.raises(ValueError, match="True or False"):
        net.train("yes")

    seen = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen[-1] == "Net"
    assert len(seen) == 8

    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_zero_grad():
    layer = nn.Linear(2, 1)
    layer(tg.ones((1, 2))).sum().backward()
    gradient = layer.weight.grad
    layer.zero_grad(set_to_none=False)
    np.testing.assert_array_equal(layer.weight.grad.numpy(), np.zeros((1, 2)))
    np.testing.assert_array_equal(gradient.numpy(), np.ones((1, 2)))
    layer.zero_grad()
    assert layer.weight.grad is None


def test_repr_is_nested_as_in_pytorch():
    assert repr(Net()) == (
        "Net(\n"
        "  (first): Linear(in_features=3, out_features=4, bias=True)\n"
        "  (norm): BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, "
        "track_running_stats=True)\n"
        "  (act): ReLU()\n"
        "  (rest): Sequential(\n"
        "    (0): Linear(in_features=4, out_features=4, bias=True)\n"
        "    (1): Dropout(p=0.25, inplace=False)\n"
        "    (2): Linear(in_features=4, out_features=2, bias=True)\n"
        "  )\n"
        ")"
    )
    assert repr(nn.Sequential()) == "Sequential()"
    assert repr(nn.Parameter([1.0])).startswith("Parameter containing:\ntensor([1.]")


def test_forward_hook_sees_and_replaces_and_is_removed():
    layer = nn.Identity()
    seen = []
    watch = layer.register_forward_hook(lambda m, args, out: seen.append((m, args, out)))
    double = layer.register_forward_hook(lambda m, args, out: out * 2)
    x = tg.tensor([3.0])
    assert layer(x).item() == 6.0
    assert seen[0][0] is layer
    assert seen[0][1][0] is x
    watch.remove()
    watch.remove()
    double.remove()
    assert layer(x).item() == 3.0
    assert len(seen) == 1


def test_module_without_forward():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(1)


def test_deepcopy_is_independent():
    net = Net()
    twin = copy.deepcopy(net)
    with tg.no_grad():
        twin.first.weight.zero_()
    assert net.first.weight.numpy().any()
    assert isinstance(twin.first.weight, nn.Parameter)
    assert list(twin.state_dict()) == list(net.state_dict())


def test_sequential_and_module_list():
    a, b, c = nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 3)
    net = nn.Sequential(OrderedDict([("a", a), ("b", b)]))
    assert net.a is a
    net = nn.Sequential(a, b)
    net.append(c)
    assert len(net) == 3
    assert net[-1] is c
    assert [type(m) for m in net[:2]] == [nn.Linear, nn.ReLU]
    assert isinstance(net[1:], nn.Sequential)
    np.testing.assert_array_equal(net(tg.ones((1, 1))).numpy(), c(b(a(tg.ones((1, 1))))).numpy())
    net[1] = nn.Tanh()
    assert repr(net[1]) == "Tanh()"
    with pytest.raises(IndexError, match="3 modules"):
        net[3]

    layers = nn.ModuleList([a]).extend([b, c])
    assert list(layers) == [a, b, c]
    assert isinstance(layers[1:], nn.ModuleList)
    assert list(layers.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    with pytest.raises(TypeError, match="must be a Module"):
        layers.append(3)


def test_get_submodule():
    net = Net()
    assert net.get_submodule("rest.2") is net.rest[2]
    assert net.get_submodule("") is net
    with pytest.raises(AttributeError, match=r"no submodule 'rest.9'.*children: 0, 1, 2"):
        net.get_submodule("rest.9")


def test_double_converts_everything_but_integers():
    net = Net()
    first = net.first.weight
    net.double()
    assert net.first.weight is first
    assert {t.dtype for t in net.state_dict().values()} == {
        np.dtype(np.float64),
        np.dtype(np.int64),
    }
    assert net.eval()(tg.tensor(np.ones((1, 3)))).dtype == np.float64
    assert net.float().first.weight.dtype == np.float32
    with pytest.raises(TypeError, match="floating-point dtype"):
        net.to(np.int32)


def test_parameter_shares_memory_and_in_place_changes_are_counted():
    source = tg.tensor([1.0, 2.0])
    param = nn.Parameter(source)
    loss = (param * param).sum()
    source.mul_(2)
    assert param.tolist() == [2.0, 4.0]
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()
