"""Writing a file so that its name always stands for a complete one."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from tinygrad_ft.io.errors import WriteError

TEMPORARY_SUFFIX = ".tmp"


def atomic_write(
    path: str | os.PathLike[str], content: bytes | Callable[[BinaryIO], object]
) -> None:
    """Put `content` (bytes, or a function that writes them to a file it is given) under `path`.

    The bytes go to a temporary file in the same folder, which is synced and renamed; then the
    folder is synced. Whenever the process or the machine stops, `path` is either the old file or
    the new one, complete. A process that is killed can leave `.NAME.*.tmp` behind
    (`remove_temporary_files`).

    A device or a pipe (/dev/stdout) is written to as it is, for a rename would put a file in its
    place.

    Raises WriteError when the disk is full or the folder cannot be written; the old file is then
    untouched and nothing is left over. What `content` itself raises passes through, equally clean.
    """
    named = Path(path)
    # Through a symbolic link, so that the file it points to is replaced and not the link.
    target = Path(os.path.realpath(named))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")
    try:
        if named.exists() and not (named.is_file() or named.is_dir()):
            with open(named, "wb") as device:
                _fill(device, content)
            return
        try:
            with open(temporary, "xb") as file:
                _fill(file, content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(target.parent)
    except OSError as problem:
        raise WriteError(
            f"{named} cannot be written: {problem.strerror or problem}; "
            "what stood there before is untouched"
        ) from problem


def _fill(file: BinaryIO, content: bytes | Callable[[BinaryIO], object]) -> None:
    if callable(content):
        content(file)
    else:
        file.write(content)


def remove_temporary_files(folder: Path) -> None:
    """Remove what killed writers left in `folder`; only for who has it to itself."""
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        with suppress(FileNotFoundError):
            path.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` last. Windows cannot open folders and logs renames itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno not in (
            errno.EINVAL,
            errno.ENOTSUP,
        ):  # file systems that need no such call
            raise
    finally:
        os.close(descriptor)
