"""The formula language: read from docstrings, found for every op, set as MathML."""

import importlib
import inspect
import pkgutil
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import autograd, ops
from tinygrad_ft.formulas import Formula, formulas_of, op_classes_of, own_formulas_of
from tinygrad_ft.mathml import FormulaError, to_mathml


def elements(formula: str) -> str:
    """MathML without noise: `<mi>x</mi>` is x, and every other element is name(children)."""

    def show(node: ET.Element) -> str:
        name = node.tag.rpartition("}")[2]
        inside = (node.text or "").strip("\u00a0") + " ".join(show(child) for child in node)
        return inside.strip() if name in ("mi", "mn", "mo") else f"{name[1:]}({inside.strip()})"

    root = ET.fromstring(to_mathml(formula))
    assert root.tag == "{http://www.w3.org/1998/Math/MathML}math"
    return " ".join(show(child) for child in root)


SET = {
    "x": "x",
    "alpha": "α",
    "2.5": "2.5",
    "a + b - c": "row(row(a + b) − c)",
    "a - b * c": "row(a − row(b ⋅ c))",
    "a * b / c": "frac(row(a ⋅ b) c)",
    "a / (b + c) * d": "row(frac(a row(b + c)) ⋅ d)",
    "(a + b) / c": "frac(row(a + b) c)",
    "(a + b) * c": "row(row(( row(a + b) )) ⋅ c)",
    "-x^2": "row(− sup(x 2))",
    "e^-x": "sup(e row(− x))",
    "e^-x^2": "sup(e row(− sup(x 2)))",
    "a^b^c": "sup(a sup(b c))",
    "x^(n - 1)": "sup(x row(n − 1))",
    "a @ b^T": "row(a @ sup(b T))",
    "i mod n": "row(i mod n)",
    "x_i": "sub(x i)",
    "W_ih": "sub(W ih)",
    "grad_out": "sub(grad out)",
    "grad_x_i": "sub(grad row(x , i))",
    "running_mean": "running_mean",
    "xhat": "over(x ^)",
    "x'": "sup(x ′)",
    "x[i, 2 * j]": "row(x [ i , row(2 ⋅ j) ])",
    "x[..., ::2]": "row(x [ … , : : 2 ])",
    "f(x, y)": "row(f \u2061 ( row(x , y) ))",
    "log_softmax(x)": "row(log_softmax \u2061 ( x ))",
    "ln x + 1": "row(row(ln \u2061 x) + 1)",
    "cos x * y": "row(row(cos \u2061 x) ⋅ y)",
    "sqrt(var + eps)": "sqrt(row(var + ε))",
    "floor(x / 2)": "row(⌊ frac(x 2) ⌋)",
    "|x - y|": "row(| row(x − y) |)",
    "||x||_2": "sub(row(‖ x ‖) 2)",
    "ln |x|": "row(ln \u2061 row(| x |))",
    "sum_i x_i * y_i + 1": "row(row(under(∑ i) row(sub(x i) ⋅ sub(y i))) + 1)",
    "sum_{i=1}^n x_i": "row(underover(∑ row(i = 1) n) sub(x i))",
    "sum grad_out * x": "row(∑ row(sub(grad out) ⋅ x))",
    "sum(x, dims)": "row(∑ \u2061 ( row(x , dims) ))",
    "max_j x[j]": "row(under(max j) row(x [ j ]))",
    "max(a, 0)": "row(max \u2061 ( row(a , 0) ))",
    "log sum_j e^x_j": "row(log \u2061 row(under(∑ j) sup(e sub(x j))))",
    "a <= b": "row(a ≤ b)",
    "p and not q": "row(p text(and) row(text(not) q))",
    "y = a, b": "row(y = row(a , b))",
    "x in the order dims": "row(x text(in) text(the) text(order) text(dims))",
    "sum of x over dims": "row(text(sum) text(of) x text(over) text(dims))",
}


@pytest.mark.parametrize("formula", SET)
def test_what_is_set(formula: str) -> None:
    assert elements(formula) == SET[formula]


def test_cases_stand_behind_a_brace_and_belong_to_the_right_side() -> None:
    """Each with its condition; a comma before else changes nothing."""
    found = elements("y = 1 where x > 0, else -1 where x < 0 else 0")
    assert found == elements("y = 1 where x > 0 else -1 where x < 0, else 0")
    condition = "td(text(where) row(x {} 0))"
    lines = [
        f"tr(td(1) {condition.format('>')})",
        f"tr(td(row(− 1)) {condition.format('<')})",
        "tr(td(0) td(text(else)))",
    ]
    assert found == f"row(y = row({{ table({' '.join(lines)})))"
    assert "else" not in elements("y = x where p")


