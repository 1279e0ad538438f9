"""Stopped anywhere and resumed, a run ends with the bits of an uninterrupted one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from train_helpers import arrays, colours, contents, make_model, make_trainer, same, tensors

from kernels import get_num_threads, set_num_threads
from tinygrad_ft.io import CheckpointError, RunFolder, load_checkpoint, save_checkpoint
from tinygrad_ft.nn import freeze
from tinygrad_ft.train import Interrupted, ModelCard, Preprocessing, Settings, Trainer
from tinygrad_ft.train.model_file import save_model
from tinygrad_ft.train.progress import Reporter

SETTINGS = Settings(epochs=3, batch_size=8, augment="crop-flip-cutout", warmup_epochs=0.5)
HEAD_ONLY = Settings(epochs=3, batch_size=8, augment="none", freeze="backbone")
ADAMW = Settings(epochs=2, batch_size=7, optimizer="adamw", lr=0.01, schedule="onecycle")
STEP = Settings(epochs=4, batch_size=12, schedule="step", val_fraction=0)


class After:
    """A `stop` that says yes when it has been asked so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def trainer_in(folder: Path, settings: Settings, stop: After | None = None) -> Trainer:
    model = make_model()
    if settings.freeze == "backbone":
        for _, stage in model.stage_modules()[:-1]:
            freeze(stage)
    return make_trainer(
        folder,
        settings,
        val=colours(3, seed=1) if settings.val_fraction else None,
        model=model,
        stop=stop or After(10**9),
        resume=folder.exists(),
    )


def without_seconds(history: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


@pytest.fixture(
    scope="module",
    params=[SETTINGS, HEAD_ONLY, ADAMW, STEP],
    ids=["sgd", "head-only", "adamw", "step"],
)
def whole(request, tmp_path_factory):
    """(settings, folder, history) of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    trainer = trainer_in(folder / "run", request.param)
    history = trainer.fit()
    trainer.run.close()
    return request.param, folder / "run", history


@pytest.mark.parametrize("every", [1, 2])
def test_stopping_every_few_batches_changes_no_bit(whole, tmp_path, every):
    settings, folder, history = whole
    run = tmp_path / "run"
    stops = 0
    before = 2 if settings.freeze == "backbone" else 0  # asked while features are computed
    for _ in range(100):
        trainer = trainer_in(run, settings, After(every + before))
        try:
            again = trainer.fit(resume=True)
        except Interrupted:
            stops += 1
            trainer.run.close()
        else:
            break
    assert stops >= 2
    assert without_seconds(again) == without_seconds(history)
    for name in ("last.safetensors", "best.safetensors"):
        assert same(tensors(run / name), tensors(folder / name)), name
    assert (run / "best.safetensors").read_bytes() == (folder / "best.safetensors").read_bytes()


def test_resuming_a_finished_run_only_gives_its_history(whole, tmp_path):
    settings, folder, history = whole
    before = contents(folder)
    trainer = trainer_in(folder, settings, After(0))
    assert trainer.fit(resume=True) == history
    trainer.run.close()
    assert contents(folder) == before


def test_the_table_is_made_good(tmp_path):
    """Killed between the checkpoint and summary.csv, which then lacks a row."""
    with trainer_in(tmp_path / "run", STEP).run as run:
        trainer = make_trainer(run, STEP)
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
    trainer = trainer_in(tmp_path / "run", STEP)
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
    trainer = trainer_in(tmp_path / "run", STEP, After(2))
    with pytest.raises(Interrupted):
        trainer.fit()
    trainer.run.close()
    path = tmp_path / "run" / "last.safetensors"
    good = path.read_bytes()
    state, metadata = load_checkpoint(path)
    key = "tinygrad_ft.state"
    text = json.loads(metadata[key])

    def resume() -> None:
        resumed = trainer_in(tmp_path / "run", STEP)
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
    for name in ("identity", "position", "model", "optimizer", "scheduler", "rng", "threads"):
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
