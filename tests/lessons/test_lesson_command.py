"""`tinygrad-ft lesson`: the list, the task, a file to start from, and the check in a process."""

import shutil
import sys
from pathlib import Path

import pytest

from tinygrad_ft.cli import lesson as command
from tinygrad_ft.cli.main import run
from tinygrad_ft.lessons import LESSONS
from tinygrad_ft.lessons.check import Verdict
from tinygrad_ft.lessons.process import KEPT, check_in_process


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = run(["lesson", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_list(capsys) -> None:
    code, out, _ = said(capsys)
    assert code == 0
    assert all(f"{x.number:3}  {x.title}\n" in out for x in LESSONS)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.slug)
def test_the_task(lesson, capsys) -> None:
    code, out, _ = said(capsys, str(lesson.number))
    assert code == 0
    assert " ".join(lesson.task.replace("`", "").split()) in " ".join(out.split())
    assert f"lesson {lesson.number} --check my_{lesson.slug}.py" in out
    page = next(line.split()[1] for line in out.splitlines() if line.startswith("  page"))
    assert Path(page).is_file()


def test_the_page_in_the_terminal(capsys) -> None:
    code, out, _ = said(capsys, "1", "--read")
    assert code == 0
    assert "Derivatives and the chain rule" in out
    assert "wiggle" in out


def test_a_file_to_start_from_is_never_overwritten(tmp_path: Path, capsys) -> None:
    path = tmp_path / "mine.py"
    code, out, _ = said(capsys, "3", "--start", path)
    assert code == 0
    assert f"tinygrad-ft lesson 3 --check {path}" in out
    assert path.read_text(encoding="utf-8") == LESSONS[2].starter
    path.write_text("hours of work")
    code, _, err = said(capsys, "3", "--start", path)
    assert code == 1
    assert err.startswith(f"error: {path} exists and is left as it is; choose another name")
    assert path.read_text() == "hours of work"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["11"], "11 is not in the range"),
        (["one"], "'one' is not a valid integer range"),
        (["--check", __file__], "say which lesson"),
        (["1", "--read", "--check", __file__], "one at a time"),
        (["1", "--check", "no_such_file.py"], "'no_such_file.py' does not exist"),
        (["1", "--check", "."], "is a directory"),
        (["1", "--check", __file__, "--timeout", "0"], "is not in the range"),
    ],
)
def test_wrong_usage(words: list[str], problem: str, capsys) -> None:
    code, out, err = said(capsys, *words)
    assert (code, out) == (2, "")
    assert problem in err
    assert err.count("\n") == 1


def written(folder: Path, code: str) -> Path:
    path = folder / "mine.py"
    path.write_text(code)
    return path


def test_a_right_answer_that_prints_and_leaves_a_thread(tmp_path: Path, capsys) -> None:
    code = (
        "import math, threading, time\nimport beside\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "print('[false, \"a verdict\", null]')\n"
        "def slope(x):\n    print('x is', x)\n    return math.cos(x * x) * beside.TWO * x\n"
    )
    (tmp_path / "beside.py").write_text("TWO = 2")
    found, out, _ = said(capsys, "1", "--check", written(tmp_path, code))
    assert found == 0
    assert out.startswith('your program printed:\n  | [false, "a verdict", null]\n  | x is 0.7\n')
    assert "right: all 3 cases agree" in out
    assert out.endswith("next: A tensor that remembers (tinygrad-ft lesson 2)\n")


def test_a_wrong_answer_with_its_hint(tmp_path: Path, capsys, monkeypatch) -> None:
    # the command alone: the process is tested above
    verdict = Verdict(False, "slope(x) is 1\n    (case: x = 2)", "mind the gap")
    monkeypatch.setattr(command, "check_in_process", lambda *arguments: (verdict, "long " * 40))
    found, out, _ = said(capsys, "1", "--check", written(tmp_path, ""))
    assert found == 1
    printed, rest = out.split("not yet: ")
    assert max(map(len, printed.splitlines())) < 110
    assert rest == "slope(x) is 1\n    (case: x = 2)\nhint: mind the gap\n"


def test_a_loop_without_an_end_is_named_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "def slope(x):\n    while True:\n        print('x' * 1000)\n")
    verdict, printed = check_in_process(LESSONS[0], path, seconds=0.5)
    assert not verdict.right
    assert verdict.text.startswith(("mine.py, line 3: still", "mine.py, line 2: still"))
    assert "running after 0.5 seconds" in verdict.text
    assert len(printed) == KEPT


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            "import os\ndef slope(x): os._exit(0)",
            "mine.py: the program ended itself (exit code 0) before it could be checked",
        ),
        pytest.param(
            "import os, signal\ndef slope(x): os.kill(os.getpid(), signal.SIGSEGV)",
            "mine.py: the program crashed (SIGSEGV); in compiled code this is most often an index "
            "outside of an array",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="needs signals"),
        ),
    ],
)
def test_a_process_that_is_gone(code: str, text: str, tmp_path: Path) -> None:
    verdict, _ = check_in_process(LESSONS[0], written(tmp_path, code), seconds=20)
    assert verdict == Verdict(False, text)


@pytest.mark.skipif(shutil.which("false") is None, reason="needs the command false")
def test_a_process_that_does_not_start_is_our_own_fault(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(RuntimeError, match="does not start"):
        check_in_process(LESSONS[0], written(tmp_path, ""), seconds=20)
