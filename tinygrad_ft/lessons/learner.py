"""The learner's file: read it, run it, and say in a sentence what went wrong and in which line.

The file is the learner's own program on their own machine and runs as such; nothing is fenced in.
"""

from __future__ import annotations

import difflib
import inspect
import linecache
import re
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: how many lines of an error message are shown: Numba's go on for pages
LINES = 4


class Problem(Exception):
    """A sentence for the learner. Two of the same `kind` come of the same mistake."""

    def __init__(self, sentence: str, kind: str | None = None) -> None:
        super().__init__(sentence)
        self.kind = kind or sentence


def load(path: Path, name: str) -> Any:
    """Run the file and give what it defines as `name`. Raises Problem."""
    module = execute(path, path.read_bytes())
    names = [n for n in vars(module) if not n.startswith("_")]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; is {near[0]!r} meant to be it?" if near else ""
        raise Problem(f"{path.name} does not define {name!r}{hint}")
    found = getattr(module, name)
    if not callable(found):
        raise Problem(f"{path.name}: {name!r} is of type {type(found).__name__}, not a function")
    return found


def execute(path: Path, source: bytes) -> types.ModuleType:
    """Run a program under the name of a file. Raises Problem."""
    try:
        code = compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        place = f"{path.name}, line {error.lineno}" if error.lineno else path.name
        line = (error.text or "").strip()
        quoted = f"\n    {line}" if line else ""
        raise Problem(f"{place}: Python cannot read this: {error.msg}{quoted}") from None
    except ValueError as error:
        raise Problem(f"{path.name}: Python cannot read this: {error}") from None
    module = types.ModuleType("answer")
    module.__file__ = str(path)
    sys.modules["answer"] = module  # dataclasses and Numba look there
    sentence(path, lambda: exec(code, vars(module)))
    return module


def check_arguments(path: Path, function: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    """Problem if the function cannot be called with these arguments."""
    plain = getattr(function, "py_func", function)
    try:
        signature = inspect.signature(plain)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        line = getattr(getattr(plain, "__code__", None), "co_firstlineno", None)
        place = f"{path.name}, line {line}" if line else path.name
        raise Problem(
            f"{place}: it is written as {plain.__name__}{signature}, but will be called as "
            f"{plain.__name__}({', '.join(arguments)})"
        ) from None


def sentence(path: Path, run: Callable[[], Any]) -> Any:
    """`run()`; whatever it raises becomes a Problem with the line of the learner's file."""
    try:
        return run()
    except Problem:
        raise
    except BaseException as error:
        raise Problem(_described(path, error), kind=type(error).__name__) from None


def _described(path: Path, error: BaseException) -> str:
    try:
        message = str(error)
    except Exception:
        message = ""
    message = re.sub(r"\x1b\[[0-9;]*m", "", message).strip()
    line = _line(path, error, message)
    place = f"{path.name}, line {line}" if line else path.name
    if isinstance(error, NotImplementedError):
        return f"{place}: {message or 'still to be written'}"
    if isinstance(error, SystemExit):
        what = f"the program ends itself here (exit {message or 0}); leave that out"
    elif isinstance(error, RecursionError):
        what = "a function calls itself without end"
    elif isinstance(error, EOFError):
        what = "the program waits for input, and nobody types any; leave input() out"
    else:
        shown = "\n    ".join([row for row in message.splitlines() if row.strip()][:LINES])
        what = f"{type(error).__name__}: {shown}" if shown else type(error).__name__
        if isinstance(error, IndexError) and line is None:
            what += ", in compiled code, which does not tell the line"
    quoted = linecache.getline(str(path), line).strip() if line else ""
    return f"{place}: {what}" + (f"\n    {quoted}" if quoted else "")


def _line(path: Path, error: BaseException, message: str) -> int | None:
    """Of the innermost call that lies in the learner's file, or that a compiler's message names."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    if lines:
        return lines[-1]
    notes = "\n".join([message, *getattr(error, "__notes__", ())])
    for file, line in re.findall(r'File "(.+?)", line (\d+)', notes):
        if Path(file).name == path.name:
            return int(line)
    return None
