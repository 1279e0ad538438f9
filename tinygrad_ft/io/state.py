"""Nested training state (optimiser, scheduler, randomness, progress) <-> flat tensors + JSON.

Arrays become tensors; everything else becomes JSON, from which it comes back equal to the last bit:
Python's floats print exactly, integers have any size. What JSON lacks is written as an object with
one key:

    {"$tensor": name}          an array                 {"$scalar": name}   a NumPy scalar
    {"$tuple": [...]}          a tuple                  {"$bytes": hex}     bytes
    {"$float": hex}            inf, nan: the 8 bytes    {"$dict": [[key, value], ...]}   other keys
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_ft.io.errors import CheckpointError, shown

_ATOMS = (str, bool, int, float, bytes, type(None))


def flatten_state(nested: object) -> tuple[dict[str, np.ndarray], str]:
    """(tensors, text): arrays of `nested` by their path ("model/conv1.weight"), the rest as JSON.

    nested: dicts, lists, tuples, str, int, float, bool, None, bytes, arrays and NumPy scalars.
    Raises CheckpointError, with the path, for anything else.
    """
    tensors: dict[str, np.ndarray] = {}
    encoded = _encode(nested, (), tensors)
    try:
        return tensors, json.dumps(encoded, allow_nan=False)
    except ValueError as problem:  # an integer of thousands of digits, a value that contains itself
        raise CheckpointError(f"state cannot be kept: {problem}") from problem


def unflatten_state(tensors: Mapping[str, np.ndarray], text: str) -> Any:
    """What `flatten_state` was given. Raises CheckpointError when the two do not fit together."""
    try:
        return _decode(json.loads(text), tensors)
    except (ValueError, KeyError, TypeError, struct.error, RecursionError) as problem:
        raise CheckpointError(
            f"state is damaged: {type(problem).__name__} {shown(str(problem))}"
        ) from problem


def _encode(value: object, path: tuple[str, ...], tensors: dict[str, np.ndarray]) -> object:
    if isinstance(value, np.ndarray):
        return {"$tensor": _add(value, path, tensors)}
    if isinstance(value, np.generic):  # before float: np.float64 is one
        return {"$scalar": _add(np.asarray(value), path, tensors)}
    if isinstance(value, float):
        finite = value - value == 0.0
        return float(value) if finite else {"$float": struct.pack(">d", value).hex()}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if len(path) > 100:
        raise CheckpointError(f"state cannot be kept: {'/'.join(path[:4])}/... never ends")
    if isinstance(value, (list, tuple)):
        items = [_encode(item, (*path, str(i)), tensors) for i, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        if not all(isinstance(key, _ATOMS) for key in value):
            raise CheckpointError(f"state cannot be kept: {'/'.join(path)} has keys of other types")
        entries = [(key, _encode(item, (*path, str(key)), tensors)) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return dict(entries)
        return {"$dict": [[_encode(key, path, tensors), item] for key, item in entries]}
    where = "/".join(path) or "it"
    raise CheckpointError(f"state cannot be kept: {where} is a {type(value).__name__}")


def _add(array: np.ndarray, path: tuple[str, ...], tensors: dict[str, np.ndarray]) -> str:
    name = base = "/".join(path) or "value"
    number = 1
    while name in tensors:  # {"a/b": x, "a": {"b": y}}
        number += 1
        name = f"{base}~{number}"
    tensors[name] = array
    return name


def _decode(value: Any, tensors: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, content),) = value.items()
        if key == "$tensor":
            return tensors[content]
        if key == "$scalar":
            return tensors[content][()]
        if key == "$tuple":
            return tuple(_decode(item, tensors) for item in content)
        if key == "$float":
            return struct.unpack(">d", bytes.fromhex(content))[0]
        if key == "$bytes":
            return bytes.fromhex(content)
        if key == "$dict":
            return {_decode(k, tensors): _decode(item, tensors) for k, item in content}
    return {key: _decode(item, tensors) for key, item in value.items()}
