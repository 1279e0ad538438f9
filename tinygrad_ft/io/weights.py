"""load_weights: {name: array} from any known weights file, told apart by its content."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_ft.io.checkpoint import FORMAT_KEY, MODEL_PREFIX
from tinygrad_ft.io.errors import BadContentError, named_errors
from tinygrad_ft.io.npz_files import read_npz
from tinygrad_ft.io.number_types import convert_floats
from tinygrad_ft.io.onnx_proto import looks_like_onnx
from tinygrad_ft.io.onnx_reader import read_onnx, read_onnx_metadata
from tinygrad_ft.io.safetensors_files import (
    looks_like_safetensors,
    read_safetensors,
    read_safetensors_metadata,
)
from tinygrad_ft.io.state_dicts import strip_prefixes
from tinygrad_ft.io.torch_files import read_torch_legacy, read_torch_zip
from tinygrad_ft.io.zip_members import open_zip

Kind = Literal["torch zip", "torch legacy", "npz", "safetensors", "onnx"]

_KNOWN = "PyTorch's .pth, .pt and .th, .safetensors, .npz and .onnx are read"
# Files that people have in the place of a weights file, by their first bytes.
_OTHERS = (
    (b"\x1f\x8b", "is gzip-compressed; unpack it first"),
    (b"BZh", "is bzip2-compressed; unpack it first"),
    (b"\xfd7zXZ", "is xz-compressed; unpack it first"),
    (b"\x89HDF", f"is an HDF5 file (Keras?); {_KNOWN}"),
    (b"\x93NUMPY", "is a single array (.npy) without a name; save it as .npz"),
    (b"version https://git-lfs", "is a git-lfs pointer, not the file itself; run git lfs pull"),
    (b"<", "is a web page or XML; the download went wrong"),
)


def load_weights(
    path: str | os.PathLike[str], *, dtype: DTypeLike | None = np.float32, key: str | None = None
) -> dict[str, np.ndarray]:
    """Read a weights file without PyTorch: {name: array}, every array writable and its own memory.

    Read are PyTorch's files in zip and legacy layout (nothing in them is ever run), .safetensors,
    .npz, and .onnx as far as `load_onnx` reads them. In nested PyTorch checkpoints the state_dict
    is found (`state_dict`, `model`, ...), plain weights before their moving average; values that
    are no tensors are left out. A prefix that all names share (`module.`, `model.`, `_orig_mod.`)
    is stripped. Of this project's own checkpoints, the model's weights are returned under exactly
    their names.

    dtype: type of all real floats, float16, bfloat16 and float64 included; None keeps the file's
        (bfloat16, and all of .onnx, becomes float32 in any case). Integers and booleans stay as
        they are.
    key: the entry of a nested PyTorch checkpoint to take, for example "state_dict_ema".
    Raises WeightsError, with one sentence that names the file.
    """
    source = Path(path)
    with named_errors(source), open(source, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        tensors = _read(source, file, size, key)
        return convert_floats(tensors, dtype) if dtype is not None else tensors


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The string metadata of a .safetensors or .onnx file; {} for the other kinds, which have none.

    Raises WeightsError.
    """
    source = Path(path)
    with named_errors(source), open(source, "rb") as file:
        head = file.read(9)
        if looks_like_safetensors(head) or source.suffix == ".safetensors":
            return read_safetensors_metadata(source)
        return read_onnx_metadata(source) if looks_like_onnx(head) else {}


def is_onnx(path: str | os.PathLike[str]) -> bool:
    """Whether a file's first bytes are those of an ONNX file. Raises WeightsError."""
    source = Path(path)
    with named_errors(source), open(source, "rb") as file:
        head = file.read(9)
        return looks_like_onnx(head) and not looks_like_safetensors(head)


def _read(path: Path, file: BinaryIO, size: int, key: str | None) -> dict[str, np.ndarray]:
    kind = _kind(path, file)
    if kind == "torch zip":
        return strip_prefixes(read_torch_zip(file, size, key))
    if kind == "torch legacy":
        return strip_prefixes(read_torch_legacy(file, size, key))
    if key is not None:
        raise BadContentError(
            "has no entries to choose from with key=: it is no PyTorch checkpoint"
        )
    if kind == "onnx":
        return read_onnx(path).weights
    if kind == "npz":
        return strip_prefixes(read_npz(file, size))
    tensors, metadata = read_safetensors(path)
    # In files of this project a prefix is part of the model's own names.
    return _model_part(tensors) if FORMAT_KEY in metadata else strip_prefixes(tensors)


def _kind(path: Path, file: BinaryIO) -> Kind:
    """What the file's content says it is; its name only decides about a damaged .safetensors."""
    head = file.read(512)
    file.seek(0)
    if not head:
        raise BadContentError("is empty (0 bytes)")
    if looks_like_safetensors(head):  # first: one with a header of 640 bytes begins like a pickle
        return "safetensors"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "npz" if _holds_only_arrays(file) else "torch zip"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "torch legacy"
    if looks_like_onnx(head):
        return "onnx"
    if head[257:262] == b"ustar":
        raise BadContentError(
            "is in PyTorch's old tar layout or another tar file; save it again with a later PyTorch"
        )
    for magic, sentence in _OTHERS:
        if head.startswith(magic):
            raise BadContentError(sentence)
    if path.suffix == ".safetensors":
        return "safetensors"
    raise BadContentError(f"is no weights file that is known here: {_KNOWN}")


def _holds_only_arrays(file: BinaryIO) -> bool:
    with open_zip(file) as archive:
        names = archive.namelist()
    file.seek(0)
    if not names:
        raise BadContentError("is an empty zip file")
    return all(name.endswith(".npy") for name in names)


def _model_part(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The model's tensors of a training checkpoint; all of a checkpoint that has only those."""
    model = {
        name.removeprefix(MODEL_PREFIX): array
        for name, array in tensors.items()
        if name.startswith(MODEL_PREFIX)
    }
    return model or tensors
