"""Module: the base of every layer and model, with PyTorch's names and meaning.

A module owns parameters (learned), buffers (kept but not learned, such as running statistics) and
other modules. Assigning one of these to an attribute registers it; names in `state_dict` are the
attribute path joined by dots. Saving and loading live in `state.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

from numpy.typing import DTypeLike

from kernels.workers import ahead, run_ahead
from tinygrad_ft import observe
from tinygrad_ft.nn import state
from tinygrad_ft.nn.compiled import Compiled, changes
from tinygrad_ft.nn.parameter import Parameter, clear_grads
from tinygrad_ft.tensor import Tensor

ForwardHook = Callable[["Module", tuple[Any, ...], Any], Any]


class HookHandle:
    """What `register_forward_hook` returns; `remove()` takes the hook off again."""

    def __init__(self, hooks: dict[int, ForwardHook], key: int) -> None:
        self._hooks = hooks
        self._key = key

    def remove(self) -> None:
        changes.count += 1
        self._hooks.pop(self._key, None)


class Module:
    """Base class of layers and models: override `__init__` (call `super().__init__()` first)
    and `forward`; call the module itself, not `forward`."""

    # Names of own buffers that a file may lack without being called incomplete. BatchNorm uses it:
    # files written by PyTorch before 0.4.1 have no `num_batches_tracked`.
    optional_state: ClassVar[frozenset[str]] = frozenset()

    training: bool
    _compiled: Compiled | None = None

    def __init__(self) -> None:
        fields: dict[str, Any] = {
            "training": True,
            "_parameters": {},
            "_buffers": {},
            "_modules": {},
            "_non_persistent": set(),
            "_forward_hooks": {},
        }
        self.__dict__.update(fields)

    # ---- calling ---------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward(): define one")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if ahead.owner is not None:
            return self._call(*args, **kwargs)
        with run_ahead():
            return self._call(*args, **kwargs)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        observer = observe.current
        if observer is not None:
            observer.enters(self)
        compiled = self._compiled
        result = self.forward(*args, **kwargs) if compiled is None else compiled(self, args, kwargs)
        if self._forward_hooks:
            for hook in tuple(self._forward_hooks.values()):
                replaced = hook(self, args, result)
                if replaced is not None:
                    result = replaced
        if observer is not None:
            observer.leaves(self)
        return result

    def register_forward_hook(self, hook: ForwardHook) -> HookHandle:
        """Call `hook(module, args, output)` after each `forward`; a result that is not None
        replaces the output."""
        changes.count += 1
        hooks: dict[int, ForwardHook] = self._forward_hooks
        key = max(hooks, default=-1) + 1
        hooks[key] = hook
        return HookHandle(hooks, key)

    def compile(self, *, fullgraph: bool = False, disable: bool = False) -> None:
        """Have training calls of this module, and their backward, done by their launches alone: the
        same bits in less time, as no Python runs between one kernel and the next.

        The third call with arguments of the same shapes is the first that is done so; what is
        compared, and what must not change unseen, is said in nn/compiled.py. Calls that are not
        recorded for a gradient, or that somebody looks into (explain, anomaly detection, forward
        hooks of modules below), run as ever. So do modules that cannot be recorded: a warning says
        why, and with `fullgraph` a RuntimeError. Arguments are tensors, given by position. Memory
        for activations is kept between steps. `backward` must not be called twice (`retain_graph`)
        nor with `create_graph`: RuntimeError. Where the loss does not depend on a result, the
        parameters behind it get zeros, not None.

        disable   undo it
        """
        self.__dict__["_compiled"] = None if disable else Compiled(fullgraph)

    # ---- registration ----------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        changes.count += 1
        fields = self.__dict__
        if "_parameters" not in fields:
            if isinstance(value, Parameter | Tensor | Module):
                raise AttributeError(
                    f"{type(self).__name__}.{name} is set before super().__init__() was called: "
                    "call it first"
                )
            object.__setattr__(self, name, value)
        elif isinstance(value, Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self.register_module(name, value)
        elif name in fields["_parameters"]:
            if value is not None:
                raise TypeError(
                    f"cannot assign a {type(value).__name__} to the parameter '{name}' of "
                    f"{type(self).__name__}: assign a Parameter or None"
                )
            fields["_parameters"][name] = None
        elif name in fields["_buffers"]:
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign a {type(value).__name__} to the buffer '{name}' of "
                    f"{type(self).__name__}: assign a Tensor or None"
                )
            fields["_buffers"][name] = value
        elif name in fields["_modules"]:
            if value is not None:
                raise TypeError(
                    f"cannot assign a {type(value).__name__} to the module '{name}' of "
                    f"{type(self).__name__}: assign a Module or None"
                )
            fields["_modules"][name] = None
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        # only called when the ordinary lookup found nothing
        fields = self.__dict__
        if "_parameters" in fields:  # not before __init__
            if name in fields["_parameters"]:
                return fields["_parameters"][name]
            if name in fields["_modules"]:
                return fields["_modules"][name]
            if name in fields["_buffers"]:
                return fields["_buffers"][name]
        raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        changes.count += 1
        for table in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__[table]:
                del self.__dict__[table][name]
                self._non_persistent.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _claim(self, kind: str, name: str) -> None:
        """Check `name` and take it away from any other kind of attribute."""
        changes.count += 1
        if "_parameters" not in self.__dict__:
            raise AttributeError(
                f"{type(self).__name__} registers the {kind} '{name}' before super().__init__() "
                "was called: call it first"
            )
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(
                f"the name of a {kind} is a non-empty string without dots, got {name!r}"
            )
        own = {"parameter": "_parameters", "buffer": "_buffers", "module": "_modules"}[kind]
        if name not in self.__dict__[own] and hasattr(type(self), name):
            raise ValueError(
                f"{type(self).__name__}.{name} exists already: name the {kind} otherwise"
            )
        for table in ("_parameters", "_buffers", "_modules"):
            if table != own:
                self.__dict__[table].pop(name, None)
        self.__dict__.pop(name, None)
        self._non_persistent.discard(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under `name`; None keeps the name for a parameter that is absent."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"the parameter '{name}' must be a Parameter, got {type(param).__name__}"
            )
        self._claim("parameter", name)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is kept but not learned; `persistent=False` leaves it out of
        `state_dict`."""
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"the buffer '{name}' must be a Tensor, got {type(tensor).__name__}")
        self._claim("buffer", name)
        self._buffers[name] = tensor
        if not persistent:
            self._non_persistent.add(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a child module under `name`."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"the module '{name}' must be a Module, got {type(module).__name__}")
        self._claim("module", name)
        self._modules[name] = module

    add_module = register_module

    # ---- walking ---------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Direct children as (name, module), each module once."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        for _, module in self.named_children():
            yield module

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module (its name is `prefix`) and all below it, parents first."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        for _, module in self.named_modules():
            yield module

    def _named_members(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else iter([(prefix, self)])
        )
        for path, module in modules:
            for name, tensor in module.__dict__[table].items():
                if tensor is None or id(tensor) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(tensor))
                yield (f"{path}.{name}" if path else name), tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters as (dotted name, Parameter); a shared one comes once, under its first name."""
        yield from self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        for _, param in self.named_parameters(recurse=recurse):
            yield param

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        yield from self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path: `model.get_submodule("layer1.0.conv1")`."""
        module = self
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                known = ", ".join(module._modules) or "none"
                raise AttributeError(
                    f"{type(self).__name__} has no submodule '{target}': "
                    f"{type(module).__name__} has no child '{name}' (children: {known})"
                )
            module = child
        return module

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module below and then on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # ---- modes -----------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Training mode for this module and all below. What `nn.freeze` froze stays frozen."""
        if not isinstance(mode, bool):
            raise ValueError(f"train(mode) takes True or False, got {mode!r}")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Evaluation mode: batch norm uses running statistics, dropout does nothing."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Switch gradients of all parameters on or off.

        As in PyTorch this leaves batch-norm statistics moving in training mode; `nn.freeze` stops
        those as well.
        """
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or put zeros in their place."""
        clear_grads(self.parameters(), set_to_none)

    # ---- state -----------------------------------------------------------------------------------

    def state_dict(self, prefix: str = "") -> OrderedDict[str, Tensor]:
        """Parameters and persistent buffers by dotted name: detached Tensors that share memory with
        the module, so later training changes them; copy what must stay."""
        return state.state_dict(self, prefix)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> state.IncompatibleKeys:
        """Copy values (Tensors or ndarrays) into the parameters and buffers of the same names.

        All or nothing: on any error nothing has changed.

        Returns: `missing_keys` and `unexpected_keys`, both empty when `strict`. Raises:
        RuntimeError listing missing and unexpected keys (when `strict`) and every value whose
        shape or type does not fit (always).
        """
        return state.load_state_dict(self, state_dict, strict)

    def to(self, dtype: DTypeLike) -> Self:
        """Convert floating-point parameters and buffers to a NumPy dtype, in place; gradients are
        dropped. Create the optimizer after this, since its state has the parameters' dtype."""
        state.convert(self, dtype)
        return self

    def float(self) -> Self:
        """`to("float32")`"""
        return self.to("float32")

    def double(self) -> Self:
        """`to("float64")`: for gradient checks."""
        return self.to("float64")

    # ---- printing --------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """The part of the repr between the brackets; override it in layers."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        for name, module in self._modules.items():
            lines.append(f"({name}): {module!r}".replace("\n", "\n  "))
        if not self._modules and len(lines) <= 1:
            return f"{type(self).__name__}({extra})"
        return "\n  ".join([f"{type(self).__name__}(", *lines]) + "\n)"
