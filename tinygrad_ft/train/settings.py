"""All numbers and choices of a run in one checked, immutable record: what `args.yaml` holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

OptimizerName = Literal["sgd", "adamw"]
ScheduleName = Literal["cosine", "onecycle", "step", "constant"]
Augmentation = Literal["none", "flip", "crop", "crop-flip", "crop-flip-cutout"]


class SettingsError(ValueError):
    """A setting that cannot be right; says which one and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A run's settings. Raises SettingsError for a value that makes no sense.

    epochs            passes over the training images
    batch_size        images a step, at least 2: batch norm compares the images of a batch. An epoch
                      leaves out one image (another one each time) if the last batch would have
                      only that
    optimizer         "sgd" (Nesterov momentum) or "adamw"
    lr                peak learning rate
    head_lr           peak learning rate of the last layer; None: the same as `lr`
    momentum          of SGD, in [0, 1)
    weight_decay      not applied to biases and normalisation parameters
    schedule          "cosine" (after a linear warm-up), "onecycle", "step" (x 0.1 after 1/2 and
                      again after 3/4 of all steps), "constant"
    warmup_epochs     length of the linear warm-up of "cosine"; the other schedules have none
    label_smoothing   in [0, 1)
    augment           random changes of the training images
    clip_grad         largest gradient norm; None: no clipping
    freeze            "none", "backbone" (all but the last layer), or the number of stages frozen
    labels_fraction   share of the training images used, the same share of each class
    labels_per_class  that many training images of each class; None: all
    val_fraction      share of the training images held out to choose the best epoch, where the data
                      has no validation split of its own; 0: no validation, the last epoch counts
    seed              of everything random
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: OptimizerName = "sgd"
    lr: float = 0.1
    head_lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: ScheduleName = "cosine"
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    augment: Augmentation = "crop-flip"
    clip_grad: float | None = None
    freeze: str = "none"
    labels_fraction: float = 1.0
    labels_per_class: int | None = None
    val_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        self._require("epochs", self.epochs >= 1, "at least 1")
        self._require("batch_size", self.batch_size >= 2, "at least 2")
        self._require("lr", 0 < self.lr < float("inf"), "a positive number")
        if self.head_lr is not None:
            self._require("head_lr", 0 < self.head_lr < float("inf"), "a positive number")
        self._require("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        self._require("weight_decay", 0 <= self.weight_decay < float("inf"), "not negative")
        self._require("warmup_epochs", 0 <= self.warmup_epochs < float("inf"), "not negative")
        if self.schedule == "cosine":
            fits = self.warmup_epochs < self.epochs
            self._require("warmup_epochs", fits, f"less than the {self.epochs} epochs")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)")
        if self.clip_grad is not None:
            self._require("clip_grad", self.clip_grad > 0, "a positive number")
        self._require("labels_fraction", 0 < self.labels_fraction <= 1, "in (0, 1]")
        if self.labels_per_class is not None:
            self._require("labels_per_class", self.labels_per_class >= 1, "at least 1")
            self._require("labels_fraction", self.labels_fraction == 1, "1 with labels_per_class")
        self._require("val_fraction", 0 <= self.val_fraction < 1, "in [0, 1)")
        self._require("seed", 0 <= self.seed < 2**63, "in [0, 2^63)")
        for name, choices in (
            ("optimizer", OptimizerName),
            ("schedule", ScheduleName),
            ("augment", Augmentation),
        ):
            allowed = get_args(choices)
            self._require(name, getattr(self, name) in allowed, "one of " + ", ".join(allowed))
        self._require(
            "freeze",
            self.freeze in ("none", "backbone") or self.freeze.isdecimal(),
            "none, backbone or a number of stages",
        )

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            option = "--" + name.replace("_", "-")
            raise SettingsError(f"{option} must be {allowed}, not {getattr(self, name)!r}")

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, for YAML and JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The settings among `values`; other keys are left alone."""
        names = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in values.items() if k in names})
