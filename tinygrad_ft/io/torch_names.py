"""The allow-list: every name that a PyTorch file may contain, and what inert thing it stands for.

A tensor becomes a `TensorView`: where its numbers lie in the file, checked against the size of its
storage, and not one of them read yet. Everything else that weights files carry along (settings,
counters, NumPy scalars, devices) becomes `Inert`. Any other name is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

from tinygrad_ft.io.errors import BadContentError, shown
from tinygrad_ft.io.pickle_reader import Callee, Inert, fill

MAX_DIMENSIONS = 32
_MAX_EXTENT = 1 << 48


@dataclass(frozen=True)
class NumberType:
    """A type of number: `code` is a NumPy dtype without byte order, "bf16", or "" if unreadable."""

    name: str
    code: str

    @property
    def itemsize(self) -> int:
        return 2 if self.code == "bf16" else int(self.code[1:])


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file: `count` from `start` on, in numbers, of storage `key`."""

    key: str
    type: NumberType
    whole_count: int
    start: int
    count: int

    @property
    def whole_bytes(self) -> int:
        return self.whole_count * self.type.itemsize


@dataclass(frozen=True)
class TensorView:
    """A tensor as a strided view inside a storage; `offset` and `stride` in numbers."""

    storage: Storage
    type: NumberType
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.type.itemsize


@dataclass(frozen=True)
class StorageType:
    """A storage class's name in the file. An untyped storage counts bytes."""

    name: str
    type: NumberType


_CODES = {
    "float64": "f8", "double": "f8", "float32": "f4", "float": "f4", "float16": "f2", "half": "f2",
    "bfloat16": "bf16", "complex64": "c8", "complex128": "c16",
    "uint8": "u1", "int8": "i1", "uint16": "u2", "int16": "i2", "short": "i2", "uint32": "u4",
    "int32": "i4", "int": "i4", "uint64": "u8", "int64": "i8", "long": "i8", "bool": "b1",
}  # fmt: skip
# Types that exist in PyTorch and have no plain counterpart here: allowed as names, not as tensors.
_UNREADABLE = (
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu",
    "quint8", "qint8", "qint32", "quint4x2", "quint2x4", "complex32",
)  # fmt: skip
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128", "ComplexFloatStorage": "complex64",
}  # fmt: skip
_INERT_NAMES = (
    "argparse.Namespace", "collections.Counter", "torch.device", "torch.Size", "torch.Tensor",
    "torch.nn.parameter.Parameter", "torch.serialization._get_layout", "_codecs.encode",
    "numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
    *(f"{builtins}.{name}" for builtins in ("builtins", "__builtin__")
      for name in ("set", "frozenset", "list", "dict", "int", "float", "complex", "bytearray")),
)  # fmt: skip


def find(module: str, name: str) -> object:
    """What `module.name` in a file stands for. Raises BadContentError for names not allowed."""
    allowed = _ALLOWED.get(f"{module}.{name}")
    if allowed is None:
        raise BadContentError(
            f"wants to run {shown(f'{module}.{name}')}; refused: only tensors and plain values are "
            "read from PyTorch files (a whole pickled model must be saved again as its state_dict)"
        )
    return allowed


def storage_from_id(persistent_id: object) -> Storage:
    """The storage behind a persistent id ("storage", type, key, device, count[, view])."""
    parts = persistent_id if isinstance(persistent_id, tuple) else ()
    if len(parts) not in (5, 6) or parts[0] != "storage" or not isinstance(parts[1], StorageType):
        raise BadContentError(
            "is damaged: it refers to something that is not the storage of a tensor"
        )
    key, count = parts[2], parts[4]
    if not isinstance(key, str) or not _is_count(count):
        raise BadContentError(
            f"is damaged: a storage has the key {shown(key)}, size {shown(count)}"
        )
    start, length = 0, count
    view = parts[5] if len(parts) == 6 else None
    if view is not None:  # PyTorch before 0.4 wrote views of storages
        if not isinstance(view, tuple) or len(view) != 3 or not all(map(_is_count, view[1:])):
            raise BadContentError(f"is damaged: the view of storage {shown(key)} makes no sense")
        start, length = view[1:]
        if start + length > count:
            raise BadContentError(f"is damaged: a view reaches outside of storage {shown(key)}")
    return Storage(key, parts[1].type, count, start, length)


def _ordered_dict(pairs: object = ()) -> dict[object, object]:
    # Python 2 wrote the items as a list of [key, value].
    if not isinstance(pairs, (list, tuple)):
        raise BadContentError("is damaged: an OrderedDict is not made of pairs")
    items: list[object] = []
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise BadContentError("is damaged: an OrderedDict is not made of pairs")
        items += pair
    made: dict[object, object] = {}
    fill(made, items)
    return made


def _default_dict(*factory: object) -> dict[object, object]:
    return {}


