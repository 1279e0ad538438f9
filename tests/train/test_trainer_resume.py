"""Stopped anywhere and resumed, a run ends with the bits of an uninterrupted one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import repeat
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from train_helpers import arrays, colours, contents, make_model, make_trainer, same, tensors

from kernels import get_num_threads, set_num_threads
from tinygrad_ft.data import Subset
from tinygrad_ft.io import CheckpointError, RunFolder, load_checkpoint, save_checkpoint
from tinygrad_ft.train import Interrupted, ModelCard, Preprocessing, Settings, Trainer
from tinygrad_ft.train.model_file import save_model
from tinygrad_ft.train.progress import Reporter

SETTINGS = Settings(epochs=3, batch_size=8, augment="crop-flip-cutout", warmup_epochs=0.5)
HEAD_ONLY = Settings(epochs=3, batch_size=8, augment="none", freeze="backbone")
ADAMW = Settings(epochs=2, batch_size=7, optimizer="adamw", lr=0.01, schedule="onecycle")
STEP = Settings(epochs=4, batch_size=12, schedule="step", val_fraction=0)
AVERAGED = Settings(epochs=2, batch_size=12, ema=0.9, val_fraction=0)
EVERYTHING = Settings(
    epochs=9, batch_size=4, accumulate=2, augment="crop-flip", lr=0.02, head_lr=0.1,
    layer_decay=0.7, label_smoothing=0.1, mixup=0.4, cutmix=1.0, balanced_sampler=True,
    clip_grad=1.0, ema=0.9, patience=2, freeze="backbone", unfreeze_every=1,
)  # fmt: skip
HEAD_FIRST = Settings(
    epochs=4, batch_size=8, augment="none", head_epochs=2, freeze="2", ema=0.8, patience=3,
    class_weights="balanced", optimizer="adamw", lr=0.01,
)  # fmt: skip


class After:
    """A `stop` that says yes when it has been asked so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def trainer_in(folder: Path, settings: Settings, stop: After | None = None) -> Trainer:
    # of three classes one is rare
    train = Subset(colours(), [i for i in range(24) if i % 3 or i < 9])
    return make_trainer(
        folder,
        settings,
        train=train,
        val=colours(3, seed=1) if settings.val_fraction else None,
        stop=stop or After(10**9),
        resume=folder.exists(),
    )


