"""Ratios, best modes and geometric means, on numbers that can be worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.results import Result, best_modes, geometric_mean, group_ratios
from benchmarks.timing import Samples


def result(name="case", group="group", suite="suite", **medians):
    """A timed result; `torch_eager_NCHW=2` stands for the label "torch eager NCHW"."""
    # the slow sample must not move the median
    samples = {
        label.replace("_", " "): Samples([value, value, 9 * value])
        for label, value in medians.items()
    }
    return Result(suite, name, group, samples=samples)


def test_geometric_mean_by_hand():
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1)
    assert geometric_mean([1, 10, 100]) == pytest.approx(10)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20))
def test_geometric_mean_of_inverses_is_the_inverse(values):
    """Which of the two is called "ours" must not matter; an arithmetic mean fails this."""
    assert geometric_mean([1 / v for v in values]) == pytest.approx(1 / geometric_mean(values))


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [-1.0]])
def test_geometric_mean_refuses(values):
    with pytest.raises(ValueError, match="positive"):
        geometric_mean(values)


def test_ratio_is_ours_over_peer_and_best_is_the_fastest_mode():
    ratios = result(
        ours=3,
        numpy=6,
        torch_eager_NCHW=12,
        torch_eager_channels_last=4,
        torch_compile_NCHW=2,
    ).ratios()
    assert ratios == {
        "numpy": 0.5,
        "torch eager NCHW": 0.25,
        "torch eager channels last": 0.75,
        "torch compile NCHW": 1.5,
        "torch eager best": 0.75,
        "torch best": 1.5,
    }


def test_best_is_chosen_for_each_case():
    rows = group_ratios(
        [
            result("a", ours=1, torch_eager_NCHW=2, torch_eager_channels_last=4),
            result("b", ours=1, torch_eager_NCHW=8, torch_eager_channels_last=4),
        ]
    )
    found = {row.peer: row.ratio for row in rows}
    assert found["torch eager NCHW"] == pytest.approx(1 / 4)  # of 1/2 and 1/8
    assert found["torch eager channels last"] == pytest.approx(1 / 4)
    assert found["torch best"] == pytest.approx((1 / 2 * 1 / 4) ** 0.5)


def test_modes_that_need_no_best():
    assert best_modes(["numpy", "torch", "ours in b32", "ours in b64"]) == {}
    assert list(best_modes(["torch eager NCHW", "torch eager channels_last"])) == ["torch best"]


def test_groups_are_apart_and_say_who_was_missing():
    rows = group_ratios(
        [
            result("a", "first", ours=1, numpy=2, torch=4),
            result("b", "first", ours=1, numpy=8),
            result("c", "second", ours=1, numpy=1),
            result("a", "first", suite="other", ours=3, numpy=1),
            Result("suite", "d", "first", error="wrong"),
        ]
    )
    found = {(row.suite, row.group, row.peer): (row.ratio, row.cases, row.of) for row in rows}
    assert found == {
        ("suite", "first", "numpy"): (pytest.approx(0.25), 2, 3),
        ("suite", "first", "torch"): (pytest.approx(0.25), 1, 3),
        ("suite", "second", "numpy"): (pytest.approx(1), 1, 1),
        ("other", "first", "numpy"): (pytest.approx(3), 1, 1),
    }


def test_evenness_of_own_variants():
    assert result(ours=2, ours_in_b32=4, ours_in_b64=2.5, torch=100).evenness == 0.5
    assert result(ours=2, torch=4, numpy=8).evenness is None
