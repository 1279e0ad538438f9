"""PyTorch's files (.pth, .pt, .th) without PyTorch, and without running anything that is in them.

Two layouts, both after torch/serialization.py:

- zip (since PyTorch 1.6): ARCHIVE/data.pkl is a pickle program whose persistent ids name storages;
  storage K is the member ARCHIVE/data/K; ARCHIVE/byteorder says "little" or "big".
- legacy: one stream of five pickles (magic number, protocol version, facts about the machine, the
  object, the list of storage keys), then for every key of the list an int64 count and the numbers,
  always little endian.

The program is run first (`pickle_reader`, `torch_names`); it only yields where tensors lie. Then
just the storages of the chosen state_dict are read, so an optimiser's state in a checkpoint costs
nothing.
"""

from __future__ import annotations

import io
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import BinaryIO, Literal

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tinygrad_ft.io.errors import BadContentError, shown
from tinygrad_ft.io.number_types import bfloat16_to_float32
from tinygrad_ft.io.pickle_reader import MAX_PROGRAM_BYTES, PickleReader
from tinygrad_ft.io.state_dicts import select_state_dict
from tinygrad_ft.io.torch_names import Storage, TensorView, find, storage_from_id
from tinygrad_ft.io.zip_members import open_zip, read_stored

ByteOrder = Literal["<", ">"]

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001

# torch.save keeps expanded tensors (stride 0) and several views of one storage, so a state_dict may
# be larger than its file; a hostile one could claim any size.
_GROWTH_FACTOR = 4
_GROWTH_BYTES = 16 << 20


def read_torch_zip(file: BinaryIO, file_size: int, key: str | None) -> dict[str, np.ndarray]:
    """The state_dict of a file in zip layout. Raises BadContentError."""
    with open_zip(file) as archive:
        names = archive.namelist()
        programs = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(programs) != 1:
            raise BadContentError("is a zip file, but none that torch.save wrote (no data.pkl)")
        folder = programs[0].removesuffix("data.pkl")
        if f"{folder}constants.pkl" in names:
            raise BadContentError(
                "is a TorchScript program, not weights; save the model's state_dict with PyTorch"
            )
        order = "little"
        if f"{folder}byteorder" in names:
            raw = read_stored(archive, f"{folder}byteorder", file_size)[:16].tobytes()
            order = raw.decode("latin-1").strip()
        if order not in ("little", "big"):
            raise BadContentError(f"is damaged: its byte order is {shown(order)}")
        storages = _Storages(file_size)
        program = read_stored(archive, programs[0], min(file_size, MAX_PROGRAM_BYTES))
        root = PickleReader(io.BytesIO(program.data), find, storages.load).load()

        def read(storage_key: str) -> np.ndarray:
            return read_stored(archive, f"{folder}data/{storage_key}", file_size)

        views = select_state_dict(root, TensorView, key)
        return _materialise(views, read, "<" if order == "little" else ">", file_size)


def read_torch_legacy(file: BinaryIO, file_size: int, key: str | None) -> dict[str, np.ndarray]:
    """The state_dict of a file in legacy layout. Raises BadContentError."""
    storages = _Storages(file_size)
    reader = PickleReader(file, find, storages.load)
    if reader.load() != MAGIC_NUMBER:
        raise BadContentError("is a Python pickle, but none that torch.save wrote; refused")
    version = reader.load()
    if version != PROTOCOL_VERSION:
        raise BadContentError(
            f"is in version {shown(version)} of PyTorch's legacy layout; 1001 is read"
        )
    reader.load()  # the machine's type sizes and byte order: the numbers are little endian anyway
    root = reader.load()
    keys = reader.load()
    places = _legacy_places(file, file_size, keys, storages.by_key)

    def read(storage_key: str) -> np.ndarray:
        if storage_key not in places:
            raise BadContentError(f"is damaged: storage {shown(storage_key)} is not in it")
        position, nbytes = places[storage_key]
        file.seek(position)
        return np.frombuffer(file.read(nbytes), np.uint8)

    return _materialise(select_state_dict(root, TensorView, key), read, "<", file_size)


