"""ONNX files of other programs: the same scores as in onnxruntime, or one clear sentence."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade_onnx import Graph, helper, onnx, resnet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_ft as tg
import tinygrad_ft.onnx
from tinygrad_ft.io import WeightsError, load_metadata, load_onnx, load_weights
from tinygrad_ft.io.onnx_constants import FOLDED
from tinygrad_ft.io.onnx_reader import SUPPORTED
from tinygrad_ft.models import OnnxClassifier

ort = pytest.importorskip("onnxruntime")


def images(n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((n, *shape)).astype(np.float32)


def in_onnxruntime(path: Path, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def assert_same_scores(path: Path, n: int = 3) -> OnnxClassifier:
    """In evaluation mode, and with the gradient switched on and off."""
    model = tinygrad_ft.onnx.load(path)
    x = images(n, *model.input_size)
    expected = in_onnxruntime(path, x)
    found = model(tg.tensor(x)).numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    with tg.no_grad():
        np.testing.assert_allclose(model(tg.tensor(x)).numpy(), found, rtol=1e-4, atol=1e-5)
    return model


# --- whole networks


def test_a_resnet_with_torchvisions_names(tmp_path):
    graph = Graph(("batch", 3, 64, 64))
    x = graph.add("Flatten", graph.add("GlobalAveragePool", resnet(graph)))
    path = graph.save(tmp_path / "r.onnx", graph.head(x, 32))
    model = assert_same_scores(path)
    assert [name for name, _ in model.stage_modules()] == [
        "stem", "layer1", "layer2", "layer3", "layer4", "fc",
    ]  # fmt: skip
    weights = load_weights(path)
    assert set(weights) == set(graph.weights)
    assert all(np.array_equal(weights[name], graph.weights[name]) for name in weights)
    grouped = [id(p) for _, stage in model.stage_modules() for p in stage.parameters()]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


def test_names_that_are_no_paths_are_given_anew(tmp_path):
    graph = Graph(("batch", 3, 32, 32))
    x = graph.add("Flatten", graph.add("GlobalAveragePool", resnet(graph, 1)))
    scores = graph.head(x, 32)
    for i, name in enumerate(list(graph.weights)):
        graph.weights[f"onnx::{i}"] = graph.weights.pop(name)
        for node in graph.nodes:
            node.input[:] = [f"onnx::{i}" if n == name else n for n in node.input]
    model = assert_same_scores(graph.save(tmp_path / "r.onnx", scores))
    names = [name for name in model.state_dict() if name.endswith(".weight")]
    assert names[:4] == ["conv1.weight", "bn1.weight", "layer1.conv1.weight", "layer1.bn1.weight"]
    assert names[-1] == "fc.weight"


def test_a_plain_chain(tmp_path):
    graph = Graph()
    x = graph.add("Relu", graph.conv("x", "a", 3, 4, 3))
    x = graph.add("Relu", graph.conv(x, "b", 4, 8, 3, 2))
    x = graph.add("Relu", graph.conv(x, "c", 8, 8, 3, 2))
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    model = assert_same_scores(graph.save(tmp_path / "r.onnx", graph.head(x, 8)))
    assert [name for name, _ in model.stage_modules()] == ["stem", "layer1", "layer2", "fc"]


def shortcut(graph: Graph, kind: str) -> str:
    """A CIFAR block whose shortcut has no parameters, in several spellings."""
    y = graph.conv("x", "layer1.0.conv1", 3, 7, 3, 2)
    big = 2**63 - 1
    if kind == "attributes":  # before opset 10 and 11
        s = graph.add("Slice", "x", starts=[0, 0], ends=[16, 16], axes=[2, 3])
        s = graph.add("MaxPool", s, kernel_shape=[1, 1], strides=[2, 2])
        s = graph.add("Pad", s, pads=[0, 2, 0, 0, 0, 2, 0, 0], mode="constant", value=0.0)
        return graph.add("Add", y, s)
    both = [graph.constant("s", [0, 0]), graph.constant("e", [big, 16]),
            graph.constant("a", [2, -1]), graph.constant("t", [2, 2])]  # fmt: skip
    s = graph.add("Slice", "x", *both)
    if kind == "concat":
        zeros = graph.constant("zeros", np.zeros((3, 2, 8, 8)), np.float32)
        s = graph.add("Concat", zeros, s, zeros, axis=1)
    elif kind == "computed":
        count = graph.add("ConstantOfShape", graph.constant("n", [8]))
        pads = graph.add("Cast", count, to=7)
        picked = graph.add("Slice", pads, graph.constant("p0", [0]), graph.constant("p1", [1]))
        two, five = graph.constant("two", [2]), graph.constant("z2", [0, 0])
        three = graph.constant("z3", [0, 0, 0])
        pads = graph.add("Concat", picked, two, three, two, five, axis=0)
        s = graph.add("Pad", s, graph.add("Identity", pads), "", mode="constant")
    else:
        pads = graph.constant("pads", [2, 2])
        s = graph.add("Pad", s, pads, "", graph.constant("axes", [1]))
    return graph.add("Add", y, s)


@pytest.mark.parametrize(
    "kind, opset", [("attributes", 9), ("concat", 17), ("computed", 17), ("axes", 18)]
)
def test_shortcuts_of_cifar_resnets(tmp_path, kind, opset):
    graph = Graph((3 if kind == "concat" else "batch", 3, 16, 16), opset)
    x = graph.add("Relu", shortcut(graph, kind))
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    assert_same_scores(graph.save(tmp_path / "r.onnx", graph.head(x, 7)))


def flatten(graph: Graph, x: str, kind: str) -> str:
    """Maps (N, 4, 4, 4) to features, as exporters write it."""
    if kind == "mean":
        return graph.add("ReduceMean", x, axes=[2, 3], keepdims=0)
    if kind == "mean of axes":
        x = graph.add("ReduceMean", x, graph.constant("axes", [-1, -2]), keepdims=1)
        return graph.add("Reshape", x, graph.constant("shape", [-1, 4]), allowzero=1)
    if kind == "all pixels":
        x = graph.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
        return graph.add("Flatten", x)
    if kind == "padded":
        x = graph.add("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1],
                      count_include_pad=1, ceil_mode=1)  # fmt: skip
        return graph.add("Reshape", x, graph.constant("shape", [0, -1]))
    x = graph.add("AveragePool", x, kernel_shape=[4, 4])
    if kind == "squeeze":
        return graph.add("Squeeze", x, graph.constant("axes", [2, 3]))
    shape = graph.add("Shape", x)
    n = graph.add("Gather", shape, graph.constant("zero", 0), axis=0)
    n = graph.add("Unsqueeze", n, graph.constant("axis", [0]))
    minus = graph.add("Constant", value_ints=[-1])
    return graph.add("Reshape", x, graph.add("Concat", n, minus, axis=0))


@pytest.mark.parametrize(
    "kind, opset, features",
    [
        ("mean", 13, 4), ("mean of axes", 18, 4), ("all pixels", 17, 16), ("padded", 17, 36),
        ("squeeze", 17, 4), ("view", 17, 4),
    ],
)  # fmt: skip
def test_ways_to_flatten(tmp_path, kind, opset, features):
    graph = Graph(opset=opset)
    x = graph.add("Relu", graph.norm(graph.conv("x", "conv1", 3, 4, 3, 4), "bn1", 4))
    x = graph.add("Dropout", flatten(graph, x, kind))
    weight = graph.weight("matrix", features, 5)
    x = graph.add("Identity", graph.add("MatMul", x, weight))
    graph.shape = ("batch", 3, 16, 16)
    path = graph.save(tmp_path / "r.onnx", graph.add("Add", graph.weight("bias", 5), x))
    assert_same_scores(path)


def test_uneven_padding_grouped_and_dilated_convolutions(tmp_path):
    graph = Graph()
    w = [graph.weight("w0", 6, 1, 3, 3), graph.weight("w1", 4, 6, 3, 3)]
    x = graph.add("Conv", "x", w[0], graph.weight("b", 6), group=3, pads=[0, 1, 2, 1])
    x = graph.add("Conv", x, w[1], dilations=[2, 2], auto_pad="VALID")
    x = graph.add("Concat", x, graph.add("Relu", x), axis=1)
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    scores = graph.add("Gemm", x, graph.weight("m", 8, 5), graph.weight("c", 1, 5), alpha=0.5,
                       beta=2.0)  # fmt: skip
    assert_same_scores(graph.save(tmp_path / "r.onnx", scores))


@pytest.mark.parametrize("kind", [np.float16, np.float64, "bfloat16"])
def test_other_number_types_become_float32(tmp_path, kind):
    graph = Graph()
    x = graph.add("Relu", graph.conv("x", "conv1", 3, 4, 3))
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    path = graph.save(tmp_path / "r.onnx", graph.head(x, 4))
    model = onnx.load(path)
    expected = {}
    for tensor in model.graph.initializer:
        values = graph.weights[tensor.name]
        if kind == "bfloat16":
            bits = (values.view(np.uint32) >> 16).astype(np.uint32)
            expected[tensor.name] = (bits << 16).view(np.float32)
            raw, number = bits.astype("<u2").tobytes(), onnx.TensorProto.BFLOAT16
        else:
            expected[tensor.name] = values.astype(kind).astype(np.float32)
            raw = values.astype(kind).tobytes()
            number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        tensor.CopyFrom(onnx.TensorProto(name=tensor.name, dims=values.shape, data_type=number,
                                         raw_data=raw))  # fmt: skip
    onnx.save(model, path)
    found = load_weights(path)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, strict=True)


def test_what_pytorch_exports(tmp_path):
    """Batch norms folded into convolutions, shapes computed, weights in a second file."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False)
            self.bn1 = torch.nn.BatchNorm2d(4)
            self.layer1 = torch.nn.Conv2d(4, 6, 3, 2, 1)
            self.linear = torch.nn.Linear(6, 5)

        def forward(self, x: Any) -> Any:
            x = self.bn1(self.conv1(x)).relu()
            y = torch.nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))
            x = (self.layer1(x) + y).relu()
            x = torch.nn.functional.avg_pool2d(x, x.size(3))
            return self.linear(x.view(x.size(0), -1))

    torch.manual_seed(0)
    path = tmp_path / "t.onnx"
    batch = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Net().eval(), (torch.randn(2, 3, 16, 16),), path, dynamic_shapes=batch, verbose=False
        )
    assert (tmp_path / "t.onnx.data").exists()
    assert_same_scores(path, 3)


