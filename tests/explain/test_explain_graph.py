"""The graph that is shown is the one that was computed, and its gradients are the engine's."""

import numpy as np
import pytest
from explain_helpers import Network, explained, gradient, network_loss, op, value

import tinygrad_ft as tg
from tinygrad_ft import nn, optim
from tinygrad_ft.explain import recording
from tinygrad_ft.explain.explanation import explanation_of


def test_a_recorded_graph_has_every_op_and_every_number() -> None:
    w = tg.tensor([[2.0, 3.0]], requires_grad=True)
    x = tg.tensor([[5.0], [7.0]])
    e = explained(lambda: tg.relu(w @ x + 1).sum(), {"w": w, "x": x})
    assert [o.name for o in e.graph.ops] == ["MatMul", "Add", "ReLU", "Sum"]
    assert [[v.name for v in o.inputs if v] for o in e.graph.ops] == [
        ["w", "x"],
        ["MatMul 1", "1"],
        ["Add 2"],
        ["ReLU 3"],
    ]
    assert {v.name: v.kind for v in e.graph.values} == {
        "w": "parameter",
        "x": "data",
        "1": "data",
        "MatMul 1": "result",
        "Add 2": "result",
        "ReLU 3": "result",
        "loss": "result",
    }
    assert e.graph.complete
    assert value(e, "MatMul 1").array == 31 and value(e, "loss").array == 32
    assert op(e, "MatMul").input_names() == ["a", "b"]


def test_gradients_are_those_of_backward_and_nothing_else_changes() -> None:
    model, compute = network_loss()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with recording() as recorded:
        loss = compute()
    before = {n: p.data.copy() for n, p in model.named_parameters()}
    e = explanation_of(loss, recorded, title="", variables={"model": model}, optimizer=optimizer)
    assert all(p.grad is None for p in model.parameters())
    assert not optimizer.state
    loss.backward()  # neither freed nor changed by what was shown
    for name, p in model.named_parameters():
        assert np.array_equal(gradient(e, name), p.grad.data), name
        assert np.array_equal(p.data, before[name])
    optimizer.step()
    assert e.optimizer_step is not None
    for update in e.optimizer_step.updates:
        assert np.array_equal(update.after, update.tensor.data)


def test_each_steps_gradients_add_up_to_the_whole() -> None:
    a = tg.tensor(2.0, requires_grad=True)

    def compute() -> tg.Tensor:
        b = a * a
        return b * a + b

    e = explained(compute, {"a": a})
    parts: dict[int, float] = {}
    for step in e.backward.steps:
        for v, g in zip(step.op.inputs, step.outgoing, strict=True):
            if v is not None and g is not None:
                parts[v.number] = parts.get(v.number, 0.0) + float(g)
    assert parts[value(e, "a").number] == gradient(e, "a") == 3 * 4 + 2 * 2
    assert len(e.backward.parts[value(e, "a").number]) == 3
    assert all(parts[v.number] == e.backward.gradients[v.number] for v in e.graph.values[1:-1])


def test_modules_are_groups_and_give_the_names() -> None:
    model, compute = network_loss()
    e = explained(compute, {"model": model})
    assert op(e, "Conv2d").group == ("model", "conv")
    assert op(e, "ReLU").group == ("model",)
    assert op(e, "CrossEntropy").group == ()
    assert e.graph.groups[("model", "bn")] == "BatchNorm2d"
    assert value(e, "head.weight").kind == "parameter"


def test_a_module_called_twice_is_two_groups() -> None:
    layer = nn.Linear(2, 2)
    e = explained(lambda: layer(tg.tanh(layer(tg.ones(1, 2)))).sum(), {"layer": layer})
    groups = [o.group for o in e.graph.ops if o.name == "MatMul"]
    assert groups == [("layer",), ("layer (call 2)",)]


def test_fused_ops_are_recorded_one_by_one() -> None:
    assert tg.fusion_enabled()
    _, compute = network_loss()
    e = explained(compute)
    names = [o.name for o in e.graph.ops]
    assert "BatchNorm" in names and "ReLU" in names and "BatchNormReLU" not in names
    assert tg.fusion_enabled()


def test_what_a_parameter_was_then_is_kept() -> None:
    w = tg.tensor([3.0], requires_grad=True)
    with recording() as recorded:
        loss = (w * 2.0).sum()
    e = explanation_of(loss, recorded, title="", variables={"w": w})
    with tg.no_grad():
        w.mul_(100.0)
    assert value(e, "w").array == 3


def test_only_what_leads_to_the_loss_is_shown() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)

    def compute() -> tg.Tensor:
        tg.exp(x).sum()
        x.reshape(2, 1)
        return (x * 2).sum()

    assert [o.name for o in explained(compute).graph.ops] == ["Mul", "Sum"]


def test_a_detached_result_is_shown_with_what_made_it() -> None:
    model, compute = network_loss(cut=True)
    e = explained(compute, {"model": model})
    assert not op(e, "Conv2d").node.needs_input_grad[0]
    cut = [v for v in e.graph.values if v.detached]
    assert len(cut) == 1 and cut[0].maker is not None
    reached = {s.op.name for s in e.backward.steps}
    assert "Conv2d" not in reached and "MatMul" in reached
    assert value(e, "conv.weight").number not in e.backward.gradients


def test_a_view_of_a_leaf_is_not_detached() -> None:
    w = tg.tensor([[1.0, 2.0]], requires_grad=True)
    e = explained(lambda: (w.T * 2).sum() + w.sum(), {"w": w})
    assert not any(v.detached for v in e.graph.values)
    assert np.array_equal(gradient(e, "w"), [[3, 3]])


def test_after_the_fact_the_graph_shows_what_it_kept() -> None:
    x = tg.tensor([[1.0, -2.0]])
    w = tg.tensor([[2.0], [3.0]], requires_grad=True)
    hidden = tg.relu(x @ w)
    loss = (hidden * hidden).sum()
    e = explanation_of(loss, None, title="", variables={"x": x, "w": w, "loss": loss})
    assert [o.name for o in e.graph.ops] == ["MatMul", "ReLU", "Mul", "Sum"]
    assert not e.graph.complete
    assert value(e, "MatMul 1").array is None  # ReLU keeps its mask only
    assert np.array_equal(value(e, "ReLU 2").array, hidden.data)
    assert value(e, "x").array is x.data
    loss.backward(retain_graph=True)
    assert np.array_equal(gradient(e, "w"), w.grad.data)
    assert not e.checks and "recording()" in e.unchecked


def test_what_cannot_be_explained_says_why() -> None:
    x = tg.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match=r"explain: needs a loss of one number, got shape \(3,\)"):
        tg.explain(x * 2)
    with pytest.raises(RuntimeError, match="nothing it was computed from requires a gradient"):
        tg.explain(tg.ones(3).sum())
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="a second backward through a graph that was freed"):
        tg.explain(loss)
    with pytest.raises(TypeError, match="the function must give a Tensor, not float"):
        tg.explain(lambda: 3.0)  # type: ignore[arg-type, return-value]


def test_an_observer_costs_nothing_and_leaves_nothing() -> None:
    from tinygrad_ft import observe

    with recording() as recorded:
        Network()
    assert observe.current is None and recorded.calls == []
