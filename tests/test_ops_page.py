"""docs/ops.md is what the docstrings say, and says it of every op."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tinygrad_ft.formulas import Formula, formulas_of
from tinygrad_ft.mathml import to_mathml

ROOT = Path(__file__).parent.parent


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


maker = load("make_ops_page", ROOT / "docs" / "make_ops_page.py")
OPS = maker.public_ops()


def test_the_page_is_current() -> None:
    written = (ROOT / "docs" / "ops.md").read_text(encoding="utf-8")
    assert written == maker.page(), f"docs/ops.md is out of date; run `{maker.COMMAND}`"


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_every_op_has_a_summary_and_its_formulas(op) -> None:
    assert re.search(r"\w", maker.summary(op))
    formulas: list[Formula] = formulas_of(op.function)
    for formula in formulas:
        to_mathml(str(formula))
    assert any(not f.is_gradient for f in formulas)


def test_links_lead_somewhere() -> None:
    page = maker.page()
    assert len(OPS) > 150
    headings = set(re.findall(r"^### (\S+)$", page, re.MULTILINE))
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) == headings
    for target in set(re.findall(r"\]\((\.\./[^)]+)\)", page)):
        assert (ROOT / "docs" / target).is_file(), target


def test_a_module_that_stands_in_no_section_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(maker.FAMILIES, "Shape", [])
    with pytest.raises(ValueError, match=r"FAMILIES .*'shape'"):
        maker.page()
