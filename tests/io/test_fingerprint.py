"""Fingerprints: equal for equal weights, different for any difference."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tinygrad_ft.io import FileError, fingerprint_file, fingerprint_state, short

STATE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(5, np.int64)}


def test_equal_states():
    expected = fingerprint_state(STATE)
    assert len(expected) == 64
    assert short(expected) == expected[:12]
    same = [
        {"b": STATE["b"], "a": STATE["a"]},
        STATE | {"a": np.asfortranarray(STATE["a"])},
        STATE | {"a": np.repeat(STATE["a"], 2, axis=1)[:, ::2]},
        STATE | {"a": STATE["a"].astype(">f4")},
    ]
    for state in same:
        assert fingerprint_state(state) == expected


def test_it_stays_the_same_from_version_to_version():
    assert short(fingerprint_state(STATE)) == "3aee3d0902b8"


def test_every_difference_counts():
    a, b = STATE["a"], STATE["b"]
    different = [
        {}, {"a": a}, STATE | {"c": np.zeros(0)}, {"a": a, "c": b}, STATE | {"a": a + 1},
        STATE | {"a": a.reshape(3, 2)}, STATE | {"a": a.view(np.int32)}, STATE | {"b": b[None]},
        STATE | {"a": -a}, STATE | {"b": b.astype(np.int32)}, STATE | {"a": a.T},
        {"a": b, "b": a}, {"ab": a, "": b},
    ]  # fmt: skip
    prints = [fingerprint_state(state) for state in [STATE, *different]]
    assert len(set(prints)) == len(prints)


def test_objects_have_none():
    with pytest.raises(TypeError, match="a holds Python objects"):
        fingerprint_state({"a": np.array([print])})


def test_files(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x" * 3_000_000)
    assert fingerprint_file(path) == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    with pytest.raises(FileError, match="cannot be read: No such file"):
        fingerprint_file(tmp_path / "absent")
