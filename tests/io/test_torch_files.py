"""PyTorch's layouts: hand-made files, and PyTorch's own where it is installed."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import handmade_torch as hand
import numpy as np
import pytest

from tinygrad_ft.io import WeightsError, load_weights

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def write(folder: Path, content: bytes, name: str = "file.pth") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, strict=True, err_msg=name)
        assert found[name].flags.writeable
        assert found[name].flags.c_contiguous


@pytest.mark.parametrize("make", [hand.sample_legacy, hand.sample_zip])
def test_handmade_checkpoint(tmp_path, make):
    assert_same(load_weights(write(tmp_path, make())), hand.sample_tensors())


@pytest.mark.parametrize("make", [hand.sample_legacy, hand.sample_zip])
def test_handmade_files_are_what_torch_reads(tmp_path, make):
    torch = pytest.importorskip("torch")
    state = torch.load(write(tmp_path, make()), weights_only=True)["state_dict"]
    found = {name.removeprefix("module."): value.numpy() for name, value in state.items()}
    for name, array in hand.sample_tensors().items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_no_array_shares_memory(tmp_path):
    found = load_weights(write(tmp_path, hand.sample_zip()))
    found["fc.weight"][:] = -1
    np.testing.assert_array_equal(found["fc.bias"], [3, 4, 5])


TYPES = [
    ("DoubleStorage", "f8", "f4"), ("FloatStorage", "f4", "f4"), ("HalfStorage", "f2", "f4"),
    ("LongStorage", "i8", "i8"), ("IntStorage", "i4", "i4"), ("ShortStorage", "i2", "i2"),
    ("CharStorage", "i1", "i1"), ("ByteStorage", "u1", "u1"), ("BoolStorage", "?", "?"),
    ("ComplexFloatStorage", "c8", "c8"), ("ComplexDoubleStorage", "c16", "c16"),
]  # fmt: skip


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("kind,stored,loaded", TYPES)
def test_storage_types_in_both_byte_orders(tmp_path, kind, stored, loaded, order):
    values = np.array([1, 0, 1, 1, 0]).astype(stored) * np.array(1).astype(stored)
    data = values.astype(values.dtype.newbyteorder("<" if order == "little" else ">")).tobytes()
    root = hand.program({"w": hand.tensor(hand.storage("0", 5, kind), 1, (4,), (1,))})
    path = write(tmp_path, hand.zip_file(root, {"0": (5, data)}, order))
    assert_same(load_weights(path), {"w": values[1:].astype(loaded)})
    assert_same(load_weights(path, dtype=None), {"w": values[1:]})


@pytest.mark.parametrize("order", ["little", "big"])
def test_bfloat16_becomes_float32_exactly(tmp_path, order):
    values = np.array([1.0, -2.5, 3.0e38, 1e-40, np.inf, 0.0], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    expected = (bits.astype(np.uint32) << 16).view(np.float32)
    assert expected[1] == -2.5
    root = hand.program({"w": hand.tensor(hand.storage("0", 6, "BFloat16Storage"), 0, (6,), (1,))})
    data = bits.astype("<u2" if order == "little" else ">u2").tobytes()
    path = write(tmp_path, hand.zip_file(root, {"0": (6, data)}, order))
    for dtype in (np.float32, None):
        assert_same(load_weights(path, dtype=dtype), {"w": expected})


def test_legacy_numbers_are_little_endian_whatever_the_machine_said(tmp_path):
    root = hand.program(
        {"w": hand.tensor(hand.storage("0", 2, "FloatStorage", None), 0, (2,), (1,))}
    )
    content = hand.legacy_file(root, {"0": (2, np.array([1, 2], "<f4").tobytes())})
    big = content.replace(b"little_endian\x88", b"little_endian\x89")
    assert big != content
    assert_same(load_weights(write(tmp_path, big)), {"w": np.array([1, 2], np.float32)})


def test_storage_views_of_old_files(tmp_path):
    stored = hand.storage("0", 6, "FloatStorage", ("77", 2, 3))
    root = hand.program({"w": hand.tensor(stored, 1, (2,), (1,))})
    path = write(tmp_path, hand.legacy_file(root, {"0": (6, np.arange(6, dtype="<f4").tobytes())}))
    assert_same(load_weights(path), {"w": np.array([3, 4], np.float32)})
    outside = hand.program({"w": hand.tensor(stored, 2, (2,), (1,))})
    path = write(tmp_path, hand.legacy_file(outside, {"0": (6, bytes(24))}))
    with pytest.raises(WeightsError, match="reaches number 3 of storage 0, which has 3"):
        load_weights(path)


def test_older_ways_to_write_the_same(tmp_path):
    """_rebuild_tensor, _rebuild_parameter, Python 2's OrderedDict of pairs and byte strings."""
    stored = hand.storage("0", 4, "FloatStorage", None)
    plain = hand.call(hand.name("torch._utils", "_rebuild_tensor"), stored, 0, (2, 2), (2, 1))
    parameter = hand.call(
        hand.name("torch._utils", "_rebuild_parameter"),
        hand.tensor(stored, 2, (2,), (1,)),
        True,
        None,
    )
    pairs = [[hand.Raw(b"U\x01a"), plain], [hand.Raw(b"U\x01b"), parameter]]
    root = hand.program(hand.call(hand.name("collections", "OrderedDict"), pairs))
    path = write(tmp_path, hand.legacy_file(root, {"0": (4, np.arange(4, dtype="<f4").tobytes())}))
    numbers = np.arange(4, dtype=np.float32)
    assert_same(load_weights(path), {"a": numbers.reshape(2, 2), "b": numbers[2:]})


