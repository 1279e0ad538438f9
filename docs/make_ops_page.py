"""Writes docs/ops.md: every op with its formulas, taken from the docstrings.

Run `python -m docs.make_ops_page` in the repository's root after a docstring was changed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tinygrad_ft
from tinygrad_ft import Tensor, ops
from tinygrad_ft.formulas import Formula, formulas_of, op_classes_of, own_formulas_of
from tinygrad_ft.nn import functional

PAGE = Path(__file__).parent / "ops.md"
COMMAND = "python -m docs.make_ops_page"

FAMILIES = {
    "Arithmetic": ["elementwise", "rounding", "selection"],
    "Functions of one number": ["unary"],
    "Comparisons and logic": ["compare"],
    "Activations": ["activation", "activation_piecewise", "softmax"],
    "Reductions": ["reduce", "extremum", "vector_norm"],
    "Scans and sorting": ["scan", "sort"],
    "Shape": ["shape", "join", "flip", "repeat", "pad", "triangle", "cast"],
    "Indexing": ["index", "gather", "masked", "embedding"],
    "Matrix products": ["matmul", "tensor_product", "einsum"],
    "Convolution": ["conv", "conv_transpose", "unfold", "resample"],
    "Pooling": ["pool", "adaptive_pool"],
    "Normalisation and dropout": ["norm", "group_norm", "response_norm", "dropout"],
    "Losses": ["loss_classification", "loss_probability", "loss_regression"],
    "Attention and similarity": ["attention", "similarity"],
}
"""The modules of `tinygrad_ft/ops`, by section of the page."""

# functions of `ops` that users know as operators
OPERATORS = {"getitem": "x[index]"}

INTRODUCTION = f"""\
# Ops

Every op with what it computes and its gradient. This page is written by `{COMMAND}`
from the docstrings; the op's own file has the rest: arguments, errors, sources.

`out` is the result and `grad_out` the gradient of the loss with respect to it; `grad_x` is the
gradient that the op gives to its input `x`. `*` and `/` are elementwise, `@` is the matrix product,
`x^T` the transpose. An operand that was broadcast gets its gradient summed over the copies. Where
the name of a class stands above formulas, the op chooses between classes or uses several. Every
backward is made of ops of this page, so each formula can be differentiated again, to any order.
Of windows s is the stride, d the dilation and b the border (padding); an element outside of its
tensor, or at a place that is no integer, is 0.

`tg` is `tinygrad_ft`, `F` is `tinygrad_ft.nn.functional`, and `x.name` a method of Tensor.
"""


class Op(NamedTuple):
    """A public function with all names it is known by, and the module that it is written in."""

    name: str
    function: Callable[..., Any]
    available: list[str]
    module: str


def public_ops() -> list[Op]:
    """The functions of `tinygrad_ft.ops` that users can reach, by name."""
    named = [(name, getattr(ops, name), _places(name)) for name in sorted(ops.__all__)]
    return [
        Op(name, function, places, _home(name, function))
        for name, function, places in named
        if inspect.isfunction(function) and places
    ]


def _home(name: str, function: Callable[..., Any]) -> str:
    """The module that defines a function, or whose table makes it: `name = unary(...)`."""
    home = function.__module__.rpartition(".")[2]
    if not home.startswith("_"):
        return home
    entry = re.compile(rf"^{name}(?:: \w+)? = ", re.MULTILINE)
    files = sorted(Path(ops.__file__).parent.glob("[a-z]*.py"))
    return next(f.stem for f in files if entry.search(f.read_text(encoding="utf-8")))


def _places(name: str) -> list[str]:
    if name in OPERATORS:
        return [OPERATORS[name]]
    owners = (("tg", tinygrad_ft), ("F", functional))
    places = [f"{short}.{name}" for short, owner in owners if name in owner.__all__]
    return places + [f"x.{name}"] * hasattr(Tensor, name)


def formulas_by_class(op: Op) -> Iterator[tuple[str, list[Formula]]]:
    """The op's own formulas under "", or else those of its classes under their names."""
    own = own_formulas_of(op.function)
    classes = op_classes_of(op.function)
    if own or len(classes) == 1:
        yield "", formulas_of(op.function)
        return
    for cls in classes:
        yield cls.__name__, formulas_of(cls)


def signature(op: Op) -> str:
    """`name(input, dim=None)`: no annotations."""
    parameters = inspect.signature(op.function).parameters.values()
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    return f"{op.name}{inspect.Signature(plain)}"


def summary(op: Op) -> str:
    """The first sentence or paragraph of the docstring, on one line."""
    text = inspect.cleandoc(op.function.__doc__ or "").split("\n\n")[0].split("\nout = ")[0]
    return " ".join(text.split())


def entry(op: Op) -> str:
    lines = []
    for class_name, formulas in formulas_by_class(op):
        indent = "  " if class_name else ""
        lines += [f"{class_name}:"] * bool(class_name)
        lines += [f"{indent}{formula}" for formula in formulas]
    if not any(f.is_gradient for f in formulas_of(op.function)):
        lines.append("no gradient")
    source = f"[{op.module}.py](../tinygrad_ft/ops/{op.module}.py)"
    places = ", ".join(f"`{place}`" for place in op.available)
    body = "\n".join([signature(op), "", *lines]).rstrip()
    return f"### {op.name}\n\n{summary(op)}\n\n```\n{body}\n```\n\n{places} · {source}\n"


def page() -> str:
    """The whole page. ValueError if a module of an op stands in no section."""
    found = public_ops()
    sections = [INTRODUCTION]
    listed = {module for modules in FAMILIES.values() for module in modules}
    strangers = sorted({op.module for op in found} - listed)
    if strangers:
        raise ValueError(f"put into a section of FAMILIES in docs/make_ops_page.py: {strangers}")
    for title, modules in FAMILIES.items():
        members = sorted((op for op in found if op.module in modules), key=lambda op: op.name)
        links = " · ".join(f"[{op.name}](#{op.name})" for op in members)
        sections.append(f"\n## {title}\n\n{links}\n")
        sections += [entry(op) for op in members]
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
