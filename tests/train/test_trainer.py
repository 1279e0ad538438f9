"""The training loop: what it optimises, which epoch it chooses, what it leaves out and refuses."""

from __future__ import annotations

import csv
import errno
from contextlib import nullcontext

import numpy as np
import pytest
from train_helpers import (
    ARCHITECTURE,
    CLASSES,
    arrays,
    colours,
    contents,
    make_model,
    make_trainer,
    same,
    tensors,
)

from tinygrad_ft.data import ArrayDataset, DataError
from tinygrad_ft.io import FileError, RunFolder, files
from tinygrad_ft.models import create_model
from tinygrad_ft.nn import compiled
from tinygrad_ft.train import (
    Evaluation,
    ModelCard,
    NonFiniteLoss,
    Preprocessing,
    Settings,
    SettingsError,
    Trainer,
    apply_freeze,
    load_model,
)
from tinygrad_ft.train import trainer as trainer_module
from tinygrad_ft.train.progress import Reporter


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """In float64, independently of the engine."""
    scores = scores.astype(np.float64)
    shifted = scores - scores.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def test_it_learns_and_leaves_its_files(tmp_path):
    val = colours(5, seed=1)
    trainer = make_trainer(tmp_path, Settings(epochs=6, batch_size=8), val=val)
    history = trainer.fit()
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["val_accuracy"] > 0.9
    with open(tmp_path / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["val_loss"]) for r in rows] == [row["val_loss"] for row in history]
    # the file says itself what it is, and scores as the trainer says
    model, card = load_model(tmp_path / "best.safetensors")
    assert card.classes == CLASSES
    assert card.architecture == ARCHITECTURE
    trainer.best_model()
    assert same(arrays(model), arrays(trainer.model))
    best = trainer.position.best_epoch
    found = trainer.evaluate(val, "validation").metrics()
    assert found.accuracy == history[best - 1]["val_accuracy"]


@pytest.mark.parametrize(
    "settings",
    [
        Settings(epochs=3, batch_size=8),
        Settings(epochs=4, batch_size=8, freeze="2", augment="flip", ema=0.9),
        Settings(epochs=3, batch_size=5, accumulate=2, mixup=0.4),
        Settings(epochs=6, batch_size=8, freeze="backbone", unfreeze_every=1, augment="flip"),
        Settings(epochs=3, batch_size=8, freeze_norms=True, optimizer="adamw"),
    ],
    ids=["plain", "frozen", "parts", "unfreezing", "frozen norms"],
)
def test_steps_are_repeated_without_python_and_no_bit_differs(tmp_path, monkeypatch, settings):
    repeated = []
    repeat = compiled.repeat
    monkeypatch.setattr(compiled, "repeat", lambda *a: (repeated.append(1), repeat(*a))[1])
    trainer = make_trainer(tmp_path / "compiled", settings, val=colours(2, seed=1))
    trainer.fit()
    # the affine map of a frozen norm whose weights learn is made of ops that are no kernels
    assert len(repeated) >= 3 or settings.freeze_norms
    assert trainer.model._compiled is None  # its memory is given back
    monkeypatch.setattr(trainer_module, "_compiled", lambda model: nullcontext())
    plain = make_trainer(tmp_path / "plain", settings, val=colours(2, seed=1))
    plain.fit()
    for name in ("last", "best"):
        a, b = (tensors(tmp_path / f / f"{name}.safetensors") for f in ("compiled", "plain"))
        assert same(a, b)


def test_the_last_checkpoint_is_a_model_too(tmp_path):
    trainer = make_trainer(tmp_path, Settings(epochs=1, batch_size=8))
    trainer.fit()
    model, card = load_model(tmp_path / "last.safetensors")
    assert same(arrays(model), arrays(trainer.model))
    assert card.classes == CLASSES