def test_settings_beside_the_weights_are_ignored(tmp_path):
    """argparse.Namespace, NumPy scalars, counters, devices: as scripts save them."""
    namespace = hand.Raw(
        hand.name("argparse", "Namespace") + b")\x81" + hand.code({"lr": 1}) + b"b"
    )
    dtype = hand.call(hand.name("numpy", "dtype"), "f8", False, True)
    scalar = hand.call(hand.name("numpy._core.multiarray", "scalar"), dtype, "raw")
    weights = {"w": hand.tensor(hand.storage("0", 1), 0, (1,), (1,))}
    root = hand.program(
        {
            "args": namespace,
            "accuracy": scalar,
            "seen": hand.call(hand.name("collections", "Counter"), {"cat": 2}),
            "states": hand.Raw(hand.call(hand.name("collections", "defaultdict"),
                                         hand.name("builtins", "list")) + hand.code(1) + b"Ns"),
            "device": hand.call(hand.name("torch", "device"), "cuda", 0),
            "dtype": hand.name("torch", "float16"),
            (1, 2): "a key that is a tuple",
            "classes": hand.Raw(b"\x8f(" + hand.code("cat") + b"\x90"),
            "net": weights,
        }
    )  # fmt: skip
    path = write(tmp_path, hand.zip_file(root, {"0": (1, struct.pack("<f", 2.5))}))
    assert_same(load_weights(path), {"w": np.array([2.5], np.float32)})


def checkpoint(tmp_path: Path, **entries: object) -> Path:
    number = struct.pack("<f", 1.0)
    return write(
        tmp_path, hand.zip_file(hand.program(entries), dict.fromkeys("0123", (1, number))), "c.pt"
    )


def one(key: str) -> hand.Raw:
    return hand.tensor(hand.storage(key, 1), 0, (1,), (1,))


