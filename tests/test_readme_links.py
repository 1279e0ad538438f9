"""README's map of a convolution points at the lines."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

spec = importlib.util.spec_from_file_location(
    "update_readme_links", ROOT / "docs" / "update_readme_links.py"
)
assert spec is not None and spec.loader is not None
links = importlib.util.module_from_spec(spec)
spec.loader.exec_module(links)


def test_links_are_current() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == links.updated(readme), f"README's links are out of date; run `{links.COMMAND}`"


def test_every_row_leads_to_a_line_that_defines_what_it_names() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition(links.HEADING)[2]
    rows = section.strip().partition("\n\n")[0].splitlines()[2:]
    assert len(rows) > 6
    for row in rows:
        found = re.search(r"\]\(([^)#]+)#L(\d+)\), `(?:\w+\.)?(\w+)`", row)
        assert found is not None, row
        line = (ROOT / found[1]).read_text(encoding="utf-8").splitlines()[int(found[2]) - 1]
        assert re.match(rf"\s*(def|class) {found[3]}\b", line), (row, line)


def test_what_is_not_there_is_named() -> None:
    page = f"{links.HEADING}\n| [`x`](kernels/conv.py), `no_such_thing` |\n\nEnd.\n"
    with pytest.raises(ValueError, match=r"no_such_thing. in kernels/conv.py: .* is not defined"):
        links.updated(page)
    with pytest.raises(ValueError, match=r"no_such_file\.py"):
        links.updated(page.replace("kernels/conv.py", "no_such_file.py"))
    with pytest.raises(ValueError, match="no section"):
        links.updated("# A page\n")


def test_other_tables_stay_as_they_are() -> None:
    page = "[`x`](kernels/conv.py#L1), `conv2d_forward`\n\n"
    rest = "\n\n| [`x`](kernels/conv.py), `conv2d_forward` |\n\nEnd.\n"
    found = links.updated(f"{page}{links.HEADING}{rest}{page}")
    assert found.startswith(page)
    assert found.endswith(page)
    assert re.search(r"conv.py#L\d\d+\), `conv2d_forward` \|", found)


def test_methods_and_variables_have_lines() -> None:
    source = "x = 1\n\n@deco\nclass A:\n    y = 2\n\n    def f(self): ...\n"
    assert links.line_of(source, "A.f") == 7
    assert links.line_of(source, "x") == 1
    assert links.line_of(source, "A.y") == 5
