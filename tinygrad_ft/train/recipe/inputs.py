"""What a training step is given: images, or outputs of frozen stages that were computed once."""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_ft.data import DataLoader, Dataset
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.train.frozen_features import FrozenFeatures, feature_bytes
from tinygrad_ft.train.preprocessing import Preprocessing
from tinygrad_ft.train.progress import Phase, Reporter
from tinygrad_ft.train.recipe.batches import training_loader
from tinygrad_ft.train.recipe.freezing import untouched_stages
from tinygrad_ft.train.recipe.memory import size
from tinygrad_ft.train.settings import Settings


class TrainingInputs:
    """The batches of an epoch, and the stage of the model where they enter.

    If the first stages of the model cannot change and the images are the same in every epoch, so
    is what leaves those stages: it is computed once and kept, unless it takes more than
    `settings.feature_cache_mb`. Whether it is kept depends on settings, model and data alone, so a
    resumed run does as an uninterrupted one.

    first_stage    stages that the batches have gone through already: 0 for images
    loader         makes the batches
    val_features   the validation images after those stages; None if they enter at the first one
    """

    def __init__(
        self,
        model: ImageClassifier,
        preprocessing: Preprocessing,
        train_set: Dataset,
        val_set: Dataset | None,
        settings: Settings,
        reporter: Reporter,
        on_batch: Callable[[Phase], Callable[[int], None]],
    ) -> None:
        self._model, self._preprocessing, self._settings = model, preprocessing, settings
        self._train_set, self._val_set = train_set, val_set
        self._reporter, self._on_batch = reporter, on_batch
        self.first_stage = 0
        self.val_features: FrozenFeatures | None = None
        self._loader: DataLoader | None = None
        self._frozen = -1
        self._bytes: dict[int, int] = {}  # of an image's features, by the number of stages

    @property
    def loader(self) -> DataLoader:
        assert self._loader is not None, "prepare() comes first"
        return self._loader

    def feature_bytes(self) -> int:
        """The memory that outputs of the stages frozen now would take; 0 if they are of no use."""
        settings = self._settings
        stages = untouched_stages(self._model)
        if settings.augment != "none" or settings.mixup or settings.cutmix or not stages:
            return 0
        images = len(self._train_set) + (len(self._val_set) if self._val_set is not None else 0)
        if stages not in self._bytes:
            self._bytes[stages] = feature_bytes(self._model, stages, self._train_set)
        return images * self._bytes[stages]

    def kept_bytes(self) -> int:
        """`feature_bytes`, or 0 if that is more than the settings allow."""
        nbytes = self.feature_bytes()
        return nbytes if nbytes <= self._settings.feature_cache_mb * 2**20 else 0

    def prepare(self) -> None:
        """Make loader and features for the stages that are frozen now, if not done already."""
        frozen = untouched_stages(self._model)
        if frozen == self._frozen:
            return
        self._frozen = frozen
        self._loader = self.val_features = None  # before the next features are made
        needed, kept = self.feature_bytes(), self.kept_bytes()
        self.first_stage = frozen if kept else 0
        data, transform = self._train_set, None
        if self.first_stage:
            self._reporter.line(
                f"the outputs of {frozen} frozen stages are computed once ({size(kept)})"
            )
            data = self._features_of(self._train_set, "features")
            if self._val_set is not None:
                self.val_features = self._features_of(self._val_set, "validation features")
        else:
            if needed:
                self._reporter.line(
                    f"the frozen stages are computed in every epoch: keeping their outputs would "
                    f"take {size(needed)}, more than --feature-cache-mb"
                )
            transform = self._preprocessing.training_transform(self._settings.augment)
        self._loader = training_loader(data, self._settings, transform)

    def _features_of(self, dataset: Dataset, name: str) -> FrozenFeatures:
        with self._reporter.phase(name, len(dataset)) as phase:
            return FrozenFeatures(
                self._model, self.first_stage, dataset, self._preprocessing, self._on_batch(phase)
            )
