"""No op leaves anything behind for the cycle collector: its graph dies with the last reference."""

import gc
import re
import weakref

import numpy as np
import pytest
from op_case import Case
from op_catalogue import CASES

from tinygrad_ft import autograd

every_case = pytest.mark.parametrize("case", CASES, ids=[c.id for c in CASES])


def graph_of(outputs: list) -> list[weakref.ref]:
    """Weak references to every node that the outputs depend on, and to the outputs."""
    stack, found = [o.grad_fn for o in outputs if o.grad_fn is not None], set()
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack += [e.target for e in node.edges if isinstance(e.target, autograd.Function)]
    return [weakref.ref(x) for x in [*found, *outputs]]


@pytest.fixture
def no_collector():
    gc.disable()
    yield
    gc.enable()


@every_case
def test_graph_dies_at_once(case: Case, no_collector: None) -> None:
    for how in ("dropped", "first order", "second order"):
        check_that_the_graph_dies(case, how)


def check_that_the_graph_dies(case: Case, how: str) -> None:
    tensors = case.tensors(case.arrays())
    outputs = [o for o in case.differentiable(case.run(*tensors)) if o.grad_fn is not None]
    if not outputs:
        pytest.skip("gives its input back")
    inputs = [t for t in tensors if t.requires_grad]
    refs = graph_of(outputs)
    assert len(refs) >= 2
    if how != "dropped":
        create = how == "second order"
        gradients = autograd.grad(outputs, inputs, list(outputs), create_graph=create)
        refs += graph_of([g for g in gradients if g.grad_fn is not None])
        again = [g for g in gradients if g.requires_grad]
        if again:
            autograd.grad(again, inputs, again, allow_unused=True)
        del gradients, again
    del outputs
    assert [r for r in refs if r() is not None] == [], how


@every_case
def test_backward_drops_what_was_kept(case: Case, no_collector: None) -> None:
    """While the loss is still held, the arrays that its nodes kept are not."""
    tensors = case.tensors(case.arrays())
    outputs = case.differentiable(case.run(*tensors))
    nodes = [r() for r in graph_of(outputs)]
    nodes = [n for n in nodes if isinstance(n, autograd.Function)]
    autograd.backward(outputs, [o.detach() for o in outputs])
    assert all(not n._saved for n in nodes)
    assert all(t.grad is not None and t.grad.grad_fn is None for t in tensors if t.requires_grad)


@every_case
def test_a_second_backward_raises_or_is_right(case: Case) -> None:
    """It names the op whose arrays are gone; where nothing had to be kept, nothing is missing."""
    tensors = case.tensors(case.arrays())
    outputs = case.differentiable(case.run(*tensors))
    inputs = [t for t in tensors if t.requires_grad]
    names = {type(n).__name__ for n in (r() for r in graph_of(outputs))}
    seeds = [np.ones(o.shape) for o in outputs]
    first = autograd.grad(outputs, inputs, seeds)
    refused = ""
    try:
        second = autograd.grad(outputs, inputs, seeds)
    except RuntimeError as error:
        refused = str(error)
    if refused:
        message = re.match(r"(\w+): a second backward .*retain_graph=True", refused)
        assert message is not None and message[1] in names, refused
    else:
        for f, s in zip(first, second, strict=True):
            np.testing.assert_array_equal(f.numpy(), s.numpy())
