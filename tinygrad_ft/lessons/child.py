"""The process that a learner's file runs in: `python -m tinygrad_ft.lessons.child`, see process.py.

Arguments: the lesson's number, the learner's file, the file for the verdict, the file for the line
at which it hangs, and how many seconds it may take.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from pathlib import Path

from tinygrad_ft.lessons import LESSONS
from tinygrad_ft.lessons.check import check


def main(number: str, path: str, verdict_file: str, hang_file: str, seconds: str) -> None:
    lesson = LESSONS[int(number) - 1]
    sys.path.insert(0, str(Path(path).parent))  # as if the file were run
    with open(hang_file, "w", encoding="utf-8") as hang:
        faulthandler.dump_traceback_later(float(seconds), exit=True, file=hang)
        verdict = check(lesson, Path(path))
        faulthandler.cancel_dump_traceback_later()
    unfinished = Path(verdict_file + ".part")
    unfinished.write_text(json.dumps(verdict), encoding="utf-8")
    unfinished.rename(verdict_file)
    sys.stdout.flush()
    os._exit(0)  # threads that the program left running do not hold it up


if __name__ == "__main__":
    main(*sys.argv[1:])
