"""The page's file: self-contained, small enough, its document true to the engine."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explain_helpers import explained, gradient, network_loss, value

import tinygrad_ft as tg
from tinygrad_ft.explain import recording, replay
from tinygrad_ft.explain.examples import EXAMPLES, explain_example
from tinygrad_ft.explain.page import document, html
from tinygrad_ft.explain.summary import picture, summary


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_every_number_of_the_document_is_the_engines() -> None:
    model, compute = network_loss()
    optimizer = tg.optim.AdamW(model.parameters(), lr=0.01)
    e = explained(compute, {"model": model}, optimizer)
    page = html(e)
    data = embedded(page)
    assert data == json.loads(json.dumps(document(e)))
    bias = value(e, "head.bias")
    shown = data["values"][bias.number]
    assert data["arrays"][shown["array"]]["numbers"] == pytest.approx(model.head.bias.data.tolist())
    numbers = data["arrays"][shown["gradient"]]["numbers"]
    assert np.array_equal(np.array(numbers, np.float32), gradient(e, "head.bias"))
    phases = [s["phase"] for s in data["steps"]]
    count = len(e.graph.ops)
    assert phases == ["forward"] * count + ["backward"] * len(e.backward.steps) + ["optimizer"]
    assert data["steps"][count]["op"] == count - 1
    update = next(u for u in data["steps"][-1]["updates"] if u["name"] == "head.bias")
    compute().backward()
    optimizer.step()
    after = np.array(data["arrays"][update["after"]]["numbers"], np.float32)
    assert np.allclose(after, model.head.bias.data, atol=1e-6)


def test_a_value_used_twice_shows_its_parts_and_their_sum() -> None:
    data = document(explain_example("shared"))
    a = next(i for i, v in enumerate(data["values"]) if v["name"] == "a")
    parts = [o for s in data["steps"] for o in s.get("outgoing", []) if o.get("value") == a]
    assert [(o["part"], o["of"]) for o in parts] == [(1, 2), (2, 2)]
    shown = [data["arrays"][o["array"]]["numbers"][0] for o in parts]
    # L = (c + a) c with c = ab: dL/da = c + (2c + a) b
    assert sum(shown) == data["arrays"][parts[1]["sum"]]["numbers"][0] == -6 + (-12 + 2) * -3


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str) -> None:
    """Each is self-contained and finite, and backprop agrees with every finite difference."""
    e = explain_example(name)
    page = html(e)
    assert len(page) < 600_000
    # nothing is fetched: the only addresses are names of XML languages and the licence's
    addresses = set(re.findall(r"https?://[^\s\"'<)\\]+", page))
    assert addresses <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1998/Math/MathML",
        "https://github.com/dagrejs/dagre",
    }
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=\"(?!data:)", page)
    assert "Permission is hereby granted" in page
    checks = [c for found in e.checks.values() for c in found if not c.corner]
    assert checks and e.unchecked == ""
    assert all(c.apart <= 1e-4 * max(abs(c.difference), 0.1) for c in checks)
    for op in document(e)["ops"]:
        assert op["formulas"], op["name"]


def test_the_frozen_backbone_gets_no_gradient() -> None:
    e = explain_example("finetune")
    reached = {".".join(s.op.group[:2]) for s in e.backward.steps}
    assert reached == {"model.linear", "CrossEntropyLoss"}
    assert {n.kind for n in e.notes} >= {"frozen"}
    assert e.optimizer_step is not None
    moved = {e.names.of(u.tensor) for u in e.optimizer_step.updates if u.gradient is not None}
    assert moved == {"linear.weight", "linear.bias"}


def test_a_resnet20_is_under_three_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "WORK", 0)
    tg.manual_seed(0)
    model = tg.models.create_model("resnet20", num_classes=10)
    images = tg.randn(2, 3, 32, 32)
    compute = lambda: tg.nn.functional.cross_entropy(model(images), tg.tensor([1, 2]))  # noqa: E731
    e = explained(compute, {"model": model, "images": images}, tg.optim.SGD(model.parameters()))
    assert len(e.graph.ops) > 60
    assert len(html(e).encode()) < 3_000_000


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    x = tg.tensor([float("nan"), float("inf"), 1.0], requires_grad=True)
    evil = "</script><script>alert(1)</script>"
    with recording() as recorded:
        loss = (x * 2).sum()
    from tinygrad_ft.explain.explanation import explanation_of

    page = html(explanation_of(loss, recorded, title=evil, variables={evil: x}))
    assert "<script>alert" not in page
    assert page.count("</script>") == 3
    data = embedded(page)
    assert data["arrays"][data["values"][0]["array"]]["numbers"] == ["nan", "inf", 1.0]


def test_explain_writes_the_file_and_uses_the_callers_names(tmp_path: Path) -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    target = tg.explain(lambda: (w * w).sum(), tmp_path / "page.html", title="Mine")
    page = target.read_text(encoding="utf-8")
    assert "<title>Mine</title>" in page
    assert embedded(page)["values"][0]["name"] == "w"
    loss = (w * w).sum()
    tg.explain(loss, target)
    data = embedded(target.read_text(encoding="utf-8"))
    assert data["values"][data["goal"]]["name"] == "loss" and "recording()" in data["unchecked"]


def test_a_picture_is_the_array() -> None:
    array = np.array([[[[0.0, 0.5], [-1.0, np.nan]], [[1.0, 0.25], [0.0, -0.5]]]])
    found = picture(array)
    data = np.frombuffer(base64.b64decode(found["data"]), np.uint8).reshape(2, 2, 2)
    assert (found["tiles"], found["height"], found["width"], found["scale"]) == (2, 2, 2, 1.0)
    assert data.tolist() == [[[127, 191], [0, 255]], [[254, 159], [127, 63]]]


def test_a_large_array_is_a_picture_a_histogram_and_four_numbers() -> None:
    array = np.random.default_rng(0).standard_normal((40, 30)).astype(np.float32)
    found = summary(array, pixels=500)
    assert "numbers" not in found
    assert found["mean"] == pytest.approx(array.mean(), rel=1e-4)
    assert found["norm"] == pytest.approx(np.linalg.norm(array), rel=1e-4)
    assert sum(found["histogram"]["counts"]) == array.size
    assert found["picture"]["height"] * found["picture"]["width"] <= 500
    assert found["picture"]["shown"].endswith("1 in 2 of them")
