"""The one error of this package, and how names from the outside are shown in it."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used as it is. The message names the file or folder and what to do."""


def shown(name: object) -> str:
    """A file or class name in quotes, safe to print: undecodable bytes become backslash escapes."""
    text = str(name).encode("utf-8", "backslashreplace").decode("utf-8")
    return "'" + "".join(c if c.isprintable() else repr(c)[1:-1] for c in text) + "'"
