"""What can be wrong with a user's file or folder. Every message is one sentence that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FileError(RuntimeError):
    """Base of every error of `tinygrad_ft.io`: a file or a folder is not what it should be."""


class WeightsError(FileError):
    """A weights file cannot be read, is refused, or does not fit the model."""


class CheckpointError(FileError):
    """A checkpoint cannot be written or read back."""


class RunFolderError(FileError):
    """A run folder holds another run, is in use, or has nothing to resume."""


class WriteError(FileError):
    """A file could not be written; whatever stood under its name before is untouched."""


class BadContentError(Exception):
    """Internal to the readers: a sentence that still lacks the file's name in front."""


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turns what goes wrong while `path` is read into a WeightsError that names it."""
    try:
        yield
    except BadContentError as problem:
        raise WeightsError(f"{path} {problem}") from problem
    except MemoryError as problem:
        raise WeightsError(f"{path} does not fit into memory") from problem
    except OSError as problem:
        raise WeightsError(f"{path} cannot be read: {problem.strerror or problem}") from problem


def shown(value: object, limit: int = 80) -> str:
    """`value` for an error message: printable, short, whatever a hostile file put into it."""
    text = value if isinstance(value, str) else f"a {type(value).__name__}"
    if isinstance(value, (bool, int, float)):
        huge = isinstance(value, int) and value.bit_length() > 128
        text = "an absurdly large number" if huge else repr(value)
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 3] + "..."
