"""Fingerprints (SHA-256) of weights and files: which ones a result was made with."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinygrad_ft.io.errors import FileError

SHORT = 12


def fingerprint_state(state: Mapping[str, np.ndarray]) -> str:
    """SHA-256 in hex over names, types, shapes and bytes of a state dict.

    The same for equal states whatever their order, strides, byte order or machine.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        array = state[name]
        if array.dtype.hasobject:
            raise TypeError(f"fingerprint_state: {name} holds Python objects")
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        label = f"{name}\0{array.dtype.kind}{array.dtype.itemsize}\0{tuple(array.shape)}".encode()
        digest.update(struct.pack("<QQ", len(label), little.nbytes))
        digest.update(label)
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def fingerprint_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 in hex of a file's bytes. Raises FileError."""
    source = Path(path)
    try:
        with open(source, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise FileError(f"{source} cannot be read: {problem.strerror or problem}") from problem


def short(fingerprint: str) -> str:
    """The first 12 hex digits, for people to compare."""
    return fingerprint[:SHORT]
