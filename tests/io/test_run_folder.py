"""Run folders: one run each, one process at a time."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tinygrad_ft.io import (
    RUN_FILES,
    RunFolder,
    RunFolderError,
    check_run_folder,
    fingerprint_file,
    folder_lock,
    save_checkpoint,
)

ROOT = Path(__file__).resolve().parents[2]


def test_a_new_run(tmp_path):
    with RunFolder(tmp_path / "runs" / "Namen mit 猫") as run:
        args = {
            "lr": 0.1,
            "classes": ["Katze", "猫"],
            "freeze": None,
            "steps": 10**12,
            "flag": True,
        }
        run.write_args(args)
        assert run.read_args() == args
        assert list(run.read_args()) == list(args)
        assert "猫" in run.args_path.read_text(encoding="utf-8")
        names = [run.args_path, run.summary_path, run.last_path, run.best_path, run.report_path]
        assert [path.name for path in names] == [
            "args.yaml", "summary.csv", "last.safetensors", "best.safetensors", "report.html",
        ]  # fmt: skip
        with pytest.raises(RunFolderError, match=r"args.yaml cannot keep its values"):
            run.write_args({"path": Path("x")})
        assert run.read_args() == args


def test_summary_is_rewritten_on_resume(tmp_path):
    path = tmp_path / "run"
    history = [{"epoch": e, "loss": 1 / (e + 1)} for e in range(5)]
    with RunFolder(path) as run:
        for e in range(5):
            run.write_summary(history[: e + 1])
    with RunFolder(path, resume=True) as run:
        run.write_summary([*history[:3], {"epoch": 3, "loss": 0.125, "note": 'a,b\n"c" 猫'}])
        with open(run.summary_path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
        assert [float(row["loss"]) for row in rows] == [1, 1 / 2, 1 / 3, 0.125]
        assert [row["note"] for row in rows] == ["", "", "", 'a,b\n"c" 猫']
        run.write_summary([])


@pytest.mark.parametrize("name", ["args.yaml", "summary.csv", "last.safetensors", "report.html"])
def test_another_run_is_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("kept")
    (tmp_path / "notes.txt").write_text("kept")
    with pytest.raises(RunFolderError, match=f"already holds a run .{name}.; resume it or choose"):
        RunFolder(tmp_path)
    assert (tmp_path / name).read_text() == "kept"
    with RunFolder(tmp_path, resume=True):
        assert (tmp_path / name).read_text() == "kept"
    with RunFolder(tmp_path, overwrite=True):
        assert not (tmp_path / name).exists()
    assert (tmp_path / "notes.txt").read_text() == "kept"


def test_folders_of_other_things_can_be_used(tmp_path):
    (tmp_path / "notes.txt").write_text("kept")
    RunFolder(tmp_path).close()


def test_nothing_to_resume(tmp_path):
    with pytest.raises(RunFolderError, match="does not exist"):
        RunFolder(tmp_path / "absent", resume=True)
    assert not (tmp_path / "absent").exists()
    with pytest.raises(RunFolderError, match="holds no run to resume"):
        RunFolder(tmp_path, resume=True)
    with pytest.raises(ValueError, match="exclude"):
        RunFolder(tmp_path, resume=True, overwrite=True)


def test_places_that_cannot_be_folders(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunFolderError, match="cannot be made"):
            RunFolder(path)
    (tmp_path / "run" / ".lock").mkdir(parents=True)
    with pytest.raises(RunFolderError, match="cannot be locked"):
        RunFolder(tmp_path / "run")


@pytest.mark.parametrize(
    "text", ["", "- a\n", "{", "!!python/object:os.system {}", "\x00", "[" * 5000]
)
def test_damaged_args(tmp_path, text):
    with RunFolder(tmp_path) as run:
        run.args_path.write_text(text)
        with pytest.raises(RunFolderError, match=r"args.yaml is damaged"):
            run.read_args()
        run.args_path.unlink()
        with pytest.raises(RunFolderError, match=r"args.yaml cannot be read"):
            run.read_args()


def test_only_litter_is_swept(tmp_path):
    for name in (".last.safetensors.0a.tmp", "mine.tmp", ".hidden"):
        (tmp_path / name).write_text("x")
    with RunFolder(tmp_path):
        assert sorted(os.listdir(tmp_path)) == [".hidden", ".lock", "mine.tmp"]


def test_one_run_at_a_time_in_one_process(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(RunFolderError, match=f"in use by another run .process {os.getpid()} on"):
        RunFolder(tmp_path, overwrite=True)
    run.close()
    run.close()
    RunFolder(tmp_path).close()


OTHER = """
    import sys
    from tinygrad_ft.io import RunFolder, RunFolderError
    try:
        run = RunFolder(sys.argv[1], resume=True)
    except RunFolderError as problem:
        print(problem, flush=True)
    else:
        print("mine", flush=True)
        sys.stdin.read()
