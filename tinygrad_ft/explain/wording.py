"""Words and formulas for ops and values, shared by the page and the text."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.norm import Statistics
from tinygrad_ft.explain.graph import Op, Value
from tinygrad_ft.formulas import formulas_of
from tinygrad_ft.function import Function
from tinygrad_ft.mathml import to_mathml


def op_formulas(cls: type[Function]) -> list[dict[str, Any]]:
    """The formulas in an op's docstring, as text and MathML; empty for an op that states none."""
    try:
        formulas = formulas_of(cls)
        return [
            {"text": str(f), "mathml": to_mathml(str(f)), "gradient": f.is_gradient}
            for f in formulas
        ]
    except ValueError:
        # an op of the user's own need not keep to the language of formulas
        return []


def params_text(op: Op) -> str:
    """The arguments of an op besides its tensors; arrays by their shape."""
    if op.call is None:
        return ""
    parts = []
    for key, value in op.call.params.items():
        if isinstance(value, np.ndarray):
            parts.append(f"{key}: {value.dtype} {shape_text(value.shape)}")
        elif isinstance(value, Statistics):
            parts.append("mean and var of this batch")
        elif isinstance(value, tuple) and hasattr(value, "_asdict"):
            parts += [f"{k}={v}" for k, v in value._asdict().items()]
        elif value is not None:
            parts.append(f"{key}={value}")
    return ", ".join(parts)


def shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def reason_without_gradient(value: Value | None) -> str:
    """Why an input of an op gets no gradient."""
    if value is None:
        return "a constant that the graph did not keep"
    if value.detached:
        return f"{value.name}: detach() cut it off, the gradient stops here"
    if value.kind == "frozen":
        return f"{value.name} is frozen: it does not require a gradient"
    if value.kind == "data":
        what = "data" if value.named else "a constant"
        return f"{value.name} is {what}: it does not require a gradient"
    return f"{value.name} was computed without recording: nothing before it requires a gradient"
