"""The comparison of what is computed: on a handful of images, and its arithmetic."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import kernels
import tinygrad_ft as tg
from benchmarks import agreement, agreement_problem
from benchmarks.agreement_errors import STEMS, error_table, layer_errors, relative_error
from benchmarks.agreement_switches import switched
from benchmarks.cases._convolutions import Convolution

torch = pytest.importorskip("torch")

from benchmarks.agreement_gradients import compare  # noqa: E402
from benchmarks.agreement_problem import open_problem  # noqa: E402
from benchmarks.agreement_report import (  # noqa: E402
    ratios,
    smoothed,
    strays,
    verdict,
    windows,
)
from benchmarks.agreement_training import (  # noqa: E402
    CHANNELS_LAST,
    DIRECT,
    OURS,
    REFERENCE,
    UNFUSED,
    Training,
    furthest_below,
    one_ulp_off,
    train_ours,
    train_torch,
)
from benchmarks.torch_modes import Mode  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six images to train on and four for the test, of two classes."""
    path = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 2)):
        for name in ("dark", "light"):
            (path / split / name).mkdir(parents=True)
            for i in range(count):
                noise = random.integers(0, 128, (32, 32, 3)) + 127 * (name == "light")
                Image.fromarray(noise.astype(np.uint8)).save(path / split / name / f"{i}.png")
    return path


@pytest.fixture(autouse=True)
def _small(tmp_path_factory, monkeypatch):
    """Quarter of the pixels, and a cache of the test's own."""
    monkeypatch.setattr(agreement_problem, "SIZE", 16)
    # not by the environment: there the compiled kernels would be looked for as well
    folder = tmp_path_factory.getbasetemp() / "agreement-cache"
    monkeypatch.setattr("tinygrad_ft.data.cache.cache_dir", lambda: folder)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    kernels.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def problem(folder):
    return open_problem(folder, steps=3, lr=0.001, batch=4, seed=0)


def test_batches_are_the_same_at_each_call(problem):
    first, again = list(problem.batches()), list(problem.batches())
    assert len(first) == problem.steps  # more than an epoch: six images make one batch of four
    for a, b in zip(first, again, strict=True):
        assert a[0].shape == (4, 3, 16, 16)
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
    assert not np.array_equal(first[0][0], first[1][0])
    assert sum(len(labels) for _, labels in problem.test_batches()) == 4


def test_everyone_trains_the_same_network(problem):
    right = train_torch(problem, Mode("NCHW"))
    assert right.losses.shape == (3,)
    # other updates would be noticed
    assert abs(right.losses[2] - right.losses[0]) > 0.02 * right.losses[0]
    for found in (
        train_torch(problem, Mode("channels_last"), rounded=True),
        train_ours(problem),
        train_ours(problem, winograd=False, fusion=False),
    ):
        np.testing.assert_allclose(found.losses, right.losses, rtol=3e-3)
        assert found.furthest == pytest.approx(right.furthest, rel=1e-2)


def test_first_gradient(problem):
    found = compare(problem)
    apart, flips = found.checks
    assert apart < 1e-11 and flips == 0
    assert len(found.layers) == 20 and found.layers[0] == "conv1"
    assert len(found.double.masks) == 19
    assert list(found.free) == list(found.held)
    # with the same masks everyone is right but for rounding
    assert np.max(found.errors(found.held)) < 1e-3
    assert np.min(found.errors(found.held)) > 0
    # masks that were held are those of float64, up to values that are 0 or on the wrong side of it
    for run in found.held.values():
        assert all((a <= b).all() for a, b in zip(run.masks, found.double.masks, strict=True))

    # and a place that is switched by hand is counted where it is
    run = found.free[OURS]
    before = found.flips()
    run.masks[4][0, 0, 0, 0] ^= True
    after = found.flips()
    assert np.abs(np.subtract(after, before)).sum() == 1
    assert np.subtract(after, before)[4, 0] in (-1, 1)


def test_layer_errors():
    wide = layer_errors(Convolution(16, 24, 12, 4))
    assert all(1e-8 < error < 2e-6 for error in wide.direct)
    assert all(
        direct < winograd < 1e-4
        for winograd, direct in zip(wide.winograd, wide.direct, strict=True)
        if winograd is not None
    )
    assert None not in wide.winograd
    stem = layer_errors(Convolution(3, 8, 8, 2))
    assert stem.winograd == [None] * 3  # too few channels for Winograd
    table = error_table([wide, stem])
    assert [name for name, _ in table.sections] == ["stride 1", "3 input channels"]
    assert table.sections[1][1][0][1] == "-"


