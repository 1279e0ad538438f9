"""Containers: order, names, lists and dicts of modules, lists of parameters."""

from collections import OrderedDict

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import nn


class Times(nn.Module):
    """x * factor"""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.weight = nn.Parameter(np.full(1, factor, np.float32))

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        return x * self.weight


def factors(container) -> list[float]:
    return [module.factor for module in container]


def names(container) -> list[str]:
    return [name for name, _ in container.named_children()]


@pytest.mark.parametrize("kind", [nn.Sequential, nn.ModuleList])
def test_like_a_list(kind):
    modules = [Times(f) for f in (1.0, 2.0, 3.0)]
    box = kind(*modules) if kind is nn.Sequential else kind(modules)
    plain = [1.0, 2.0, 3.0]
    for place, factor in ((0, 4.0), (2, 5.0), (-1, 6.0), (99, 7.0)):
        assert box.insert(place, Times(factor)) is box
        plain.insert(place, factor)
        assert factors(box) == plain
        assert names(box) == [str(i) for i in range(len(plain))]
    assert box.pop().factor == plain.pop()
    assert box.pop(1).factor == plain.pop(1)
    del box[0]
    del plain[0]
    assert factors(box) == plain
    del box[1:]
    assert factors(box) == plain[:1]
    box.append(Times(8.0)).extend([Times(9.0)])
    assert factors(box) == [*plain[:1], 8, 9]
    assert list(box.state_dict()) == ["0.weight", "1.weight", "2.weight"]
    assert factors(box[::2]) == [plain[0], 9]
    with pytest.raises(IndexError, match=r"3 modules: no index 3"):
        box.pop(3)
    with pytest.raises(TypeError, match="takes a Module, got int"):
        box.insert(0, 3)
    assert len(box) == 3


def test_sequential_calls_in_order_after_an_insert():
    net = nn.Sequential(Times(2.0), nn.ReLU())
    net.insert(0, Times(-1.0))
    np.testing.assert_array_equal(net(tg.tensor([3.0, -3.0])).numpy(), [0, 6])


def test_given_names_stay():
    net = nn.Sequential(OrderedDict([("first", Times(1.0)), ("last", Times(2.0))]))
    net.insert(1, Times(3.0))
    assert names(net) == ["first", "1", "last"]
    assert net.last.factor == 2
    del net[0]
    assert names(net) == ["0", "last"]
    assert names(net[1:]) == ["last"]


def test_appending_to_a_slice_loses_nothing():
    tail = nn.Sequential(Times(1.0), Times(2.0), Times(3.0))[2:]
    tail.extend([Times(4.0), Times(5.0)])
    assert factors(tail) == [3, 4, 5]
    assert len(set(names(tail))) == 3
    middle = nn.Sequential(*[Times(float(f)) for f in range(4)])[1:3]
    middle.append(Times(9.0))
    assert factors(middle) == [1, 2, 9]


def test_module_dict():
    heads = nn.ModuleDict({"a": Times(1.0), "b": Times(2.0)})
    heads["c"] = Times(3.0)
    heads.update([("a", Times(4.0))])
    assert list(heads) == list(heads.keys()) == ["a", "b", "c"]
    assert [m.factor for m in heads.values()] == [4, 2, 3]
    assert {n: m.factor for n, m in heads.items()} == {"a": 4, "b": 2, "c": 3}
    assert len(heads) == 3
    assert "b" in heads
    assert heads["b"].factor == 2
    assert list(heads.state_dict()) == ["a.weight", "b.weight", "c.weight"]
    assert heads.pop("b").factor == 2
    del heads["a"]
    assert list(heads) == ["c"]
    copy = nn.ModuleDict(heads)
    assert copy["c"] is heads["c"]
    heads.clear()
    assert not list(heads.parameters())
    with pytest.raises(KeyError):
        heads["c"]
    with pytest.raises(ValueError, match="without dots"):
        heads["x.y"] = Times(1.0)
    with pytest.raises(TypeError, match="must be a Module"):
        heads["x"] = 3


def test_parameter_list():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scales = nn.ParameterList([tg.ones(2), nn.Parameter(tg.zeros(3))])

    model = Model()
    model.scales.append(tg.ones(1))
    assert [n for n, _ in model.named_parameters()] == ["scales.0", "scales.1", "scales.2"]
    assert [p.shape for p in model.scales] == [(2,), (3,), (1,)]
    assert all(p.requires_grad for p in model.scales)
    assert model.scales[-1] is model.scales[2]
    model.scales[0] = tg.zeros(5)
    assert [p.shape for p in model.scales[:2]] == [(5,), (3,)]
    assert repr(model.scales[:1]) == "ParameterList((0): float32 (5,))"
    with pytest.raises(IndexError, match="3 parameters: no index 3"):
        model.scales[3]
    with pytest.raises(TypeError, match="takes Tensors, got list"):
        model.scales.append([1.0])


def test_names_and_order_are_pytorchs():
    torch = pytest.importorskip("torch")

    def build(n):
        inner = n.Sequential(OrderedDict([("one", n.Linear(1, 2)), ("two", n.Linear(2, 1))]))
        box = n.ModuleList([n.Linear(2, 3), inner])
        box.insert(1, n.Linear(1, 1))
        box.append(n.ModuleDict({"z": n.Linear(1, 1), "a": n.Linear(1, 2)}))
        net = n.Sequential(box, n.Linear(3, 3))
        net.insert(0, n.Linear(2, 2))
        net.append(n.Embedding(3, 2))
        return net

    assert list(build(nn).state_dict()) == list(build(torch.nn).state_dict())
