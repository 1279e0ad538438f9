"""The walk as text: the same steps, formulas and numbers, for a terminal."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.markup import escape

from tinygrad_ft.explain.backprop import BackwardStep, sum_so_far
from tinygrad_ft.explain.explanation import Explanation
from tinygrad_ft.explain.graph import Op, Value
from tinygrad_ft.explain.wording import op_formulas, reason_without_gradient, shape_text

#: arrays of more elements are told by four numbers
SHOWN = 12


def walk(explanation: Explanation, console: Console | None = None) -> None:
    """Print every step, forward and then backward, and the optimizer's."""
    Printer(explanation, console or Console(highlight=False, soft_wrap=True)).walk()


def numbers_text(array: np.ndarray | None) -> str:
    """A few numbers in full, many by shape, minimum, mean, maximum and norm."""
    if array is None:
        return "(not kept by the graph)"
    if array.size <= SHOWN:
        return np.array2string(array, precision=6, separator=", ", max_line_width=10_000).replace(
            "\n", ""
        )
    values = array.astype(np.float64)
    parts = {
        "min": values.min(),
        "mean": values.mean(),
        "max": values.max(),
        "norm": np.sqrt(np.square(values).sum()),
    }
    told = "  ".join(f"{name} {value:.4g}" for name, value in parts.items())
    return f"{shape_text(array.shape)}  {told}"


class Printer:
    def __init__(self, explanation: Explanation, console: Console) -> None:
        self.e = explanation
        self.print = console.print

    def walk(self) -> None:
        e, line = self.e, self.line
        line(f"[bold]{escape(e.title)}[/]")
        if e.text:
            line(escape(e.text))
        count = len(e.graph.ops)
        line(f"\n[bold blue]Forward[/], {count} ops")
        for op in e.graph.ops:
            self.forward(op)
        line(f"\n[bold yellow]Backward[/], {len(e.backward.steps)} ops, the last one first")
        for step in e.backward.steps:
            self.backward(step)
        self.optimizer()
        for note in e.notes:
            line(f"\n[bold]Note:[/] {escape(note.text)}")
        if e.unchecked:
            line(f"\n{escape(e.unchecked)}")

    def line(self, text: str) -> None:
        self.print(text)

    def head(self, op: Op, backward: bool) -> None:
        colour = "yellow" if backward else "blue"
        place = f"  [dim]{escape('.'.join(op.group))}[/]" if op.group else ""
        self.line(f"\n[bold {colour}]{op.number + 1}. {op.name}[/]{place}")
        for formula in op_formulas(type(op.node)):
            if formula["gradient"] == backward:
                self.line(f"   [italic]{escape(formula['text'])}[/]")

    def value(self, role: str, value: Value | None, array: np.ndarray | None) -> None:
        name = "" if value is None else f" ({value.name})"
        self.line(f"   {escape(role + name)} = {escape(numbers_text(array))}")

    def forward(self, op: Op) -> None:
        self.head(op, backward=False)
        for name, value in zip(op.input_names(), op.inputs, strict=True):
            if value is not None:
                self.value(name, value, value.array)
        self.value("out", op.outputs[0], op.outputs[0].array)

    def backward(self, step: BackwardStep) -> None:
        op = step.op
        self.head(op, backward=True)
        if step.incoming[0] is not None:
            self.value("grad_out", op.outputs[0], step.incoming[0])
        for i, name in enumerate(op.input_names()):
            value, array = op.inputs[i], step.outgoing[i]
            if value is None or array is None:
                why = escape(reason_without_gradient(value))
                self.line(f"   [dim]grad_{escape(name)}: none, {why}[/]")
                continue
            self.value(f"grad_{name}", value, array)
            part, count = sum_so_far(value, op, i, self.e.backward)
            if count > 1:
                self.line(f"     part {part} of {count} of the gradient of {escape(value.name)}")
            if part == count:
                self.whole(value, count)

    def whole(self, value: Value, count: int) -> None:
        if count > 1:
            total = numbers_text(self.e.backward.gradients[value.number])
            self.line(f"     added up: {escape(total)}")
        for check in self.e.checks.get(value.number, [])[:1]:
            place = f"{value.name}{list(check.element) if check.element else ''}"
            apart = "a corner" if check.corner else f"apart {check.apart:.1e}"
            self.line(
                f"     [dim]{escape(place)}: backprop {check.backprop:.8g}, finite difference "
                f"{check.difference:.8g}, {apart}[/]"
            )

    def optimizer(self) -> None:
        step = self.e.optimizer_step
        if step is None:
            return
        self.line(f"\n[bold magenta]Optimiser step, {step.name}[/]")
        for formula_line in step.formula.split("\n"):
            self.line(f"   [italic]{escape(formula_line)}[/]")
        for u in step.updates:
            name = self.e.names.of(u.tensor) or "parameter"
            if u.gradient is None:
                self.line(f"   {escape(name)}: no gradient, stays as it is")
                continue
            self.line(f"   {escape(name)} before   = {escape(numbers_text(u.before))}")
            self.line(f"   {escape(name)} gradient = {escape(numbers_text(u.gradient))}")
            self.line(f"   {escape(name)} after    = {escape(numbers_text(u.after))}")
