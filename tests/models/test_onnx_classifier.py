"""Networks given as data: the same as the models they were made of, and nothing but networks."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import models, nn, optim
from tinygrad_ft.nn import functional as F

KINDS = {
    "resnet8": ({"width": 4, "in_chans": 1}, 16),
    "resnet20": ({"width": 4}, 16),
    "resnet18": ({"width": 4}, 32),
    "resnet18 small": ({"width": 4, "small_input": True}, 16),
    "resnet50": ({"width": 4}, 64),
}


def make(kind):
    """A model with statistics that are not those of a new one, and its twin made from data."""
    tg.manual_seed(0)
    options, size = KINDS[kind]
    model = models.create_model(kind.split()[0], num_classes=5, **options)
    rng = np.random.default_rng(0)
    for name, buffer in model.named_buffers():
        if buffer.dtype == np.float32:
            low = 0.5 if name.endswith("var") else -0.5
            buffer.copy_(tg.tensor(rng.uniform(low, low + 1, buffer.shape).astype(np.float32)))
    graph = json.loads(json.dumps(models.graph_of(model, size)))
    twin = models.create_model("onnx", graph=graph, num_classes=5)
    twin.load_state_dict(model.state_dict())
    return model, twin, rng.standard_normal((4, *graph["input"])).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_the_twin_learns_as_the_model_does(kind):
    model, twin, x = make(kind)
    assert list(twin.state_dict()) == list(model.state_dict())
    assert [n for n, _ in twin.stage_modules()] == [n for n, _ in model.stage_modules()]
    labels = tg.tensor(np.array([0, 1, 2, 3]))
    for one in (model, twin):
        optimizer = optim.SGD(one.parameters(), lr=0.01, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(one(tg.tensor(x)), labels).backward()
            optimizer.step()
        one.eval()
    for name, value in model.state_dict().items():
        found, expected = twin.state_dict()[name].numpy(), value.numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4, err_msg=name)
    with tg.no_grad():
        found, expected = twin(tg.tensor(x)).numpy(), model(tg.tensor(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)


def test_the_graph_of_a_twin_is_its_graph():
    model, twin, _ = make("resnet18")
    assert models.graph_of(twin, 32) == models.graph_of(model, 32) == twin.graph
    assert models.graph_of(twin, 64)["input"] == [3, 64, 64]


def test_heads_stages_and_features():
    _, twin, x = make("resnet8")
    twin.eval()
    maps = twin.forward_features(tg.tensor(x))
    assert maps.shape == (4, 16, 4, 4)
    assert twin.forward_head(maps, pre_logits=True).shape == (4, 16)
    twin.reset_classifier(3)
    assert twin(tg.tensor(x)).shape == (4, 3)
    assert models.create_model(**twin.config).num_classes == 3
    for _, stage in twin.stage_modules()[:-1]:
        nn.freeze(stage)
    assert [n for n, p in twin.named_parameters() if p.requires_grad] == [
        "linear.weight", "linear.bias",
    ]  # fmt: skip


def test_it_is_no_architecture_to_choose():
    assert "onnx" not in models.list_models()
    with pytest.raises(ValueError, match="unknown model 'onnx': Known models: resnet8"):
        models.model_info("onnx")
    with pytest.raises(TypeError, match="onnx has no option width"):
        models.create_model("onnx", width=3)


def broken(change):
    graph = copy.deepcopy(models.graph_of(models.resnet8(width=4, num_classes=3)))
    change(graph)
    return graph


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g.pop("stem"),
        lambda g: g.update(input=[3]),
        lambda g: g.update(stages=7),
        lambda g: g.update(stem=[{"op": "os.system", "inputs": [0]}]),
        lambda g: g["stem"][0].update(inputs=[1]),
        lambda g: g["stem"][0].update(inputs=[-1]),
        lambda g: g["stem"][0].update(inputs=[0, 0]),
        lambda g: g["stem"][0].update(inputs="0"),
        lambda g: g["stem"][0].update(device="cuda"),
        lambda g: g["stem"][0].update(in_channels=-3),
        lambda g: g["stem"][0].pop("name"),
        lambda g: g["stem"][0].update(name="bn1"),
        lambda g: g["stem"][0].update(name="forward"),
        lambda g: g["stem"][0].update(name="linear"),
        lambda g: g["stages"][1].update(name="layer1"),
        lambda g: g["stages"][1].update(name="conv1"),
        lambda g: g["stages"][1].update(name=""),
        lambda g: g["stages"][1].update(name="a.b"),
        lambda g: g["stages"][1].update(name="config"),
        lambda g: g["pool"].append({"op": "Flatten", "inputs": [9]}),
        lambda g: g["head"].update(in_features="x"),
        lambda g: g["head"].update(name=None),
    ],
)
def test_descriptions_of_no_network(change):
    with pytest.raises(ValueError):
        models.OnnxClassifier(broken(change), 3)
    models.OnnxClassifier(broken(lambda g: None), 3)


def test_what_has_no_graph():
    with pytest.raises(ValueError, match="call reset_classifier first"):
        models.graph_of(models.resnet8(num_classes=0, width=4))

    class Own(models.ImageClassifier):
        classifier_name = "fc"
        stage_names = ()

        def __init__(self):
            super().__init__()
            self.num_features, self.input_size = 4, (3, 8, 8)
            self.fc = nn.Linear(4, 2)

    with pytest.raises(TypeError, match="knows ResNet, CifarResNet and OnnxClassifier, not Own"):
        models.graph_of(Own())