def _tensor(storage: object, offset: object, size: object, stride: object) -> TensorView:
    if not isinstance(storage, Storage):
        raise BadContentError("is damaged: a tensor has no storage")
    return _view(storage, storage.type, offset, size, stride)


def _tensor_v2(
    storage: object, offset: object, size: object, stride: object,
    requires_grad: object, hooks: object, metadata: object = None,
) -> TensorView:  # fmt: skip
    _refuse_lazy(metadata)
    return _tensor(storage, offset, size, stride)


def _tensor_v3(
    storage: object, offset: object, size: object, stride: object,
    requires_grad: object, hooks: object, type: object, metadata: object = None,
) -> TensorView:  # fmt: skip
    _refuse_lazy(metadata)
    if not isinstance(storage, Storage) or not isinstance(type, NumberType):
        raise BadContentError("is damaged: a tensor has no storage or no type")
    if storage.start:
        raise BadContentError("is damaged: it mixes storage views with tensors of a later PyTorch")
    return _view(storage, type, offset, size, stride)


def _parameter(data: object, *rest: object) -> TensorView:
    if not isinstance(data, TensorView):
        raise BadContentError("is damaged: a parameter is not made of a tensor")
    return data


def _tensor_of_type(
    rebuild: object, tensor_type: object, arguments: object, state: object
) -> object:
    # A tensor that carries Python attributes; they are not weights.
    if not isinstance(rebuild, Callee) or rebuild.name not in _REBUILD:
        raise BadContentError(
            "is damaged: a tensor is rebuilt by something that rebuilds no tensor"
        )
    if not isinstance(arguments, tuple):
        raise BadContentError(
            "is damaged: a tensor is rebuilt by something that rebuilds no tensor"
        )
    return rebuild.make(*arguments)


def _refuse_lazy(metadata: object) -> None:
    if metadata:
        raise BadContentError("holds a lazily conjugated or negated tensor; save it resolved")


def _view(
    storage: Storage, type: NumberType, offset: object, size: object, stride: object
) -> TensorView:
    """The tensor, after checking that it lies inside its storage."""
    if not type.code:
        raise BadContentError(f"holds a tensor of {type.name} numbers, which cannot be read here")
    if not isinstance(size, (tuple, list)) or not isinstance(stride, (tuple, list)):
        raise BadContentError("is damaged: a tensor has no shape")
    if len(size) != len(stride) or len(size) > MAX_DIMENSIONS:
        raise BadContentError(
            f"is damaged: a tensor has {len(size)} dimensions and {len(stride)} strides"
        )
    if not (_is_count(offset) and all(map(_is_count, size)) and all(map(_is_count, stride))):
        raise BadContentError(
            "is damaged: a tensor has a negative or absurd shape, stride or offset"
        )
    if math.prod(max(extent, 1) for extent in size) > _MAX_EXTENT:
        raise BadContentError(f"is damaged: a tensor claims the shape {tuple(size)}")
    available = storage.count * storage.type.itemsize // type.itemsize
    last = offset + sum((extent - 1) * step for extent, step in zip(size, stride, strict=True))
    if 0 not in size and last >= available:
        raise BadContentError(
            f"is damaged: a tensor of shape {tuple(size)} reaches number {last} of storage "
            f"{shown(storage.key)}, which has {available}"
        )
    return TensorView(storage, type, storage.start + offset, tuple(size), tuple(stride))


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_EXTENT


_REBUILD = {
    f"torch._utils.{name}": Callee(f"torch._utils.{name}", make)
    for name, make in (
        ("_rebuild_tensor", _tensor),
        ("_rebuild_tensor_v2", _tensor_v2),
        ("_rebuild_tensor_v3", _tensor_v3),
        ("_rebuild_parameter", _parameter),
        ("_rebuild_parameter_with_state", _parameter),
    )
}


def _inert_maker(name: str) -> Callable[..., object]:
    inert = Inert(name)
    return lambda *arguments: inert


def _allowed() -> dict[str, object]:
    types = {name: NumberType(f"torch.{name}", code) for name, code in _CODES.items()}
    types |= {name: NumberType(f"torch.{name}", "") for name in _UNREADABLE}
    table: dict[str, object] = {number_type.name: number_type for number_type in types.values()}
    for name, number_type in _STORAGES.items():
        table |= {
            f"{module}.{name}": StorageType(name, types[number_type])
            for module in ("torch", "torch.cuda")
        }
    table["torch.storage.UntypedStorage"] = StorageType("UntypedStorage", types["uint8"])
    table |= {name: Callee(name, _inert_maker(name)) for name in _INERT_NAMES}
    table |= _REBUILD
    table |= {
        name: Callee(name, make)
        for name, make in (
            ("collections.OrderedDict", _ordered_dict),
            ("collections.defaultdict", _default_dict),
            ("torch._tensor._rebuild_from_type_v2", _tensor_of_type),
        )
    }
    return table


_ALLOWED = _allowed()