def without_seconds(history: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def uninterrupted(folder: Path, settings: Settings) -> tuple[Settings, Path, list[dict]]:
    trainer = trainer_in(folder / "run", settings)
    with trainer.run:
        return settings, folder / "run", trainer.fit()


@pytest.fixture(
    scope="module",
    params=[SETTINGS, HEAD_ONLY, ADAMW, STEP, EVERYTHING, HEAD_FIRST],
    ids=["sgd", "head-only", "adamw", "step", "everything", "head-first"],
)
def whole(request, tmp_path_factory):
    """(settings, folder, history) of an uninterrupted run."""
    return uninterrupted(tmp_path_factory.mktemp("whole"), request.param)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return uninterrupted(tmp_path_factory.mktemp("everything"), EVERYTHING)


def test_everything_is_on(whole):
    settings, folder, history = whole
    if settings is EVERYTHING:  # the last stage is unfrozen in epoch 5, so 7 is the first to end
        assert 7 <= len(history) < settings.epochs
    elif settings is HEAD_FIRST:
        assert [row["frozen_stages"] for row in history] == [4, 4, 2, 2]
    if settings.ema:
        state, _ = load_checkpoint(folder / "last.safetensors")
        name = "linear.weight"
        assert not np.array_equal(state[f"model/{name}"], state[f"average/tensors/{name}"])


def resumed_again_and_again(run: Path, settings: Settings, stops: Iterable[int]) -> list[dict]:
    """The history of a run that is stopped after so many questions each time, and of the rest."""
    for times in stops:
        trainer = trainer_in(run, settings, After(times))
        with trainer.run:
            try:
                return trainer.fit(resume=True)
            except Interrupted:
                pass
    trainer = trainer_in(run, settings)
    with trainer.run:
        return trainer.fit(resume=True)


def same_end(run: Path, whole: Path) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        assert same(tensors(run / name), tensors(whole / name)), name
    assert (run / "best.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()


@pytest.mark.parametrize("every", [1, 3])
def test_stopping_every_few_batches_changes_no_bit(whole, tmp_path, every):
    settings, folder, history = whole
    before = 2 if settings.augment == "none" else 0  # asked while features are computed
    again = resumed_again_and_again(tmp_path / "run", settings, repeat(every + before, 60))
    assert without_seconds(again) == without_seconds(history)
    same_end(tmp_path / "run", folder)


@hypothesis.settings(max_examples=6, deadline=None, derandomize=True)
@given(stops=st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_stopped_anywhere_with_everything_on(everything, tmp_path_factory, stops):
    settings, folder, history = everything
    run = tmp_path_factory.mktemp("stopped") / "run"
    again = resumed_again_and_again(run, settings, stops)
    assert without_seconds(again) == without_seconds(history)
    same_end(run, folder)


def test_resuming_a_finished_run_only_gives_its_history(whole, tmp_path):
    settings, folder, history = whole
    before = contents(folder)
    trainer = trainer_in(folder, settings, After(0))
    assert trainer.fit(resume=True) == history
    trainer.run.close()
    assert contents(folder) == before


def test_the_table_is_made_good(tmp_path):
    """Killed between the checkpoint and summary.csv, which then lacks a row."""
    trainer = trainer_in(tmp_path / "run", STEP)
    with trainer.run as run:
        trainer.fit()
        before = run.summary_path.read_bytes()
        run.write_summary(trainer.position.history[:-1])
    resumed = trainer_in(tmp_path / "run", STEP)
    resumed.fit(resume=True)
    assert resumed.run.summary_path.read_bytes() == before


def test_without_a_checkpoint_it_begins_at_the_beginning(whole, tmp_path):
    settings, folder, _ = whole
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "args.yaml").write_text("epochs: 3\n")
    trainer = trainer_in(tmp_path / "run", settings)
    trainer.fit(resume=True)
    name = "last.safetensors"
    assert same(tensors(tmp_path / "run" / name), tensors(folder / name))


def other_card(card: ModelCard, **changes: object) -> ModelCard:
    return ModelCard(**{**vars(card), **changes})


def test_another_run_is_refused_before_anything_changes(tmp_path):
    trainer = make_trainer(tmp_path / "run", STEP)
    trainer.fit()
    trainer.run.close()
    before = contents(tmp_path / "run")
    card = trainer.card
    reporter = trainer.reporter
    half = Preprocessing(8, (0.5,) * 3, (0.5,) * 3)
    wide = {**card.architecture, "zero_init_last": True}
    for message, settings, other, train, val in (
        ("other settings: lr was 0.1, now 0.2, seed was 0, now 1",
         Settings.from_dict({**STEP.as_dict(), "lr": 0.2, "seed": 1}), card, colours(), None),
        ("other architecture: zero_init_last was None, now True",
         STEP, other_card(card, architecture=wide), colours(), None),
        ("other preprocessing: mean was", STEP, other_card(card, preprocessing=half), colours(),
         None),
        ("other origin: from was None, now 'x.pth'", STEP,
         other_card(card, training={"from": "x.pth"}), colours(), None),
        ("other training images: they were '", STEP, card, colours(seed=5), None),
        ("other validation images: they were None, now '", STEP, card, colours(), colours(2)),
    ):  # fmt: skip
        with RunFolder(tmp_path / "run", resume=True) as run:
            other_trainer = Trainer(make_model(), other, train, val, settings, run, reporter)
            with pytest.raises(CheckpointError, match="cannot be resumed with " + message):
                other_trainer.fit(resume=True)
        assert contents(tmp_path / "run") == before


def test_damaged_and_foreign_checkpoints(tmp_path):
    trainer = trainer_in(tmp_path / "run", AVERAGED, After(2))
    with pytest.raises(Interrupted):
        trainer.fit()
    trainer.run.close()
    path = tmp_path / "run" / "last.safetensors"
    good = path.read_bytes()
    state, metadata = load_checkpoint(path)
    key = "tinygrad_ft.state"
    text = json.loads(metadata[key])

    def resume() -> None:
        resumed = trainer_in(tmp_path / "run", AVERAGED)
        try:
            resumed.fit(resume=True)
        finally:
            resumed.run.close()

    def refuses(message: str) -> None:
        with pytest.raises(CheckpointError, match=message):
            resume()

    for cut in (0, 7, 100, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:cut])
        refuses("last.safetensors")
    save_model(path, make_model(), trainer.card)
    refuses("is a model, not a run that could be resumed")
    parts = ("identity", "position", "model", "optimizer", "scheduler", "rng", "threads", "average")
    for name in parts:
        for value in (None, {}, [1], "x"):
            broken = {**text, name: value}
            save_checkpoint(path, state, {**metadata, key: json.dumps(broken)})
            refuses("damaged|cannot be resumed")
    save_checkpoint(path, state, {**metadata, key: json.dumps({**text, "identity": {}})})
    refuses("cannot be resumed with other settings")
    path.write_bytes(good)
    resume()


def test_another_number_of_threads_is_said(tmp_path, capsys):
    if get_num_threads() < 2:
        pytest.skip("one core only")
    trainer = trainer_in(tmp_path / "run", STEP, After(2))
    with pytest.raises(Interrupted):
        trainer.fit()
    trainer.run.close()
    before = get_num_threads()
    set_num_threads(1)
    try:
        resumed = trainer_in(tmp_path / "run", STEP)
        resumed.reporter = Reporter()
        resumed.fit(resume=True)
    finally:
        set_num_threads(before)
    assert f"started with {before} threads and goes on with 1" in capsys.readouterr().out


def test_a_stop_while_features_are_computed(tmp_path):
    trainer = trainer_in(tmp_path / "run", HEAD_ONLY, After(0))
    with pytest.raises(Interrupted, match="epoch 1 after batch 0"):
        trainer.fit()
    trainer.run.close()
    resumed = trainer_in(tmp_path / "run", HEAD_ONLY)
    assert len(resumed.fit(resume=True)) == 3


def test_a_stop_during_the_last_evaluation_leaves_the_checkpoint_alone(tmp_path):
    stop = After(10**9)
    trainer = trainer_in(tmp_path / "run", SETTINGS, stop)
    trainer.fit()
    trainer.best_model()
    before = contents(tmp_path / "run")
    stop.left = 0
    with pytest.raises(Interrupted, match="after the last epoch"):
        trainer.evaluate(colours(), "test")
    assert contents(tmp_path / "run") == before


def test_the_seed_decides(tmp_path):
    runs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        trainer = make_trainer(tmp_path / name, Settings(epochs=1, batch_size=8, seed=seed))
        trainer.fit()
        runs.append(arrays(trainer.model))
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])