@pytest.mark.parametrize(
    ("formula", "problem"),
    [
        ("grad_out x", "two values side by side at 'x' (place 9)"),
        ("y = 2 x", "two values side by side at 'x'"),
        ("y = 2x", "'2' has no meaning"),
        ("(a + b", "expected ')' at 'the end'"),
        ("x[i", "expected ']' at 'the end'"),
        ("a + * b", "expected a value at '*'"),
        ("y = `x`", "'`' has no meaning"),
        ("a else b", "cannot go on at 'else'"),
        ("|x", "expected '|' at 'the end'"),
        ("", "expected a value at 'the end'"),
    ],
)
def test_what_is_refused(formula: str, problem: str) -> None:
    with pytest.raises(FormulaError, match=re.escape(problem)):
        to_mathml(formula)


def test_markup_in_a_formula_is_escaped() -> None:
    assert "&lt;" in to_mathml("a < b")


# ---- from docstrings -----------------------------------------------------------------------------


def documented(text: str, as_class: bool = True) -> list[str]:
    if as_class:
        return [str(f) for f in formulas_of(type("Op", (autograd.Function,), {"__doc__": text}))]

    def f() -> None: ...

    f.__doc__ = text
    return [str(found) for found in own_formulas_of(f)]


def test_formulas_of_a_docstring() -> None:
    assert documented("out = a + b;  grad_a = f(grad_out, a),  grad_b = 0, 1 where b = a") == [
        "out = a + b",
        "grad_a = f(grad_out, a)",
        "grad_b = 0, 1 where b = a",
    ]
    assert documented("""xhat = (x - mean) / s,
    out = xhat * weight +
    bias

    Prose. x = 1 is prose too.
    grad_x = max(a,
    b)
        * c
    where a > 0, else 0
    More prose.

    out = 3
    """) == [
        "xhat = (x - mean) / s",
        "out = xhat * weight + bias",
        "grad_x = max(a, b) * c where a > 0, else 0",
        "out = 3",
    ]
    assert documented("") == []


def test_a_function_says_where_its_formulas_begin() -> None:
    """A variable may be defined in prose; `out = ` and `grad_x = ` are formulas."""
    text = """One line.

    with
    H = floor(h / 2) and nothing else.

    out[i] = x[i], y = 2
    grad_x = grad_out
    """
    assert documented(text, as_class=False) == ["out[i] = x[i]", "y = 2", "grad_x = grad_out"]


def test_a_part_that_is_no_formula_is_named() -> None:
    with pytest.raises(ValueError, match="Op: 'the rest gets it' in its docstring"):
        documented("out = x;  the rest gets it")


def test_the_op_classes_of_a_function() -> None:
    names = lambda f: [c.__name__ for c in op_classes_of(f)]  # noqa: E731
    assert names(ops.exp) == ["Exp"]
    assert names(ops.pow) == ["Pow", "PowTensor"]
    assert set(names(ops.batch_norm)) == {"BatchNorm", "ChannelAffine"}  # one in a helper
    assert names(ops.amax) == ["Amax"]  # handed to a helper
    assert names(ops.mse_loss) == []
    assert formulas_of(ops.exp) == [Formula("out", "e^x"), Formula("grad_x", "grad_out * out")]


def test_formulas_of_a_recorded_op() -> None:
    """What a page that shows a graph needs: from a node to its formulas."""
    x = tg.Tensor(np.ones(2), requires_grad=True)
    found = formulas_of(type((x * 2).grad_fn))
    assert [f.left for f in found if f.is_gradient] == ["grad_a", "grad_b"]


def op_classes() -> list[type]:
    """Those that modules define, and those that tables of ops make."""
    found = {c for name in ops.__all__ for c in op_classes_of(getattr(ops, name))}
    for module in pkgutil.iter_modules(ops.__path__, "tinygrad_ft.ops."):
        names = vars(importlib.import_module(module.name))
        found |= {c for c in names.values() if inspect.isclass(c)}
    computing = [
        c
        for c in found
        if issubclass(c, autograd.Function) and c.forward is not autograd.Function.forward
    ]
    return sorted(computing, key=lambda c: c.__name__)


@pytest.mark.parametrize("cls", op_classes(), ids=lambda c: c.__name__)
def test_every_op_class_has_formulas_that_can_be_set(cls: type) -> None:
    found = formulas_of(cls)
    for formula in found:
        to_mathml(str(formula))
    assert any(not f.is_gradient for f in found)
    assert any(f.is_gradient for f in found) == (cls.backward is not autograd.Function.backward)
