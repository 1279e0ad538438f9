"""Fine-tuning: what is loaded, what stays as it was, and that what stays costs nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from train_helpers import arrays, colours, make_model, make_trainer, same

from tinygrad_ft import nn
from tinygrad_ft.function import Function
from tinygrad_ft.io import WeightsError, save_checkpoint
from tinygrad_ft.models import create_model
from tinygrad_ft.nn import functional as F
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train import Settings, SettingsError, apply_freeze, load_pretrained

STAGES = ["stem", "layer1", "layer2", "layer3", "linear"]


@pytest.mark.parametrize(
    "freeze, frozen",
    [("none", 0), ("0", 0), ("1", 1), ("3", 3), ("4", 4), ("backbone", 4)],
)
@pytest.mark.parametrize("augment", ["none", "crop-flip"])
def test_what_is_frozen_keeps_its_bits(tmp_path, freeze, frozen, augment):
    """Weights and batch-norm statistics; and all the rest learns."""
    model = make_model()
    assert apply_freeze(model, freeze) == STAGES[:frozen]
    before = {n: arrays(m) for n, m in model.stage_modules()}
    settings = Settings(epochs=2, batch_size=8, freeze=freeze, augment=augment)
    trainer = make_trainer(tmp_path, settings, model=model)
    assert trainer.on_features == (frozen == 4 and augment == "none")
    trainer.fit()
    for number, (name, stage) in enumerate(model.stage_modules()):
        after = arrays(stage)
        if number < frozen:
            assert same(after, before[name]), name
        else:
            assert not any(np.array_equal(after[key], before[name][key]) for key in after), name


@pytest.mark.parametrize("freeze", ["5", "17"])
def test_more_stages_than_there_are(freeze):
    message = rf"--freeze {freeze}: the model has 4 stages before its last layer \(stem, layer1"
    with pytest.raises(SettingsError, match=message):
        apply_freeze(make_model(), freeze)


def recorded(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...] = (4, 3, 8, 8)
) -> tuple[list[str], Tensor]:
    """The ops of a training step that are recorded, and its loss."""
    names: list[str] = []
    record = Function._record

    def note(self: Function, *args: Any) -> None:
        names.append(self.name)
        record(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Function, "_record", note)
        inputs = Tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32))
        loss = F.cross_entropy(model.train()(inputs), Tensor(np.array([0, 1, 2, 0])))
    return names, loss


def test_a_frozen_backbone_costs_no_gradient_work(monkeypatch):
    """No op of it is recorded: it keeps no activations, and there is no backward to run."""
    model = make_model()
    free, _ = recorded(model, monkeypatch)
    assert sum("Conv" in name for name in free) == 7
    assert sum("Norm" in name for name in free) == 7
    apply_freeze(model, "backbone")
    frozen, loss = recorded(model, monkeypatch)
    head_alone, _ = recorded(model.get_classifier(), monkeypatch, (4, 16))
    assert frozen == head_alone
    loss.backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {"linear.weight", "linear.bias"}


def test_frozen_stages_cost_no_gradient_work(monkeypatch):
    model = make_model()
    apply_freeze(model, "3")
    names, loss = recorded(model, monkeypatch)
    assert sum("Conv" in name for name in names) == 2  # layer3 of one block
    loss.backward()
    for name, p in model.named_parameters():
        assert (p.grad is not None) == name.startswith(("layer3.", "linear.")), name


def test_features_computed_once_train_the_head_as_images_do(tmp_path):
    """The same order, the same steps; only the shapes that the kernels see differ."""
    heads, histories = [], []
    for once in (True, False):
        model = make_model()
        apply_freeze(model, "backbone")
        settings = Settings(epochs=4, batch_size=7, augment="none", freeze="backbone", lr=0.05)
        val = colours(3, seed=1)
        trainer = make_trainer(tmp_path / str(once), settings, val=val, model=model)
        assert trainer.on_features
        trainer.on_features = once
        histories.append(trainer.fit())
        heads.append(arrays(model.get_classifier()))
    for name in heads[0]:
        np.testing.assert_allclose(heads[0][name], heads[1][name], rtol=1e-3, atol=1e-5)
    for a, b in zip(*histories, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"seconds"}:
            assert a[name] == pytest.approx(b[name], rel=1e-3), name


def test_features_are_computed_once(tmp_path, monkeypatch):
    model = make_model()
    apply_freeze(model, "backbone")
    settings = Settings(epochs=5, batch_size=8, augment="none", freeze="backbone")
    trainer = make_trainer(tmp_path, settings, val=colours(2, seed=1), model=model)
    images = 0
    forward = model.forward_features

    def count(x: Tensor) -> Tensor:
        nonlocal images
        images += len(x)
        return forward(x)

    monkeypatch.setattr(model, "forward_features", count)
    trainer.fit()
    assert images == 24 + 6


@pytest.mark.parametrize("what", ["parameter", "norm"])
def test_no_features_if_anything_before_the_head_can_change(tmp_path, what):
    model = make_model()
    apply_freeze(model, "backbone")
    if what == "parameter":
        model.conv1.requires_grad_(True)
    else:
        model.bn1.frozen = False
    settings = Settings(epochs=1, batch_size=8, augment="none", freeze="backbone")
    assert not make_trainer(tmp_path, settings, model=model).on_features


def saved(path: Any, model: Any, change: dict[str, Any] | None = None) -> Any:
    values = {name: v.numpy() for name, v in model.state_dict().items()} | (change or {})
    save_checkpoint(path, {n: v for n, v in values.items() if v is not None}, {})
    return path


def test_pretrained_weights_under_a_new_head(tmp_path):
    source = make_model(1)
    path = saved(tmp_path / "w.safetensors", source)
    model = create_model("resnet8", width=4, num_classes=5)
    head = arrays(model.get_classifier())
    report = load_pretrained(model, path)
    assert set(report.replaced) == {"linear.weight", "linear.bias"}
    assert same(arrays(model.get_classifier()), head)
    for (name, stage), (_, theirs) in zip(
        model.stage_modules()[:-1], source.stage_modules()[:-1], strict=True
    ):
        assert same(arrays(stage), arrays(theirs)), name


def test_pretrained_weights_with_the_same_head_a_missing_one_and_a_foreign_one(tmp_path):
    source = make_model(1)
    model = make_model(2)
    load_pretrained(model, saved(tmp_path / "a", source))
    assert same(arrays(model), arrays(source))
    none = {"linear.weight": None, "linear.bias": None}
    model = make_model(2)
    load_pretrained(model, saved(tmp_path / "b", source, none))
    assert same(arrays(model.layer3), arrays(source.layer3))
    other = {**none, "fc.weight": np.ones((9, 16), np.float32), "fc.bias": np.ones(9, np.float32)}
    model = make_model(2)
    load_pretrained(model, saved(tmp_path / "c", source, other))
    assert same(arrays(model.layer3), arrays(source.layer3))
    counters = {n: None for n in source.state_dict() if n.endswith("num_batches_tracked")}
    model = make_model(2)
    load_pretrained(model, saved(tmp_path / "d", source, counters))
    assert np.array_equal(model.conv1.weight.numpy(), source.conv1.weight.numpy())


@pytest.mark.parametrize(
    "source, options",
    [
        ("resnet20", {"width": 4}),  # more blocks in the file
        ("resnet8", {"width": 5}),  # other channels
        ("resnet8", {"width": 4, "in_chans": 1}),  # grey
        ("resnet18", {"width": 4, "small_input": True}),  # another family
    ],
)
def test_weights_of_another_architecture_are_refused(tmp_path, source, options):
    path = saved(tmp_path / "w.safetensors", create_model(source, num_classes=3, **options))
    model = make_model()
    before = arrays(model)
    with pytest.raises(WeightsError, match="made for another architecture"):
        load_pretrained(model, path)
    assert same(arrays(model), before)


def test_weights_that_lack_a_block_are_refused(tmp_path):
    path = saved(tmp_path / "w.safetensors", make_model())
    with pytest.raises(WeightsError, match=r"only the model has layer1\.1"):
        load_pretrained(create_model("resnet20", width=4, num_classes=3), path)