# --- what is refused


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_onnx(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    assert "\n" not in message
    with pytest.raises(WeightsError):
        load_weights(path)
    return message


def end(graph: Graph, x: str, features: int = 4) -> str:
    return graph.head(graph.add("Flatten", graph.add("GlobalAveragePool", x)), features)


def maps(graph: Graph) -> str:
    return graph.conv("x", "conv1", 3, 4, 3)


BAD: dict[str, tuple[Any, str]] = {
    "operator": (lambda g: end(g, g.add("Sigmoid", maps(g))), "uses the operator Sigmoid, which is "
                 "not supported; supported are Add, AveragePool, BatchNormalization, Cast, Concat"),
    "domain": (lambda g: end(g, g.add("Relu", maps(g), domain="evil")), "Relu of evil"),
    "no head": (lambda g: g.add("GlobalAveragePool", maps(g)), "ends in GlobalAveragePool"),
    "two heads": (lambda g: g.head(g.add("Relu", end(g, maps(g))), 5, 5, "b"), "has 2 and ends"),
    "no pooling": (lambda g: g.head(g.add("Relu", g.add("Flatten", "x")), 768), "does not pool"),
    "scaled": (lambda g: end(g, g.add("Add", maps(g), g.weight("c", 4, 1, 1))), "adds a constant"),
    "computed": (lambda g: end(g, g.add("Conv", maps(g), maps(g))), "and no constant"),
    "channels": (lambda g: end(g, g.conv("x", "c", 5, 4, 3)), "(4, 5, 3, 3) for 3 channels"),
    "features": (lambda g: end(g, maps(g), 5), "a matrix for 5 features"),
    "absent": (lambda g: end(g, g.add("Relu", "nothing")), "nothing before it makes"),
    "same": (lambda g: end(g, g.add("Conv", "x", g.weight("w", 4, 3, 3, 3),
                                    auto_pad="SAME_UPPER")), "auto_pad 'SAME_UPPER'"),
    "batch": (lambda g: end(g, g.add("Slice", maps(g), g.constant("s", [0]), g.constant("e", [1]),
                                     g.constant("a", [0]))), "some of the images"),
    "reshape": (lambda g: g.head(g.add("Reshape", maps(g), g.constant("s", [-1, 4])), 4),
                "only flattening each image to (N, 1024)"),
    "reflect": (lambda g: end(g, g.add("Pad", maps(g), g.constant("p", [0, 0, 1, 1, 0, 0, 1, 1]),
                                       mode="reflect")), "something else than zeros"),
    "huge pads": (lambda g: end(g, g.add("Pad", maps(g), g.constant("p", [0, 0, 0, 0, 0, 2**40, 0,
                                                                          0]))), "pads by"),
    "pads": (lambda g: end(g, g.add("MaxPool", maps(g), kernel_shape=[2, 2], pads=[0, 0, 1, 1])),
             "only equal paddings"),
    "shapes": (lambda g: end(g, g.add("Add", maps(g), "x")), "adds (4, 16, 16) and (3, 16, 16)"),
    "training": (lambda g: end(g, g.add("BatchNormalization", "x", *[g.weight(f"n{i}", 3)
                 for i in range(4)], training_mode=1)), "in training mode"),
    "type": (lambda g: end(g, g.add("Conv", "x", g.weight("w", 4, 3, 3, 3), strides=1.5)),
             "strides of the wrong type"),
    "window": (lambda g: end(g, g.add("AveragePool", maps(g), kernel_shape=[99, 99])), "larger"),
    "unrolled": (lambda g: g.add("ConstantOfShape", g.constant("n", [2**40])), "large constants"),
    "fold": (lambda g: g.add("Concat", g.constant("n", [1]), g.constant("m", [[1]]), axis=0),
             "the Concat makes no sense"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refused(tmp_path, name):
    build, sentence = BAD[name]
    graph = Graph()
    output = build(graph)
    assert sentence in refused(graph.save(tmp_path / "bad.onnx", output))


@pytest.mark.parametrize(
    "shape, sentence",
    [
        ((1, 3, 16), "an input of shape (1, 3, 16)"),
        (("n", "c", 16, 16), "known number of channels"),
        ((1, 3, 2**40, 4), "an input of shape"),
    ],
)
def test_inputs_that_are_no_images(tmp_path, shape, sentence):
    graph = Graph(shape)
    assert sentence in refused(graph.save(tmp_path / "bad.onnx", end(graph, maps(graph))))


def test_outputs_and_opsets(tmp_path):
    graph = Graph()
    features = graph.add("Flatten", graph.add("GlobalAveragePool", maps(graph)))
    scores = graph.head(features, 4)
    assert "has 2 outputs" in refused(graph.save(tmp_path / "a.onnx", scores, features))
    graph.opset = 6
    assert "opset 6 of ONNX; 7 and later" in refused(graph.save(tmp_path / "b.onnx", scores))


def small(path: Path, **options: Any) -> Path:
    graph = Graph()
    x = graph.add("Relu", graph.norm(maps(graph), "bn1", 4))
    return graph.save(path, end(graph, x), **options)


def test_weights_in_a_second_file(tmp_path):
    path = small(tmp_path / "net.onnx", save_as_external_data=True, location="net.data",
                 size_threshold=0, convert_attribute=False)  # fmt: skip
    assert_same_scores(path)

    def edited(**entries: str) -> Path:
        model = onnx.load(path, load_external_data=False)
        for entry in model.graph.initializer[0].external_data:
            entry.value = entries.get(entry.key, entry.value)
        target = tmp_path / "edited.onnx"
        target.write_bytes(model.SerializeToString())
        return target

    for place in ("../net.data", "/etc/passwd", "a/net.data", "c:net.data", "..\\net.data", ""):
        assert "not a file beside it; refused" in refused(edited(location=place))
    assert "which is not beside it; put it there" in refused(edited(location="gone.data"))
    for key in ("offset", "length"):
        assert "is damaged" in refused(edited(**{key: "99999999"}))
        assert "is damaged" in refused(edited(**{key: "x"}))
        assert "is damaged" in refused(edited(**{key: "-4"}))
    if sys.platform != "win32":
        (tmp_path / "link.data").symlink_to(tmp_path / "net.data")
        assert "not beside it" in refused(edited(location="link.data"))


def test_tensors_that_lie_about_their_size(tmp_path):
    path = small(tmp_path / "net.onnx")
    for dims in ([4, 3, 3, 4], [2**62, 2**62], [-4, 3, 3, 3], [2**40, 3, 3, 3]):
        model = onnx.load(path)
        model.graph.initializer[0].dims[:] = dims
        onnx.save(model, tmp_path / "bad.onnx")
        assert "is damaged" in refused(tmp_path / "bad.onnx")
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    onnx.save(model, tmp_path / "bad.onnx")
    assert "has 0 numbers" in refused(tmp_path / "bad.onnx")
    tensor.data_type = onnx.TensorProto.STRING
    onnx.save(model, tmp_path / "bad.onnx")
    assert "number type cannot be read" in refused(tmp_path / "bad.onnx")


def check_one(path: Path) -> None:
    """A network that can be built comes out, or a WeightsError does."""
    try:
        network = load_onnx(path)
    except WeightsError:
        return
    OnnxClassifier(network.graph, network.num_classes).load_state_dict(network.weights)


def test_every_truncation(tmp_path):
    content = small(tmp_path / "net.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    for length in [*range(20), *range(20, len(content) - 1, 3)]:
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError):
            load_weights(path)


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 6), st.binary(max_size=6)), max_size=3)
)
def test_random_damage(tmp_path, cuts):
    source = tmp_path / "net.onnx"
    content = (source if source.exists() else small(source)).read_bytes()
    for where, dropped, inserted in cuts:
        at = int(where * len(content))
        content = content[:at] + inserted + content[at + dropped :]
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    check_one(path)


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    node=st.integers(0, 40), change=st.sampled_from(["op", "inputs", "drop", "ints", "output"]),
    value=st.sampled_from(["Add", "Reshape", "Concat", "Slice", "Pad", "Shape", "Gemm", "Squeeze"]),
    numbers=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
)  # fmt: skip
def test_nodes_changed_at_random(tmp_path, node, change, value, numbers):
    source = tmp_path / "net.onnx"
    if not source.exists():
        graph = Graph()
        x = graph.add("Relu", shortcut(graph, "computed"))
        x = flatten(graph, graph.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), "view")
        graph.save(source, graph.head(x, 7))
    model = onnx.load(source)
    chosen = model.graph.node[node % len(model.graph.node)]
    if change == "op":
        chosen.op_type = value
    elif change == "inputs":
        chosen.input[:] = [model.graph.node[n % len(model.graph.node)].output[0] for n in numbers]
    elif change == "drop":
        del chosen.output[:]
    elif change == "output":
        chosen.output[0] = "x"
    else:
        for attribute in chosen.attribute:
            attribute.ints[:] = numbers
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.INT64 and tensor.name in chosen.input:
                tensor.raw_data = np.array(numbers, np.int64).tobytes()
                tensor.dims[:] = [len(numbers)]
    path = tmp_path / "changed.onnx"
    path.write_bytes(model.SerializeToString())
    check_one(path)


def test_the_documented_operators():
    text = Path(__file__).parents[2].joinpath("docs", "weights.md").read_text(encoding="utf-8")
    listed = text.partition("and these operators:")[2].partition("Any other is refused")[0]
    words = set(re.findall(r"[A-Z]\w+", listed))
    assert words == {*SUPPORTED, *FOLDED, "Constant"}


def test_without_the_package(tmp_path, monkeypatch):
    path = small(tmp_path / "net.onnx")
    assert load_metadata(path) == {}
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnx"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    message = refused(path)
    assert 'the package onnx is not installed: pip install "tinygrad_ft[onnx]"' in message
