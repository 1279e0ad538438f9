"""Checkpoints: what comes back, what is refused, and what survives a full disk and a kill."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from tinygrad_ft.io import (
    CheckpointError,
    RunFolder,
    WriteError,
    atomic_write,
    flatten_state,
    load_checkpoint,
    load_metadata,
    load_weights,
    save_checkpoint,
)

ROOT = Path(__file__).resolve().parents[2]
TENSORS = {
    "w": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "strided": np.arange(10)[::3],
    "big_endian": np.array([1, 2], ">i4"),
    "scalar": np.array(2.5),
    "empty": np.zeros((0, 3), np.float16),
    "mask": np.array([True, False]),
    "": np.uint8([7]) * np.ones(1, np.uint8),
}


def test_round_trip(tmp_path):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, TENSORS, {"classes": "Katze, 猫", "epoch": "3"})
    tensors, metadata = load_checkpoint(path)
    assert metadata == {"classes": "Katze, 猫", "epoch": "3"}
    assert set(tensors) == set(TENSORS)
    for name, array in TENSORS.items():
        native = array.astype(array.dtype.newbyteorder("="))
        np.testing.assert_array_equal(tensors[name], native, strict=True)
    assert os.listdir(tmp_path) == ["last.safetensors"]


def test_weights_of_checkpoints(tmp_path):
    """Both kinds: weights alone, and a training state, whose optimiser does not get mixed in."""
    path = tmp_path / "a.safetensors"
    model = {"conv1.weight": np.ones(2, np.float32), "model/x": np.zeros(1, np.float32)}
    save_checkpoint(path, {"conv1.weight": model["conv1.weight"]}, {})
    assert list(load_weights(path)) == ["conv1.weight"]
    tensors, text = flatten_state({"model": model, "optimizer": {"conv1.weight": np.zeros(2)}})
    save_checkpoint(path, tensors, {"state": text})
    found = load_weights(path)
    assert list(found) == ["conv1.weight", "model/x"]
    np.testing.assert_array_equal(found["conv1.weight"], [1, 1])
    assert load_metadata(path)["state"] == text
    # a prefix is the model's own here, and not DataParallel's
    save_checkpoint(path, {"model.fc.bias": np.ones(1)}, {})
    assert list(load_weights(path)) == ["model.fc.bias"]


@pytest.mark.parametrize(
    "tensors,metadata,sentence",
    [
        ({"w": np.array(["a"])}, {}, r"cannot keep w: its type is <U1"),
        ({"w": np.array([print])}, {}, "cannot keep w: its type is object"),
        ({"w": np.ones(1, np.complex128)}, {}, "complex128"),
        ({"w": [1.0]}, {}, "its type is list"),
        ({"__metadata__": np.ones(1)}, {}, "name '__metadata__'"),
        ({5: np.ones(1)}, {}, "name 5"),
        ({}, {"epoch": 3}, "metadata 'epoch': it must be a string"),
        ({}, {"note": "x" * 100_000_001}, "header too large"),
        ({"\ud83d": np.ones(1)}, {}, "cannot be written: .*surrogates not allowed"),
        ({}, {"note": "\ud83d"}, "cannot be written: .*surrogates not allowed"),
    ],
)
def test_what_cannot_be_kept(tmp_path, tensors, metadata, sentence):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"w": np.ones(2)}, {})
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=sentence):
        save_checkpoint(path, tensors, metadata)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["c.safetensors"]


def test_what_is_no_checkpoint(tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        load_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"is empty \(0 bytes\)"):
        load_checkpoint(path)
    path.write_bytes(save({"w": np.ones(2)}, {"format": "pt"}))
    with pytest.raises(CheckpointError, match=r"no checkpoint of tinygrad_ft.*load_weights"):
        load_checkpoint(path)
    path.write_bytes(save({"w": np.ones(2)}, {"tinygrad_ft.format": "999"}))
    with pytest.raises(CheckpointError, match="in format 999; this tinygrad_ft reads format 1"):
        load_checkpoint(path)
    path.write_bytes(b"\x80\x02}.")
    with pytest.raises(CheckpointError, match="no safetensors file"):
        load_checkpoint(path)


def test_every_truncation(tmp_path):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"w": np.ones(3, np.float32)}, {"k": "v"})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


# --- disks that refuse


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_previous_file(tmp_path, monkeypatch, call):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"w": np.ones(2)}, {"epoch": "1"})

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(CheckpointError, match=r"cannot be written: No space left.*untouched"):
        save_checkpoint(path, {"w": np.zeros(2)}, {"epoch": "2"})
    monkeypatch.undo()
    tensors, metadata = load_checkpoint(path)
    assert metadata == {"epoch": "1"}
    np.testing.assert_array_equal(tensors["w"], [1, 1])
    assert os.listdir(tmp_path) == ["c.safetensors"]


def run_python(source: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", textwrap.dedent(source), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(ROOT)])},
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs setrlimit")
def test_a_real_limit_in_the_middle_of_the_file(tmp_path):
    """The kernel refuses the 100,001st byte of the new file."""
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"w": np.ones(100)}, {"epoch": "1"})
    process = run_python(
        """
        import resource, sys
        import numpy as np
        from tinygrad_ft.io import CheckpointError, save_checkpoint
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            save_checkpoint(sys.argv[1], {"w": np.zeros(100_000)}, {"epoch": "2"})
        except CheckpointError as problem:
            print(problem)
        """,
        path,
    )
    output, _ = process.communicate(timeout=120)
    assert "cannot be written: File too large" in output
    assert load_checkpoint(path)[1] == {"epoch": "1"}
    assert os.listdir(tmp_path) == ["c.safetensors"]


def test_unwritable_places(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be written: No such file"):
        save_checkpoint(tmp_path / "absent" / "c.safetensors", {}, {})
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="cannot be written: Not a directory"):
        save_checkpoint(tmp_path / "file" / "c.safetensors", {}, {})
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(CheckpointError, match="Permission denied"):
                save_checkpoint(tmp_path / "c.safetensors", {}, {})
        finally:
            tmp_path.chmod(0o700)


def test_atomic_write(tmp_path):
    path = tmp_path / "report.html"
    atomic_write(path, b"one")
    atomic_write(path, lambda file: file.write(b"two"))
    assert path.read_bytes() == b"two"

    def breaks(file) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, breaks)
    assert path.read_bytes() == b"two"
    with pytest.raises(WriteError, match=r"absent.x.csv cannot be written"):
        atomic_write(tmp_path / "absent" / "x.csv", b"")
    assert os.listdir(tmp_path) == ["report.html"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        atomic_write(pipe, b"content")
        assert read.result(60) == b"content"
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links and modes of POSIX")
def test_links_and_modes_stay(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "last"
    link.symlink_to(tmp_path / "disk" / "real")
    atomic_write(link, b"x")
    assert link.is_symlink()
    assert (tmp_path / "disk" / "real").read_bytes() == b"x"
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "disk" / "real").stat().st_mode & 0o777 == 0o666 & ~mask


WRITER = """
    import sys
    import numpy as np
    from tinygrad_ft.io import RunFolder, save_checkpoint
    run = RunFolder(sys.argv[1], resume=True)
    for i in range(1, 1_000_000):
        save_checkpoint(run.last_path, {"w": np.full(500_000, i, np.float32)}, {"i": str(i)})
        run.write_summary([{"epoch": e, "i": i} for e in range(50)])
        print(i, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_sigkill_during_saves(tmp_path):
    """Old or new, never half; the lock of the dead does not stay; its litter is swept."""
    path = tmp_path / "run"
    with RunFolder(path) as run:
        save_checkpoint(run.last_path, {"w": np.zeros(500_000, np.float32)}, {"i": "0"})
        run.write_summary([{"epoch": e, "i": 0} for e in range(50)])
    generator = random.Random(0)
    for _ in range(6):
        process = run_python(WRITER, path)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(generator.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        reported = process.stdout.read().split()
        process.wait()
        process.stdout.close()
        with RunFolder(path, resume=True) as run:
            tensors, metadata = load_checkpoint(run.last_path)
            i = int(metadata["i"])
            assert i >= max(map(int, reported), default=1)
            assert tensors["w"].shape == (500_000,)
            assert np.all(tensors["w"] == i)
            rows = run.summary_path.read_text().splitlines()
            assert len(rows) == 51
            assert len({row.split(",")[1] for row in rows[1:]}) == 1
        assert not list(path.glob(".*.tmp"))


def test_equal_content_gives_equal_bytes(tmp_path):
    tensors = {f"t{i}": np.arange(i, dtype=np.float32) for i in range(9)}
    metadata = {f"Schlüssel {i}": "猫" * i for i in range(9)}
    files = []
    for number in range(8):  # the library alone would write some order of ten metadata
        save_checkpoint(tmp_path / f"{number}", tensors, metadata)
        files.append((tmp_path / f"{number}").read_bytes())
    assert len(set(files)) == 1
    assert len(files[0]) % 4 == 0
    found, read = load_checkpoint(tmp_path / "0")
    assert read == metadata
    assert all(np.array_equal(found[name], array) for name, array in tensors.items())
