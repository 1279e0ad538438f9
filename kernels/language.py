"""The language that kernels are written in, which is Numba's; but Numba is imported only when a
kernel has to be compiled.

Importing Numba takes longer than a training step, and a process that finds all its kernels on disk
does not need it. So kernels take `njit`, `intrinsic` and `types` from here:

    njit        a function that is inlined into the kernels that use it
    intrinsic   a function that emits LLVM instructions itself (see simd.py)
    types       numba.types, for the inside of functions

They mark functions, and a mark becomes Numba's own object when a compiler asks what it is: Numba
takes the type of a constant that it does not know from its attribute `_numba_type_`. So a user's
own functions under numba.njit can use them, too.

Signatures are texts, such as "void(int64, float64)"; `words(n)` is that of a function of n integers
or addresses that returns nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cached_property
from typing import Any


class Lazy:
    """A module that is imported when one of its names is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)


numba = Lazy("numba")
types = Lazy("numba.core.types")
extending = Lazy("numba.extending")
cgutils = Lazy("numba.core.cgutils")


class Marked:
    """A function for the use of kernels, and how to make Numba's object of it.

    As a call from Python is sometimes what one wants (in tests), it can be called.
    """

    def __init__(self, function: Callable[..., Any], make: Callable[[Any], Any]) -> None:
        self.function = function
        self._make = make
        self.__doc__ = function.__doc__

    @cached_property
    def made(self) -> Any:
        """Numba's object."""
        return self._make(self.function)

    @property
    def _numba_type_(self) -> Any:
        return _type_of(self.made)

    def __call__(self, *arguments: Any) -> Any:
        return self.made(*arguments)


class Symbol:
    """Another kernel as a C function, by the name under which it is known to the linker."""

    def __init__(self, name: str, signature: str) -> None:
        self.name, self.signature = name, signature

    @cached_property
    def _numba_type_(self) -> Any:
        external = types.ExternalFunction(self.name, signature_of(self.signature))
        return _type_of(external)


def njit(**options: Any) -> Callable[[Callable[..., Any]], Marked]:
    """Like numba.njit with options."""

    def make(function: Any) -> Any:
        return numba.njit(**options)(function)

    return lambda function: Marked(function, make)


def intrinsic(function: Callable[..., Any]) -> Marked:
    """Like numba.extending.intrinsic."""
    return Marked(function, lambda function: extending.intrinsic(function))


def words(n: int) -> str:
    """The signature of a function of n integers or addresses."""
    return f"void({', '.join(['int64'] * n)})"


def signature_of(text: str, **more: Any) -> Any:
    """A signature as Numba's object, from its text, which is part of the source code and names
    Numba's types, and `more`."""
    return eval(text, {**vars(importlib.import_module("numba.core.types")), **more})


def _type_of(made: Any) -> Any:
    """Numba's type of one of its own objects."""
    typing = importlib.import_module("numba.core.registry").cpu_target.typing_context
    typing.refresh()  # takes notice of new intrinsics
    return typing.resolve_value_type(made)
