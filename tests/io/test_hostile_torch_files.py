"""Files made to harm: nothing in them runs, each ends in a WeightsError, none takes much memory."""

from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import handmade_torch as hand
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinygrad_ft.io import WeightsError, load_weights

LAYOUTS = {"zip": hand.zip_file, "legacy": hand.legacy_file}
MEMORY = 48 << 20  # of a file of a few hundred bytes


def refused(folder: Path, content: bytes, name: str = "f.pth") -> str:
    path = folder / name
    path.write_bytes(content)
    small = len(content) < 10_000  # tracing is slow, and a large file may take memory
    if small:
        tracemalloc.start()
    try:
        with pytest.raises(WeightsError) as caught:
            load_weights(path)
        assert not small or tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    assert message.isprintable()
    assert len(message) < len(str(path)) + 300
    return message


@pytest.fixture(params=LAYOUTS)
def refuse(request, tmp_path):
    """Refuses a program as the object of a file in either layout; gives the message."""

    def run(program: bytes, storages: dict[str, tuple[int, bytes]] | None = None) -> str:
        return refused(tmp_path, LAYOUTS[request.param](program, storages or {}))

    return run


# --- code


class Reduces:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_real_pickles_of_calls(refuse, tmp_path, protocol):
    marker = tmp_path / "ran"
    source = f"open({str(marker)!r}, 'w')"
    for function, arguments, name in (
        (os.system, (f"touch {marker}",), f"{os.name}.system"),
        (eval, (source,), "eval"),
        (exec, (source,), "exec"),
        (getattr, ("", "join"), "getattr"),
        (open, (str(marker), "w"), r"open"),
    ):
        message = refuse(pickle.dumps({"w": Reduces(function, *arguments)}, protocol))
        assert f"{name}; refused" in message
        assert "wants to run" in message
    assert not marker.exists()


