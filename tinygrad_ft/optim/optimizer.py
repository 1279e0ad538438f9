"""Optimizer: parameter groups, state, saving and loading. The update formulas are in sgd.py and
adam.py.

`param_groups` is a list of dicts: `params` (a list of Tensors) and the options, one set a
group. `state` maps each parameter to a dict of plain numbers and ndarrays of its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kernels.workers import catch_up
from tinygrad_ft import observe
from tinygrad_ft.grad_mode import enable_grad, no_grad
from tinygrad_ft.nn.parameter import clear_grads
from tinygrad_ft.tensor import Tensor

Array = NDArray[Any]
Item = tuple[Array, Array, dict[str, Any]]
"""A parameter, its gradient, its state."""
Params = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]


class Optimizer:
    """Base class: a subclass gives `defaults` and writes `update`.

    `params` is an iterable of Tensors, of (name, Tensor), or of dicts, one a group:
    `[{"params": backbone}, {"params": head, "lr": 0.1}]`.
    """

    #: per-parameter arrays kept in `state`; loading checks their shapes
    state_arrays: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, params: Params | Tensor, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                f"{type(self).__name__} takes an iterable of Tensors or dicts, got one Tensor: put "
                "it into a list"
            )
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.param_groups: list[dict[str, Any]] = []
        given: list[Any] = list(params)
        if not given:
            raise ValueError(f"{type(self).__name__} got an empty parameter list")
        groups = given if isinstance(given[0], dict) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group `{"params": tensors, option: value, ...}`; options left out are the
        defaults.

        The dict itself is not kept. Raises TypeError or ValueError, and changes nothing, when the
        group or an option in it is wrong.
        """
        name = type(self).__name__
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(
                f"{name}: a parameter group is a dict with 'params', got {param_group!r:.80}"
            )
        params = param_group["params"]
        if isinstance(params, set | frozenset):
            raise TypeError(f"{name}: a set of parameters has no order: use a list")
        items = [params] if isinstance(params, Tensor) else list(params)
        named = [isinstance(item, tuple) for item in items]
        if any(named) and not all(named):
            raise ValueError(f"{name}: either all parameters come with names or none")
        tensors = [item[1] if isinstance(item, tuple) else item for item in items]

        taken = {p for group in self.param_groups for p in group["params"]}
        for i, tensor in enumerate(tensors):
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{name} optimizes Tensors, got {type(tensor).__name__}")
            if not tensor.is_leaf:
                raise ValueError(
                    f"{name}: parameter {i} of shape {tensor.shape} is the result of an operation: "
                    "optimize the leaf it came from, or detach() it"
                )
            if tensor in taken:
                raise ValueError(
                    f"{name}: parameter {i} of shape {tensor.shape} is in the groups twice"
                )
            taken.add(tensor)

        options = {key: value for key, value in param_group.items() if key != "params"}
        group = {"params": tensors, **self.defaults, **options}
        if named and named[0]:
            group["param_names"] = [item[0] for item in items]
        self.check_options(group)
        self.param_groups.append(group)

    def check_options(self, group: dict[str, Any]) -> None:
        """Raise ValueError for an option that makes no sense."""
        for key in ("lr", "weight_decay"):
            if not group[key] >= 0:  # also refuses nan
                words = key.replace("lr", "learning rate").replace("_", " ")
                raise ValueError(f"{type(self).__name__}: invalid {words}: {group[key]}")

    def update(
        self, param: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """Change `param` in place by one step; `grad` must stay as it is."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to update")

    def update_all(self, items: Sequence[Item], group: dict[str, Any]) -> None:
        """`update` for all parameters of a group that have a gradient."""
        for param, grad, state in items:
            self.update(param, grad, state, group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; the others, and their state, stay as they
        are.

        `closure`, if given, computes the loss and gradients first; its loss is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        where = f"{type(self).__name__}.step"
        if observe.current is not None:
            observe.current.begins_step(self)
        with no_grad():
            for group in self.param_groups:
                params = [p for p in group["params"] if p.grad is not None]
                grads = [p.grad._array for p in params]
                for param, grad in zip(params, grads, strict=True):
                    if grad.shape != param._array.shape:
                        raise ValueError(
                            f"{where}: the gradient of a parameter of shape {param.shape} has "
                            f"shape {grad.shape}"
                        )
                states = [self.state.setdefault(p, {}) for p in params]
                arrays = [p._place(where) for p in params]
                catch_up()  # with kernels that still read or write one of them
                self.update_all(list(zip(arrays, grads, states, strict=True)), group)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or put zeros in their place."""
        for group in self.param_groups:
            clear_grads(group["params"], set_to_none)

    # ---- saving and loading ----------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """`{"state": {i: {...}}, "param_groups": [{..., "params": [i, ...]}]}` where i counts
        parameters through all groups. Plain Python and ndarrays; the arrays are the live ones, as
        in PyTorch: save or copy them before the next step."""
        index = {
            p: i for i, p in enumerate(p for group in self.param_groups for p in group["params"])
        }
        return {
            "state": {index[p]: dict(state) for p, state in self.state.items()},
            "param_groups": [
                {**group, "params": [index[p] for p in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state and the options of `state_dict()`; arrays are copied.

        All or nothing. Raises ValueError when groups, parameters or shapes are not those of this
        optimizer.
        """
        name = type(self).__name__
        if not isinstance(state_dict, dict) or not {"state", "param_groups"} <= state_dict.keys():
            raise ValueError(f"{name}: a state dict has the keys 'state' and 'param_groups'")
        saved_groups = state_dict["param_groups"]
        ours = [len(group["params"]) for group in self.param_groups]
        saved = [len(group["params"]) for group in saved_groups]
        if ours != saved:
            raise ValueError(
                f"{name}: the loaded state has groups of {saved} parameters, this optimizer {ours}"
            )
        groups = []
        for group, saved_group in zip(self.param_groups, saved_groups, strict=True):
            absent = sorted(self.defaults.keys() - saved_group.keys())
            if absent:
                raise ValueError(
                    f"{name}: the loaded state lacks the option(s) {', '.join(absent)}: was it "
                    "saved by another kind of optimizer?"
                )
            groups.append({**saved_group, "params": group["params"]})
            self.check_options(groups[-1])

        saved_ids = [i for group in saved_groups for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        by_id = dict(zip(saved_ids, params, strict=True))
        unknown = state_dict["state"].keys() - by_id.keys()
        if unknown:
            raise ValueError(f"{name}: the loaded state is of unknown parameters {sorted(unknown)}")
        state = {
            by_id[i]: self._copy_state(i, by_id[i], values)
            for i, values in state_dict["state"].items()
        }

        self.param_groups = groups
        self.state = state

    def _copy_state(self, index: int, param: Tensor, values: dict[str, Any]) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        for key, value in values.items():
            if key not in self.state_arrays or value is None:
                copied[key] = value
                continue
            array = np.array(value, dtype=param.dtype)
            if array.shape != param.shape:
                raise ValueError(
                    f"{type(self).__name__}: the loaded {key} of parameter {index} has shape "
                    f"{array.shape}, the parameter {param.shape}"
                )
            copied[key] = array
        return copied

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {v}" for k, v in sorted(group.items()) if k != "params"]
        return "\n".join([*lines, ")"])
