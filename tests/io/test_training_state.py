"""flatten_state and unflatten_state: everything comes back with its type and its bits."""

from __future__ import annotations

import json
import math
import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_ft.io import (
    CheckpointError,
    flatten_state,
    load_checkpoint,
    save_checkpoint,
    unflatten_state,
)


def assert_identical(found: object, expected: object) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        assert [type(key) for key in found] == [type(key) for key in expected]
        for key in expected:
            assert_identical(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_identical(one, other)
    elif isinstance(expected, float):
        assert struct.pack("<d", found) == struct.pack("<d", expected)
    elif isinstance(expected, (np.ndarray, np.generic)):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()
    else:
        assert found == expected


def test_a_trainers_state(tmp_path):
    generator = np.random.default_rng(5)
    generator.standard_normal(3)
    negative_nan = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000001))[0]
    state = {
        "model": {
            "conv1.weight": np.ones((2, 2), np.float32),
            "bn1.num_batches_tracked": np.array(3),
        },
        "optimizer": {
            "state": {0: {"momentum_buffer": np.arange(3, dtype=np.float32), "step": 4}, 1: {}},
            "param_groups": [{"lr": 0.1 + 0.2, "betas": (0.9, 0.999), "params": [0, 1]}],
        },
        "rng": {
            "numpy": generator.bit_generator.state,
            "legacy": np.random.RandomState(1).get_state(),
            "python": random.Random(3).getstate(),
        },
        "best": -math.inf,
        "losses": [math.nan, negative_nan, -0.0, 5e-324, 1e308, np.float32(0.1), np.int64(-5)],
        "digest": b"\x00\xff",
        "none": None,
        "flags": (True, False, ()),
        "$tensor": "not one",
        "nested": {"$float": "00"},
        "größe": "猫\ud83d",
    }
    tensors, text = flatten_state(state)
    assert "model/conv1.weight" in tensors
    json.loads(text, parse_constant=pytest.fail)  # strict JSON, no NaN or Infinity
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, tensors, {"state": text})
    tensors, metadata = load_checkpoint(path)
    assert_identical(unflatten_state(tensors, metadata["state"]), state)
    continued = np.random.default_rng()
    continued.bit_generator.state = unflatten_state(tensors, metadata["state"])["rng"]["numpy"]
    assert continued.random() == generator.random()


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=5)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.floats(width=32).map(np.float32) | st.integers(-9, 9).map(np.int16)
    | st.lists(st.floats(), max_size=3).map(np.array)
)  # fmt: skip
keys = st.sampled_from(
    ["a", "b/a", "a/b", "", "$tensor", "$dict", "x.y", 0, 1, -5, None, 2.5, b"k"]
)
states = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(state=states)
def test_any_state_comes_back(state):
    tensors, text = flatten_state(state)
    assert_identical(unflatten_state(tensors, text), state)


def test_paths_that_collide_stay_apart():
    state = {"a/b": np.array(1), "a": {"b": np.array(2)}, "a/b~2": np.array(3)}
    tensors, text = flatten_state(state)
    assert len(tensors) == 3
    assert_identical(unflatten_state(tensors, text), state)


def test_what_cannot_be_kept():
    with pytest.raises(CheckpointError, match="optimizer/hook is a function"):
        flatten_state({"optimizer": {"hook": lambda: None}})
    with pytest.raises(CheckpointError, match="it is a object"):
        flatten_state(object())
    with pytest.raises(CheckpointError, match="a has keys of other types"):
        flatten_state({"a": {(1, 2): 3}})
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(CheckpointError, match="never ends"):
        flatten_state(loop)
    with pytest.raises(CheckpointError, match="digits"):
        flatten_state(10**5000)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", '{"$tensor": "absent"}', '{"$tensor": []}', '{"$float": "xy"}', '{"$float": "00"}',
        '{"$dict": [[[], 1]]}', '{"$dict": 5}', '{"$tuple": 5}', '{"$bytes": 5}', "[" * 200_000,
    ],
)  # fmt: skip
def test_damaged_states(text):
    with pytest.raises(CheckpointError, match="state is damaged"):
        unflatten_state({}, text)
