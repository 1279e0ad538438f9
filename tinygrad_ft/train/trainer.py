"""The training loop with everything around it: progress, validation, checkpoints, exact resume.

A run is a function of its settings and its data: order, augmentation and initialisation come from
the seed, so a run that was killed and resumed ends with the same bits as one that was not (same
machine, same number of threads).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from kernels import get_num_threads
from tinygrad_ft.data import DataError, Dataset
from tinygrad_ft.io import RunFolder, load_checkpoint
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.nn.compiled import CompileWarning
from tinygrad_ft.train.checkpoints import Position, Training, run_identity
from tinygrad_ft.train.evaluation import Evaluation, predict_scores
from tinygrad_ft.train.model_file import ModelCard, save_model
from tinygrad_ft.train.optimization import make_optimizer, make_scheduler
from tinygrad_ft.train.progress import Phase, Reporter, duration
from tinygrad_ft.train.recipe.batches import class_weights, images_per_epoch, update_size
from tinygrad_ft.train.recipe.ema import WeightAverage
from tinygrad_ft.train.recipe.freezing import FreezePlan
from tinygrad_ft.train.recipe.inputs import TrainingInputs
from tinygrad_ft.train.recipe.memory import MemoryNeed, estimate
from tinygrad_ft.train.recipe.non_finite import NonFiniteValue, bad_weight
from tinygrad_ft.train.recipe.step import Step
from tinygrad_ft.train.settings import Settings, SettingsError, TestTimeAugmentation

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

    Freezes what the settings name, also if the caller has done so already. What the caller has
    frozen beyond that stays frozen.

    Raises DataError for fewer than two images, ValueError if model, card and data have different
    numbers of classes, SettingsError if the settings do not fit the model or the data.
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
        if settings.patience is not None and not self.choose_best:
            raise SettingsError("--patience needs validation images to see whether a run improves")
        self.run, self.reporter, self.stop = run, reporter, stop
        self._last_save = time.monotonic()
        self.identity = run_identity(settings, card, train_set, val_set)
        self._images = images_per_epoch(len(train_set), settings)

        self.plan = FreezePlan.of(model, settings)
        self.plan.apply(model, settings.epochs - 1)  # all that ever learns is in the optimizer
        self.optimizer = make_optimizer(model, settings)
        self.plan.apply(model, 0)
        steps = math.ceil(self._images / update_size(settings))
        self.scheduler = make_scheduler(self.optimizer, settings, steps)
        self.average = None if settings.ema is None else WeightAverage(model, settings.ema)
        self.step = Step(model, self.optimizer, settings, class_weights(train_set, settings))
        self.inputs = TrainingInputs(
            model, card.preprocessing, train_set, val_set, settings, reporter, self._on_batch
        )
        self._training = Training(model, self.optimizer, self.scheduler, self.average)

    @property
    def position(self) -> Position:
        """Where the run stands."""
        return self._training.position

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or enough of them without a better one.

        Patience begins when the last stage has been unfrozen: before that the best is yet to come.
        """
        at, settings = self.position, self.settings
        if at.epoch >= settings.epochs or settings.patience is None or at.best_epoch is None:
            return at.epoch >= settings.epochs
        settled = max(self.plan.changes(settings.epochs), default=0)
        return at.epoch - max(at.best_epoch, settled) >= settings.patience

    def fit(self, resume: bool = False) -> list[dict[str, Any]]:
        """Train to the end and return the history, a row an epoch.

        With `resume`, on from last.safetensors if there is one: CheckpointError, before anything
        is written, if it is of another run.
        """
        if resume and self.run.last_path.exists():
            self._restore()
        try:
            with _compiled(self.model):
                while not self.finished:
                    self._begin_epoch()
                    self._train_epoch()
                    self._finish_epoch()
        except Interrupted:
            self._save()  # here: where it was raised, the model may have held the average
            raise
        return self.position.history

    def memory_need(self, judged: int = 0, available: int | None = None) -> MemoryNeed:
        """What the run takes, from trial steps that fit into `available` bytes, if `judged` images
        are evaluated in the end. Leaves model and random numbers as they were."""
        features = 0
        for epoch in [0, *self.plan.changes(self.settings.epochs)]:
            self.plan.apply(self.model, epoch)
            features = max(features, self.inputs.kept_bytes())
        return estimate(
            self.model,
            self.plan,
            self.card.preprocessing,
            self.settings,
            features=features,
            trained=self._images,
            evaluated=max(
                judged,
                0 if self.val_set is None else len(self.val_set),
                len(self.train_set) if features else 0,
            ),
            available=available,
        )

    def best_model(self) -> ImageClassifier:
        """The model with the weights of the best epoch, in evaluation mode."""
        tensors, _ = load_checkpoint(self.run.best_path)
        self.model.load_state_dict(tensors)
        return self.model.eval()

    def evaluate(
        self, dataset: Dataset, name: str, tta: TestTimeAugmentation = "none"
    ) -> Evaluation:
        """The scores of the model as it is now."""
        with self.reporter.phase(name, len(dataset)) as phase:
            return predict_scores(
                self.model,
                dataset,
                self.card.preprocessing,
                tta=tta,
                on_batch=self._on_batch(phase),
            )

    # ---- an epoch --------------------------------------------------------------------------------

    def _begin_epoch(self) -> None:
        started = time.monotonic()
        self.plan.apply(self.model, self.position.epoch)
        try:
            self.inputs.prepare()
        except NonFiniteValue as problem:
            raise NonFiniteLoss(
                f"{problem.what} before epoch {self.position.epoch + 1} ({problem.where}); no "
                "setting of the training changes that"
            ) from None
        self.step.first_stage = self.inputs.first_stage
        # computing features is part of the training: without them every epoch would take longer
        self.position.epoch_seconds += time.monotonic() - started

    def _train_epoch(self) -> None:
        at = self.position
        self.inputs.loader.set_epoch(at.epoch)
        if at.batch == 0:
            group = self.optimizer.param_groups[0]
            at.lr = group["lr"] / group["scale"]
        self.model.train()
        name = f"epoch {at.epoch + 1}/{self.settings.epochs}"
        with self.reporter.phase(name, self._images) as phase:
            phase.skip(at.seen)
            started = time.monotonic() - at.epoch_seconds
            for images, labels in self.inputs.loader.iter_from(at.batch):
                self._step(images, labels)
                at.batch += 1
                at.epoch_seconds = time.monotonic() - started
                note = f"loss {at.loss_sum / at.seen:.3f}  accuracy {at.right / at.seen:.1%}"
                phase.advance(len(labels), note)
                self._stop_if_asked()
                if time.monotonic() - self._last_save > SAVE_SECONDS:
                    self._save()

    def _step(self, images: np.ndarray, labels: np.ndarray) -> None:
        at = self.position
        try:
            loss, right = self.step(images, labels)
        except NonFiniteValue as problem:
            raise self._diverged(problem.what, at.batch + 1, problem.where) from None
        self.scheduler.step()
        if self.average is not None:
            self.average.update(self.model)
        at.loss_sum += loss * len(labels)
        at.right += right
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
        with self._averaged():
            accuracy = self._judge(row)
            row["seconds"] = round(at.epoch_seconds, 3)
            if self.plan.changes(self.settings.epochs):
                row["frozen_stages"] = self.plan.frozen(at.epoch)
            self._say(row)
            at.history.append(row)
            better = not self.choose_best or accuracy > at.best_accuracy
            if better:
                at.best_epoch, at.best_accuracy = at.epoch + 1, accuracy
            at.begin_epoch(at.epoch + 1)
            if better and (self.choose_best or at.epoch == self.settings.epochs):
                # before `last`: a run that dies between the two repeats the epoch, with the same
                # bits
                save_model(self.run.best_path, self.model, self.card)
        self._save()
        self.run.write_summary(at.history)
        if self.finished and at.epoch < self.settings.epochs:
            self.reporter.line(
                f"ends here: no better epoch than {at.best_epoch} in {self.settings.patience}"
            )

    def _averaged(self) -> AbstractContextManager[None]:
        """Within it the model is what is evaluated and kept as the best: the average, if any."""
        return nullcontext() if self.average is None else self.average.applied(self.model)

    def _judge(self, row: dict[str, Any]) -> float:
        """Add the validation scores to the epoch's row; the accuracy (0 without validation)."""
        if self.val_set is None:
            return 0.0
        found = self._validate(self.val_set)
        metrics = found.metrics()
        row |= {
            "val_loss": found.loss,
            "val_accuracy": metrics.accuracy,
            "val_macro_recall": metrics.macro_recall,
            "val_macro_f1": metrics.macro_f1,
        }
        return metrics.accuracy

    def _validate(self, val_set: Dataset) -> Evaluation:
        if self.inputs.val_features is not None:
            return self.inputs.val_features.evaluate(self.model)
        return self.evaluate(val_set, "validation")

    def _say(self, row: dict[str, Any]) -> None:
        at = self.position
        text = f"train loss {row['train_loss']:.3f}, accuracy {row['train_accuracy']:.1%}"
        if "val_loss" in row:
            text += f"; validation loss {row['val_loss']:.3f}, accuracy {row['val_accuracy']:.1%}"
        rate = at.seen / max(at.epoch_seconds, 1e-9)
        self.reporter.line(
            f"epoch {at.epoch + 1}/{self.settings.epochs}: {text}  "
            f"({duration(at.epoch_seconds)}, {rate:.0f} images/s)"
        )

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
        if not self.finished:
            self.reporter.line(f"resuming at epoch {at.epoch + 1}, batch {at.batch + 1}")

    def _on_batch(self, phase: Phase) -> Callable[[int], None]:
        def on_batch(images: int) -> None:
            phase.advance(images)
            self._stop_if_asked()

        return on_batch

    def _stop_if_asked(self) -> None:
        if not self.stop():
            return
        at = self.position
        if self.finished:  # trained and saved; the model may be the best one
            raise Interrupted("stopped after the last epoch")
        raise Interrupted(f"stopped in epoch {at.epoch + 1} after batch {at.batch}")

    def _check_finite(self) -> None:
        if name := bad_weight(self.model):
            raise self._diverged("a weight became infinite or NaN", self.position.batch, name)

    def _diverged(self, what: str, batch: int, where: str) -> NonFiniteLoss:
        text = (
            f"{what} in epoch {self.position.epoch + 1}, batch {batch}, at learning rate "
            f"{self.scheduler.get_last_lr()[0]:.3g} ({where}); try a lower --lr or --clip-grad 1"
        )
        if self.run.last_path.exists():
            text += f" (the last checkpoint in {self.run.path} is from before it)"
        return NonFiniteLoss(text)


@contextmanager
def _compiled(model: ImageClassifier) -> Iterator[None]:
    """Let the model's training calls be repeated without Python, if they can be: it saves time and
    changes no bit. Its memory is given back at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompileWarning)
        model.compile()
        try:
            yield
        finally:
            model.compile(disable=True)
