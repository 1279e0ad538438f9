"""Modules that hold modules or parameters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, Union, overload

from tinygrad_ft.nn.compiled import changes
from tinygrad_ft.nn.module import Module
from tinygrad_ft.nn.parameter import Parameter
from tinygrad_ft.tensor import Tensor

NamedModules = Union[Mapping[str, Module], "ModuleDict", Iterable[tuple[str, Module]]]


def _position(holder: Module, index: int, size: int, what: str) -> int:
    """`index` counted from the start; IndexError if there is nothing."""
    if not -size <= index < size:
        raise IndexError(f"{type(holder).__name__} has {size} {what}: no index {index}")
    return index % size


class _Indexed(Module):
    """What Sequential and ModuleList share: children in order, reached by position."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def _key(self, index: int) -> str:
        return list(self._modules)[_position(self, index, len(self), "modules")]

    def __setitem__(self, index: int, module: Module) -> None:
        self.register_module(self._key(index), module)

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)
        chosen = names[index] if isinstance(index, slice) else [self._key(index)]
        self._renumber([(n, m) for n, m in self._modules.items() if n not in chosen])

    def _renumber(self, items: Iterable[tuple[str, Any]]) -> None:
        """Hold these modules; those that had a position as name get their new one."""
        items = list(items)
        changes.count += 1
        self._modules.clear()
        for place, (name, module) in enumerate(items):
            self.register_module(str(place) if name.isdecimal() else name, module)

    def append(self, module: Module) -> Self:
        """Add a module at the end, under its position as name."""
        place = len(self)
        # the names of a slice start later: none of them is taken again
        while str(place) in self._modules:
            place += 1
        self.register_module(str(place), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Add a module before the one at `index`; as in a list, beyond the ends is at the end."""
        if not isinstance(module, Module):
            raise TypeError(f"insert takes a Module, got {type(module).__name__}")
        items = list(self._modules.items())
        items.insert(index, ("0", module))
        self._renumber(items)
        return self

    def pop(self, index: int = -1) -> Module:
        """Take out a module, the last one by default, and give it."""
        module: Module = self._modules[self._key(index)]
        del self[index]
        return module


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

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input

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


class ModuleDict(Module):
    """A dict of modules whose parameters are found, in the order they were added; it has no
    `forward`. The names are strings without dots."""

    def __init__(self, modules: NamedModules = ()) -> None:
        super().__init__()
        self.update(modules)

    def __getitem__(self, name: str) -> Module:
        module: Module = self._modules[name]
        return module

    def __setitem__(self, name: str, module: Module) -> None:
        self.register_module(name, module)

    def __delitem__(self, name: str) -> None:
        changes.count += 1
        del self._modules[name]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def keys(self) -> Iterable[str]:
        return self._modules.keys()

    def values(self) -> Iterable[Module]:
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Module]]:
        return self._modules.items()

    def pop(self, name: str) -> Module:
        """Take out a module and give it."""
        changes.count += 1
        module: Module = self._modules.pop(name)
        return module

    def clear(self) -> None:
        """Take out all modules."""
        changes.count += 1
        self._modules.clear()

    def update(self, modules: NamedModules) -> None:
        """Add modules, or replace those of the same name."""
        pairs = modules.items() if isinstance(modules, Mapping | ModuleDict) else modules
        for name, module in list(pairs):
            self[name] = module


class ParameterList(Module):
    """A list of parameters that are found, named by position. A Tensor that is put in becomes a
    Parameter of the same memory."""

    def __init__(self, values: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.extend(values)

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._parameters.values())

    @overload
    def __getitem__(self, index: int) -> Parameter: ...
    @overload
    def __getitem__(self, index: slice) -> ParameterList: ...
    def __getitem__(self, index: int | slice) -> Parameter | ParameterList:
        """A parameter, or for a slice a new ParameterList of the same parameters."""
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        param: Parameter = self._parameters[self._key(index)]
        return param

    def __setitem__(self, index: int, value: Tensor) -> None:
        self._register(self._key(index), value)

    def _key(self, index: int) -> str:
        return str(_position(self, index, len(self), "parameters"))

    def _register(self, name: str, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"ParameterList takes Tensors, got {type(value).__name__}")
        param = value if isinstance(value, Parameter) else Parameter(value)
        self.register_parameter(name, param)

    def append(self, value: Tensor) -> Self:
        """Add a parameter at the end."""
        self._register(str(len(self)), value)
        return self

    def extend(self, values: Iterable[Tensor]) -> Self:
        """Add several parameters at the end."""
        for value in list(values):
            self.append(value)
        return self

    def extra_repr(self) -> str:
        return "\n".join(f"({n}): {p.dtype} {p.shape}" for n, p in self._parameters.items())
