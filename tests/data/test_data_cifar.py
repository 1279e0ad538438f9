from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_files import (
    ROWS,
    batches,
    cifar_files,
    names,
    numbers,
    python2_array,
    python2_pickle,
    python2_text,
    rows,
    write_tar,
)
from image_files import write_folder

from tinygrad_ft.data import CIFAR10, CIFAR100, DataError
from tinygrad_ft.data.cifar_pickle import load_cifar_pickle

READERS = {10: CIFAR10, 100: CIFAR100}
ARCHIVES = [(10, False), (10, True), (100, False), (100, True)]


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for reader in READERS.values():
        monkeypatch.setattr(reader, "train_rows", 5 * ROWS)
        monkeypatch.setattr(reader, "test_rows", ROWS)


def archive_name(kind: int, binary: bool) -> str:
    return f"cifar-{kind}-{'binary' if binary else 'python'}.tar.gz"


@pytest.mark.parametrize("kind, binary", ARCHIVES)
@pytest.mark.parametrize("place", ["archive", "folder of it", "extracted", "extracted inside"])
def test_official_archives(tmp_path: Path, kind: int, binary: bool, place: str) -> None:
    files = cifar_files(kind, binary)
    if "extracted" in place:
        root = write_folder(tmp_path, dict(files))
        root = root / next(iter(files)).split("/")[0] if place == "extracted" else root
    else:
        root = write_tar(tmp_path / archive_name(kind, binary), files)
        root = root if place == "archive" else tmp_path
    for train in (True, False):
        data = READERS[kind](root, train=train)
        parts = [part for name, part in batches(kind).items() if train != name.startswith("test")]
        pixels = np.concatenate([p[0] for p in parts])
        labels = np.concatenate([p[1] for p in parts])
        assert data.classes == tuple(names(kind))
        np.testing.assert_array_equal(data.targets, labels)
        for i in range(len(labels)):
            expected = [pixels[i, c * 1024 : (c + 1) * 1024].reshape(32, 32) for c in range(3)]
            np.testing.assert_array_equal(data[i][0], np.stack(expected, axis=-1))


def test_the_official_sizes_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    path = write_tar(tmp_path / "c.tar.gz", cifar_files(10, True))
    with pytest.raises(DataError, match="has 30 images where CIFAR-10 has 50000"):
        CIFAR10(path)
    with pytest.raises(DataError, match="has 6 images where CIFAR-10 has 10000"):
        CIFAR10(path, train=False)


def test_pickles_written_by_python_3(tmp_path: Path) -> None:
    pixels, labels = rows(3, ROWS, 10)
    for protocol in (2, 4):
        data = pickle.dumps({b"data": pixels, "labels": labels.tolist()}, protocol=protocol)
        if protocol == 2:
            found = load_cifar_pickle(data, "x")
            np.testing.assert_array_equal(found["data"], pixels)
            assert found["labels"] == labels.tolist()
    fortran = pickle.dumps({"data": np.asfortranarray(pixels)}, protocol=2)
    np.testing.assert_array_equal(load_cifar_pickle(fortran, "x")["data"], pixels)


class Runs:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "value, name",
    [
        ("runs", "posix.mkdir" if os.name == "posix" else "nt.mkdir"),
        (np.float64(3), r"numpy\.\S*scalar"),
        (complex, r"(builtins|__builtin__)\.complex"),
        (eval, r"(builtins|__builtin__)\.eval"),
        (getattr, r"(builtins|__builtin__)\.getattr"),
        (np.load, r"numpy\.load"),
    ],
)
def test_pickles_can_run_nothing(tmp_path: Path, value: Any, name: str) -> None:
    made = tmp_path / "made"
    evil = pickle.dumps({b"data": Runs(made) if value == "runs" else value}, protocol=2)
    with pytest.raises(DataError, match=rf"'evil' is not a CIFAR pickle: .*{name}.*refused"):
        load_cifar_pickle(evil, "evil")
    files = cifar_files(10, False) | {"cifar-10-batches-py/test_batch": evil}
    with pytest.raises(DataError, match="test_batch' is not a CIFAR pickle"):
        CIFAR10(write_tar(tmp_path / "evil.tar.gz", files), train=False)
    assert not made.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        pickle.dumps([1, 2]),
        pickle.dumps({"data": np.zeros(3)}, protocol=2),
        pickle.dumps({"data": np.array([{}])}, protocol=2),
        python2_pickle(
            {b"data": python2_array(np.zeros((2, 3), np.uint8)).replace(b"J\2", b"J\7")}
        ),
        python2_pickle({b"data": b"cnumpy\nndarray\n)R"})[:-3],
        b"\x80\x02r\xff\xff\xff\x7f.",
    ],
)
def test_damaged_pickles(data: bytes) -> None:
    with pytest.raises(DataError, match="'broken' is not a CIFAR pickle"):
        load_cifar_pickle(data, "broken")


