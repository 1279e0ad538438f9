"""Models by name."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

from tinygrad_ft.models.classifier import ImageClassifier

P = ParamSpec("P")
C = TypeVar("C", bound=ImageClassifier)


class ModelInfo(NamedTuple):
    """What is known of a model before it is built."""

    name: str
    summary: str
    #: (channels, height, width) the architecture was designed for
    input_size: tuple[int, int, int]
    #: names and defaults of the options that `create_model` takes for it
    options: dict[str, Any]


_infos: dict[str, ModelInfo] = {}
_factories: dict[str, Callable[..., ImageClassifier]] = {}
_unlisted: set[str] = set()


def register(
    input_size: tuple[int, int, int], listed: bool = True
) -> Callable[[Callable[P, C]], Callable[P, C]]:
    """Decorator of a function that builds a model: lists it under the function's name and notes in
    `model.config` how the model was built. One that is not `listed` is no architecture to choose:
    only `create_model(**model.config)` builds it."""

    def add(factory: Callable[P, C]) -> Callable[P, C]:
        name, signature = factory.__name__, inspect.signature(factory)

        @functools.wraps(factory)
        def build(*args: P.args, **kwargs: P.kwargs) -> C:
            model = factory(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            model.config = {"name": name, **bound.arguments}
            return model

        if not listed:
            _unlisted.add(name)
        _infos[name] = ModelInfo(
            name=name,
            summary=(factory.__doc__ or "").strip(),
            input_size=input_size,
            options={key: option.default for key, option in signature.parameters.items()},
        )
        _factories[name] = build
        return build

    return add


def list_models() -> list[str]:
    """The names to choose from for `create_model`, smallest first within a family."""
    return [name for name in _factories if name not in _unlisted]


def model_info(name: str) -> ModelInfo:
    """Summary, default input size and options of a listed model. Raises ValueError for an unknown
    name."""
    if name not in list_models():
        close = difflib.get_close_matches(name, list_models(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"unknown model {name!r}: {hint}Known models: {', '.join(list_models())}")
    return _infos[name]


def create_model(name: str, **options: Any) -> ImageClassifier:
    """Build a model by name: `create_model("resnet20", num_classes=10)`.

    Raises ValueError for an unknown name, TypeError for an option the model does not have.
    """
    info = _infos[name] if name in _unlisted else model_info(name)
    unknown = sorted(options.keys() - info.options.keys())
    if unknown:
        raise TypeError(
            f"{name} has no option {', '.join(unknown)}; its options are {', '.join(info.options)}"
        )
    return _factories[name](**options)
