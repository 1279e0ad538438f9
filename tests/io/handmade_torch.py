"""Writes PyTorch files by hand, instruction by instruction, so that no test needs PyTorch."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C


class Raw(bytes):
    """Pickle instructions as they are."""


def code(value: object) -> bytes:
    """The instructions that push `value`."""
    if isinstance(value, Raw):
        return bytes(value)
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, tuple):
        return b"(" + b"".join(map(code, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(code, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(code(k) + code(v) for k, v in value.items()) + b"u"
    raise TypeError(type(value))


def program(value: object) -> bytes:
    return b"\x80\x02" + code(value) + b"."


def name(module: str, attribute: str) -> Raw:
    return Raw(f"c{module}\n{attribute}\n".encode())


def call(function: Raw, *arguments: object) -> Raw:
    return Raw(function + code(tuple(arguments)) + b"R")


def ordered_dict(items: Mapping[object, object]) -> Raw:
    made = call(name("collections", "OrderedDict"))
    return Raw(made + b"(" + b"".join(code(k) + code(v) for k, v in items.items()) + b"u")


def storage(key: str, count: int, kind: str = "FloatStorage", *view: object) -> Raw:
    return Raw(code(("storage", name("torch", kind), key, "cpu", count, *view)) + b"Q")


def tensor(stored: Raw, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Raw:
    hooks = call(name("collections", "OrderedDict"))
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, stored, offset, size, stride, False, hooks)


def legacy_file(root: bytes, storages: Mapping[str, tuple[int, bytes]]) -> bytes:
    """`root`: a whole program. storages: {key: (count, numbers)}."""
    parts = [
        program(MAGIC),
        program(1001),
        program({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}),
        root,
        program(list(storages)),
    ]
    parts += [struct.pack("<q", count) + data for count, data in storages.values()]
    return b"".join(parts)


def zip_file(
    root: bytes,
    storages: Mapping[str, tuple[int, bytes]],
    byteorder: str | None = "little",
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", root)
        if byteorder is not None:
            archive.writestr("archive/byteorder", byteorder)
        for key, (_, data) in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def sample(view: tuple[object, ...] = ()) -> tuple[bytes, dict[str, tuple[int, bytes]]]:
    """A nested checkpoint with a DataParallel prefix, a transposed view and a shared storage.

    `sample_tensors` is what must come out of it. view: (None,) for the legacy layout.
    """
    weight = storage("0", 6, "FloatStorage", *view)
    counter = storage("1", 1, "LongStorage", *view)
    state = ordered_dict(
        {
            "module.fc.weight": tensor(weight, 0, (3, 2), (1, 3)),
            "module.fc.bias": tensor(weight, 3, (3,), (1,)),
            "module.bn.num_batches_tracked": tensor(counter, 0, (), ()),
        }
    )
    storages = {
        "0": (6, np.arange(6, dtype="<f4").tobytes()),
        "1": (1, np.array([7], "<i8").tobytes()),
    }
    checkpoint = {"epoch": 3, "best": 0.5, "state_dict": state, "optimizer": {"lr": 0.1, 2: [1]}}
    return program(checkpoint), storages


def sample_tensors() -> dict[str, np.ndarray]:
    numbers = np.arange(6, dtype=np.float32)
    return {
        "fc.weight": numbers.reshape(2, 3).T,
        "fc.bias": numbers[3:],
        "bn.num_batches_tracked": np.array(7, np.int64),
    }


def sample_legacy() -> bytes:
    return legacy_file(*sample((None,)))


def sample_zip() -> bytes:
    return zip_file(*sample())