class _Storages:
    """The storages that a program refers to, each of one size and all within the file's."""

    def __init__(self, file_size: int) -> None:
        self.by_key: dict[str, Storage] = {}
        self._bytes_left = file_size

    def load(self, persistent_id: object) -> Storage:
        storage = storage_from_id(persistent_id)
        known = self.by_key.get(storage.key)
        if known is None:
            known = self.by_key[storage.key] = storage
            self._bytes_left -= storage.whole_bytes
        if self._bytes_left < 0:
            raise BadContentError(
                f"is cut short or damaged: with storage {shown(storage.key)} its tensors claim "
                "more bytes than the file has"
            )
        if known.whole_bytes != storage.whole_bytes:
            raise BadContentError(f"is damaged: storage {shown(storage.key)} has two sizes")
        return storage


def _legacy_places(
    file: BinaryIO, file_size: int, keys: object, known: dict[str, Storage]
) -> dict[str, tuple[int, int]]:
    """Where each storage's numbers begin and how many bytes they are."""
    if not isinstance(keys, list):
        raise BadContentError("is damaged: it has no list of its storages")
    places: dict[str, tuple[int, int]] = {}
    position = file.tell()
    for key in keys:
        if not isinstance(key, str) or key not in known or key in places:
            raise BadContentError(f"is damaged: its list of storages has {shown(key)}")
        file.seek(position)
        head = file.read(8)
        count = struct.unpack("<q", head)[0] if len(head) == 8 else None
        if count is not None and count != known[key].whole_count:
            raise BadContentError(
                f"is damaged: storage {shown(key)} has {known[key].whole_count} numbers in one "
                f"place and {count} in another"
            )
        nbytes = known[key].whole_bytes
        if count is None or position + 8 + nbytes > file_size:
            raise BadContentError("is cut short: it ends inside the numbers of its tensors")
        places[key] = (position + 8, nbytes)
        position += 8 + nbytes
    return places


def _materialise(
    views: dict[str, TensorView],
    read: Callable[[str], np.ndarray],
    order: ByteOrder,
    file_size: int,
) -> dict[str, np.ndarray]:
    """Own arrays for all views, one storage in memory at a time. bfloat16 becomes float32."""
    total = sum(view.nbytes for view in views.values())
    if total > _GROWTH_FACTOR * file_size + _GROWTH_BYTES:
        raise BadContentError(f"claims {total} bytes of tensors in a file of {file_size}; refused")
    by_storage: dict[str, list[str]] = defaultdict(list)
    for name, view in views.items():
        by_storage[view.storage.key].append(name)
    arrays: dict[str, np.ndarray] = {}
    for key, names in by_storage.items():
        raw = read(key)
        expected = views[names[0]].storage.whole_bytes
        if raw.nbytes != expected:
            raise BadContentError(
                f"is damaged: storage {shown(key)} has {raw.nbytes} bytes instead of {expected}"
            )
        for name in names:
            arrays[name] = _array(raw, views[name], order)
    return {name: arrays[name] for name in views}


def _array(raw: np.ndarray, view: TensorView, order: ByteOrder) -> np.ndarray:
    code = "u2" if view.type.code == "bf16" else view.type.code
    dtype = np.dtype(code)
    if 0 in view.shape:
        array = np.empty(view.shape, dtype)
    else:
        whole = len(raw) // dtype.itemsize
        numbers = raw[: whole * dtype.itemsize].view(dtype.newbyteorder(order))
        # A step is only taken along extents above one; others may carry any stride.
        strides = _byte_strides(view.shape, view.stride, dtype.itemsize)
        strided = as_strided(numbers[view.offset :], view.shape, strides, writeable=False)
        array = strided.astype(dtype, order="C", copy=True)
    return bfloat16_to_float32(array) if view.type.code == "bf16" else array


def _byte_strides(shape: Iterable[int], stride: Iterable[int], itemsize: int) -> tuple[int, ...]:
    return tuple(
        step * itemsize if extent > 1 else 0 for extent, step in zip(shape, stride, strict=True)
    )
