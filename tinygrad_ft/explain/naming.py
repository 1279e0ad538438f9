"""Names: what the user calls a tensor or a module, from their variables and their models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinygrad_ft.explain.recording import Place
from tinygrad_ft.nn.module import Module
from tinygrad_ft.nn.parameter import Parameter
from tinygrad_ft.tensor import Tensor


class Names:
    """Of the tensors and modules in `variables`, and of the parameters of all `modules`."""

    def __init__(self, variables: Mapping[str, Any], modules: list[Module]) -> None:
        self._tensors: dict[int, tuple[str, Tensor]] = {}
        self._modules: dict[int, str] = {}
        self._owned: set[int] = set()
        #: of each outermost module, its parameters by name
        self.parameters: list[list[tuple[str, Tensor]]] = []
        for name, value in variables.items():
            if name.startswith("_"):
                continue
            if isinstance(value, Tensor):
                self._tensors.setdefault(id(value), (name, value))
            elif isinstance(value, Module):
                self._modules.setdefault(id(value), name)
                modules = [*modules, value]
        self._name_roots(modules)

    def _name_roots(self, modules: list[Module]) -> None:
        roots = list({id(m): m for m in modules}.values())
        inner = {id(m) for root in roots for m in list(root.modules())[1:]}
        roots = [root for root in roots if id(root) not in inner]
        owners = [root for root in roots if next(root.parameters(), None) is not None]
        taken: dict[str, int] = {}
        for root in roots:
            label = self._modules.get(id(root)) or type(root).__name__
            taken[label] = taken.get(label, 0) + 1
            if taken[label] > 1:
                label = f"{label} {taken[label]}"
            self._modules[id(root)] = label
            prefix = f"{label}." if len(owners) > 1 else ""
            own: list[tuple[str, Tensor]] = []
            self.parameters.append(own)
            for name, tensor in [*root.named_parameters(), *root.named_buffers()]:
                self._tensors[id(tensor)] = (prefix + name, tensor)
                self._owned.add(id(tensor))
                if isinstance(tensor, Parameter):
                    own.append((prefix + name, tensor))

    def of(self, tensor: Tensor) -> str | None:
        found = self._tensors.get(id(tensor))
        return found[0] if found is not None and found[1] is tensor else None

    def is_owned(self, tensor: Tensor | None) -> bool:
        """Whether it is a parameter or a buffer of a module."""
        return id(tensor) in self._owned

    def is_parameter(self, tensor: Tensor) -> bool:
        """Whether it is made to be learned, though it may be frozen now."""
        return isinstance(tensor, Parameter)

    def path_of(self, place: Place, classes: dict[tuple[str, ...], str]) -> tuple[str, ...]:
        """The path of names of the modules an op ran in; their classes are put into `classes`."""
        path: tuple[str, ...] = ()
        outer: Module | None = None
        for module, count in place:
            name = self._modules.get(id(module)) if outer is None else _below(outer, module)
            name = name or type(module).__name__
            # a module that is called again is a place of its own: the graph stays free of cycles
            path = (*path, name if count == 1 else f"{name} (call {count})")
            classes[path] = type(module).__name__
            outer = module
        return path


def _below(outer: Module, module: Module) -> str | None:
    return next((name for name, m in outer.named_modules() if m is module), None)