"""


def start(path: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", textwrap.dedent(OTHER), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(ROOT)])},
    )


def test_two_processes(tmp_path):
    """The second is refused, naming the first; when the first is killed, its lock is gone."""
    (tmp_path / "args.yaml").write_text("lr: 1")
    with start(tmp_path) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "mine\n"
        with pytest.raises(RunFolderError, match=f"in use by another run .process {first.pid} on"):
            RunFolder(tmp_path, overwrite=True)
        assert (tmp_path / "args.yaml").exists()
        first.kill()
        first.wait()
    with RunFolder(tmp_path, resume=True) as run:
        save_checkpoint(run.last_path, {}, {})
        before = fingerprint_file(run.last_path)
        with start(tmp_path) as second:
            output, _ = second.communicate(timeout=120)
        assert f"in use by another run (process {os.getpid()} on" in output
        assert fingerprint_file(run.last_path) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_does_not_keep_the_lock(tmp_path):
    run = RunFolder(tmp_path)
    ready_read, ready_write = os.pipe()
    done_read, done_write = os.pipe()
    child = os.fork()
    if child == 0:  # lives on until the parent has looked
        os.close(done_write)
        os.write(ready_write, b"x")
        os.read(done_read, 1)
        os._exit(0)
    os.close(done_read)
    os.read(ready_read, 1)
    try:
        with pytest.raises(RunFolderError, match="in use"):
            RunFolder(tmp_path)  # the child let go of its copy only
        run.close()
        RunFolder(tmp_path).close()
    finally:
        os.close(done_write)
        os.waitpid(child, 0)
        os.close(ready_read)
        os.close(ready_write)


def test_a_refused_resume_leaves_nothing(tmp_path):
    (tmp_path / "notes.txt").write_text("kept")
    for _ in range(2):
        with pytest.raises(RunFolderError, match="holds no run to resume"):
            RunFolder(tmp_path, resume=True)
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_run_that_was_killed_before_it_wrote_anything_can_be_resumed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").write_text("{}")  # all that it leaves
    with RunFolder(tmp_path / "run", resume=True) as run:
        run.write_args({})


def test_what_was_refused_leaves_nothing(tmp_path):
    """A run that ends before it wrote anything: no folder, or the user's folder as it was."""
    with pytest.raises(MemoryError), RunFolder(tmp_path / "new"):
        raise MemoryError
    (tmp_path / "mine").mkdir()
    RunFolder(tmp_path / "mine").close()
    with RunFolder(tmp_path / "used") as run:
        (run.path / "notes.txt").write_text("kept")
    found = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*"))
    assert found == ["mine", "used", "used/notes.txt"]


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be removed there")
def test_a_lock_that_was_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    """Opened before its holder removed it: the name stands for another file by now."""
    plain, removed = folder_lock._try_lock, []

    def slow(descriptor: int) -> None:
        if not removed:
            removed.append((tmp_path / ".lock").unlink())
        plain(descriptor)

    monkeypatch.setattr(folder_lock, "_try_lock", slow)
    with RunFolder(tmp_path), pytest.raises(RunFolderError, match="in use"):
        RunFolder(tmp_path)


def test_overwriting_removes_the_files_of_a_run_and_no_others(tmp_path):
    for name in (*RUN_FILES, "notes.txt"):
        (tmp_path / name).write_text("x")
    with RunFolder(tmp_path, overwrite=True) as run:
        assert sorted(os.listdir(tmp_path)) == [".lock", "notes.txt"]
        assert {p.name for p in vars(run).values() if isinstance(p, Path)} >= set(RUN_FILES)


def test_a_killed_removal_never_leaves_a_result_without_its_run(tmp_path, monkeypatch):
    """Whatever the number of files removed: the finished mark first, the checkpoint next."""
    unlink = Path.unlink
    for allowed in range(len(RUN_FILES)):
        folder = tmp_path / str(allowed)
        folder.mkdir()
        for name in RUN_FILES:
            (folder / name).write_text("x")
        left = allowed

        def dying(path: Path, missing_ok: bool = False) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            unlink(path, missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", dying)
            with pytest.raises(KeyboardInterrupt):
                RunFolder(folder, overwrite=True)
        there = set(os.listdir(folder))
        if "results.json" in there:
            assert there >= set(RUN_FILES)
        if "last.safetensors" in there:
            assert there >= {"args.yaml", "best.safetensors"}


def test_asking_beforehand_changes_nothing(tmp_path):
    assert check_run_folder(tmp_path / "new") == []
    assert not (tmp_path / "new").exists()
    (tmp_path / "args.yaml").write_text("x")
    with pytest.raises(RunFolderError, match=r"already holds a run \(args.yaml\)"):
        check_run_folder(tmp_path)
    assert check_run_folder(tmp_path, resume=True) == ["args.yaml"]
    assert check_run_folder(tmp_path, overwrite=True) == ["args.yaml"]
    assert os.listdir(tmp_path) == ["args.yaml"]
