"""Finding the state_dict in whatever a training script saved, and its usual names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from tinygrad_ft.io.errors import BadContentError, shown

T = TypeVar("T")

# Entries under which training scripts keep a model's weights; the first that holds tensors is
# taken, so the plain weights come before a moving average of them.
WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights",
    "params", "state_dict_ema", "ema_state_dict", "model_ema", "ema",
)  # fmt: skip
# Put before every name by DataParallel, by Lightning and by torch.compile.
PREFIXES = ("module.", "model.", "_orig_mod.")
_NOT_WEIGHTS = ("optim", "sched", "scaler", "rng", "criterion", "loss", "args", "config")
_MAX_DEPTH = 4


def select_state_dict(root: object, tensor_type: type[T], key: str | None = None) -> dict[str, T]:
    """The {name: tensor} inside `root`: itself, or nested as training scripts nest it.

    key: the entry to take where there are several. Values that are no tensors are left out.
    Raises BadContentError when there is none, or several and nothing says which.
    """
    if isinstance(root, tensor_type):
        raise BadContentError("holds one tensor without a name, not a state_dict")
    if not isinstance(root, dict):
        raise BadContentError(f"holds a {type(root).__name__}, not a state_dict")
    chosen: dict[Any, Any] = root
    if key is not None:
        if not isinstance(root.get(key), dict):
            raise BadContentError(f"has no state_dict under {shown(key)}; it has {_names(root)}")
        chosen = root[key]
    found = _Search(tensor_type).find(chosen, _MAX_DEPTH)
    if not found:
        raise BadContentError(f"holds no state_dict; it has {_names(chosen)}")
    return found


def strip_prefixes(tensors: Mapping[str, T]) -> dict[str, T]:
    """`tensors` without a prefix of PREFIXES that every name has, repeatedly.

    `n_averaged`, the counter that PyTorch's AveragedModel keeps beside `module.`, does not count.
    """
    result = dict(tensors)
    while True:
        names = [name for name in result if name != "n_averaged"]
        prefix = next((p for p in PREFIXES if names and all(n.startswith(p) for n in names)), None)
        if prefix is None or any(name == prefix for name in names):
            return result
        result = {name.removeprefix(prefix): result[name] for name in names}


class _Search:
    """Looks at every dict once, so that a file whose dicts refer to each other costs no more."""

    def __init__(self, tensor_type: type) -> None:
        self._tensor_type = tensor_type
        self._seen: dict[int, dict | None] = {}

    def find(self, node: dict[Any, Any], depth: int) -> dict | None:
        if id(node) in self._seen or depth == 0:
            return self._seen.get(id(node))
        self._seen[id(node)] = None  # a dict that contains itself
        found = self._look(node, depth)
        self._seen[id(node)] = found
        return found

    def _look(self, node: dict, depth: int) -> dict | None:
        for name in WRAPPERS:
            if isinstance(node.get(name), dict) and (found := self.find(node[name], depth - 1)):
                return found
        own = {
            name: value
            for name, value in node.items()
            if isinstance(name, str) and isinstance(value, self._tensor_type)
        }
        others = {
            name: found
            for name, value in node.items()
            if isinstance(name, str) and isinstance(value, dict)
            and not any(word in name.lower() for word in _NOT_WEIGHTS)
            and (found := self.find(value, depth - 1))
        }  # fmt: skip
        # Some checkpoints have single tensors (a loss, a temperature) beside the nested weights.
        if own and (not others or any("." in name for name in own)):
            return own
        if len(others) > 1:
            raise BadContentError(
                f"holds several sets of weights ({_names(others)}); say which one with key="
            )
        return next(iter(others.values()), None)


def _names(entries: dict) -> str:
    names = [f"'{shown(name, 40)}'" for name in list(entries)[:6]]
    more = ", ..." if len(entries) > 6 else ""
    return ", ".join(names) + more if names else "no entries"
