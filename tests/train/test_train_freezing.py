"""Fine-tuning: what is loaded, what stays as it was, and that what stays costs nothing."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from train_helpers import arrays, colours, make_model, make_trainer, same

from tinygrad_ft import nn
from tinygrad_ft.function import Function
from tinygrad_ft.io import WeightsError, save_checkpoint
from tinygrad_ft.models import create_model
from tinygrad_ft.nn import functional as F
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train import Settings, SettingsError, apply_freeze, load_pretrained
from tinygrad_ft.train.frozen_features import forward_from, forward_to
from tinygrad_ft.train.progress import Reporter
from tinygrad_ft.train.recipe.freezing import FreezePlan, untouched_stages

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
    trainer.fit()
    assert trainer.inputs.first_stage == (frozen if augment == "none" else 0)
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


@pytest.mark.parametrize("freeze", ["backbone", "1", "2", "3"])
def test_features_computed_once_train_the_rest_as_images_do(tmp_path, freeze):
    """The same order, the same steps; only the shapes that the kernels see differ."""
    states, histories = [], []
    for megabytes in (1, 0):
        model = make_model()
        settings = Settings(
            epochs=3, batch_size=7, augment="none", freeze=freeze, lr=0.01,
            feature_cache_mb=megabytes,
        )  # fmt: skip
        val = colours(3, seed=1)
        trainer = make_trainer(tmp_path / str(megabytes), settings, val=val, model=model)
        histories.append(trainer.fit())
        assert (trainer.inputs.first_stage > 0) == (megabytes > 0)
        states.append(arrays(model))
    for name in states[0]:
        np.testing.assert_allclose(
            states[0][name], states[1][name], rtol=1e-3, atol=1e-4, err_msg=name
        )
    for a, b in zip(*histories, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"seconds"}:
            assert a[name] == pytest.approx(b[name], rel=1e-3), name


@pytest.mark.parametrize("name", ["resnet8", "resnet18"])
def test_the_two_halves_of_a_network_are_the_network(name):
    options = {"small_input": False} if name == "resnet18" else {}
    model = create_model(name, width=8, num_classes=3, **options).eval()
    x = Tensor(np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32))
    names = [n for n, _ in model.named_modules()]
    for stages in range(1, len(model.stage_modules())):
        halfway = forward_to(model, stages, x)
        assert halfway.ndim == (2 if stages == len(model.stage_modules()) - 1 else 4)
        scores = forward_from(model, stages, halfway)
        np.testing.assert_array_equal(scores.numpy(), model(x).numpy())
    assert [n for n, _ in model.named_modules()] == names


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
    looked_at = 1 + 2  # for the size of a feature, and of a batch: of the features and the judging
    assert images == looked_at + 24 + 6


@pytest.mark.parametrize("what", ["parameter", "norm"])
def test_no_features_of_a_stage_in_which_anything_can_change(what):
    model = make_model()
    apply_freeze(model, "backbone")
    assert untouched_stages(model) == 4
    if what == "parameter":
        model.layer2[0].conv1.weight.requires_grad_(True)
    else:
        model.layer2[0].bn1.frozen = False
    assert untouched_stages(model) == 2


@pytest.mark.parametrize("change", [{"augment": "flip"}, {"mixup": 0.2}, {"cutmix": 1.0}])
def test_no_features_of_images_that_change(tmp_path, change):
    settings = Settings(**{"epochs": 1, "batch_size": 8, "augment": "none", "freeze": "backbone"}
                        | change)  # fmt: skip
    trainer = make_trainer(tmp_path, settings)
    trainer.fit()
    assert trainer.inputs.first_stage == 0


# ---- plans ---------------------------------------------------------------------------------------


def frozen_by_epoch(epochs: int, **settings: Any) -> list[int]:
    plan = FreezePlan.of(make_model(), Settings(epochs=epochs, **settings))
    return [plan.frozen(epoch) for epoch in range(epochs)]


def test_plans():
    assert frozen_by_epoch(3) == [0, 0, 0]
    assert frozen_by_epoch(3, freeze="2") == [2, 2, 2]
    assert frozen_by_epoch(4, head_epochs=2) == [4, 4, 0, 0]
    assert frozen_by_epoch(4, head_epochs=1, freeze="3") == [4, 3, 3, 3]
    assert frozen_by_epoch(6, freeze="backbone", unfreeze_every=1) == [4, 3, 2, 1, 0, 0]
    assert frozen_by_epoch(6, freeze="2", unfreeze_every=2) == [2, 2, 1, 1, 0, 0]


def test_a_plan_in_words():
    model = make_model()

    def words(**settings: Any) -> str:
        return FreezePlan.of(model, Settings(epochs=4, **settings)).describe(model, 4)

    assert words() == ""
    assert words(freeze="2") == "stem, layer1"
    assert words(freeze="2", unfreeze_every=1) == (
        "stem, layer1; stem from epoch 2; nothing from epoch 3"
    )


@pytest.mark.parametrize(
    "settings", [{"head_epochs": 2}, {"freeze": "3", "unfreeze_every": 1}], ids=str
)
@pytest.mark.parametrize("augment", ["none", "flip"])
def test_stages_begin_to_learn_when_they_are_unfrozen(tmp_path, settings, augment):
    """Weights, statistics and momentum; and not one bit before."""
    model = make_model()
    trainer = make_trainer(
        tmp_path, Settings(epochs=4, batch_size=8, augment=augment, **settings), model=model
    )
    before = {name: arrays(stage) for name, stage in model.stage_modules()}
    seen = []
    finish = trainer._finish_epoch

    def note() -> None:
        now = {name: arrays(stage) for name, stage in model.stage_modules()}
        seen.append([not same(now[name], before[name]) for name in before])
        still = [p for _, stage in model.stage_modules()[: trainer.plan.frozen(len(seen) - 1)]
                 for p in stage.parameters()]  # fmt: skip
        assert not any(p in trainer.optimizer.state for p in still)
        finish()

    trainer._finish_epoch = note
    history = trainer.fit()
    frozen = [trainer.plan.frozen(epoch) for epoch in range(4)]
    assert seen == [[number >= count for number in range(5)] for count in frozen]
    assert [row["frozen_stages"] for row in history] == frozen
    assert trainer.inputs.first_stage == 0


def test_batch_norms_are_unfrozen_with_their_stage_or_not_at_all(tmp_path):
    for keep in (False, True):
        model = make_model()
        statistics = {n: b.numpy().copy() for n, b in model.named_buffers() if "running" in n}
        settings = Settings(epochs=2, batch_size=8, head_epochs=1, freeze_norms=keep)
        make_trainer(tmp_path / str(keep), settings, model=model).fit()
        for name, value in model.named_buffers():
            if "running" in name:
                assert np.array_equal(value.numpy(), statistics[name]) == keep, name
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        assert all(norm.frozen == keep for norm in norms)
        assert all(p.requires_grad for p in model.parameters())


def test_what_the_caller_froze_stays_frozen(tmp_path):
    model = make_model()
    nn.freeze(model.layer3)
    before = arrays(model.layer3)
    make_trainer(tmp_path, Settings(epochs=2, batch_size=8), model=model).fit()
    assert same(arrays(model.layer3), before)


def test_features_that_take_too_much_are_computed_anew(tmp_path):
    text = io.StringIO()
    settings = Settings(epochs=2, batch_size=8, augment="none", freeze="2", feature_cache_mb=0)
    trainer = make_trainer(tmp_path, settings)
    trainer.inputs._reporter = Reporter(console=Console(file=text, soft_wrap=True))
    trainer.fit()
    assert text.getvalue().count("more than --feature-cache-mb") == 1


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
