"""The pickles inside the CIFAR archives, read without running anything they name.

A pickle is a program; unpickled the usual way it can call any function. These files need one array
of bytes, lists of numbers and strings. So the names they use for the array (NumPy's `_reconstruct`,
`ndarray`, `dtype`) are bound to the small classes below, every other name is refused, and NumPy's
own unpickling code is never reached.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from tinygrad_ft.data.errors import DataError, shown


class _Dtype:
    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else str(code)

    def __setstate__(self, state: Any) -> None:
        pass  # byte order and field names: a single byte has neither


class _Array:
    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Dtype) or dtype.code != "u1" or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("an array of something else than bytes")
        self.value = np.frombuffer(raw, dtype=np.uint8).reshape(
            tuple(shape), order="F" if fortran else "C"
        )


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    return text.encode("latin1")  # how Python 3 writes bytes into a pickle of protocol 2


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which CIFAR does not need; refused"
            ) from None


def load_cifar_pickle(data: bytes, name: str) -> dict[str, Any]:
    """The dictionary of a CIFAR file: keys as text, arrays as uint8 ndarrays, strings as they are.

    `name` is the file's name in messages. Raises DataError for anything that is not such a file.
    """
    try:
        found = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:
        # damaged pickles fail in as many ways as there are opcodes
        raise DataError(f"{shown(name)} is not a CIFAR pickle: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{shown(name)} is not a CIFAR pickle: no dictionary in it")
    return {
        _text(key): value.value if isinstance(value, _Array) else value
        for key, value in found.items()
    }


def _text(key: Any) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)