@pytest.mark.parametrize(
    "entries,names",
    [
        ({"a.weight": 0, "_extra": "text"}, ["a.weight"]),
        ({"loss": 0, "model": {"b": 1}}, ["b"]),
        ({"loss": 0, "backbone": {"b": 1}}, ["b"]),
        ({"fc.weight": 0, "extra": {"b": 1}}, ["fc.weight"]),
        ({"ema": {"b": 1}, "model": {"a": 0}}, ["a"]),
        ({"model": {"type": "ResNet"}, "ema": {"b": 1}}, ["b"]),
        ({"checkpoint": {"state_dict": {"module.model.a": 0, "module.model.b": 1}}}, ["a", "b"]),
        ({"backbone": {"a": 0}, "optimizer": {"state": {"exp_avg": 1}}}, ["a"]),
        ({"n_averaged": 0, "module.a": 1}, ["a"]),
        ({"module.a": 0, "other.b": 1}, ["module.a", "other.b"]),
        ({"_orig_mod.a": 0}, ["a"]),
    ],
)
def test_finding_the_state_dict(tmp_path, entries, names):
    def build(value):
        if isinstance(value, dict):
            return {key: build(item) for key, item in value.items()}
        return one(str(value)) if isinstance(value, int) else value

    assert list(load_weights(checkpoint(tmp_path, **build(entries)))) == names


def test_choosing_among_several_sets(tmp_path):
    path = checkpoint(tmp_path, actor={"a": one("0")}, critic={"c": one("1")})
    with pytest.raises(WeightsError, match=r"several sets of weights \('actor', 'critic'\).*key="):
        load_weights(path)
    assert list(load_weights(path, key="critic")) == ["c"]
    with pytest.raises(WeightsError, match=r"no state_dict under ema; it has 'actor', 'critic'"):
        load_weights(path, key="ema")


def test_a_dict_inside_itself_ends(tmp_path):
    # memo 0 is the root, which becomes its own entry "model"
    root = b"\x80\x02}q\x00" + hand.code("model") + b"h\x00s."
    with pytest.raises(WeightsError, match="holds no state_dict; it has 'model'"):
        load_weights(write(tmp_path, hand.zip_file(root, {})))


def test_optimizer_tensors_are_not_read(tmp_path):
    """The storage of the optimiser's tensor is missing; nobody asks for it."""
    root = hand.program({"model": {"a": one("0")}, "optimizer": {"m": one("9")}})
    path = write(tmp_path, hand.zip_file(root, {"0": (1, bytes(4))}))
    assert list(load_weights(path)) == ["a"]
    with pytest.raises(WeightsError, match=r"archive/data/9 is not in it"):
        load_weights(path, key="optimizer")


@pytest.mark.parametrize(
    "root,sentence",
    [
        (one("0"), "holds one tensor without a name"),
        ([1, 2], "holds a list, not a state_dict"),
        ({"epoch": 3}, "holds no state_dict; it has 'epoch'"),
        ({}, "holds no state_dict; it has no entries"),
    ],
)
def test_files_without_a_state_dict(tmp_path, root, sentence):
    content = hand.zip_file(hand.program(root), {"0": (1, bytes(4))})
    with pytest.raises(WeightsError, match=sentence):
        load_weights(write(tmp_path, content))


