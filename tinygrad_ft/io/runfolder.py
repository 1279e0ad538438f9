"""The folder of one run: its files, its lock, and how they are written."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from tinygrad_ft.io.errors import RunFolderError
from tinygrad_ft.io.files import atomic_write, remove_temporary_files
from tinygrad_ft.io.folder_lock import LOCK_NAME, FolderLock

# In the order in which a run makes them; removed in the opposite order, so that what is left of a
# removal that was killed is an earlier state of the run, never a result without its checkpoint.
RUN_FILES = (
    "args.yaml",
    "best.safetensors",
    "last.safetensors",
    "summary.csv",
    "report.html",
    "results.json",
)


def check_run_folder(
    path: str | os.PathLike[str], *, resume: bool = False, overwrite: bool = False
) -> list[str]:
    """Raise RunFolderError if `RunFolder` would, for what lies at `path`; change nothing.

    For asking before long work. Returns the names of the run's files that are there.
    """
    folder = Path(path)
    if resume and not folder.is_dir():
        raise RunFolderError(f"{folder} does not exist: there is no run to resume")
    present = [name for name in RUN_FILES if (folder / name).exists()]
    # a run that was killed before it wrote anything has left its lock
    if resume and not present and not (folder / LOCK_NAME).exists():
        raise RunFolderError(f"{folder} holds no run to resume")
    if present and not resume and not overwrite:
        raise RunFolderError(
            f"{folder} already holds a run ({', '.join(present)}); resume it or choose another "
            "folder (--resume, --out; --overwrite replaces it)"
        )
    return present


class RunFolder:
    """`runs/NAME`, locked against other processes until `close` (or the end of a `with`).

    path: created with its parents. resume: continue the run that is there; one that was killed
    before it wrote anything counts. overwrite: remove the files of the run that is there
    (RUN_FILES, nothing else).
    Raises RunFolderError when another process uses the folder, when it holds a run and neither
    resume nor overwrite is given, when there is nothing to resume, and when it cannot be made or
    locked.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, resume: bool = False, overwrite: bool = False
    ) -> None:
        if resume and overwrite:
            raise ValueError("RunFolder: resume and overwrite exclude each other")
        self.path = Path(path)
        self.args_path = self.path / "args.yaml"
        self.summary_path = self.path / "summary.csv"
        self.last_path = self.path / "last.safetensors"
        self.best_path = self.path / "best.safetensors"
        self.report_path = self.path / "report.html"
        self.results_path = self.path / "results.json"
        check_run_folder(path, resume=resume, overwrite=overwrite)  # before a lock is left there
        self._made = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise RunFolderError(
                f"{self.path} cannot be made: {problem.strerror or problem}"
            ) from problem
        self._lock = FolderLock(self.path)
        try:
            self._prepare(resume, overwrite)
        except OSError as problem:
            self.close()
            raise RunFolderError(
                f"{self.path} cannot be used for a run: {problem.strerror or problem}"
            ) from problem
        except BaseException:
            self.close()
            raise

    def _prepare(self, resume: bool, overwrite: bool) -> None:
        remove_temporary_files(self.path)
        # again: another process may have begun a run before this one had the lock
        present = check_run_folder(self.path, resume=resume, overwrite=overwrite)
        if overwrite:
            for name in reversed(present):
                (self.path / name).unlink()

    def write_args(self, args: Mapping[str, Any]) -> None:
        """Write args.yaml: plain values only (str, numbers, bool, None, lists, dicts).

        Raises RunFolderError for other values, WriteError when the disk refuses.
        """
        try:
            text = yaml.safe_dump(dict(args), sort_keys=False, allow_unicode=True)
        except yaml.YAMLError as problem:
            raise RunFolderError(f"{self.args_path} cannot keep its values: {problem}") from problem
        atomic_write(self.args_path, text.encode())

    def read_args(self) -> dict[str, Any]:
        """What `write_args` was given. Raises RunFolderError."""
        try:
            args = yaml.safe_load(self.args_path.read_bytes())
        except OSError as problem:
            raise RunFolderError(
                f"{self.args_path} cannot be read: {problem.strerror or problem}"
            ) from problem
        except (yaml.YAMLError, ValueError, RecursionError) as problem:
            raise RunFolderError(f"{self.args_path} is damaged: it is no YAML") from problem
        if not isinstance(args, dict):
            raise RunFolderError(f"{self.args_path} is damaged: it holds no settings")
        return args

    def write_summary(self, history: Iterable[Mapping[str, object]]) -> None:
        """Write summary.csv whole: a row for each epoch of `history`, columns as they appear.

        The history is part of the checkpoint, so a run that resumes at an earlier epoch rewrites
        the later rows and repeats none. Raises WriteError.
        """
        rows = list(history)
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(self.summary_path, text.getvalue().encode())

    def close(self) -> None:
        """Let other processes use the folder. Where no run was begun nothing is left of it."""
        if any((self.path / name).exists() for name in RUN_FILES):
            self._lock.release()
            return
        self._lock.remove()
        if self._made:
            with suppress(OSError):  # something else was put there
                self.path.rmdir()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
