"""Where image files lie: a folder on disk or a zip archive, seen through the same four questions.

scan(folder)       what lies directly in it, one at a time: a look ends when enough is known
children(folder)   the folders and files directly in it, sorted
walk(folder)       every file below it, with a text that changes when the file does
read(name)         the bytes of one file

Names are relative, with "/" between the parts, "" for the root. What is hidden (".git", "._x.jpg")
or added by macOS ("__MACOSX") is not seen. A link that leads nowhere, a pipe or a socket counts as
a file, so that it is named when it is read and does not just go missing. Nothing is ever extracted.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from tinygrad_ft.data.errors import DataError, shown

# A single image file larger than this, packed or not, is refused before it fills the memory.
MAX_FILE_BYTES = 1 << 30


class Source(Protocol):
    """See the head of this file."""

    @property
    def path(self) -> Path: ...

    def scan(self, folder: str) -> Iterator[tuple[str, bool]]: ...

    def children(self, folder: str) -> tuple[list[str], list[str]]: ...

    def walk(self, folder: str) -> Iterator[tuple[str, str]]: ...

    def read(self, name: str) -> bytes: ...


def open_source(path: str | os.PathLike[str]) -> FolderSource | ZipSource:
    """The folder or zip archive at `path`; DataError when it is neither."""
    path = Path(path)
    if path.is_dir():
        return FolderSource(path)
    if not path.exists():
        raise DataError(f"{shown(path)} does not exist")
    if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        return ZipSource(path)
    raise DataError(f"{shown(path)} is a file, but neither a folder of images nor a zip archive")


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _sorted(found: Iterator[tuple[str, bool]]) -> tuple[list[str], list[str]]:
    """Folders and files, each sorted."""
    names = sorted(found)
    return [n for n, folder in names if folder], [n for n, folder in names if not folder]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _state(entry: os.DirEntry[str]) -> str:
    try:
        status = entry.stat()
    except OSError:  # a link that leads nowhere: named when it is read
        return "0,absent"
    return f"{status.st_size},{status.st_mtime_ns}"


def read_file(path: Path) -> bytes:
    """The bytes of an image file; DataError naming it if it cannot be read or is no plain file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
            raise DataError(f"{shown(path)} is {kind}, not a file")
        if status.st_size > MAX_FILE_BYTES:
            raise DataError(f"{shown(path)} is larger than {MAX_FILE_BYTES >> 20} MB")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, DataError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{shown(path)} cannot be read: {reason}") from None