@pytest.mark.parametrize(
    "module,attribute",
    [
        ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"),
        ("builtins", "eval"), ("builtins", "exec"), ("builtins", "getattr"),
        ("__builtin__", "eval"),
        ("builtins", "__import__"), ("copyreg", "_reconstructor"), ("copyreg", "__newobj__"),
        ("functools", "partial"), ("operator", "attrgetter"), ("importlib", "import_module"),
        ("torch", "load"), ("torch.hub", "load"), ("torch.jit", "load"), ("numpy", "load"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"), ("collections", "OrderedDict.fromkeys"),
        ("torch.storage", "_load_from_bytes"), ("numpy.testing._private.utils", "runstring"),
        ("torch._utils", "os.system"), ("collections", "abc"), ("", ""), ("a\x1b[31m", "\u202eb"),
    ],
)  # fmt: skip
def test_names_that_are_not_allowed(refuse, module, attribute):
    by_global = hand.name(module, attribute)
    by_stack = hand.Raw(hand.code(module) + hand.code(attribute) + b"\x93")
    for callee in (by_global, by_stack):
        message = refuse(hand.program({"w": hand.call(callee, "echo harm")}))
        if module == "a\x1b[31m":
            assert r"a\x1b[31m.\x202eb" in message.replace("\\u", "\\x")
        else:
            assert f"wants to run {module}.{attribute}; refused" in message
    # merely naming it is refused as well
    assert "refused" in refuse(hand.program({"w": by_global}))


def test_other_ways_to_call(refuse):
    os_system = b"os\nsystem\n"
    assert "os.system" in refuse(b"\x80\x02(" + hand.code("x") + b"i" + os_system + b".")
    assert "os.system" in refuse(b"\x80\x02(c" + os_system + hand.code("x") + b"o.")
    assert "OBJ" in refuse(b"\x80\x02(ccollections\nOrderedDict\no.")
    assert "makes a collections.OrderedDict in a way" in refuse(
        b"\x80\x02(icollections\nOrderedDict\n."
    )
    assert "EXT1" in refuse(b"\x80\x02\x82\x01.")
    assert "EXT4" in refuse(b"\x80\x02\x84\x01\x00\x00\x00.")
    assert "NEWOBJ_EX" in refuse(b"\x80\x04ccollections\nOrderedDict\n)}\x92.")
    assert "PERSID" in refuse(b"\x80\x02Pos.system\n.")
    assert "no string" in refuse(b"\x80\x04" + hand.code(1) + hand.code(("os",)) + b"\x93.")
    assert "protocol 1;" in refuse(b"\x80\x01}.")
    for text in (b"I1\n", b"S'x'\n", b"Vx\n", b"F1\n", b"L1L\n", b"g0\n", b"p0\n"):
        assert "which PyTorch never writes" in refuse(b"\x80\x02" + text + b".")


@pytest.mark.parametrize("value", ["os.system", 5, None, [1], {"a": 1}, (), b"x"])
def test_calling_what_is_no_function(refuse, value):
    raw = hand.Raw(b"C\x01x") if isinstance(value, bytes) else value
    assert "wants to run" in refuse(hand.program(hand.Raw(hand.code(raw) + b")R")))


def test_types_and_tensors_cannot_be_called_or_changed(refuse):
    for callee in (hand.name("torch", "FloatStorage"), hand.name("torch", "float32")):
        assert "wants to run" in refuse(hand.program(hand.call(callee, 10**9)))
    number = {"0": (1, bytes(4))}
    stored = hand.storage("0", 1, "FloatStorage", None)
    weight = hand.tensor(stored, 0, (1,), (1,))
    assert "wants to run a TensorView" in refuse(hand.program(hand.call(weight, 1)), number)
    assert "no dict" in refuse(hand.program(hand.Raw(weight + hand.code("a") + b"Ns")), number)
    assert "no list" in refuse(hand.program(hand.Raw(weight + hand.code("a") + b"a")), number)
    assert "plain value" in refuse(hand.program(hand.Raw(hand.code("text") + b"}b")))


@pytest.mark.parametrize(
    "identity",
    [
        "storage", 5, None, (), ("storage",), ["storage"],
        ("module", "os", "system", "x", "y"), ("storage", "FloatStorage", "0", "cpu", 1),
        ("storage", hand.name("torch", "FloatStorage"), "0", "cpu", -1),
        ("storage", hand.name("torch", "FloatStorage"), "0", "cpu", True),
        ("storage", hand.name("torch", "FloatStorage"), "0", "cpu", 10**30),
        ("storage", hand.name("torch", "FloatStorage"), 7, "cpu", 1),
        ("storage", hand.name("torch", "FloatStorage"), "0", "cpu", 4, ("1", 3, 2)),
        ("storage", hand.name("torch", "FloatStorage"), "0", "cpu", 4, "view"),
        ("storage", hand.name("torch", "float32"), "0", "cpu", 1),
        ("storage", hand.name("collections", "OrderedDict"), "0", "cpu", 1),
    ],
)  # fmt: skip
def test_persistent_ids_that_are_no_storages(refuse, identity):
    assert "is damaged" in refuse(hand.program({"w": hand.Raw(hand.code(identity) + b"Q")}))


# --- shapes and sizes


@pytest.mark.parametrize(
    "offset,size,stride",
    [
        (0, (5,), (1,)), (1, (4,), (1,)), (0, (2, 2), (3, 1)), (4, (), ()), (10**40, (1,), (1,)),
        (-1, (1,), (1,)), (0, (-1,), (1,)), (0, (2,), (-1,)), (0, (2,), (1, 1)), (0, 4, 1),
        (0, ("4",), (1,)), (0, (2.0,), (1,)), (True, (1,), (1,)), (0, (2**62, 4), (0, 1)),
        (0, (2**40, 2**40), (0, 0)), (0, (0, 2**47, 2**47), (1, 1, 1)), (0, (1,) * 33, (0,) * 33),
        (0, (2**40,), (0,)), (0, (1 << 23,), (0,)), (0, (2,), (2**47,)), (0, None, None),
    ],
)  # fmt: skip
def test_tensors_outside_of_their_storage_or_of_reason(refuse, offset, size, stride):
    stored = hand.storage("0", 4, "FloatStorage", None)
    root = hand.program({"w": hand.tensor(stored, offset, size, stride)})
    refuse(root, {"0": (4, bytes(16))})


def test_many_expanded_tensors_are_bounded_together(refuse):
    stored = hand.storage("0", 4, "FloatStorage", None)
    weight = hand.tensor(stored, 0, (1 << 20,), (0,))
    root = hand.program({f"w{i}": weight for i in range(20)})
    assert "tensors in a file of" in refuse(root, {"0": (4, bytes(16))})


def test_storages_that_claim_more_than_the_file(refuse):
    huge = hand.program(
        {"w": hand.tensor(hand.storage("0", 1 << 40, "FloatStorage", None), 0, (1,), (1,))}
    )
    assert "more bytes than the file" in refuse(huge, {"0": (1 << 40, bytes(16))})
    many = hand.program([hand.storage(str(i), 100, "FloatStorage", None) for i in range(1000)])
    assert "more bytes than the file" in refuse(many, {"0": (100, bytes(400))})


def test_two_stories_about_one_storage(refuse, tmp_path):
    both = [hand.storage("0", 4, "FloatStorage", None), hand.storage("0", 4, "DoubleStorage", None)]
    assert "two sizes" in refuse(hand.program(both), {"0": (4, bytes(64))})
    one = hand.program(
        {"w": hand.tensor(hand.storage("0", 4, "FloatStorage", None), 0, (1,), (1,))}
    )
    assert "damaged" in refuse(one, {"0": (2, bytes(8))})
    assert "damaged" in refuse(one, {"1": (4, bytes(16))})
    assert "cut short" in refused(tmp_path, hand.legacy_file(one, {"0": (4, bytes(15))}))
    assert "4 numbers in one place and -1" in refused(
        tmp_path, hand.legacy_file(one, {"0": (-1, b"")})
    )


# --- resources


def test_lengths_that_the_file_does_not_have(refuse):
    assert "cut short" in refuse(b"\x80\x02X" + struct.pack("<I", 1 << 20) + b"ab")
    for code in (b"\x8d", b"\x8e", b"\x96"):
        assert "MB of pickle" in refuse(b"\x80\x02" + code + struct.pack("<Q", 1 << 62) + b"ab")
    for code in (b"X", b"B"):
        assert "MB of pickle" in refuse(b"\x80\x02" + code + struct.pack("<I", 0xFFFFFFFF) + b"ab")
    assert "negative" in refuse(b"\x80\x02T" + struct.pack("<i", -5) + b"ab")
    assert "has no end" in refuse(b"\x80\x02c" + b"a" * 5000)


def test_memo_indices_cost_nothing(refuse):
    assert "holds a list" in refuse(b"\x80\x02]r\xff\xff\xff\xff.")
    assert "not there" in refuse(b"\x80\x02]j\xff\xff\xff\xff.")
    assert "not there" in refuse(b"\x80\x02h\x00.")


def test_huge_integers(refuse):
    assert "an integer of 2000000 bytes" in refuse(
        b"\x80\x02\x8b" + struct.pack("<i", 2_000_000) + b"\x01" * 2_000_000 + b"."
    )
    assert "negative" in refuse(b"\x80\x02\x8b" + struct.pack("<i", -1) + b".")


@pytest.mark.parametrize("code", [b"(", b"]", b"2"])
def test_too_many_instructions(tmp_path, code):
    program = b"\x80\x02]" + code * 2_100_000 + b"."
    path = tmp_path / "f.pth"
    path.write_bytes(hand.zip_file(program, {}))
    with pytest.raises(WeightsError, match="far more values"):
        load_weights(path)


def test_work_through_references_is_counted(refuse):
    """A list of 20,000 pairs, made into an OrderedDict again and again."""
    pair = hand.code(["k", 1])
    pairs = b"](" + b"".join([pair] * 20_000) + b"eq\x01"
    calls = b"ccollections\nOrderedDict\nh\x01\x85R" * 1000
    program = b"\x80\x02](" + pairs + calls + b"e."
    assert "far more values" in refuse(program)


def test_deep_nesting_overflows_nothing(refuse):
    deep = b"\x80\x02)" + b"\x85" * 100_000 + b"."
    assert "holds a tuple" in refuse(deep)
    key = b"\x80\x02})" + b"\x85" * 100_000 + b"Ns."  # its hash would overflow the C stack
    assert "no entries" in refuse(key)
    dicts = b"\x80\x02" + (b"}" + hand.code("model")) * 20_000 + b"}" + b"s" * 20_000 + b"."
    assert "holds no state_dict" in refuse(dicts)


def test_dicts_that_refer_to_each_other_are_searched_once(refuse):
    """1000 references to a dict with 1000 references to a dict ...: 10^12 paths."""
    level = b"}q\x00"
    for _ in range(4):
        items = b"".join(hand.code(f"k{i}") + b"h\x00" for i in range(1000))
        level = level + b"}(" + items + b"uq\x00"
    assert "holds no state_dict" in refuse(b"\x80\x02" + level + b".")


def test_keys_chosen_to_collide_are_dropped(tmp_path):
    prime = (1 << 61) - 1  # Python hashes integers modulo this
    items = b"".join(hand.code(i * prime) + b"N" for i in range(1, 20_000))
    weight = hand.code("w") + hand.tensor(hand.storage("0", 1), 0, (1,), (1,))
    path = tmp_path / "f.pth"
    path.write_bytes(hand.zip_file(b"\x80\x02}(" + items + weight + b"u.", {"0": (1, bytes(4))}))
    assert list(load_weights(path)) == ["w"]


# --- damage

SAMPLES = {"zip": hand.sample_zip(), "legacy": hand.sample_legacy()}


@pytest.mark.parametrize("layout", SAMPLES)
def test_every_truncation(tmp_path, layout):
    content = SAMPLES[layout]
    path = tmp_path / "f.pth"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError):
            load_weights(path)