def with_accuracies(trainer: Trainer, rights: list[int], of: int = 8) -> list[dict]:
    """Make validation find `rights[e]` of `of` images right; the weights of each epoch."""
    seen = []

    def validate(val_set: object) -> Evaluation:
        right = rights[len(seen)]
        seen.append(arrays(trainer.model))
        predicted = np.array([0] * right + [1] * (of - right))
        return Evaluation(np.eye(3, dtype=np.float32)[predicted], np.zeros(of, np.int64))

    trainer._validate = validate
    return seen


def test_validation_chooses_the_best_epoch_the_first_of_equals(tmp_path):
    trainer = make_trainer(tmp_path, Settings(epochs=5, batch_size=8), val=colours(2, seed=1))
    seen = with_accuracies(trainer, [2, 6, 4, 6, 0])
    trainer.fit()
    assert trainer.position.best_epoch == 2
    assert same(tensors(tmp_path / "best.safetensors"), seen[1])
    assert not same(seen[1], seen[3])
    assert same(arrays(trainer.best_model()), seen[1])


def test_an_accuracy_of_zero_is_an_accuracy(tmp_path):
    trainer = make_trainer(tmp_path, Settings(epochs=2, batch_size=8), val=colours(2, seed=1))
    seen = with_accuracies(trainer, [0, 0])
    trainer.fit()
    assert trainer.position.best_epoch == 1
    assert same(tensors(tmp_path / "best.safetensors"), seen[0])


@pytest.mark.parametrize("watched", [False, True])
def test_without_a_choice_it_is_the_last_epoch(tmp_path, watched):
    val = colours(2, seed=1) if watched else None
    settings = Settings(epochs=3, batch_size=8)
    trainer = make_trainer(tmp_path, settings, val=val, choose_best=False)
    if watched:
        with_accuracies(trainer, [8, 1, 0])
    history = trainer.fit()
    assert trainer.position.best_epoch == 3
    assert ("val_accuracy" in history[0]) == watched
    assert same(tensors(tmp_path / "best.safetensors"), arrays(trainer.model))


@pytest.mark.parametrize(
    "rights, patience, epochs, best",
    [
        ([2, 6, 4, 6, 0, 8, 8, 8], 2, 4, 2),  # an equal one is not a better one
        ([2, 6, 4, 7, 0, 8, 1, 8], 2, 8, 6),
        ([1, 0, 0, 0, 0, 0, 0, 0], 1, 2, 1),
        ([0, 0, 0, 0, 0, 0, 0, 8], 8, 8, 8),
    ],
)
def test_patience_ends_the_run(tmp_path, rights, patience, epochs, best):
    settings = Settings(epochs=8, batch_size=8, patience=patience)
    trainer = make_trainer(tmp_path, settings, val=colours(2, seed=1))
    seen = with_accuracies(trainer, rights)
    assert len(trainer.fit()) == epochs
    assert trainer.finished
    assert trainer.position.best_epoch == best
    assert same(tensors(tmp_path / "best.safetensors"), seen[best - 1])


def test_patience_begins_when_the_last_stage_is_unfrozen(tmp_path):
    settings = Settings(epochs=9, batch_size=8, patience=2, freeze="2", unfreeze_every=2)
    trainer = make_trainer(tmp_path, settings, val=colours(2, seed=1))
    with_accuracies(trainer, [8, *[0] * 8])
    assert len(trainer.fit()) == 4 + 2  # unfrozen after epochs 2 and 4


def test_patience_needs_something_to_watch(tmp_path):
    with pytest.raises(SettingsError, match="--patience needs validation images"):
        make_trainer(tmp_path, Settings(patience=1))


