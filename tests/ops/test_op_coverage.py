"""The catalogue is complete: every public op, every op class, empty inputs, third order."""

import functools
import importlib
import pkgutil
from inspect import isclass, isfunction

from op_case import Case
from op_catalogue import CASES, NEVER_EMPTY, NOT_DIFFERENTIABLE

import tinygrad_ft as tg
from tinygrad_ft import autograd, ops
from tinygrad_ft.formulas import formulas_of, op_classes_of
from tinygrad_ft.nn import functional as F


def test_every_public_op_has_a_case() -> None:
    covered = {c.name for c in CASES}
    functions = {n for n in tg.__all__ if callable(getattr(tg, n)) and n[0].islower()}
    functions -= set(autograd.__all__) | {"set_num_threads", "get_num_threads", "manual_seed"}
    functions -= {"explain", "load_weights", "set_fusion", "fusion_enabled"}
    methods = {n for n in dir(tg.Tensor) if not n.startswith("_")}
    public = functions | set(F.__all__) | methods
    assert public - covered - NOT_DIFFERENTIABLE == set()
    assert NOT_DIFFERENTIABLE & covered == set()
    assert public >= NOT_DIFFERENTIABLE, "a name that no longer exists"


def test_every_operator_has_a_case() -> None:
    arithmetic = ["add", "sub", "mul", "truediv", "pow", "matmul"]
    operators = {f"__{r}{n}__" for n in arithmetic for r in ("", "r")} | {"__neg__", "__abs__"}
    assert operators - {c.name for c in CASES} == set()
    assert all(hasattr(tg.Tensor, n) for n in operators)


# ---- which op classes the cases reach ------------------------------------------------------------


def classes_in(outputs: list[tg.Tensor]) -> set[type]:
    """The op classes of the graph behind `outputs`."""
    stack = [o.grad_fn for o in outputs if o.grad_fn is not None]
    found = set(stack)
    while stack:
        for edge in stack.pop().edges:
            if isinstance(edge.target, autograd.Function) and edge.target not in found:
                found.add(edge.target)
                stack.append(edge.target)
    return {type(node) for node in found}


def reached_by(case: Case) -> set[type]:
    """The op classes that a case uses, in its forward and in two recorded backwards."""
    tensors = case.tensors(case.arrays())
    outputs = case.differentiable(case.run(*tensors))
    found = classes_in(outputs)
    inputs = [t for t in tensors if t.requires_grad]
    for _ in range(2):
        seeds = [tg.Tensor(o.numpy(), requires_grad=True) for o in outputs]
        gradients = autograd.grad(outputs, inputs, seeds, create_graph=True, allow_unused=True)
        inputs = [*inputs, *seeds]
        outputs = [g for g in gradients if g is not None and g.requires_grad]
        found |= classes_in(outputs)
    return found


@functools.cache
def highest_order() -> dict[type, int]:
    """For each op class that a case reaches, the highest order at which one is checked."""
    orders: dict[type, int] = {}
    for case in CASES:
        for cls in reached_by(case):
            orders[cls] = max(case.order, orders.get(cls, 0))
    return orders


def op_classes() -> set[type]:
    """Every op of `tinygrad_ft/ops`: the classes that compute something, also those of tables."""
    found: set[type] = {c for n in ops.__all__ for c in op_classes_of(getattr(ops, n))}
    for module in pkgutil.iter_modules(ops.__path__, "tinygrad_ft.ops."):
        found |= {c for c in vars(importlib.import_module(module.name)).values() if isclass(c)}
    return {
        c
        for c in found
        if issubclass(c, autograd.Function) and c.forward is not autograd.Function.forward
    }


def test_every_op_class_is_reached_by_a_case() -> None:
    # the dtype changes, which no case allows: test_op_dtypes.py
    elsewhere = {"To"}
    missing = {c.__name__ for c in op_classes() if c not in highest_order()}
    assert missing - elsewhere == set()


def needs_third_order(cls: type) -> bool:
    """Pooling, and ops whose backward is other code while it is recorded."""
    methods = [m for m in vars(cls).values() if isfunction(m)]
    names = {name for m in methods for name in m.__code__.co_names}
    return bool(names & {"save_statistics", "is_grad_enabled"}) or "pool" in cls.__module__


def test_fused_ops_and_pooling_are_checked_to_order_three() -> None:
    classes = [c for c in op_classes() if needs_third_order(c)]
    assert {"BatchNorm", "MaxPool2d", "AvgPool2d"} <= {c.__name__ for c in classes}
    assert not [c.__name__ for c in classes if highest_order().get(c, 3) < 3]
    names = {c.name for c in CASES if "pool" in c.name}
    assert not names - {c.name for c in CASES if c.order >= 3}


def test_every_differentiable_op_says_its_gradient() -> None:
    functions = {c.name: getattr(ops, c.name) for c in CASES if hasattr(ops, c.name)}
    silent = [n for n, f in functions.items() if not any(g.is_gradient for g in formulas_of(f))]
    assert not silent


# ---- zero-size dimensions ------------------------------------------------------------------------


def test_every_op_has_a_case_with_a_dimension_of_size_zero() -> None:
    operators = {c.name for c in CASES if c.name.startswith("__")} - {"__getitem__"}
    names = {c.name for c in CASES} - operators
    empty = {c.name for c in CASES if c.has_zero_size()}
    assert sorted(names - empty - set(NEVER_EMPTY)) == []
    assert sorted(empty & set(NEVER_EMPTY)) == []
    assert set(NEVER_EMPTY) <= names
