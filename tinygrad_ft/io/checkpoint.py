"""Checkpoints: .safetensors files with string metadata, written so that none is ever half a file.

A training checkpoint is `flatten_state({"model": ..., "optimizer": ...})`; its model's tensors then
have names under MODEL_PREFIX, by which `load_weights` finds them.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from tinygrad_ft.io.errors import BadContentError, CheckpointError, WriteError, shown
from tinygrad_ft.io.files import atomic_write
from tinygrad_ft.io.safetensors_files import MAX_HEADER_BYTES, header_length, read_safetensors

FORMAT_KEY = "tinygrad_ft.format"
FORMAT_VERSION = 1
MODEL_PREFIX = "model/"
# Types that every version of the library since 0.4 keeps.
_DTYPES = {"f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1"}


def save_checkpoint(
    path: str | os.PathLike[str],
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
) -> None:
    """Write `tensors` and string `metadata` to `path` as .safetensors, atomically (`atomic_write`).

    Equal content gives equal bytes, so that a file's fingerprint stands for the weights in it.
    Raises CheckpointError when something cannot be kept in such a file, or when the disk is full or
    the folder unwritable; the previous file is then untouched and nothing is left over.
    """
    target = Path(path)
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise CheckpointError(f"{target} cannot keep metadata {name!r}: it must be a string")
    stored = {name: _storable(target, name, array) for name, array in tensors.items()}
    try:
        content = save(stored, {**metadata, FORMAT_KEY: str(FORMAT_VERSION)})
    except (SafetensorError, UnicodeError) as problem:  # UnicodeError: half of a surrogate pair
        raise CheckpointError(f"{target} cannot be written: {problem}") from problem
    if header_length(content) > MAX_HEADER_BYTES:  # older libraries write what they cannot read
        raise CheckpointError(f"{target} cannot be written: header too large")
    head, body = _ordered(content)
    try:
        atomic_write(target, lambda file: (file.write(head), file.write(body)))
    except WriteError as problem:
        raise CheckpointError(str(problem)) from problem


def _ordered(content: bytes) -> tuple[bytes, memoryview]:
    """The same file, in two parts, with sorted metadata: the library's order is a random one."""
    length = header_length(content)
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of eight, as the format asks
    return struct.pack("<Q", len(text)) + text, memoryview(content)[8 + length :]


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(tensors, metadata) as they were given to `save_checkpoint`.

    Raises CheckpointError for a missing, empty or damaged file, for somebody else's .safetensors,
    and for one written in another version of the format.
    """
    source = Path(path)
    try:
        if source.stat().st_size == 0:
            raise BadContentError("is empty (0 bytes)")
        tensors, metadata = read_safetensors(source)
    except BadContentError as problem:
        raise CheckpointError(f"{source} {problem}") from problem
    except OSError as problem:
        raise CheckpointError(
            f"{source} cannot be read: {problem.strerror or problem}"
        ) from problem
    version = metadata.pop(FORMAT_KEY, None)
    if version is None:
        raise CheckpointError(
            f"{source} is no checkpoint of tinygrad_ft (no {FORMAT_KEY} in its metadata); "
            "its weights alone can be read with load_weights"
        )
    if version != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{source} is a checkpoint in format {shown(version)}; this tinygrad_ft reads "
            f"format {FORMAT_VERSION}"
        )
    return tensors, metadata


def _storable(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if not isinstance(name, str) or name == "__metadata__":
        raise CheckpointError(f"{path} cannot keep a tensor of the name {name!r}")
    if not isinstance(array, np.ndarray) or array.dtype.str[1:] not in _DTYPES:
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise CheckpointError(f"{path} cannot keep {shown(name)}: its type is {kind}")
    # The library writes the memory as it lies: strides and byte order must be plain.
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
