"""The training loop with everything around it: progress, validation, checkpoints, exact resume.

A run is a function of its settings and its data: order, augmentation and initialisation come from the
seed, so a run that was killed and resumed ends with the same bits as one that was not (same machine, same
number of threads).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels import get_num_threads
from tinygrad_ft import random
from tinygrad_ft.data import DataLoader
from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.io import (
    CheckpointError,
    RunFolder,
    flatten_state,
    load_checkpoint,
    save_checkpoint,
    unflatten_state,
)
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn.utils import clip_grad_norm_
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train.evaluation import Evaluation, arrays, predict_scores
from tinygrad_ft.train.frozen_features import FrozenFeatures
from tinygrad_ft.train.model_file import ModelCard, save_model
from tinygrad_ft.train.optimization import make_optimizer, make_scheduler
from tinygrad_ft.train.progress import Reporter, duration
from tinygrad_ft.train.settings import Settings

SAVE_SECONDS = 300.0  # a checkpoint within an epoch at least this often
_STATE_KEY = "tinygrad_ft.state"


class Interrupted(Exception):
    """The run was asked to stop, and has saved what is needed to resume."""


class NonFiniteLoss(RuntimeError):
    """The loss became infinite or NaN; the last good checkpoint is intact."""


@dataclass
class Position:
    """Where a run stands, and what it has seen so far; part of a checkpoint."""

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


class Trainer:
    """Trains `model` on `train_set`; validates on `val_set`, if any, after each epoch.

    run      the folder that gets last.safetensors, best.safetensors and summary.csv
    stop     asked after every step; when it says True the run saves and raises Interrupted

    The best epoch is the one with the highest validation accuracy (the first of equals). Without
    validation, or with `choose_best` off (validation is then only watched), it is the last one.
    """

    def __init__(
        self,
        model: ImageClassifier,
        card: ModelCard,
        train_set: Any,
        val_set: Any | None,
        settings: Settings,
        run: RunFolder,
        reporter: Reporter,
        stop: Callable[[], bool] = lambda: False,
        *,
        choose_best: bool = True,
    ) -> None:
        self.model, self.card, self.settings = model, card, settings
        self.train_set, self.val_set = train_set, val_set
        self.choose_best = choose_best and val_set is not None
        self.run, self.reporter, self.stop = run, reporter, stop
        self.position = Position()
        # a frozen backbone and unchanged images: the same features in every epoch
        self.on_features = settings.freeze == "backbone" and settings.augment == "none"
        self._val_features: FrozenFeatures | None = None
        self.optimizer = make_optimizer(model, settings)
        steps = math.ceil(len(train_set) / settings.batch_size)
        self.scheduler = make_scheduler(self.optimizer, settings, steps)
        self._last_save = time.monotonic()

    def fit(self, resume: bool = False) -> list[dict[str, Any]]:
        """Train to the end and return the history, a row an epoch. `resume`: from last.safetensors."""
        if resume and self.run.last_path.exists():
            self._restore()
        loader = self._loader()
        if self.on_features and self.val_set is not None:
            self._val_features = self._features_of(self.val_set, "validation features")
        while self.position.epoch < self.settings.epochs:
            self._train_epoch(loader)
            self._finish_epoch()
        return self.position.history

    def best_model(self) -> ImageClassifier:
        """The model with the weights of the best epoch, in evaluation mode."""
        tensors, _ = load_checkpoint(self.run.best_path)
        self.model.load_state_dict(tensors)
        return self.model.eval()

    # ---- an epoch --------------------------------------------------------------------------------

    def _loader(self) -> DataLoader:
        data, transform = self.train_set, None
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
            seed=self.settings.seed,
        )

    def _features_of(self, dataset: Any, name: str) -> FrozenFeatures:
        with self.reporter.phase(name, len(dataset)) as phase:
            return FrozenFeatures(self.model, dataset, self.card.preprocessing, phase.advance)

    def _train_epoch(self, loader: DataLoader) -> None:
        at = self.position
        loader.set_epoch(at.epoch)
        if at.batch == 0:
            at.lr = self.optimizer.param_groups[0]["lr"]
        self.model.train()
        name = f"epoch {at.epoch + 1}/{self.settings.epochs}"
        with self.reporter.phase(name, len(self.train_set)) as phase:
            phase.skip(at.seen)
            started = time.monotonic() - at.epoch_seconds
            for images, labels in loader.iter_from(at.batch):
                self._step(images, labels)
                at.batch += 1
                at.epoch_seconds = time.monotonic() - started
                note = f"loss {at.loss_sum / at.seen:.3f}  accuracy {at.right / at.seen:.1%}"
                phase.advance(len(labels), note)
                if self.stop():
                    self._save()
                    raise Interrupted(f"stopped in epoch {at.epoch + 1}, after batch {at.batch}")
                if time.monotonic() - self._last_save > SAVE_SECONDS:
                    self._save()

    def _step(self, images: np.ndarray, labels: np.ndarray) -> None:
        settings, at = self.settings, self.position
        inputs = Tensor(images)
        scores = self.model.get_classifier()(inputs) if self.on_features else self.model(inputs)
        loss = F.cross_entropy(scores, Tensor(labels), label_smoothing=settings.label_smoothing)
        value = float(loss.item())
        if not math.isfinite(value):
            raise NonFiniteLoss(
                f"the loss became {value} in epoch {at.epoch + 1}, batch {at.batch + 1}, at learning "
                f"rate {self.scheduler.get_last_lr()[0]:.3g}; try a lower --lr or --clip-grad 1 "
                f"(the last checkpoint in {self.run.path} is from before it)"
            )
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
        at = self.position
        row: dict[str, Any] = {
            "epoch": at.epoch + 1,
            "lr": at.lr,
            "train_loss": at.loss_sum / at.seen,
            "train_accuracy": at.right / at.seen,
        }
        text = f"train loss {row['train_loss']:.3f}, accuracy {row['train_accuracy']:.1%}"
        accuracy = None
        if self.val_set is not None:
            found = self._validate()
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
        at.history.append(row)
        better = not self.choose_best or (accuracy or 0.0) > at.best_accuracy
        if better:
            at.best_epoch, at.best_accuracy = at.epoch + 1, accuracy or 0.0
        self.reporter.line(
            f"epoch {at.epoch + 1}/{self.settings.epochs}: {text}  "
            f"({duration(at.epoch_seconds)}, {rate:.0f} images/s)"
        )
        at.begin_epoch(at.epoch + 1)
        if better and (self.choose_best or at.epoch == self.settings.epochs):
            # before `last`: if the run dies between the two, the epoch is repeated, with the same bits
            save_model(self.run.best_path, self.model, self.card)
        self._save()
        self.run.write_summary(at.history)

    def _validate(self) -> Evaluation:
        if self._val_features is None:
            return self.evaluate(self.val_set, "validation")
        with no_grad():
            scores = self.model.get_classifier()(Tensor(self._val_features.features))
        return Evaluation(scores.numpy(), self._val_features.targets)

    def evaluate(self, dataset: Any, name: str) -> Evaluation:
        """The scores of the model as it is now."""
        with self.reporter.phase(name, len(dataset)) as phase:
            return predict_scores(
                self.model, dataset, self.card.preprocessing, on_batch=phase.advance
            )

    # ---- checkpoints -----------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a resume to continue the same run."""
        return {
            "settings": self.settings.as_dict(),
            "architecture": self.card.architecture,
            "data": self.train_set.fingerprint,
        }

    def _save(self) -> None:
        state = {
            "identity": self._identity(),
            "threads": get_num_threads(),
            "model": {name: value.numpy() for name, value in self.model.state_dict().items()},
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "rng": random.get_rng_state(),
            "position": vars(self.position),
        }
        tensors, text = flatten_state(state)
        save_checkpoint(self.run.last_path, tensors, {_STATE_KEY: text, **self.card.to_metadata()})
        self._last_save = time.monotonic()

    def _restore(self) -> None:
        path = self.run.last_path
        tensors, metadata = load_checkpoint(path)
        if _STATE_KEY not in metadata:
            raise CheckpointError(f"{path} is a model, not a run that could be resumed")
        state = unflatten_state(tensors, metadata[_STATE_KEY])
        for what, value in self._identity().items():
            if state["identity"][what] != value:
                raise CheckpointError(
                    f"{path} cannot be resumed with other {what}: {_difference(state['identity'][what], value)}"
                )
        if state["threads"] != get_num_threads():
            self.reporter.line(
                f"note: the run was started with {state['threads']} threads and goes on with "
                f"{get_num_threads()}; the last bits may differ from an uninterrupted run"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        random.set_rng_state(state["rng"])
        self.position = Position(**state["position"])
        at = self.position
        self.reporter.line(f"resuming at epoch {at.epoch + 1}, batch {at.batch + 1}")


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [k for k in {**before, **now} if before.get(k) != now.get(k)]
        return ", ".join(f"{k} was {before.get(k)!r}, now {now.get(k)!r}" for k in keys)
    return f"it was {before}, now {now}"