class FolderSource:
    """A folder on disk. Symbolic links are followed, once each on the way down."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        """What is not hidden, in the file system's order."""
        try:
            with os.scandir(self.path / folder) as found:
                for entry in found:
                    if not _hidden(entry.name):
                        yield entry
        except OSError as error:
            where = shown(self.path / folder)
            raise DataError(f"{where} cannot be read: {error.strerror or error}") from None

    def scan(self, folder: str) -> Iterator[tuple[str, bool]]:
        """(name, whether it is a folder), in no order."""
        for entry in self._entries(folder):
            yield entry.name, _is_folder(entry)

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        return _sorted(self.scan(folder))

    def walk(self, folder: str) -> Iterator[tuple[str, str]]:
        yield from self._walk(folder, ())

    def _walk(self, folder: str, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        real = os.path.realpath(self.path / folder)
        if real in above:
            return  # a link to a folder that holds it
        folders = []
        for entry in self._entries(folder):
            name = _join(folder, entry.name)
            if _is_folder(entry):
                folders.append(name)
            else:
                yield name, _state(entry)
        for name in folders:
            yield from self._walk(name, (*above, real))

    def read(self, name: str) -> bytes:
        return read_file(self.path / name)

    def __enter__(self) -> FolderSource:
        return self

    def __exit__(self, *error: object) -> None:
        pass  # nothing is held open


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name of a member. macOS and many scripts write UTF-8 without the flag that says so; the
    standard's meaning of such bytes, code page 437, is taken only where they are no UTF-8.
    """
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


class ZipSource:
    """A zip archive. Its directory is read on first use: `state()` does without it.

    As a context manager it closes the file at the end; used again, it opens again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        self._folders: dict[str, set[str]] = {}
        self._files: dict[str, dict[str, zipfile.ZipInfo]] = {}

    def state(self) -> str:
        """A text that changes when the archive does: size, time and a hash of its central
        directory.
        """
        try:
            status = self.path.stat()
            with self.path.open("rb") as file:
                tail = min(status.st_size, 22 + 0xFFFF)
                file.seek(-tail, os.SEEK_END)
                end = file.read()
                at = end.rfind(b"PK\x05\x06")
                if at < 0 or at + 22 > len(end):
                    raise DataError(
                        f"{shown(self.path)} is not a whole zip archive: its directory is missing "
                        "(an interrupted download?)"
                    )
                (size,) = struct.unpack_from("<I", end, at + 12)
                # 0xFFFFFFFF: too large for this field (zip64); then 64 MB of it stand for the whole
                length = tail + (size if size < 0xFFFF_FFFF else 64 << 20)
                file.seek(-min(length, status.st_size), os.SEEK_END)
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        except OSError as error:
            raise self._unreadable(error) from None
        return f"{status.st_size},{status.st_mtime_ns},{digest.hexdigest()}"

    def _unreadable(self, error: Exception) -> DataError:
        return DataError(f"{shown(self.path)} cannot be read as a zip archive: {error}")

    def _open(self) -> zipfile.ZipFile:
        if self._archive is None:
            try:
                archive = zipfile.ZipFile(self.path)
            except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
                raise self._unreadable(error) from None
            try:
                self._index(archive)
            except BaseException:
                archive.close()
                raise
            self._archive = archive
        return self._archive

    def _index(self, archive: zipfile.ZipFile) -> None:
        folders: dict[str, set[str]] = {"": set()}
        files: dict[str, dict[str, zipfile.ZipInfo]] = {"": {}}
        for info in archive.infolist():
            parts = self._parts(info)
            if any(_hidden(part) for part in parts):
                continue
            parent = ""
            for part in parts if info.is_dir() else parts[:-1]:
                folders[parent].add(part)
                parent = _join(parent, part)
                if parent not in folders:
                    folders[parent], files[parent] = set(), {}
            if not info.is_dir():
                if info.flag_bits & 1:
                    raise DataError(
                        f"{shown(self.path)} is encrypted ({shown(info.filename)}); "
                        "pack it again without a password"
                    )
                files[parent][parts[-1]] = info
        self._folders, self._files = folders, files

    def _parts(self, info: zipfile.ZipInfo) -> list[str]:
        name = _zip_name(info).replace("\\", "/")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or not parts or ":" in parts[0]:
            raise DataError(
                f"{shown(self.path)} holds the name {shown(info.filename)}, which points out of "
                "the archive; it is not trusted"
            )
        return parts

    def scan(self, folder: str) -> Iterator[tuple[str, bool]]:
        """(name, whether it is a folder), in no order."""
        self._open()
        yield from ((name, True) for name in self._folders[folder])
        yield from ((name, False) for name in self._files[folder])

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        return _sorted(self.scan(folder))

    def walk(self, folder: str) -> Iterator[tuple[str, str]]:
        self._open()
        for name, info in self._files[folder].items():
            yield _join(folder, name), f"{info.file_size},{info.CRC}"
        for name in self._folders[folder]:
            yield from self.walk(_join(folder, name))

    def read(self, name: str) -> bytes:
        archive = self._open()
        at = PurePosixPath(name)
        info = self._files["" if len(at.parts) == 1 else str(at.parent)][at.name]
        label = shown(f"{self.path}/{name}")
        if info.file_size > MAX_FILE_BYTES:
            raise DataError(f"{label} is larger than {MAX_FILE_BYTES >> 20} MB")
        try:
            # read() stops at the size the directory states, so a bomb cannot grow beyond the check
            return archive.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
            raise DataError(f"{label} cannot be read from the archive: {error}") from None
        except RuntimeError as error:  # zipfile's word for a missing password
            raise DataError(f"{label} cannot be read from the archive: {error}") from None

    def __enter__(self) -> ZipSource:
        return self

    def __exit__(self, *error: object) -> None:
        if self._archive is not None:
            self._archive.close()
            self._archive = None
