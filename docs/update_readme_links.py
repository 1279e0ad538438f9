"""Keeps the links to lines in README's "Follow one convolution through the code" true.

A cell of that table links a file and may name what to look for in it:

    [`kernels/conv.py`](kernels/conv.py#L60), `conv2d_forward`

Run `python -m docs.update_readme_links` in the repository's root after lines have moved.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
COMMAND = "python -m docs.update_readme_links"
HEADING = "## Follow one convolution through the code\n"

LINK = re.compile(r"\[`(?P<file>[^`]+)`\]\((?P<path>[^)#]+)(?:#L\d+)?\), `(?P<name>[\w.]+)`")


def line_of(source: str, name: str) -> int:
    """The line at which a function, class, method (`Class.method`) or variable is defined.

    Raises ValueError if there is none.
    """
    body: list[ast.stmt] = ast.parse(source).body
    line = 0
    for part in name.split("."):
        found = next((node for node in body if part in _defines(node)), None)
        if found is None:
            raise ValueError(f"{name!r} is not defined")
        line, body = found.lineno, getattr(found, "body", [])
    return line


def _defines(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return set()


def updated(readme: str) -> str:
    """The README with the links of the table pointing at the lines.

    Raises ValueError naming a file or a definition that does not exist.
    """
    before, heading, after = readme.partition(HEADING)
    if not heading:
        raise ValueError(f"README.md has no section {HEADING.strip()!r}")
    table, rest = re.split(r"(?=\n\n[^|\n])", after, maxsplit=1)
    return before + heading + LINK.sub(_link, table) + rest


def _link(match: re.Match[str]) -> str:
    path, name = match["path"], match["name"]
    try:
        line = line_of((ROOT / path).read_text(encoding="utf-8"), name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"README.md links `{name}` in {path}: {error}; name what is there"
        ) from None
    return f"[`{match['file']}`]({path}#L{line}), `{name}`"


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
