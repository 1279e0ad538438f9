"""What is timed and what is not."""

import numpy as np
import pytest

from benchmarks.case import OURS, Case, Probe
from benchmarks.runner import run
from benchmarks.timing import QUICK, Effort


def case(ours, tolerance=1e-4, calls_compared=1, **peers):
    return Case("name", "group", ours, peers, tolerance=tolerance, calls_compared=calls_compared)


def test_equal_results_are_timed():
    found = run("suite", case(lambda: np.ones(3), numpy=lambda: np.ones(3) * (1 + 1e-6)), QUICK)
    assert set(found.samples) == {OURS, "numpy"}
    assert found.checked == ["numpy"]
    assert found.samples[OURS].first > 0
    assert not found.error


@pytest.mark.parametrize(
    "wrong, words",
    [
        (np.array([1.0, 2.0, 3.01]), "differs by 0.01"),
        (np.array([1.0, np.nan, 3.0]), "differs by nan"),
        (np.array([[1.0, 2.0, 3.0]]), r"shape \(1, 3\)"),
    ],
)
def test_a_wrong_kernel_is_not_timed(wrong, words):
    calls = []

    def ours():
        calls.append(1)
        return wrong

    found = run("suite", case(ours, numpy=lambda: np.array([1.0, 2.0, 3.0])), QUICK)
    assert len(calls) == 1
    assert not found.timed
    assert found.ratios() == {}
    with pytest.raises(AssertionError, match=words):
        assert not found.error, found.error


def test_tolerance_is_a_share_of_the_greatest_value():
    ours, peer = (lambda: np.array([1000.0, 0.05])), (lambda: np.array([1000.0, 0.0]))
    assert run("suite", case(ours, numpy=peer), QUICK).timed
    assert not run("suite", case(ours, tolerance=1e-5, numpy=peer), QUICK).timed


def test_later_calls_are_compared_too():
    """As in training: the first loss is right, the gradients are not."""
    ours, peer = iter([1.0, 0.9, 0.8]), iter([1.0, 0.5, 0.3])
    found = run("s", case(lambda: next(ours), calls_compared=3, numpy=lambda: next(peer)), QUICK)
    assert found.error.startswith("wrong")


def test_results_that_differ_by_nature():
    found = run("suite", case(lambda: 1.0, tolerance=None, numpy=lambda: 2.0), QUICK)
    assert found.timed
    assert found.checked == []


def test_a_failing_peer_is_left_out_by_name():
    def fails():
        raise RuntimeError("no working C++ compiler\nlong explanation")

    found = run("suite", case(lambda: 1.0, numpy=lambda: 1.0, torch=fails), QUICK)
    assert set(found.samples) == {OURS, "numpy"}
    assert found.skipped == {"torch": "RuntimeError: no working C++ compiler"}


def test_ours_failing_is_an_error():
    def fails():
        raise ValueError("shapes do not fit")

    found = run("suite", case(fails, numpy=lambda: 1.0), QUICK)
    assert found.error == "ValueError: shapes do not fit"
    assert not found.timed


def test_probes_are_asked_in_turns():
    asked = []

    def answer(name, value):
        def ask():
            asked.append(name)
            return value

        return ask

    def fails():
        raise RuntimeError("gone")

    peers = {"numpy": answer("numpy", 4.0), "torch": fails}
    probe = Probe("name", "group", "s", answer(OURS, 2.0), peers, rounds=3)
    found = run("suite", probe, Effort())
    assert asked == [OURS, "numpy"] * 3
    assert found.samples[OURS].values == [2.0] * 3
    assert found.ratios() == {"numpy": 0.5}
    assert found.skipped == {"torch": "RuntimeError: gone"}
