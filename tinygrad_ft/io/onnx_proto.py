"""ONNX files as protocol buffers: opening them, their tensors, their attributes.

The package `onnx` (an optional extra) parses the file; nothing in such a file is code. What it does
not check is checked here: the bytes that a tensor claims, and where weights in a second file lie.
"""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tinygrad_ft.io.errors import BadContentError, shown
from tinygrad_ft.io.number_types import bfloat16_to_float32

INSTALL = 'pip install "tinygrad_ft[onnx]"'
MAX_BYTES = 2 << 30  # of a protocol buffer

# numbers of TensorProto.DataType that weights and shapes have
_TYPES = {
    1: "f4", 2: "u1", 3: "i1", 5: "i2", 6: "i4", 7: "i8", 9: "b1", 10: "f2", 11: "f8", 16: "bf16",
}  # fmt: skip
_FIRST_FIELD = b"\x08"  # ir_version, an integer; every writer puts it first
_NEXT_FIELDS = (b"\x12", b"\x1a", b"\x22", b"\x2a", b"\x32", b"\x3a", b"\x42", b"\x72")


def looks_like_onnx(head: bytes) -> bool:
    """Whether a file begins as ONNX: a small version number, then another field of a model."""
    if len(head) < 3 or head[:1] != _FIRST_FIELD:
        return False
    return 1 <= head[1] <= 64 and head[2:3] in _NEXT_FIELDS


def onnx_package(name: str = "onnx") -> Any:
    """The package, or a module of it. BadContentError where it is not installed."""
    try:
        return import_module(name)
    except ImportError as missing:
        raise BadContentError(
            f"is an ONNX file, and the package onnx is not installed: {INSTALL}"
        ) from missing


def read_model(path: Path) -> Any:
    """The ModelProto in a file. Raises BadContentError, OSError."""
    onnx = onnx_package()
    decode_error = onnx_package("google.protobuf.message").DecodeError
    if path.stat().st_size > MAX_BYTES:
        raise BadContentError("is larger than 2 GB, which no ONNX file can be")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except decode_error as fault:
        raise BadContentError("is cut short, damaged or no ONNX file") from fault
    if not model.graph.node:
        raise BadContentError("is cut short, damaged or no ONNX file: it holds no network")
    return model


def model_metadata(model: Any) -> dict[str, str]:
    """The string metadata of a ModelProto."""
    return {entry.key: entry.value for entry in model.metadata_props}


def tensor_array(tensor: Any, folder: Path) -> np.ndarray:
    """The numbers of a TensorProto; bfloat16 becomes float32.

    folder: where the ONNX file lies; weights outside of it lie beside it. Raises BadContentError.
    """
    name, shape = shown(tensor.name), tuple(tensor.dims)
    code = _TYPES.get(tensor.data_type)
    if code is None:
        raise BadContentError(f"holds {name}, whose number type cannot be read here")
    if any(extent < 0 for extent in shape):
        raise BadContentError(f"is damaged: {name} claims the shape {shape}")
    dtype = np.dtype("<u2" if code == "bf16" else f"<{code}")
    nbytes = math.prod(shape) * dtype.itemsize
    if tensor.data_location == 1:
        data = _external(tensor, folder, nbytes)
    elif tensor.HasField("raw_data"):
        data = tensor.raw_data
    else:
        return _from_fields(tensor, name)
    if len(data) != nbytes:
        raise BadContentError(
            f"is damaged: {name} of shape {shape} needs {nbytes} bytes and has {len(data)}"
        )
    numbers = np.frombuffer(data, dtype).reshape(shape)
    if code == "bf16":
        return bfloat16_to_float32(numbers)
    return numbers.astype(dtype.newbyteorder("="))


def _from_fields(tensor: Any, name: str) -> np.ndarray:
    """A tensor written as repeated numbers instead of bytes."""
    helper = onnx_package("onnx.numpy_helper")
    count = max(
        len(field)
        for field in (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data)
    )
    if math.prod(tensor.dims) != count:
        raise BadContentError(
            f"is damaged: {name} of shape {tuple(tensor.dims)} has {count} numbers"
        )
    try:
        array: np.ndarray = np.asarray(helper.to_array(tensor))
    except (ValueError, TypeError) as fault:
        raise BadContentError(f"is damaged: the numbers of {name} make no sense") from fault
    return array.astype(np.float32) if tensor.data_type == 16 else array


def _external(tensor: Any, folder: Path, nbytes: int) -> bytes:
    """The bytes of a tensor that is kept in a second file, as PyTorch's exporter does."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    name, location = shown(tensor.name), entries.get("location", "")
    place = PurePosixPath(location)
    # A file's name and nothing else: no folder, no drive, no way up.
    if not location or place.name != location or "\\" in location or ":" in location:
        raise BadContentError(
            f"keeps {name} in {shown(location)}, which is not a file beside it; refused"
        )
    source = folder / location
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", nbytes))
    except ValueError:
        raise BadContentError(f"is damaged: the place of {name} is no number") from None
    if source.is_symlink() or not source.is_file():
        raise BadContentError(
            f"keeps {name} in the file {shown(location)}, which is not beside it; put it there"
        )
    if length != nbytes or offset < 0 or offset + length > source.stat().st_size:
        raise BadContentError(
            f"is damaged: {name} of {nbytes} bytes claims {length} from {offset} on of "
            f"{shown(location)}, which has {source.stat().st_size}"
        )
    with open(source, "rb") as file:
        file.seek(offset)
        return file.read(length)


class Attributes:
    """A node's attributes, each of the type that is asked for. All raise BadContentError."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._by_name = {attribute.name: attribute for attribute in node.attribute}

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def _get(self, name: str, kind: int) -> Any:
        attribute = self._by_name[name]
        if attribute.type != kind:
            raise BadContentError(
                f"is damaged: {described(self._node)} has a {shown(name)} of the wrong type"
            )
        return attribute

    def integer(self, name: str, default: int) -> int:
        return int(self._get(name, 2).i) if name in self else default

    def number(self, name: str, default: float) -> float:
        # float32 in the file: 1e-05 shall be 1e-05 and not 9.999999747378752e-06
        return float(str(np.float32(self._get(name, 1).f))) if name in self else default

    def text(self, name: str, default: str) -> str:
        return self._get(name, 3).s.decode("utf-8", "replace") if name in self else default

    def integers(self, name: str, default: list[int]) -> list[int]:
        return list(self._get(name, 7).ints) if name in self else default

    def numbers(self, name: str) -> list[float]:
        return list(self._get(name, 6).floats)

    def tensor(self, name: str) -> Any:
        return self._get(name, 4).t


def described(node: Any) -> str:
    """A node for messages: its operator and its name."""
    return f"the {shown(node.op_type, 40)} {shown(node.name, 60)}".rstrip()