def without(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {path: data for path, data in files.items() if not path.endswith(name)}


PY, BIN = "cifar-10-batches-py/", "cifar-10-batches-bin/"


@pytest.mark.parametrize(
    "files, words",
    [
        (without(cifar_files(10, False), "data_batch_3"), "lacks 'data_batch_3' of CIFAR-10"),
        (without(cifar_files(10, True), "meta.txt"), "lacks 'batches.meta.txt' of CIFAR-10"),
        ({"readme.html": b"hello"}, "does not hold CIFAR-10: expected cifar-10-python"),
        (
            cifar_files(10, True) | {BIN + "data_batch_2.bin": b"x" * 3000},
            "'data_batch_2.bin' has 3000 bytes, not a multiple of 3073",
        ),
        (
            cifar_files(10, True) | {BIN + "data_batch_2.bin": b"\x0a" * 3073},
            "'data_batch_2.bin' has labels outside 0..9",
        ),
        (
            cifar_files(10, False) | {PY + "data_batch_2": python2_pickle({b"data": b"K\1"})},
            "no array 'data' of rows of 3072",
        ),
        (
            cifar_files(10, False)
            | {
                PY + "data_batch_2": python2_pickle(
                    {b"data": python2_array(rows(0, 2, 10)[0]), b"labels": numbers(np.zeros(3))}
                )
            },
            "no list 'labels' of 2 labels",
        ),
        (
            cifar_files(10, False)
            | {
                PY + "data_batch_2": python2_pickle(
                    {
                        b"data": python2_array(rows(0, 1, 10)[0]),
                        b"labels": b"](" + python2_text(b"cat") + b"e",
                    }
                )
            },
            "labels that are not integers",
        ),
        (
            cifar_files(10, True) | {BIN + "batches.meta.txt": b"cat\ndog\n"},
            "'batches.meta.txt' names 2 classes, CIFAR-10 has 10",
        ),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_copies_that_are_not_whole(
    tmp_path: Path, files: dict[str, bytes], words: str, packed: bool
) -> None:
    root = tmp_path / "c.tar.gz"
    root = write_tar(root, files) if packed else write_folder(tmp_path / "c", dict(files))
    with pytest.raises(DataError, match=words) as caught:
        CIFAR10(root)
    assert str(root) in str(caught.value)


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.95])
def test_truncated_archive(tmp_path: Path, keep: float) -> None:
    path = write_tar(tmp_path / "part.tar.gz", cifar_files(10, False))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(DataError, match=r"part\.tar\.gz'"):
        CIFAR10(path)


def test_archive_names_that_point_outside_write_nothing(tmp_path: Path) -> None:
    files = {f"../../{name}": data for name, data in cifar_files(10, True).items()}
    root = tmp_path / "in" / "here"
    root.mkdir(parents=True)
    assert len(CIFAR10(write_tar(root / "c.tar.gz", files))) == 5 * ROWS
    assert os.listdir(tmp_path) == ["in"]
    assert os.listdir(root) == ["c.tar.gz"]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'.*nowhere' does not exist"):
        CIFAR10(tmp_path / "nowhere")
