"""The memory that is said beforehand is about the memory that is taken."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from train_helpers import arrays, colours, make_model, make_trainer, same

from tinygrad_ft import random
from tinygrad_ft.models import create_model
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train import Settings
from tinygrad_ft.train.finetuning import apply_freeze
from tinygrad_ft.train.recipe import memory
from tinygrad_ft.train.recipe.memory import MemoryNeed, NotEnoughMemory, available_memory, size

MB = 2**20
DRIVER = Path(__file__).with_name("measuring_memory.py")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "options", [{"batch_size": 64}, {"batch_size": 64, "freeze": "2", "augment": "none"}], ids=str
)
def test_it_is_what_a_run_takes(compiled, options):
    said = measured(options)
    assert said.returncode == 0, said.stderr
    expected, taken = (int(word) / MB for word in said.stdout.split())
    assert taken > 100
    assert 1 / 1.7 < expected / taken < 1.7, (expected, taken)


@pytest.fixture(scope="module")
def compiled() -> None:
    """A compiler would take memory too: whatever a run needs has been compiled by another one."""
    measured({"batch_size": 64})


def measured(options: dict[str, object]) -> subprocess.CompletedProcess[str]:
    """In a process of its own: a peak has no memory of whose it was."""
    places = os.pathsep.join([str(DRIVER.parents[2]), str(DRIVER.parent), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-P", str(DRIVER), repr(options)],
        env=os.environ | {"PYTHONPATH": places},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def need(**values: int) -> MemoryNeed:
    names = ("training", "evaluation", "optimizer", "saving", "batches", "features")
    return MemoryNeed(**{**dict.fromkeys(names, 0), "libraries": 0, **values})


def test_a_trial_leaves_no_trace(tmp_path):
    model = make_model()
    settings = Settings(epochs=4, batch_size=8, head_epochs=2, augment="none")
    trainer = make_trainer(tmp_path, settings, model=model, val=colours(4))
    before, state, mode = arrays(model), random.get_rng_state(), model.training
    learns = [p.requires_grad for p in model.parameters()]
    found = trainer.memory_need()
    assert same(arrays(model), before)
    assert random.get_rng_state() == state
    assert model.training == mode
    assert [p.requires_grad for p in model.parameters()] == learns
    assert all(p.grad is None for p in model.parameters())
    # the head's features: 16 floats of each of 24 + 12 images
    assert found.features == 4 * 16 * 36
    assert found.total > found.training > 0


def test_it_grows_with_what_is_asked_for(tmp_path):
    many = colours(100)

    def of(name: str, **options: object) -> MemoryNeed:
        settings = Settings(**({"epochs": 2, "batch_size": 64} | options))
        return make_trainer(tmp_path / name, settings, train=many, val=colours(4)).memory_need()

    plain = of("a")
    assert of("b", batch_size=256).training > 2.5 * plain.training
    assert of("c", freeze="backbone").training < 0.5 * plain.training
    adam, averaged = of("d", optimizer="adamw"), of("e", ema=0.9)
    assert adam.optimizer == 2 * plain.optimizer
    assert averaged.optimizer > 3 * plain.optimizer
    assert of("f", accumulate=4).batches == 4 * plain.batches
    assert of("g", momentum=0.0).optimizer == 0
    most, more = of("j", batch_size=300), of("k", batch_size=10**6)
    assert more.training == pytest.approx(most.training, rel=0.2), "no batch has more images"
    assert more.batches == most.batches
    assert of("h", batch_size=256).optimizer == plain.optimizer
    assert of("i", freeze="backbone").optimizer < 0.1 * plain.optimizer


def test_the_message_says_what_to_do():
    need(training=100).check(None)
    need(training=100).check(100)
    for largest, words in (
        ("training", "a smaller --batch-size, with --accumulate"),
        ("features", "a smaller --feature-cache-mb"),
        ("evaluation", "smaller images"),
    ):
        with pytest.raises(NotEnoughMemory, match=words) as error:
            need(**{"optimizer": 500 * MB, "training": MB, largest: 400 * MB}).check(800 * MB)
        text = str(error.value)
        assert ("900 MB" in text or "901 MB" in text) and "800 MB are free" in text, text
    assert isinstance(error.value, MemoryError)


def test_a_jump_between_two_sizes_is_not_what_an_image_costs(monkeypatch):
    """Four images and more take another way, which needs 100 MB once; an image takes 1 MB."""
    monkeypatch.setattr(memory, "_peak", lambda work: work() or sizes[-1] * MB + jump(sizes[-1]))
    sizes: list[int] = []

    def jump(images: int) -> int:
        return 100 * MB * (images >= 4)

    def estimated(images: int) -> float:
        return memory._extrapolated(sizes.append, images) / MB / (9 / 8)

    assert estimated(64) == pytest.approx(164)
    assert max(sizes) == 8
    assert estimated(3) == pytest.approx(3)
    assert estimated(1) == pytest.approx(1)


@pytest.mark.parametrize("available", [5, 19, 39, 79, 159, 1000, None])
def test_no_trial_takes_more_than_there_is(monkeypatch, available):
    """The weights take 3 MB, an image 10 MB, as foreseen."""
    monkeypatch.setattr(memory, "_peak", lambda work: work() or (3 + 10 * tried[-1]) * MB)
    tried: list[int] = []
    limit = None if available is None else available * MB
    found = memory._extrapolated(tried.append, 12, limit, 10 * MB)
    assert limit is None or all(10 * n * MB <= limit for n in tried)
    assert found / MB == pytest.approx(123, rel=0.13)
    assert limit is None or (found > limit) == (available < 123), "refused if it does not fit"
    assert (max(tried, default=0) == 8) == (available is None or available >= 80)
    assert not tried or available is None or available >= 60, "beyond doubt"


def test_what_a_pass_foretells():
    """Within a factor of two of what a step is then seen to take for each image; less if layers are
    frozen."""
    model = create_model("resnet20", num_classes=10)
    foretold = memory._kept_for_an_image(model, (3, 32, 32))

    def learn(images: int) -> None:
        model.train()
        model(Tensor(np.zeros((images, 3, 32, 32), np.float32))).sum().backward()
        model.zero_grad()

    peaks = []
    for n in (4, 12):
        learn(n)
        peaks.append(memory._peak(partial(learn, n)))
    assert 1 / 2 < foretold / ((peaks[1] - peaks[0]) / 8) < 2
    apply_freeze(model, "2")
    assert memory._kept_for_an_image(model, (3, 32, 32)) < 0.6 * foretold


def test_sizes_in_words():
    assert size(3 * MB) == "3 MB"
    assert size(1300 * MB) == "1.3 GB"
    line = need(training=300 * MB, optimizer=40 * MB).describe()
    assert line.startswith("memory: about 340 MB more (training 300 MB, evaluation 0 MB")


def test_what_is_available():
    found = available_memory()
    assert found is None or 10 * MB < found < 2**50


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's files")
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("group", ["", "user.slice/mine.scope", "user.slice"])
def test_the_limit_of_a_control_group_counts(monkeypatch, version, group):
    """Its own or one around it; files that are only kept in memory do not count as used."""
    root = f"/sys/fs/cgroup{'/memory' * (version == 1)}/{group}".rstrip("/")
    limit, used = (
        ("limit_in_bytes", "usage_in_bytes") if version == 1 else ("max", "current")
    )  # fmt: skip
    stat = {"anon": 100, "inactive_file": 60, "active_file": 30, "slab": 10}
    known = {
        "/proc/meminfo": f"MemTotal: 9000000 kB\nMemAvailable: {2000 * 1024} kB\n",
        "/proc/self/cgroup": f"1:cpu:/x\n4:{'memory' * (version == 1)}:/user.slice/mine.scope\n",
        f"{root}/memory.{limit}": f"{700 * MB}\n",
        f"{root}/memory.{used}": f"{200 * MB}\n",
        f"{root}/memory.stat": "".join(
            f"{'total_' * (version == 1)}{name} {n * MB}\n" for name, n in stat.items()
        ),
    }

    def read(path: Path, *args: object, **options: object) -> str:
        if str(path) not in known:
            raise FileNotFoundError(str(path))
        return known[str(path)]

    monkeypatch.setattr(memory.Path, "read_text", read)
    assert available_memory() == 590 * MB
    known[f"{root}/memory.{limit}"] = "max\n"
    assert available_memory() == 2000 * MB