def test_relative_error():
    right = np.array([3.0, 4.0])
    assert relative_error(np.array([3.0, 4.5], np.float32), right) == pytest.approx(0.1)


def test_switches_are_put_back():
    with switched(winograd=False):
        with switched(fusion=False):
            assert (kernels.winograd_enabled(), tg.fusion_enabled()) == (True, False)
        assert (kernels.winograd_enabled(), tg.fusion_enabled()) == (False, True)
    assert kernels.winograd_enabled()


def test_one_ulp_off():
    weights = {
        "conv1.weight": np.linspace(-1, 1, 999, dtype=np.float32),
        "bn1.running_var": np.ones(3, np.float32),
    }
    moved = one_ulp_off(weights, 0)
    difference = np.abs(moved["conv1.weight"] - weights["conv1.weight"])
    assert (difference > 0).all()
    assert (difference <= np.spacing(np.float32(1))).all()
    np.testing.assert_array_equal(moved["bn1.running_var"], weights["bn1.running_var"])


def test_furthest_below():
    logits = np.array([[1, 5, 2], [7, 0, 0]], np.float32)
    assert furthest_below(logits, np.array([0, 0])) == 4
    assert furthest_below(logits, np.array([1, 2])) == 7


def test_smoothing_and_windows():
    losses = np.arange(25.0) ** 2
    expected = [losses[max(0, i - 9) : i + 1].mean() for i in range(25)]
    np.testing.assert_allclose(smoothed(losses), expected)
    assert windows(60) == [slice(0, 10), slice(10, 20), slice(20, 50), slice(50, 60)]
    assert windows(3) == [slice(0, 3)]


def trainings(**offsets):
    names = {"last": CHANNELS_LAST, "ours": OURS, "direct": DIRECT, "unfused": UNFUSED}
    losses = np.linspace(2, 1, 15)
    found = {REFERENCE: Training(losses, 0.5, 3.0)}
    for key, offset in offsets.items():
        found[names[key]] = Training(losses + offset, 0.5, 3.0)
    return found


def test_straying():
    found = trainings(last=0.01, ours=0.03, direct=-0.005)
    np.testing.assert_allclose(strays(found)[OURS], [0.03, 0.03])
    np.testing.assert_allclose(ratios(found, OURS), [3, 3])
    ours, direct, finite = verdict(found)
    assert ours.startswith("ours strays from PyTorch NCHW 3.00 times as far as")
    assert direct.startswith("ours, no Winograd strays from PyTorch NCHW no further")
    assert finite == "every loss is finite"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_losses_that_are_not_finite_are_named(bad):
    found = trainings(last=0.01, ours=0.03, unfused=0.02)
    found[OURS].losses[4] = bad
    straying, broken = verdict(found)
    assert straying.startswith(UNFUSED)
    assert broken == "losses that are not finite: ours"


def test_command(folder, tmp_path):
    words = [str(folder), "--steps", "1", "--batch", "4", "--markdown", "--threads", "1"]
    words += ["--out", str(tmp_path)]
    done = CliRunner().invoke(agreement.main, words, catch_exceptions=False)
    assert done.exit_code == 0
    for title in ("the first gradient against float64", "losses", "at the end"):
        assert f"**{title}**" in done.stdout
    assert "every loss is finite" in done.stdout
    with Image.open(tmp_path / "agreement.png") as picture:
        assert picture.width > 600


def test_command_errors_only(monkeypatch):
    monkeypatch.setattr(agreement, "LAYERS", STEMS[:1])
    monkeypatch.setattr(
        agreement, "layer_errors", lambda layer: layer_errors(Convolution(16, 16, 8, 4))
    )
    done = CliRunner().invoke(
        agreement.main, ["--errors", "--threads", "1"], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert "3x3 16@8 b4" in done.stdout


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "give DATA"),
        (["{folder}/train", "--batch", "4"], "needs the splits train and test, it has none"),
        (["{folder}", "--batch", "64"], "6 training images, fewer than a batch of 64"),
    ],
)
def test_wrong_usage(folder, words, message):
    done = CliRunner().invoke(agreement.main, [word.format(folder=folder) for word in words])
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
