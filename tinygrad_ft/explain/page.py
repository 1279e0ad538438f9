"""The page: everything it shows as one JSON document, and the HTML file around it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup

from tinygrad_ft.explain.advice import gradient_flow
from tinygrad_ft.explain.backprop import BackwardStep, sum_so_far
from tinygrad_ft.explain.explanation import Explanation
from tinygrad_ft.explain.graph import Op, Value
from tinygrad_ft.explain.optimizer_step import OptimizerStep
from tinygrad_ft.explain.summary import Summaries, number
from tinygrad_ft.explain.views import backward_view, forward_view
from tinygrad_ft.explain.wording import op_formulas, params_text, reason_without_gradient
from tinygrad_ft.version import __version__

#: scripts of the page, in this order; see each file's head
SCRIPTS = (
    "dagre.min.js",
    "numbers.js",
    "pictures.js",
    "views.js",
    "cards.js",
    "graph.js",
    "player.js",
)


def html(explanation: Explanation) -> str:
    """The whole page, self-contained."""
    folder = files("tinygrad_ft.explain") / "page"
    text = {name: (folder / name).read_text(encoding="utf-8") for name in (*SCRIPTS, "page.css")}
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    scripts = "\n".join(text[name] for name in SCRIPTS[1:])
    return template.render(
        explanation=explanation,
        css=Markup(text["page.css"]),
        licence=Markup((folder / "dagre.LICENSE.txt").read_text(encoding="utf-8")),
        dagre=Markup(text[SCRIPTS[0]]),
        script=Markup(f'"use strict";\n(() => {{\n{scripts}\n}})();'),
        document=Markup(_embedded(document(explanation))),
        version=__version__,
    )


def _embedded(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def document(explanation: Explanation) -> dict[str, Any]:
    """What the page shows. Arrays are positions in `arrays`, ops and values numbers in theirs."""
    # infinities and NaN are shown, not warned of
    with np.errstate(all="ignore"):
        return _Document(explanation).data()


class _Document:
    def __init__(self, explanation: Explanation) -> None:
        self.e = explanation
        self.graph, self.backward = explanation.graph, explanation.backward
        self.arrays = Summaries(2 * len(self.graph.values))

    def data(self) -> dict[str, Any]:
        e = self.e
        steps: list[dict[str, Any]] = [
            {"phase": "forward", "op": op.number} for op in self.graph.ops
        ]
        steps += [self.backward_step(step) for step in self.backward.steps]
        if e.optimizer_step is not None:
            steps.append(self.optimizer_step(e.optimizer_step))
        assert self.graph.loss.array is not None
        return {
            "title": e.title,
            "loss": number(self.graph.loss.array.reshape(-1)[0]),
            "goal": self.graph.loss.number,
            "complete": self.graph.complete,
            "values": [self.value(v) for v in self.graph.values],
            "ops": [self.op(op) for op in self.graph.ops],
            "groups": [{"path": list(p), "kind": c} for p, c in self.graph.groups.items()],
            "steps": steps,
            "checks": {
                str(key): [
                    {
                        "element": list(c.element),
                        "backprop": float(f"{c.backprop:.9g}"),
                        "difference": float(f"{c.difference:.9g}"),
                        "apart": float(f"{c.apart:.3g}"),
                        "corner": c.corner,
                    }
                    for c in checks
                    if np.isfinite([c.backprop, c.difference]).all()
                ]
                for key, checks in e.checks.items()
            },
            "unchecked": e.unchecked,
            "notes": [vars(note) for note in e.notes],
            "flow": [
                {"name": v.name, "value": v.number, "gradient": number(g), "weight": number(w)}
                for v, g, w in gradient_flow(self.graph, self.backward)
            ],
            "arrays": self.arrays.items,
        }

    def value(self, value: Value) -> dict[str, Any]:
        image = value.kind == "data" and len(value.shape) == 4 and value.shape[1] in (1, 3)
        return {
            "name": value.name,
            "kind": value.kind,
            "shape": list(value.shape),
            "array": self.arrays.add(value.array, image),
            "gradient": self.arrays.add(self.backward.gradients.get(value.number)),
            "maker": None if value.maker is None else value.maker.number,
            "detached": value.detached,
            "uses": [op.number for op, _ in value.uses],
            "group": list(self.group_of(value)),
        }

    def group_of(self, value: Value) -> tuple[str, ...]:
        """Where a leaf is drawn: what a module owns in it, the user's data outside."""
        first = value.uses[0][0].group if value.uses else ()
        inside = self.e.names.is_owned(value.tensor) or not value.named
        return first if inside and value.maker is None else ()

    def op(self, op: Op) -> dict[str, Any]:
        return {
            "name": op.name,
            "group": list(op.group),
            "inputs": [None if v is None else v.number for v in op.inputs],
            "names": op.input_names(),
            "outputs": [v.number for v in op.outputs],
            "recorded": op.recorded,
            "params": params_text(op),
            "formulas": op_formulas(type(op.node)),
            "view": forward_view(op),
        }

    def backward_step(self, step: BackwardStep) -> dict[str, Any]:
        return {
            "phase": "backward",
            "op": step.op.number,
            "incoming": [self.arrays.add(g) for g in step.incoming],
            "outgoing": [self.outgoing(step, i) for i in range(len(step.outgoing))],
            "view": backward_view(step),
        }

    def outgoing(self, step: BackwardStep, position: int) -> dict[str, Any]:
        """The gradient of one input: this op's part, and the sum so far if there are more."""
        value, array = step.op.inputs[position], step.outgoing[position]
        if value is None or array is None:
            return {"why": reason_without_gradient(value)}
        part, count = sum_so_far(value, step.op, position, self.backward)
        total = None
        if count > 1:
            total = self.partial_sum(value, part)
        return {
            "value": value.number,
            "array": self.arrays.add(array),
            "part": part,
            "of": count,
            "sum": self.arrays.add(total),
        }

    def partial_sum(self, value: Value, parts: int) -> np.ndarray:
        """The sum of the first parts of a value's gradient; of all of them, the engine's own."""
        where = self.backward.parts[value.number]
        if parts == len(where):
            return self.backward.gradients[value.number]
        outgoing = {(s.op, i): a for s in self.backward.steps for i, a in enumerate(s.outgoing)}
        arrays = [outgoing[place] for place in where[:parts]]
        return np.add.reduce([a for a in arrays if a is not None])

    def optimizer_step(self, step: OptimizerStep) -> dict[str, Any]:
        numbers = {id(v.tensor): v.number for v in self.graph.values if v.tensor is not None}
        return {
            "phase": "optimizer",
            "op": None,
            "name": step.name,
            "options": [
                f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
                for key, value in step.options.items()
            ],
            "formula": step.formula,
            "updates": [
                {
                    "value": numbers.get(id(u.tensor)),
                    "name": self.e.names.of(u.tensor) or "parameter",
                    "before": self.arrays.add(u.before),
                    "gradient": self.arrays.add(u.gradient),
                    "after": self.arrays.add(u.after),
                    "moved": number(float(np.linalg.norm((u.after - u.before).astype(float)))),
                }
                for u in step.updates
            ],
        }