@pytest.mark.parametrize("layout", SAMPLES)
def test_every_instruction_replaced(tmp_path, layout):
    """Each byte of the file in turn, by two others: weights come out or a WeightsError does."""
    content = SAMPLES[layout]
    path = tmp_path / "f.pth"
    for position in range(len(content)):
        for byte in (ord("R"), content[position] ^ 1):
            path.write_bytes(content[:position] + bytes([byte]) + content[position + 1 :])
            check_one(path)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    layout=st.sampled_from(sorted(SAMPLES)),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 6), st.binary(max_size=6)), max_size=4),
)
def test_random_damage(tmp_path, layout, cuts):
    content = SAMPLES[layout]
    for where, dropped, inserted in cuts:
        at = int(where * len(content))
        content = content[:at] + inserted + content[at + dropped :]
    path = tmp_path / "f.pth"
    path.write_bytes(content)
    check_one(path)


def check_one(path: Path) -> None:
    try:
        found = load_weights(path)
    except WeightsError:
        return
    assert all(isinstance(array, np.ndarray) for array in found.values())
    assert sum(array.nbytes for array in found.values()) < MEMORY


# --- zip


def test_zip_tricks(tmp_path):
    root, storages = hand.sample()
    compressed = hand.zip_file(root, storages, compression=zipfile.ZIP_DEFLATED)
    assert "compressed members" in refused(tmp_path, compressed)
    bomb = hand.zip_file(root, {"0": (6, bytes(30_000_000))}, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    assert "compressed members" in refused(tmp_path, bomb)
    content = bytearray(hand.zip_file(root, storages))
    content[content.index(struct.pack("<f", 5.0)) + 3] ^= 1
    assert "Bad CRC-32" in refused(tmp_path, bytes(content))
    assert "byte order is middle" in refused(tmp_path, hand.zip_file(root, storages, "middle"))
    renamed = hand.zip_file(root, storages).replace(b"archive/data/1", b"archive/data/0")
    assert "two files of one name" in refused(tmp_path, renamed)


def test_keys_cannot_leave_the_data_folder(tmp_path):
    root = hand.program({"w": hand.tensor(hand.storage("../../etc/passwd", 1), 0, (1,), (1,))})
    assert "archive/data/../../etc/passwd is not in it" in refused(
        tmp_path, hand.zip_file(root, {})
    )
