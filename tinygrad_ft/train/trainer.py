"""The training loop with everything around it: progress, validation, checkpoints, exact resume.

A run is a function of its settings and its data: order, augmentation and initialisation come from
the seed, so a run that was killed and resumed ends with the same bits as one that was not (same
machine, same number of threads).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels import get_num_threads
from tinygrad_ft.data import DataError, DataLoader, Dataset
from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.io import RunFolder, load_checkpoint
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.nn import BatchNorm2d
from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn.utils import clip_grad_norm_
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train.checkpoints import Position, Training, is_finite, run_identity
from tinygrad_ft.train.evaluation import Evaluation, arrays, predict_scores
from tinygrad_ft.train.frozen_features import FrozenFeatures
from tinygrad_ft.train.model_file import ModelCard, save_model
from tinygrad_ft.train.optimization import make_optimizer, make_scheduler
from tinygrad_ft.train.progress import Phase, Reporter, duration
from tinygrad_ft.train.settings import Settings

SAVE_SECONDS = 300.0  # a checkpoint within an epoch at least this often


class Interrupted(Exception):
    """The run was asked to stop, and has saved what is needed to resume."""


class NonFiniteLoss(RuntimeError):
    """The loss or a weight became infinite or NaN; the last checkpoint is from before it."""


class Trainer:
    """Trains `model` on `train_set`; validates on `val_set`, if any, after each epoch.

    run      the folder that gets last.safetensors, best.safetensors and summary.csv
    stop     asked after every batch; when it says True the run saves and raises Interrupted

    The best epoch is the one with the highest validation accuracy (the first of equals). Without
    validation, or with `choose_best` off (validation is then only watched), it is the last one.

    If nothing but the last layer learns and the images are not changed at random, the features
    before it are the same in every epoch and are computed once.

    Raises DataError for fewer than two images, ValueError if model, card and data have different
    numbers of classes.
    """

    def __init__(
        self,
        model: ImageClassifier,
        card: ModelCard,
        train_set: Dataset,
        val_set: Dataset | None,
        settings: Settings,
        run: RunFolder,
        reporter: Reporter,
        stop: Callable[[], bool] = lambda: False,
        *,
        choose_best: bool = True,
    ) -> None:
        counts = (model.num_classes, len(card.classes), len(train_set.classes))
        if len(set(counts)) > 1:
            raise ValueError(
                "Trainer: model, card and data have {}, {} and {} classes".format(*counts)
            )
        if len(train_set) < 2:
            raise DataError(f"training needs two images or more, there are {len(train_set)}")
        self.model, self.card, self.settings = model, card, settings
        self.train_set, self.val_set = train_set, val_set
        self.choose_best = choose_best and val_set is not None
        self.run, self.reporter, self.stop = run, reporter, stop
        self.on_features = settings.augment == "none" and _only_head_learns(model)
        self._val_features: FrozenFeatures | None = None
        self._last_save = time.monotonic()
        self.identity = run_identity(settings, card, train_set, val_set)
        # a batch of one image has no statistics where the maps are 1x1
        left_over = len(train_set) % settings.batch_size
        self._drop_last = left_over == 1
        self._images = len(train_set) - int(self._drop_last)
        self.optimizer = make_optimizer(model, settings)
        steps = math.ceil(self._images / settings.batch_size)
        self.scheduler = make_scheduler(self.optimizer, settings, steps)
        self._training = Training(model, self.optimizer, self.scheduler)

    @property
    def position(self) -> Position:
        """Where the run stands."""
        return self._training.position

    def fit(self, resume: bool = False) -> list[dict[str, Any]]:
        """Train to the end and return the history, a row an epoch.

        With `resume`, on from last.safetensors if there is one: CheckpointError, before anything
        is written, if it is of another run.
        """
        if resume and self.run.last_path.exists():
            self._restore()
        if self.position.epoch < self.settings.epochs:
            started = time.monotonic()
            loader = self._loader()
            if self.on_features and self.val_set is not None:
                self._val_features = self._features_of(self.val_set, "validation features")
            # computing features is part of the training: without them every epoch would take longer
            self.position.epoch_seconds += time.monotonic() - started
            while self.position.epoch < self.settings.epochs:
                self._train_epoch(loader)
                self._finish_epoch()
        return self.position.history

    def best_model(self) -> ImageClassifier:
        """The model with the weights of the best epoch, in evaluation mode."""
        tensors, _ = load_checkpoint(self.run.best_path)
        self.model.load_state_dict(tensors)
        return self.model.eval()

    def evaluate(self, dataset: Dataset, name: str) -> Evaluation:
        """The scores of the model as it is now."""
        with self.reporter.phase(name, len(dataset)) as phase:
            return predict_scores(
                self.model, dataset, self.card.preprocessing, on_batch=self._on_batch(phase)
            )

    # ---- an epoch --------------------------------------------------------------------------------

    def _loader(self) -> DataLoader:
        data: Dataset = self.train_set
        transform = None
        if self.on_features:
            data = self._features_of(data, "features")
        else:
            transform = self.card.preprocessing.training_transform(self.settings.augment)
        return DataLoader(
            data,
            batch_size=self.settings.batch_size,
            shuffle=True,
            transform=transform,
            collate_fn=arrays,
            drop_last=self._drop_last,
            seed=self.settings.seed,
        )

    def _features_of(self, dataset: Dataset, name: str) -> FrozenFeatures:
        with self.reporter.phase(name, len(dataset)) as phase:
            return FrozenFeatures(
                self.model, dataset, self.card.preprocessing, self._on_batch(phase)
            )

    def _on_batch(self, phase: Phase) -> Callable[[int], None]:
        def on_batch(images: int) -> None:
            phase.advance(images)
            self._stop_if_asked()

        return on_batch

    def _train_epoch(self, loader: DataLoader) -> None:
        at = self.position
        loader.set_epoch(at.epoch)
        if at.batch == 0:
            at.lr = self.optimizer.param_groups[0]["lr"]
        self.model.train()
        name = f"epoch {at.epoch + 1}/{self.settings.epochs}"
        with self.reporter.phase(name, self._images) as phase:
            phase.skip(at.seen)
            started = time.monotonic() - at.epoch_seconds
            for images, labels in loader.iter_from(at.batch):
                self._step(images, labels)
                at.batch += 1
                at.epoch_seconds = time.monotonic() - started
                note = f"loss {at.loss_sum / at.seen:.3f}  accuracy {at.right / at.seen:.1%}"
                phase.advance(len(labels), note)
                self._stop_if_asked()
                if time.monotonic() - self._last_save > SAVE_SECONDS:
                    self._save()

    def _step(self, images: np.ndarray, labels: np.ndarray) -> None:
        settings, at = self.settings, self.position
        inputs = Tensor(images)
        scores = self.model.get_classifier()(inputs) if self.on_features else self.model(inputs)
        loss = F.cross_entropy(scores, Tensor(labels), label_smoothing=settings.label_smoothing)
        value = float(loss.item())
        if not math.isfinite(value):
            raise self._diverged(f"the loss became {value}", at.batch + 1)
        self.optimizer.zero_grad()
        loss.backward()
        if settings.clip_grad is not None:
            clip_grad_norm_(self.model.parameters(), settings.clip_grad)
        self.optimizer.step()
        self.scheduler.step()
        at.loss_sum += value * len(labels)
        at.right += int((scores.numpy().argmax(axis=1) == labels).sum())
        at.seen += len(labels)

    def _finish_epoch(self) -> None:
        self._check_finite()
        at = self.position
        row: dict[str, Any] = {
            "epoch": at.epoch + 1,
            "lr": at.lr,
            "train_loss": at.loss_sum / at.seen,
            "train_accuracy": at.right / at.seen,
        }
        text = f"train loss {row['train_loss']:.3f}, accuracy {row['train_accuracy']:.1%}"
        accuracy = 0.0
        if self.val_set is not None:
            found = self._validate(self.val_set)
            metrics = found.metrics()
            accuracy = metrics.accuracy
            row |= {
                "val_loss": found.loss,
                "val_accuracy": metrics.accuracy,
                "val_macro_recall": metrics.macro_recall,
                "val_macro_f1": metrics.macro_f1,
            }
            text += f"; validation loss {row['val_loss']:.3f}, accuracy {accuracy:.1%}"
        row["seconds"] = round(at.epoch_seconds, 3)
        rate = at.seen / max(at.epoch_seconds, 1e-9)
        self.reporter.line(
            f"epoch {at.epoch + 1}/{self.settings.epochs}: {text}  "
            f"({duration(at.epoch_seconds)}, {rate:.0f} images/s)"
        )
        at.history.append(row)
        better = not self.choose_best or accuracy > at.best_accuracy
        if better:
            at.best_epoch, at.best_accuracy = at.epoch + 1, accuracy
        at.begin_epoch(at.epoch + 1)
        if better and (self.choose_best or at.epoch == self.settings.epochs):
            # before `last`: a run that dies between the two repeats the epoch, with the same bits
            save_model(self.run.best_path, self.model, self.card)
        self._save()
        self.run.write_summary(at.history)

    def _validate(self, val_set: Dataset) -> Evaluation:
        if self._val_features is None:
            return self.evaluate(val_set, "validation")
        with no_grad():
            scores = self.model.get_classifier()(Tensor(self._val_features.features))
        return Evaluation(scores.numpy(), self._val_features.targets)

    # ---- checkpoints -----------------------------------------------------------------------------

    def _save(self) -> None:
        self._check_finite()
        self._training.save(self.run.last_path, self.card, self.identity)
        self._last_save = time.monotonic()

    def _restore(self) -> None:
        threads = self._training.restore(self.run.last_path, self.identity)
        if threads != get_num_threads():
            self.reporter.line(
                f"note: the run was started with {threads} threads and goes on with "
                f"{get_num_threads()}; the last bits may differ from an uninterrupted run"
            )
        at = self.position
        if at.history:
            self.run.write_summary(at.history)  # the kill may have come just before it
        if at.epoch < self.settings.epochs:
            self.reporter.line(f"resuming at epoch {at.epoch + 1}, batch {at.batch + 1}")

    def _stop_if_asked(self) -> None:
        if not self.stop():
            return
        at = self.position
        if at.epoch == self.settings.epochs:  # trained and saved; the model may be the best one
            raise Interrupted("stopped after the last epoch")
        self._save()
        raise Interrupted(f"stopped in epoch {at.epoch + 1} after batch {at.batch}")

    def _check_finite(self) -> None:
        if not is_finite(self.model):
            raise self._diverged("a weight became infinite or NaN", self.position.batch)

    def _diverged(self, what: str, batch: int) -> NonFiniteLoss:
        text = (
            f"{what} in epoch {self.position.epoch + 1}, batch {batch}, at learning rate "
            f"{self.scheduler.get_last_lr()[0]:.3g}; try a lower --lr or --clip-grad 1"
        )
        if self.run.last_path.exists():
            text += f" (the last checkpoint in {self.run.path} is from before it)"
        return NonFiniteLoss(text)


def _only_head_learns(model: ImageClassifier) -> bool:
    """Whether everything before the last layer stays as it is, batch-norm statistics included."""
    head = {id(p) for p in model.get_classifier().parameters()}
    norms = [module for module in model.modules() if isinstance(module, BatchNorm2d)]
    return all(norm.frozen for norm in norms) and not any(
        p.requires_grad for p in model.parameters() if id(p) not in head
    )
