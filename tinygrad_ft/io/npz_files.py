"""Reading .npz files of plain numbers. Nothing is unpickled, no header is believed unchecked."""

from __future__ import annotations

import math
import tokenize
import zipfile
from typing import IO, BinaryIO

import numpy as np

from tinygrad_ft.io.errors import BadContentError, shown
from tinygrad_ft.io.zip_members import open_zip, zip_faults

# np.savez_compressed shrinks real weights by little and zeros by 1000; more than this is refused.
_GROWTH_FACTOR = 20
_GROWTH_BYTES = 64 << 20


def read_npz(file: BinaryIO, file_size: int) -> dict[str, np.ndarray]:
    """{name: array} of all members. Raises BadContentError."""
    with open_zip(file) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if total > _GROWTH_FACTOR * file_size + _GROWTH_BYTES:
            raise BadContentError(f"unpacks from {file_size} bytes to {total}; refused")
        return {m.filename.removesuffix(".npy"): _read_member(archive, m) for m in members}


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    name = shown(member.filename)
    with zip_faults(), archive.open(member) as file:
        shape, dtype = _read_header(file, name)
        if dtype.kind not in "biufc":
            raise BadContentError(
                f"holds {name}, which is of {shown(str(dtype))} and no plain numbers"
            )
        if not all(isinstance(n, int) and n >= 0 for n in shape):
            raise BadContentError(f"is damaged: {name} claims the shape {shown(str(shape))}")
        if math.prod(shape) * dtype.itemsize != member.file_size - file.tell():
            raise BadContentError(f"is damaged: {name} does not have the size that its shape needs")
    with zip_faults(), archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise BadContentError(f"holds {name} in version {version} of NumPy's format")
    try:
        shape, _, dtype = readers[version](file)
    except (SyntaxError, tokenize.TokenError) as fault:  # NumPy reads the header as Python source
        raise BadContentError(f"is damaged: the header of {name} makes no sense") from fault
    return shape, dtype
