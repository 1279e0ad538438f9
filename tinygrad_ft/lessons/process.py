"""Check a learner's file in a process of its own, which may hang, crash or print as it likes.

The verdict comes back through a file, so nothing that is printed can be taken for it. A watchdog of
the process itself writes down the line at which it hangs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

from tinygrad_ft.lessons.check import Verdict
from tinygrad_ft.lessons.lesson import Lesson

#: how much of what the learner's program prints is kept
KEPT = 4000
#: what starting Python and importing everything may take on top, in seconds
STARTING = 120
ROOT = Path(__file__).resolve().parents[2]


def check_in_process(lesson: Lesson, path: Path, seconds: float) -> tuple[Verdict, str]:
    """The verdict on a file, and what its program printed. `seconds` may pass while it runs."""
    with tempfile.TemporaryDirectory() as folder:
        verdict_file, hang_file = Path(folder, "verdict.json"), Path(folder, "hang.txt")
        command = [sys.executable, "-P", "-m", "tinygrad_ft.lessons.child"]
        command += [str(lesson.number), str(path.resolve()), str(verdict_file), str(hang_file)]
        places = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(places),
            "PYTHONIOENCODING": "utf-8",
            "PYTHONUNBUFFERED": "1",
        }
        process = subprocess.Popen(
            [*command, str(seconds)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        with process:
            assert process.stdout is not None
            kept = bytearray()
            reader = threading.Thread(target=_keep, args=(process.stdout, kept), daemon=True)
            reader.start()
            try:
                process.wait(seconds + STARTING)
            except subprocess.TimeoutExpired:
                pass
            finally:
                process.kill()
                process.wait()
                reader.join()
        printed = kept.decode("utf-8", "replace")
        if verdict_file.exists():
            return Verdict(*json.loads(verdict_file.read_text(encoding="utf-8"))), printed
        if not hang_file.exists():  # the first thing that it writes
            raise RuntimeError(f"the process that checks an answer does not start:\n{printed}")
        hung = hang_file.read_text(encoding="utf-8")
        return Verdict(False, _no_verdict(path, process.returncode, hung, seconds)), printed


def _keep(stream: IO[bytes], kept: bytearray) -> None:
    """Read to the end, however much comes, and keep the beginning."""
    while part := stream.read1(65536):  # type: ignore[attr-defined]
        kept += part[: max(0, KEPT - len(kept))]


def _no_verdict(path: Path, code: int, hung: str, seconds: float) -> str:
    if hung:
        lines = re.findall(r'File "(.+?)", line (\d+)', hung)
        inside = [line for file, line in lines if Path(file).name == path.name]
        place = f"{path.name}, line {inside[0]}" if inside else path.name
        return (
            f"{place}: still running after {seconds:g} seconds: is this a loop without an end? "
            "(--timeout gives it more time)"
        )
    if code < 0:
        name = signal.Signals(-code).name
        return (
            f"{path.name}: the program crashed ({name}); in compiled code this is most often an "
            "index outside of an array"
        )
    return f"{path.name}: the program ended itself (exit code {code}) before it could be checked"