@pytest.mark.parametrize("problem", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors", "summary.csv"])
def test_a_disk_that_refuses_leaves_the_checkpoint_before(tmp_path, monkeypatch, problem, name):
    """While the second epoch is saved; and when there is room again the run goes on to its bits."""
    settings = Settings(epochs=3, batch_size=8, ema=0.9)
    val = colours(4, seed=1)
    whole = make_trainer(tmp_path / "whole", settings, val=val)
    whole.fit()
    run = tmp_path / "run"
    trainer = make_trainer(run, settings, val=val)
    trainer._validate = lambda val_set: evaluations.pop(0)
    evaluations = [whole_evaluation(right) for right in (1, 2, 3)]
    real = files.os.replace

    def replace(source: object, target: object) -> None:
        if trainer.position.epoch == 2 and str(target).endswith(name):
            raise OSError(problem, "refused")
        real(source, target)

    finish = trainer._finish_epoch
    before: dict[str, bytes] = {}

    def note() -> None:
        finish()
        before.update(contents(run))

    trainer._finish_epoch = note
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", replace)
        with pytest.raises(FileError) as error:
            trainer.fit()
    assert f"{name} cannot be written: refused; what stood there before is untouched" in str(
        error.value
    )
    after = contents(run)
    assert after.keys() == before.keys()  # no temporary file
    assert after[name] == before[name]
    trainer.run.close()
    again = make_trainer(run, settings, val=val, resume=True)
    again.fit(resume=True)
    assert same(tensors(run / "last.safetensors"), tensors(tmp_path / "whole" / "last.safetensors"))


def whole_evaluation(right: int) -> Evaluation:
    predicted = np.array([0] * right + [1] * (8 - right))
    return Evaluation(np.eye(3, dtype=np.float32)[predicted], np.zeros(8, np.int64))


def test_the_gradient_is_clipped(tmp_path):
    """One plain SGD step moves the weights by lr times a gradient of the given norm."""

    def moved(clip: float | None, folder: str) -> float:
        settings = Settings(
            epochs=1, batch_size=24, lr=0.5, momentum=0.0, weight_decay=0.0,
            schedule="constant", augment="none", clip_grad=clip,
        )  # fmt: skip
        trainer = make_trainer(tmp_path / folder, settings)
        before = {n: p.numpy().copy() for n, p in trainer.model.named_parameters()}
        trainer.fit()
        steps = [p.numpy() - before[n] for n, p in trainer.model.named_parameters()]
        return float(np.sqrt(sum((s.astype(np.float64) ** 2).sum() for s in steps)))

    free = moved(None, "free")
    assert free > 0.5 * 0.01
    assert moved(0.01, "clipped") == pytest.approx(0.5 * 0.01, rel=1e-3)
    assert moved(1e6, "loose") == free


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_label_smoothing_is_in_the_training_loss_only(tmp_path, smoothing):
    data = colours(4)
    settings = Settings(
        epochs=1, batch_size=12, lr=1e-30, augment="none", freeze="backbone",
        label_smoothing=smoothing,
    )  # fmt: skip
    model = make_model()
    apply_freeze(model, "backbone")
    trainer = make_trainer(tmp_path, settings, train=data, val=data, model=model)
    logs = log_softmax(trainer.evaluate(data, "").scores)
    plain = -logs[np.arange(12), data.targets].mean()
    (row,) = trainer.fit()
    expected = (1 - smoothing) * plain + smoothing * -logs.mean()
    assert row["train_loss"] == pytest.approx(expected, rel=1e-5)
    assert row["val_loss"] == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize(
    "batch_size, batches",
    [(3, [3, 3]), (2, [2, 2, 2]), (6, [6]), (4, [4, 3]), (5, [5, 2]), (7, [7]), (100, [7])],
)
def test_a_last_batch_of_one_image_is_left_out(tmp_path, batch_size, batches):
    """Batch norm cannot do with it on 1x1 maps; which image is left out differs by epoch."""
    images = colours(3, size=4).images[:7]  # 4x4 pixels: 1x1 in the last stage
    data = ArrayDataset(images, [0, 1, 2, 0, 1, 2, 0], CLASSES)
    settings = Settings(epochs=4, batch_size=batch_size, augment="none")
    trainer = make_trainer(tmp_path, settings, train=data)
    seen: list[int] = []
    step = trainer._step

    def count(images: np.ndarray, labels: np.ndarray) -> None:
        seen.append(len(labels))
        step(images, labels)

    trainer._step = count
    assert len(trainer.fit()) == 4
    assert seen == batches * 4
    assert trainer.scheduler.last_epoch == len(seen) == trainer.scheduler.total_steps
    last_ones = [trainer.inputs.loader.sampler.indices(epoch)[-1] for epoch in range(4)]
    assert len(set(last_ones)) > 1


def test_wrong_calls(tmp_path):
    one = ArrayDataset(colours(1).images[:1], [0], CLASSES)
    with pytest.raises(DataError, match="needs two images or more, there are 1"):
        make_trainer(tmp_path / "a", Settings(), train=one)
    four = ArrayDataset(colours(1).images, [0, 1, 2], ("a", "b", "c", "d"))
    with pytest.raises(ValueError, match="have 3, 3 and 4 classes"):
        make_trainer(tmp_path / "b", Settings(), train=four)


class Poison:
    """A `stop` that puts a NaN into the model after a number of batches, and never stops.

    An epoch has 3 batches of training and 1 of validation.
    """

    def __init__(self, after: int) -> None:
        self.left = after
        self.trainer: Trainer | None = None

    def __call__(self) -> bool:
        self.left -= 1
        if self.left == 0:
            self.trainer.model.conv1.weight.data[0, 0, 0, 0] = np.nan
        return False


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize(
    "after, message",
    [
        (5, r"the loss became nan in epoch 2, batch 2, at learning rate .* try a lower --lr"),
        (7, r"a weight became infinite or NaN in epoch 2, batch 3"),
    ],
)
def test_a_loss_that_is_no_number_stops_the_run(tmp_path, monkeypatch, after, message, every_step):
    """And what is saved is from before it, also if it happens between the last step and a save."""
    if every_step:
        monkeypatch.setattr(trainer_module, "SAVE_SECONDS", -1.0)
        message = "(the loss|a weight) became"
    poison = Poison(after)
    settings = Settings(epochs=3, batch_size=8)
    poison.trainer = make_trainer(tmp_path, settings, val=colours(2, seed=1), stop=poison)
    with pytest.raises(NonFiniteLoss, match=message) as error:
        poison.trainer.fit()
    assert "is from before it" in str(error.value)
    for name in ("last.safetensors", "best.safetensors"):
        assert all(np.isfinite(v).all() for v in tensors(tmp_path / name).values()), name
    # and the run can go on from there, here to its end
    poison.trainer.run.close()
    again = make_trainer(tmp_path, settings, val=colours(2, seed=1), resume=True)
    assert len(again.fit(resume=True)) == 3


def test_divergence_in_the_first_epoch_names_no_checkpoint(tmp_path):
    settings = Settings(epochs=1, batch_size=8, lr=1e37, schedule="constant")
    with pytest.raises(NonFiniteLoss) as error:
        make_trainer(tmp_path, settings).fit()
    assert "checkpoint" not in str(error.value)
    assert contents(tmp_path) == {}


def test_grey_images(tmp_path):
    data = colours()
    grey = ArrayDataset(data.images[..., :1], data.targets, CLASSES)
    architecture = {**ARCHITECTURE, "in_chans": 1}
    card = ModelCard(architecture, CLASSES, Preprocessing.measured(grey))
    assert card.preprocessing.channels == 1
    settings = Settings(epochs=1, batch_size=8, augment="crop-flip-cutout")
    with RunFolder(tmp_path) as run:
        model = create_model(**architecture)
        Trainer(model, card, grey, None, settings, run, Reporter(quiet=True)).fit()
    assert load_model(tmp_path / "best.safetensors")[1] == card
