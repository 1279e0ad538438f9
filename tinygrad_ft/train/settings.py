"""All numbers and choices of a run in one checked, immutable record: what `args.yaml` holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

OptimizerName = Literal["sgd", "adamw"]
ScheduleName = Literal["cosine", "onecycle", "step", "constant"]
Augmentation = Literal["none", "flip", "crop", "crop-flip", "crop-flip-cutout"]
ClassWeights = Literal["none", "balanced"]
TestTimeAugmentation = Literal["none", "flip"]

_INFINITE = float("inf")


class SettingsError(ValueError):
    """A setting that cannot be right; says which one and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A run's settings. Raises SettingsError for a value that makes no sense, and for two that
    contradict each other.

    epochs            passes over the training images
    batch_size        images a step, at least 2: batch norm compares the images of a batch. An epoch
                      leaves out one image (another one each time) if the last batch would have
                      only that
    accumulate        batches whose gradients are added up before the weights change: the step of a
                      batch `accumulate` times as large in the memory of a small one
    optimizer         "sgd" (Nesterov momentum) or "adamw"
    lr                peak learning rate
    head_lr           peak learning rate of the last layer; None: the same as `lr`
    layer_decay       each stage below the head learns at this times the rate of the one above it
    momentum          of SGD, in [0, 1)
    weight_decay      not applied to biases and normalisation parameters
    schedule          "cosine" (after a linear warm-up), "onecycle", "step" (x 0.1 after 1/2 and
                      again after 3/4 of all steps), "constant"
    warmup_epochs     length of the linear warm-up of "cosine"; the other schedules have none
    label_smoothing   in [0, 1)
    mixup, cutmix     alpha of the Beta(alpha, alpha) that the share of each image's partner comes
                      from; 0: off. With both, each image takes one of the two by chance
    class_weights     "balanced": an image of a rare class counts more in the loss
    balanced_sampler  every class equally often, images of rare classes repeatedly
    augment           random changes of the training images
    clip_grad         largest gradient norm; None: no clipping
    ema               decay of the moving average of the weights that is evaluated and kept as the
                      best model; None: the weights themselves
    patience          end the run after so many epochs without a better one; None: all epochs
    freeze            "none", "backbone" (all but the last layer), or the number of stages frozen
    head_epochs       train only the last layer in so many epochs first, then what `freeze` leaves
    unfreeze_every    unfreeze one stage more, from the head down, after each so many epochs; None:
                      what is frozen stays so
    freeze_norms      batch-norm statistics stay as they are in the layers that learn, too
    feature_cache_mb  largest memory for outputs of frozen stages that are computed once, in 2^20
                      bytes; 0: compute them in every epoch
    labels_fraction   share of the training images used, the same share of each class
    labels_per_class  that many training images of each class; None: all
    val_fraction      share of the training images held out to choose the best epoch, where the data
                      has no validation split of its own; 0: no validation, the last epoch counts
    tta               test-time augmentation of the finished model: "flip" takes the mean of the
                      scores of an image and its mirror image; validation in each epoch has none
    seed              of everything random
    """

    epochs: int = 10
    batch_size: int = 128
    accumulate: int = 1
    optimizer: OptimizerName = "sgd"
    lr: float = 0.1
    head_lr: float | None = None
    layer_decay: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: ScheduleName = "cosine"
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    class_weights: ClassWeights = "none"
    balanced_sampler: bool = False
    augment: Augmentation = "crop-flip"
    clip_grad: float | None = None
    ema: float | None = None
    patience: int | None = None
    freeze: str = "none"
    head_epochs: int = 0
    unfreeze_every: int | None = None
    freeze_norms: bool = False
    feature_cache_mb: int = 1024
    labels_fraction: float = 1.0
    labels_per_class: int | None = None
    val_fraction: float = 0.1
    tta: TestTimeAugmentation = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_optimization()
        self._check_images()
        self._check_freezing()
        self._require("seed", 0 <= self.seed < 2**63, "in [0, 2^63)")

    def _check_choices(self) -> None:
        for name, choices in (
            ("optimizer", OptimizerName),
            ("schedule", ScheduleName),
            ("augment", Augmentation),
            ("class_weights", ClassWeights),
            ("tta", TestTimeAugmentation),
        ):
            allowed = get_args(choices)
            self._require(name, getattr(self, name) in allowed, "one of " + ", ".join(allowed))

    def _check_optimization(self) -> None:
        self._require("epochs", self.epochs >= 1, "at least 1")
        self._require("batch_size", self.batch_size >= 2, "at least 2")
        self._require("accumulate", self.accumulate >= 1, "at least 1")
        self._require("lr", 0 < self.lr < _INFINITE, "a positive number")
        if self.head_lr is not None:
            self._require("head_lr", 0 < self.head_lr < _INFINITE, "a positive number")
        self._require("layer_decay", 0 < self.layer_decay <= 1, "in (0, 1]")
        self._require("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        self._require("weight_decay", 0 <= self.weight_decay < _INFINITE, "not negative")
        self._require("warmup_epochs", 0 <= self.warmup_epochs < _INFINITE, "not negative")
        if self.schedule == "cosine":
            fits = self.warmup_epochs < self.epochs
            self._require("warmup_epochs", fits, f"less than the {self.epochs} epochs")
        if self.clip_grad is not None:
            self._require("clip_grad", self.clip_grad > 0, "a positive number")
        if self.ema is not None:
            self._require("ema", 0 < self.ema < 1, "between 0 and 1")
        if self.patience is not None:
            self._require("patience", self.patience >= 1, "at least 1")

    def _check_images(self) -> None:
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)")
        self._require("mixup", 0 <= self.mixup < _INFINITE, "not negative")
        self._require("cutmix", 0 <= self.cutmix < _INFINITE, "not negative")
        if self.balanced_sampler and self.class_weights != "none":
            raise SettingsError(
                "--balanced-sampler and --class-weights both make up for rare classes: give one"
            )
        self._require("labels_fraction", 0 < self.labels_fraction <= 1, "in (0, 1]")
        if self.labels_per_class is not None:
            self._require("labels_per_class", self.labels_per_class >= 1, "at least 1")
            self._require("labels_fraction", self.labels_fraction == 1, "1 with labels_per_class")
        self._require("val_fraction", 0 <= self.val_fraction < 1, "in [0, 1)")

    def _check_freezing(self) -> None:
        self._require(
            "freeze",
            self.freeze in ("none", "backbone") or self.freeze.isdecimal(),
            "none, backbone or a number of stages",
        )
        frozen = self.freeze != "none" and self.freeze.strip("0") != ""
        self._require("head_epochs", self.head_epochs >= 0, "not negative")
        if self.head_epochs:
            self._require(
                "head_epochs",
                self.head_epochs < self.epochs,
                f"less than the {self.epochs} epochs (the head alone: --freeze backbone)",
            )
            if self.freeze == "backbone" or self.unfreeze_every is not None:
                raise SettingsError(
                    "--head-epochs excludes --freeze backbone and --unfreeze-every: with those "
                    "the head is alone at first by itself"
                )
        if self.unfreeze_every is not None:
            self._require("unfreeze_every", self.unfreeze_every >= 1, "at least 1")
            if not frozen:
                raise SettingsError(
                    "--unfreeze-every needs something frozen: give --freeze backbone, or a number "
                    "of stages"
                )
            self._require(
                "unfreeze_every",
                self.unfreeze_every < self.epochs,
                f"less than the {self.epochs} epochs, or no stage is ever unfrozen",
            )
        self._require("feature_cache_mb", self.feature_cache_mb >= 0, "not negative")

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
