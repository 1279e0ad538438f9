"""Modules that hold modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, overload

from tinygrad_ft.nn.module import Module


class _Indexed(Module):
    """What Sequential and ModuleList share: children in order, reached by position."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def _key(self, index: int) -> str:
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"{type(self).__name__} has {size} modules: no index {index}")
        return list(self._modules)[index]

    def __setitem__(self, index: int, module: Module) -> None:
        self.register_module(self._key(index), module)

    def append(self, module: Module) -> Any:
        """Add a module at the end, under its position as name."""
        self.register_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add several modules at the end."""
        for module in modules:
            self.append(module)
        return self


class Sequential(_Indexed):
    """Modules called one after the other: `Sequential(a, b)(x) = b(a(x))`.

    Takes modules, named by position, or one OrderedDict of names and modules.
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], OrderedDict):
            for name, module in modules[0].items():
                self.register_module(name, module)
        else:
            self.extend(modules)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module:
        """A module, or for a slice a new Sequential of the same modules."""
        if isinstance(index, slice):
            return Sequential(OrderedDict(list(self._modules.items())[index]))
        module: Module = self._modules[self._key(index)]
        return module


class ModuleList(_Indexed):
    """A list of modules whose parameters are found; it has no `forward`."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: int | slice) -> Module:
        """A module, or for a slice a new ModuleList of the same modules."""
        if isinstance(index, slice):
            return ModuleList(list(self._modules.values())[index])
        module: Module = self._modules[self._key(index)]
        return module
