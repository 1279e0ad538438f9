"""The code of a Markdown page: its blocks, and what the page says that they print."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of Python, the block of text right after it if there is one, its line."""

    code: str
    shown: str | None
    timed: bool
    line: int


def blocks(page: str) -> list[Block]:
    """The blocks of Python of a page, in order."""
    fences = list(FENCE.finditer(page))
    found = []
    for fence, following in zip(fences, [*fences[1:], None], strict=True):
        if fence[1] != "python":
            continue
        shown, timed = None, False
        if following is not None and following[1] == "text":
            shown, timed = following[3], "timing" in following[2]
        line = page.count("\n", 0, fence.start(3)) + 1
        found.append(Block(fence[3], shown, timed, line))
    return found


def printed(block: Block, path: Path, names: dict[str, Any]) -> str:
    """What the block prints when it is run with these names; an error has the page's line."""
    code = compile("\n" * (block.line - 1) + block.code, str(path), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        exec(code, names)
    return stream.getvalue()


def without_numbers(text: str) -> str:
    """The same for every machine: a timing's digits and the spaces before them left out."""
    return re.sub(r" *[\d.]+", " #", text)
