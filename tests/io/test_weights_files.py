"""load_weights on .safetensors and .npz, and on what is no weights file at all."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import handmade_torch as hand
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from tinygrad_ft.io import WeightsError, load_metadata, load_weights


def write(folder: Path, content: bytes, name: str = "file.safetensors") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def safetensors(header: object, data: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def npz(compressed: bool = False, **arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


SAMPLE = {
    "module.a": np.arange(6, dtype=np.float64).reshape(2, 3),
    "module.b": np.array(7, np.int64),
    "module.c": np.ones((0, 4), np.float16),
    "module.d": np.array([True, False]),
}


@pytest.mark.parametrize(
    "content", [save(SAMPLE), npz(**SAMPLE), npz(True, **SAMPLE)], ids=["st", "npz", "npz_deflated"]
)
def test_types_and_prefix(tmp_path, content):
    path = write(tmp_path, content, "any.name")  # the content decides, not the name
    found = load_weights(path)
    kept = load_weights(path, dtype=None)
    half = load_weights(path, dtype=np.float16)
    for name, array in SAMPLE.items():
        short = name.removeprefix("module.")
        np.testing.assert_array_equal(kept[short], array, strict=True)
        is_float = array.dtype.kind == "f"
        np.testing.assert_array_equal(
            found[short], array.astype(np.float32) if is_float else array, strict=True
        )
        assert half[short].dtype == (np.float16 if is_float else array.dtype)
        assert found[short].flags.writeable


def test_fortran_order_and_big_endian_npz(tmp_path):
    array = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    found = load_weights(write(tmp_path, npz(a=array)), dtype=None)["a"]
    assert found.dtype == np.dtype(np.float32)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, array)


def test_numbers_too_large_for_the_type(tmp_path):
    path = write(tmp_path, save({"a": np.array([1e300]), "b": np.array([np.inf])}))
    with pytest.raises(WeightsError, match=r"in a that are too large for float32.*dtype=None"):
        load_weights(path)
    assert load_weights(path, dtype=None)["a"][0] == 1e300
    assert load_weights(path, dtype=np.float64)["b"][0] == np.inf


def test_only_float_types_are_asked_for(tmp_path):
    with pytest.raises(ValueError, match="must be a float type or None, not int32"):
        load_weights(write(tmp_path, save(SAMPLE)), dtype=np.int32)


def test_bfloat16_safetensors(tmp_path):
    values = np.array([[1.0, -2.5], [3.0e38, np.inf]], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2")
    expected = (bits.astype(np.uint32) << 16).view(np.float32)
    header = {
        "first": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [4, 12]},
    }
    path = write(tmp_path, safetensors(header, struct.pack("<f", 9.0) + bits.tobytes()))
    for dtype in (np.float32, None):
        found = load_weights(path, dtype=dtype)
        np.testing.assert_array_equal(found["b"], expected, strict=True)
        assert found["first"][0] == 9.0


def test_safetensors_as_torch_writes_them(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    state = {t: torch.randn(3, 4).to(getattr(torch, t)) for t in ("bfloat16", "float16", "float64")}
    save_file(state, tmp_path / "t.safetensors", {"format": "pt"})
    found = load_weights(tmp_path / "t.safetensors")
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value.float().numpy(), strict=True)


def test_a_header_that_begins_like_a_pickle(tmp_path):
    """A header of 640 bytes: the file starts with the bytes 80 02 of a pickle."""
    content = save({"a": np.ones(2, np.float32)}, {"note": "x" * 200})
    missing = 640 - struct.unpack("<Q", content[:8])[0]
    content = save({"a": np.ones(2, np.float32)}, {"note": "x" * (200 + missing)})
    assert content[:2] == b"\x80\x02"
    path = write(tmp_path, content, "f.pth")
    np.testing.assert_array_equal(load_weights(path)["a"], [1, 1])
    assert len(load_metadata(path)["note"]) == 200 + missing


def test_metadata(tmp_path):
    assert load_metadata(write(tmp_path, save(SAMPLE, {"classes": "cat,dog"}))) == {
        "classes": "cat,dog"
    }
    assert load_metadata(write(tmp_path, save(SAMPLE))) == {}
    assert load_metadata(write(tmp_path, npz(**SAMPLE), "a.npz")) == {}
    assert load_metadata(write(tmp_path, hand.sample_legacy(), "a.pth")) == {}
    with pytest.raises(WeightsError, match="cut short"):
        load_metadata(write(tmp_path, save(SAMPLE)[:20]))
    with pytest.raises(WeightsError, match="No such file"):
        load_metadata(tmp_path / "absent.safetensors")


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "content",
    [
        safetensors({"a": F32}, bytes(7)), safetensors({"a": F32}, bytes(9)),
        safetensors({"a": F32, "b": F32}, bytes(8)), safetensors({"a": F32}, bytes(8), 10**15),
        safetensors({"a": F32 | {"shape": [2**62, 4]}}, bytes(8)),
        safetensors({"a": F32 | {"shape": [-2]}}, bytes(8)),
        safetensors({"a": F32 | {"dtype": "os.system"}}, bytes(8)),
        safetensors({"a": F32 | {"data_offsets": [8, 0]}}, bytes(8)),
        safetensors(b"[" * 10_000, b""), safetensors(b"{}", b"", 99_999_999), bytes(7), b"{",
        safetensors({"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}, bytes(2)),
    ],
)  # fmt: skip
def test_bad_safetensors(tmp_path, content):
    path = write(tmp_path, content)
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    assert str(caught.value).startswith(f"{path} ")
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    "name,content,sentence",
    [
        ("a.pth", b"", "is empty"),
        ("a.pth", b"<!DOCTYPE html>", "web page"),
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.pth.gz", b"\x1f\x8b\x08", "gzip-compressed"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "HDF5"),
        ("a.npy", b"\x93NUMPY\x01\x00", "without a name"),
        ("a.pth", bytes(257) + b"ustar\x00", "old tar layout"),
        ("a.pth", b"cos\nsystem\n(S'true'\ntR.", "no weights file that is known"),
        ("a.pth", b"hello", "no weights file that is known"),
        ("a.pth", b"PK\x05\x06" + bytes(18), "empty zip"),
        ("a.pth", b"PK\x03\x04" + bytes(30), "cut short or damaged"),
    ],
)
def test_other_files(tmp_path, name, content, sentence):
    with pytest.raises(WeightsError, match=sentence):
        load_weights(write(tmp_path, content, name))


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(WeightsError, match=r"absent.pth cannot be read: No such file"):
        load_weights(tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_weights(tmp_path)


def test_key_is_for_torch_checkpoints(tmp_path):
    for content in (save(SAMPLE), npz(**SAMPLE)):
        with pytest.raises(WeightsError, match="no entries to choose from"):
            load_weights(write(tmp_path, content), key="ema")


def test_hostile_npz(tmp_path):
    pickled = np.array([print], dtype=object)
    with pytest.raises(WeightsError, match=r"a\.npy, which is of object and no plain numbers"):
        load_weights(write(tmp_path, npz(a=pickled), "f.npz"))
    with pytest.raises(WeightsError, match="no plain numbers"):
        load_weights(write(tmp_path, npz(a=np.array(["text"])), "f.npz"))
    bomb = npz(True, a=np.zeros(100 << 20, np.uint8))
    with pytest.raises(WeightsError, match="unpacks from"):
        load_weights(write(tmp_path, bomb, "f.npz"))
    for shape in ("(2**70,)", f"({2**70},)", f"({2**40},)", "(-3,)", "(3.0,)", "(" * 3000):
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(
                "a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(12)
            )
        with pytest.raises(WeightsError, match="damaged"):
            load_weights(write(tmp_path, buffer.getvalue(), "f.npz"))


SAMPLES = {"safetensors": save({"a": np.ones(3, np.float32)}, {"k": "v"}),
           "npz": npz(a=np.ones(3, np.float32), b=np.arange(2)),
           "deflated": npz(True, a=np.ones(3, np.float32))}  # fmt: skip


@pytest.mark.parametrize("kind", SAMPLES)
def test_every_truncation(tmp_path, kind):
    for length in range(len(SAMPLES[kind])):
        with pytest.raises(WeightsError):
            load_weights(write(tmp_path, SAMPLES[kind][:length], "f.safetensors"))


@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz` file required:UserWarning")
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(sorted(SAMPLES)),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=4)), max_size=3),
)
def test_random_damage(tmp_path, kind, cuts):
    content = SAMPLES[kind]
    for where, dropped, inserted in cuts:
        at = int(where * len(content))
        content = content[:at] + inserted + content[at + dropped :]
    try:
        found = load_weights(write(tmp_path, content, "f"))
    except WeightsError:
        return
    assert sum(array.nbytes for array in found.values()) < 1 << 20
