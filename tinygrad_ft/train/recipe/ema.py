"""The exponential moving average of a model's weights.

The weights of a network in training tremble around a better point; their average over the last
steps lies closer to it (Polyak and Juditsky 1992; Izmailov et al. 2018, arXiv 1803.05407).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_ft.nn import Module


class WeightAverage:
    """A copy of all parameters and buffers that follows those of the model:

        average += (1 - d) (value - average)        d = min(decay, (1 + t) / (10 + t))

    after update t = 0, 1, ...: the first steps count for less, so that in a short run the average
    does not stay at the starting weights. (The warm-up is TensorFlow's.) Written as above, what
    does not change keeps its bits: a frozen layer is the same in the average.

    Batch-norm statistics are averaged too, as in timm; they belong to weights that change little
    over the average's length. Counters (integers) are copied.

    ValueError for a decay outside (0, 1).
    """

    def __init__(self, model: Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"WeightAverage: the decay must be between 0 and 1, got {decay}")
        self.decay, self.updates = decay, 0
        self.tensors = _copies(model)

    def update(self, model: Module) -> None:
        """Take in the model's values after a step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in model.state_dict().items():
            average, array = self.tensors[name], value.numpy()
            if average.dtype.kind == "f":
                average += (array - average) * average.dtype.type(1 - decay)
            else:
                average[...] = array

    @contextmanager
    def applied(self, model: Module) -> Iterator[None]:
        """Within the `with` block the model holds the average; then its own values again."""
        own = _copies(model)
        model.load_state_dict(self.tensors)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        """`updates`, and `tensors`: the live arrays."""
        return {"updates": self.updates, "tensors": dict(self.tensors)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` gave; arrays are copied. ValueError, and nothing changed,
        if it is of another model."""
        given = {name: np.array(value) for name, value in state["tensors"].items()}
        own = {name: (v.dtype, v.shape) for name, v in self.tensors.items()}
        if {name: (v.dtype, v.shape) for name, v in given.items()} != own:
            raise ValueError("WeightAverage: the loaded average is of another model")
        self.updates, self.tensors = int(state["updates"]), given


def _copies(model: Module) -> dict[str, np.ndarray]:
    return {name: np.array(value.numpy()) for name, value in model.state_dict().items()}
