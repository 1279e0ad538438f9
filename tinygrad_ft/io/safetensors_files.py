"""Reading .safetensors files, bfloat16 included.

The safetensors library checks the file (header, offsets that overlap or leave gaps, sizes) and
hands out the tensors. NumPy has no bfloat16, so for those the checked header is read once more and
the bytes are taken from the place it names.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from tinygrad_ft.io.errors import BadContentError, shown
from tinygrad_ft.io.number_types import bfloat16_to_float32

MAX_HEADER_BYTES = 100_000_000  # the library's own limit
_READABLE = {
    "F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL", "C64",
}  # fmt: skip


def looks_like_safetensors(head: bytes) -> bool:
    """Whether the first nine bytes of a file are a header's length and its opening brace."""
    return len(head) >= 9 and head[8:9] == b"{" and header_length(head) <= MAX_HEADER_BYTES


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors and string metadata. Raises BadContentError, OSError."""
    tensors: dict[str, np.ndarray] = {}
    with _opened(path) as file:
        types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        for name, number_type in types.items():
            if number_type == "BF16":
                tensors[name] = _read_bfloat16(path, name)
            elif number_type in _READABLE:
                tensors[name] = file.get_tensor(name)
            else:
                raise BadContentError(
                    f"holds {number_type} numbers in {shown(name)}, which cannot be read here"
                )
        return tensors, dict(file.metadata() or {})


def read_safetensors_metadata(path: Path) -> dict[str, str]:
    """The string metadata alone. Raises BadContentError, OSError."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


def _opened(path: Path) -> Any:
    try:
        return safe_open(os.fspath(path), framework="numpy")
    except SafetensorError as fault:
        reason = str(fault).removeprefix("Error while deserializing header: ")
        raise BadContentError(
            f"is cut short, damaged or no safetensors file: {shown(reason, 160)}"
        ) from fault


def _read_bfloat16(path: Path, name: str) -> np.ndarray:
    with open(path, "rb") as file:
        length = header_length(file.read(8))
        entry = json.loads(file.read(length))[name]
        begin, end = entry["data_offsets"]
        file.seek(8 + length + begin)
        bits = np.frombuffer(file.read(end - begin), "<u2")
    return bfloat16_to_float32(bits).reshape(entry["shape"])


def header_length(head: bytes) -> int:
    length: int = struct.unpack("<Q", head[:8])[0]
    return length
