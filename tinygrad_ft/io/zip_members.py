"""Opening zip files and their members with every fault of theirs turned into one sentence."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from tinygrad_ft.io.errors import BadContentError, shown

# What zipfile raises on damaged input, apart from OSError. RuntimeError: encrypted members.
_FAULTS = (
    zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OverflowError, struct.error,
    LookupError,
)  # fmt: skip


@contextmanager
def zip_faults() -> Iterator[None]:
    """Turns what zipfile raises on a damaged file into BadContentError."""
    try:
        yield
    except _FAULTS as fault:
        raise BadContentError(f"is cut short or damaged: {shown(str(fault))}") from fault


@contextmanager
def open_zip(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """The zip file in `file`, refused if two members have one name."""
    with zip_faults():
        archive = zipfile.ZipFile(file)
    with archive:
        if len(archive.NameToInfo) != len(archive.filelist):
            raise BadContentError("holds two files of one name; refused")
        yield archive


def read_stored(archive: zipfile.ZipFile, name: str, limit: int) -> np.ndarray:
    """The bytes (uint8) of a member that is stored uncompressed, as PyTorch stores all of them.

    limit: the bytes it may have at most. With the length of the file, no archive can blow up.
    """
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise BadContentError(f"is damaged: {shown(name)} is not in it") from None
    if info.compress_type != zipfile.ZIP_STORED:
        raise BadContentError("is a zip file with compressed members, which PyTorch never writes")
    if info.file_size != info.compress_size or info.file_size > limit:
        raise BadContentError(
            f"is damaged: {shown(name)} claims {info.file_size} bytes, at most {limit} are possible"
        )
    if info.CRC == 0:
        # torch.serialization.set_crc32_options(False) writes no checksums. zipfile checks none for
        # a member without the attribute.
        del info.CRC
    data = np.empty(info.file_size, np.uint8)
    view = data.data
    with zip_faults(), archive.open(info) as member:
        filled = 0
        while filled < len(view):
            count = member.readinto(view[filled:])  # type: ignore[attr-defined]
            if not count:
                raise BadContentError(f"is cut short: {shown(name)} ends too early")
            filled += count
        member.read(1)  # at the end the checksum is compared
    return data
