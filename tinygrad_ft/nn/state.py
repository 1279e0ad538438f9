"""Reading and writing the state of a module: what `state_dict` and `load_state_dict` do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_ft.nn.module import Module


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` left out on either side."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self[0]}, unexpected_keys={self[1]})"


def _walk(module: Module, prefix: str = "") -> Iterator[tuple[str, Tensor, bool]]:
    """(key, tensor, may be missing) of every parameter and persistent buffer. Unlike
    `named_parameters` a shared one comes under each of its names: files list them all."""
    for name, param in module._parameters.items():
        if param is not None:
            yield prefix + name, param, False
    for name, buffer in module._buffers.items():
        if buffer is not None and name not in module._non_persistent:
            yield prefix + name, buffer, name in module.optional_state
    for name, child in module._modules.items():
        if child is not None:
            yield from _walk(child, f"{prefix}{name}.")


def state_dict(module: Module, prefix: str = "") -> OrderedDict[str, Tensor]:
    return OrderedDict((key, tensor.detach()) for key, tensor, _ in _walk(module, prefix))


def load_state_dict(
    module: Module, values: Mapping[str, Any], strict: bool = True
) -> IncompatibleKeys:
    if not isinstance(values, Mapping):
        raise TypeError(
            f"load_state_dict takes a dict of names and arrays, got {type(values).__name__}"
        )
    # Stage: everything that can fail happens here, on copies. Copies also make it safe to load
    # values that share memory with the module itself.
    staged: list[tuple[Tensor, NDArray[Any]]] = []
    missing: list[str] = []
    problems: list[str] = []
    own: set[str] = set()
    for key, tensor, optional in _walk(module):
        own.add(key)
        if key in values:
            try:
                staged.append((tensor, _fit(key, values[key], tensor)))
            except ValueError as error:
                problems.append(str(error))
        elif not optional:
            missing.append(key)
    unexpected = [str(key) for key in values if key not in own]
    if strict and unexpected:
        problems.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}.")
    if strict and missing:
        problems.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}.")
    if problems:
        raise RuntimeError(
            f"Error(s) in loading state_dict for {type(module).__name__} (nothing was changed):\n\t"
            + "\n\t".join(problems)
        )

    with no_grad():
        for tensor, array in staged:
            tensor.copy_(Tensor(array))
    return IncompatibleKeys(missing, unexpected)


def _fit(key: str, value: Any, tensor: Tensor) -> NDArray[Any]:
    """A copy of `value` in the dtype of `tensor`; ValueError if shape or type do not allow
    it."""
    if not hasattr(value, "__array__"):
        raise ValueError(
            f"{key} from checkpoint is a {type(value).__name__}, not a Tensor or array."
        )
    source = value.data if isinstance(value, Tensor) else np.asarray(value)
    if source.shape == (1,) and tensor.shape == ():  # scalars in files of PyTorch before 0.4
        source = source[0:1].reshape(())
    if source.shape != tensor.shape:
        raise ValueError(
            f"size mismatch for {key}: copying a param with shape {source.shape} from checkpoint, "
            f"the shape in current model is {tensor.shape}."
        )
    if not np.can_cast(source.dtype, tensor.dtype, casting="same_kind"):
        raise ValueError(
            f"type mismatch for {key}: {source.dtype} from checkpoint does not fit {tensor.dtype} "
            "in current model."
        )
    try:
        with np.errstate(over="raise"):
            return np.array(source, dtype=tensor.dtype)
    except FloatingPointError:
        raise ValueError(
            f"values of {key} ({source.dtype}) from checkpoint are too large for {tensor.dtype} in "
            "current model."
        ) from None


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)


def convert(module: Module, dtype: DTypeLike) -> None:
    """Give floating-point parameters and buffers another dtype; the Tensors stay the same
    objects."""
    target = np.dtype(dtype)
    if target.kind != "f":
        raise TypeError(f"{type(module).__name__}.to takes a floating-point dtype, got {target}")
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.dtype.kind == "f" and tensor.dtype != target:
            # the one place where a tensor's dtype changes: `data =` keeps it on purpose
            tensor._version.change()
            tensor._data = tensor._data.astype(target)
            tensor.grad = None