def test_other_files_of_torch_are_named(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net/data.pkl", hand.program({}))
        archive.writestr("net/constants.pkl", hand.program(()))
    with pytest.raises(WeightsError, match="TorchScript program"):
        load_weights(write(tmp_path, buffer.getvalue()))
    with pytest.raises(WeightsError, match=r"none that torch\.save wrote"):
        load_weights(write(tmp_path, hand.program({"w": 1})))


def untyped(tmp_path: Path, kind: str, offset: int, size: int) -> Path:
    """A tensor as PyTorch writes types that have no storage class: over 6 untyped bytes."""
    untyped = hand.name("torch.storage", "UntypedStorage")
    stored = hand.Raw(hand.code(("storage", untyped, "0", "cpu", 6)) + b"Q")
    rebuild = hand.name("torch._utils", "_rebuild_tensor_v3")
    weight = hand.call(
        rebuild, stored, offset, (size,), (1,), False, None, hand.name("torch", kind)
    )
    return write(tmp_path, hand.zip_file(hand.program({"w": weight}), {"0": (6, bytes(range(6)))}))


def test_types_without_a_storage_class(tmp_path):
    found = load_weights(untyped(tmp_path, "uint16", 1, 2))
    assert_same(found, {"w": np.array([0x0302, 0x0504], np.uint16)})
    with pytest.raises(WeightsError, match="reaches number 3 of storage 0, which has 3"):
        load_weights(untyped(tmp_path, "uint16", 1, 3))
    with pytest.raises(WeightsError, match=r"torch\.float8_e4m3fn numbers"):
        load_weights(untyped(tmp_path, "float8_e4m3fn", 0, 6))


def test_published_resnet20():
    path = DATA / "resnet20-12fca82f.th"
    if not path.exists():
        pytest.skip("the published ResNet-20 weights are not beside the repository")
    found = load_weights(path)
    assert len(found) == 97
    assert found["linear.weight"].shape == (10, 64)
    # 0.27 M parameters is the published figure; the buffers come on top
    parameters = sum(a.size for n, a in found.items() if "running" not in n)
    assert parameters == 269_722


# --- with PyTorch as the writer ------------------------------------------------------------------


@pytest.fixture(params=["zip", "legacy"])
def torch_save(request, tmp_path):
    torch = pytest.importorskip("torch")

    def save(value: object) -> Path:
        path = tmp_path / "torch.pt"
        torch.save(value, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return save


def as_numpy(state) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(value.detach().numpy()).reshape(value.shape)
            for name, value in state.items()}  # fmt: skip


def test_torch_model_and_optimizer(torch_save):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    expected = as_numpy(model.state_dict())
    wrapped = {f"module.{name}": value for name, value in model.state_dict().items()}
    for value in (
        model.state_dict(),
        {
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "epoch": 7,
            "model_state_dict": wrapped,
        },
    ):
        assert_same(load_weights(torch_save(value)), expected)


def test_torch_parameters_views_and_shared_storages(torch_save):
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0).reshape(2, 3, 4)
    parameter = torch.nn.Parameter(torch.randn(3, 2))
    parameter.note = "an attribute"
    state = {
        "base": base,
        "permuted": base.permute(2, 0, 1),
        "sliced": base[:, 1:, ::2],
        "expanded": torch.ones(1, 3).expand(5, 3),
        "unfolded": torch.arange(6.0).unfold(0, 3, 1),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "parameter": parameter,
        "tied": base,
    }
    assert_same(load_weights(torch_save(state)), as_numpy(state))


def test_torch_types(torch_save):
    torch = pytest.importorskip("torch")
    values = torch.tensor([0.0, 1.0, 1.5, 3.0])
    types = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
    ints = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
            torch.uint16, torch.uint32, torch.uint64, torch.complex64]  # fmt: skip
    state = {str(t): values.to(t) for t in types + ints}
    found = load_weights(torch_save(state))
    expected = {name: value.float() if name in map(str, types) else value
                for name, value in state.items()}  # fmt: skip
    assert_same(found, as_numpy(expected))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_pickle_protocols(tmp_path, protocol):
    torch = pytest.importorskip("torch")
    state = {"a": torch.arange(3.0), "b": torch.ones(300, 2)}
    for is_zip in (True, False):
        path = tmp_path / "p.pt"
        torch.save(state, path, pickle_protocol=protocol, _use_new_zipfile_serialization=is_zip)
        assert_same(load_weights(path), as_numpy(state))


def test_torch_without_checksums(tmp_path):
    torch = pytest.importorskip("torch")
    if not hasattr(torch.serialization, "set_crc32_options"):
        pytest.skip("this PyTorch always writes checksums")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.arange(3.0)}, tmp_path / "p.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same(load_weights(tmp_path / "p.pt"), {"a": np.arange(3, dtype=np.float32)})


def test_a_whole_torch_model_is_refused_by_name(torch_save):
    torch = pytest.importorskip("torch")
    with pytest.raises(WeightsError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict"):
        load_weights(torch_save(torch.nn.Linear(2, 2)))
