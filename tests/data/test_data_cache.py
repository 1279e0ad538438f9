from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from image_files import Make, encoded, picture, write_folder, write_zip

import tinygrad_ft.data.folder as folder_module
from tinygrad_ft.data import DataError, ImageFolder, cache_dir


def png(seed: int) -> bytes:
    return encoded(picture(seed))


def files(count: int = 4) -> dict[str, bytes | None]:
    return {f"{'ab'[i % 2]}/{i}.png": png(i) for i in range(count)}


def entries(cache: Path) -> list[str]:
    return sorted(os.listdir(cache))


def test_the_place_of_the_cache(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    assert cache_dir() == own_cache
    monkeypatch.delenv("TINYGRAD_FT_CACHE_DIR")
    assert cache_dir().parts[-1] == "datasets"
    assert "tinygrad_ft" in cache_dir().parts


def test_second_opening_decodes_nothing(
    make: Make, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make(files())
    first = ImageFolder(root)
    monkeypatch.setattr(folder_module, "decode_image", None)
    second = ImageFolder(root)
    np.testing.assert_array_equal(first.get_batch(range(4))[0], second.get_batch(range(4))[0])
    assert (first.names, first.classes) == (second.names, second.classes)
    assert first.fingerprint == second.fingerprint
    assert len(entries(own_cache)) == 1
    assert second._images is not None
    with pytest.raises(ValueError, match="read-only"):
        second._images[0] = 0


def test_another_option_is_another_entry(make: Make, own_cache: Path) -> None:
    root = make(files())
    assert ImageFolder(root, size=4)[0][0].shape == (4, 4, 3)
    assert ImageFolder(root, size=5)[0][0].shape == (5, 5, 3)
    assert ImageFolder(root, size=5, mode="L")[0][0].shape == (5, 5, 1)
    assert len(entries(own_cache)) == 3


def test_a_changed_source_is_noticed_and_the_old_entry_goes(
    tmp_path: Path, own_cache: Path
) -> None:
    root = write_folder(tmp_path / "d", files())
    first = ImageFolder(root)
    kept = np.array(first[0][0])
    changed = root / "a" / "0.png"
    time_before = changed.stat().st_mtime_ns
    changed.write_bytes(png(50))
    os.utime(changed, ns=(time_before + 1, time_before + 1))
    second = ImageFolder(root)
    np.testing.assert_array_equal(second[0][0], picture(50))
    assert second.fingerprint != first.fingerprint
    np.testing.assert_array_equal(first[0][0], kept)  # an open data set keeps its pixels
    (root / "a" / "9.png").write_bytes(png(9))
    assert len(ImageFolder(root)) == 5
    (root / "a" / "9.png").unlink()
    assert len(ImageFolder(root)) == 4
    assert len(entries(own_cache)) == 1


def test_a_changed_zip_is_noticed(tmp_path: Path, own_cache: Path) -> None:
    path = write_zip(tmp_path / "d.zip", files(), compress=False)
    first = ImageFolder(path)
    status = path.stat()
    # the same size and even the same time: the directory's checksums tell
    write_zip(path, files() | {"a/0.png": png(50)}, compress=False)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = ImageFolder(path)
    np.testing.assert_array_equal(second[0][0], picture(50))
    assert first.fingerprint != second.fingerprint
    assert len(entries(own_cache)) == 1


def test_the_fingerprint_is_of_the_contents(tmp_path: Path) -> None:
    one = ImageFolder(write_folder(tmp_path / "one", files()))
    two = ImageFolder(write_folder(tmp_path / "two", files()))
    renamed = {name.replace("a/", "c/"): data for name, data in files().items()}
    three = ImageFolder(write_folder(tmp_path / "three", renamed))
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != three.fingerprint


@pytest.mark.parametrize("damage", ["images.npy", "targets.npy", "entry.json", "cut", "gone"])
def test_a_damaged_entry_is_made_anew(make: Make, own_cache: Path, damage: str) -> None:
    root = make(files())
    before = np.array(ImageFolder(root).get_batch(range(4))[0])
    (entry,) = own_cache.iterdir()
    if damage == "cut":
        data = (entry / "images.npy").read_bytes()
        (entry / "images.npy").write_bytes(data[:-7])
    elif damage == "gone":
        (entry / "images.npy").unlink()
    else:
        (entry / damage).write_bytes(b"\0garbage")
    np.testing.assert_array_equal(ImageFolder(root).get_batch(range(4))[0], before)
    assert entries(own_cache) == [entry.name]


def test_builders_at_the_same_time(make: Make, own_cache: Path) -> None:
    root = make(files(300))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: ImageFolder(root, num_workers=1), range(4)))
    assert len({f.fingerprint for f in found}) == 1
    for f in found:
        np.testing.assert_array_equal(f[299][0], picture(99))  # b/99.png is the last name
    assert len(entries(own_cache)) == 1


OPEN = """
import sys
from tinygrad_ft.data import DataError, ImageFolder
LIMIT
try:
    print(len(ImageFolder(sys.argv[1])))
except DataError as error:
    print("DataError:", error)
"""


def run_open(root: Path, limit: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", OPEN.replace("LIMIT", limit), str(root)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_disk_that_fills_up(make: Make, own_cache: Path) -> None:
    root = make(files(200))
    out = run_open(root, "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))")
    assert "DataError: the cache" in out.stdout, out.stderr
    assert "TINYGRAD_FT_CACHE_DIR" in out.stdout
    assert entries(own_cache) == []
    assert run_open(root).stdout == "200\n"


def test_no_room_is_said_before_the_work(
    make: Make, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 99, 1))
    with pytest.raises(DataError, match=r"decoded images need .* MB in"):
        ImageFolder(make(files()))
    assert entries(own_cache) == []


def test_a_cache_that_cannot_be_written(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=r"the cache '.*file.*' cannot be written"):
        ImageFolder(make(files()), cache_dir=tmp_path / "file" / "cache")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_builder_that_is_killed_leaves_nothing_that_counts(make: Make, own_cache: Path) -> None:
    root = make(files(300))
    kill = (
        "import os, signal, tinygrad_ft.data.cache as c\n"
        "c.ImageCache._publish = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert run_open(root, kill).returncode == -signal.SIGKILL
    (left,) = entries(own_cache)
    assert ".tmp-" in left
    assert run_open(root).stdout == "300\n"
    assert left in entries(own_cache), "it might still be at work"
    # a day later it is not; the next build of the same data set clears it away
    for path in (own_cache / left, *(own_cache / left).iterdir()):
        os.utime(path, (time.time() - 100_000,) * 2)
    (entry,) = (name for name in entries(own_cache) if name != left)
    shutil.rmtree(own_cache / entry)
    ImageFolder(root)
    assert entries(own_cache) == [entry]


def test_an_interrupted_build_leaves_nothing(make: Make, own_cache: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ImageFolder(make(files(300)), progress=stop)
    assert entries(own_cache) == []
