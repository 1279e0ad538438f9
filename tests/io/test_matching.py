"""What fits a model, what replaces its head, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_ft.io import WeightsError, match_weights

MODEL = {
    "conv1.weight": (16, 3, 3, 3),
    "bn1.weight": (16,),
    "bn1.running_mean": (16,),
    "bn1.num_batches_tracked": (),
    "fc.weight": (10, 16),
    "fc.bias": (10,),
}


def arrays(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return {name: np.full(shape, 1.0, np.float32) for name, shape in shapes.items()}


def renamed(old: str, new: str) -> dict[str, tuple[int, ...]]:
    return {name.replace(old, new): shape for name, shape in MODEL.items()}


def test_everything_matches():
    loaded = arrays(MODEL)
    report = match_weights(MODEL, loaded, source="w.pth")
    assert list(report.matched) == list(MODEL)
    assert [report.missing, report.unexpected] == [(), ()]
    assert [report.replaced, report.mismatched] == [{}, {}]
    assert report.share == 1.0
    assert report.numbers == 16 * 27 + 32 + 1 + 170
    assert report.select(loaded)["fc.bias"] is loaded["fc.bias"]
    assert str(report) == (
        "w.pth: matched 6 tensors, 635 numbers (100.0% of the model without its head)"
    )


def test_missing_counters_are_no_problem():
    shapes = {name: shape for name, shape in MODEL.items() if "num_batches" not in name}
    for expected, loaded in ((MODEL, shapes), (shapes, MODEL)):
        report = match_weights(expected, arrays(loaded))
        assert not report.missing
        assert not report.unexpected
        assert report.share == 1.0


def test_head_with_other_classes_is_replaced():
    report = match_weights(MODEL | {"fc.weight": (4, 16), "fc.bias": (4,)}, arrays(MODEL))
    assert report.replaced == {"fc.weight": ((10, 16), (4, 16)), "fc.bias": ((10,), (4,))}
    assert "fc.weight" not in report.matched
    assert report.share == 1.0
    assert "replaced    fc.weight: (10, 16) in the file, (4, 16) in the model" in str(report)


@pytest.mark.parametrize("name", ["linear", "classifier", "head"])
def test_head_of_another_name(name):
    loaded = arrays(renamed("fc", name))
    report = match_weights(MODEL, loaded)
    assert report.matched["fc.weight"] == f"{name}.weight"
    assert not report.unexpected
    assert report.select(loaded)["fc.weight"] is loaded[f"{name}.weight"]
    assert f"renamed     {name}.weight -> fc.weight" in str(report)
    other = match_weights(MODEL | {"fc.weight": (4, 16), "fc.bias": (4,)}, loaded)
    assert other.replaced["fc.bias"] == ((10,), (4,))
    assert not other.unexpected


def test_two_possible_heads_are_not_guessed():
    loaded = arrays(renamed("fc", "linear") | {"classifier.weight": (10, 16)})
    report = match_weights(MODEL, loaded)
    assert report.missing == ("fc.weight", "fc.bias")
    assert set(report.unexpected) == {"linear.weight", "linear.bias", "classifier.weight"}
    assert "missing     fc.weight, fc.bias" in str(report)


def test_a_head_of_another_width_is_a_mismatch():
    report = match_weights(MODEL | {"fc.weight": (4, 32), "fc.bias": (4,)}, arrays(MODEL))
    assert report.mismatched == {"fc.weight": ((10, 16), (4, 32))}


def test_missing_left_over_and_mismatched():
    shapes = {name: shape for name, shape in MODEL.items() if name != "bn1.weight"}
    shapes |= {"extra.weight": (1,), "bn1.running_mean": (8,)}
    report = match_weights(MODEL, arrays(shapes))
    assert report.missing == ("bn1.weight",)
    assert report.unexpected == ("extra.weight",)
    assert report.mismatched == {"bn1.running_mean": ((8,), (16,))}
    body = 16 * 27 + 16 + 16  # a counter is not counted
    assert report.share == pytest.approx((body - 32) / body)


def test_the_share_is_counted_in_numbers_and_without_the_head():
    expected = {"a.weight": (60,), "b.weight": (40,), "fc.weight": (1000, 1000)}
    head = {"fc.weight": (1000, 1000)}
    assert match_weights(expected, arrays({"a.weight": (60,)} | head)).share == 0.6
    with pytest.raises(WeightsError, match="40% of the model's numbers, head apart"):
        match_weights(expected, arrays({"b.weight": (40,)} | head))
    assert match_weights(expected, arrays({"b.weight": (40,)}), min_share=0.3).share == 0.4


def test_refusal_names_both_sides():
    other = {f"features.{i}.weight": (3, 3) for i in range(9)}
    with pytest.raises(WeightsError) as caught:
        match_weights(MODEL, arrays(other), source="vgg.pth")
    message = str(caught.value)
    assert message.startswith("vgg.pth does not fit this model: 0%")
    assert "only the model has conv1.weight" in message
    assert "only the file has features.0.weight" in message
    assert "and 5 more" in message
    wider = {n: tuple(2 * d for d in s) for n, s in MODEL.items()}
    with pytest.raises(
        WeightsError, match=r"conv1.weight is \(32, 6, 6, 6\) in the file and \(16, 3"
    ):
        match_weights(MODEL, arrays(wider))


def test_a_model_of_only_a_head():
    head = {"fc.weight": (2, 3)}
    assert match_weights(head, arrays(head)).share == 1.0
