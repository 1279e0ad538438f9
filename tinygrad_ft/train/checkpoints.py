"""What a run keeps of itself so that it can go on with the same bits: identity and state."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kernels import get_num_threads
from tinygrad_ft import random
from tinygrad_ft.data import Dataset
from tinygrad_ft.io import (
    CheckpointError,
    flatten_state,
    load_checkpoint,
    save_checkpoint,
    unflatten_state,
)
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.optim import Optimizer
from tinygrad_ft.optim.lr_scheduler import LRScheduler
from tinygrad_ft.train.model_file import ModelCard
from tinygrad_ft.train.recipe.ema import WeightAverage
from tinygrad_ft.train.settings import Settings

_STATE_KEY = "tinygrad_ft.state"


@dataclass
class Position:
    """Where a run stands, and what it has seen so far; part of a checkpoint.

    epoch, batch                             finished ones: 0, 0 at the start
    lr                                       of the first group, at the start of the epoch
    loss_sum, right, seen, epoch_seconds     sums over the epoch's batches so far
    history                                  a row for each finished epoch: summary.csv
    best_epoch, best_accuracy                None and -1 before the first epoch is finished
    """

    epoch: int = 0
    batch: int = 0
    lr: float = 0.0
    loss_sum: float = 0.0
    right: int = 0
    seen: int = 0
    epoch_seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    best_accuracy: float = -1.0

    def begin_epoch(self, epoch: int) -> None:
        self.epoch, self.batch = epoch, 0
        self.loss_sum, self.right, self.seen, self.epoch_seconds = 0.0, 0, 0, 0.0


def run_identity(
    settings: Settings, card: ModelCard, train_set: Dataset, val_set: Dataset | None
) -> dict[str, Any]:
    """What makes a run the run it is: with anything of it changed, going on would be another run.

    Plain values, the same after JSON or YAML.
    """
    return {
        "settings": settings.as_dict(),
        "architecture": dict(card.architecture),
        "preprocessing": card.preprocessing.as_dict(),
        "origin": dict(card.training),
        "training_images": train_set.fingerprint,
        "validation_images": None if val_set is None else val_set.fingerprint,
    }


def check_identity(before: Mapping[str, Any], now: Mapping[str, Any], source: object) -> None:
    """CheckpointError, naming the first difference, if `now` is another run than `before`."""
    for what, value in now.items():
        old = before.get(what)
        if old != value:
            raise CheckpointError(
                f"{source} cannot be resumed with other {what.replace('_', ' ')}: "
                f"{_difference(old, value)}"
            )


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        return ", ".join(f"{n} was {before.get(n)!r}, now {now.get(n)!r}" for n in names)
    return f"they were {before!r}, now {now!r}"


@dataclass
class Training:
    """The things whose state a checkpoint holds."""

    model: ImageClassifier
    optimizer: Optimizer
    scheduler: LRScheduler
    average: WeightAverage | None = None
    position: Position = field(default_factory=Position)

    def save(
        self, path: str | os.PathLike[str], card: ModelCard, identity: Mapping[str, Any]
    ) -> None:
        """Write everything to `path`, atomically; as a model file it is the model as it stands."""
        state = {
            "identity": dict(identity),
            "threads": get_num_threads(),
            "model": {name: value.numpy() for name, value in self.model.state_dict().items()},
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "rng": random.get_rng_state(),
            "position": vars(self.position),
        }
        tensors, text = flatten_state(state)
        save_checkpoint(path, tensors, {_STATE_KEY: text, **card.to_metadata()})

    def restore(self, path: str | os.PathLike[str], identity: Mapping[str, Any]) -> int:
        """Take over the state in `path`; the number of threads it was made with.

        CheckpointError if it is of another run, or damaged.
        """
        tensors, metadata = load_checkpoint(path)
        if _STATE_KEY not in metadata:
            raise CheckpointError(f"{path} is a model, not a run that could be resumed")
        state = unflatten_state(tensors, metadata[_STATE_KEY])
        try:
            check_identity(state["identity"], identity, path)
            position = Position(**state["position"])
            if state["position"].keys() != vars(position).keys():
                raise KeyError("position")
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            random.set_rng_state(state["rng"])
            threads = int(state["threads"])
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as problem:
            raise CheckpointError(
                f"{path} is damaged: its state of a run does not fit"
            ) from problem
        self.position = position
        return threads
