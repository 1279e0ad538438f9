"""A bar on a terminal, plain lines on a pipe."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from cli_helpers import SMALL, command, environment, in_process_of_its_own


def test_plain_lines_on_a_pipe(photos, tmp_path):
    said = in_process_of_its_own("pretrain", photos, *SMALL, "--epochs", "2", "--out", tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    assert "\x1b" not in said.stdout
    assert "\r" not in said.stdout
    lines = [line for line in said.stdout.splitlines() if " left, " not in line]
    assert len(lines) == 7


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_bar_on_a_terminal(photos, tmp_path):
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command("pretrain", photos, *SMALL, "--epochs", "9", "--out", tmp_path),
        stdout=theirs,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
        env=environment(TERM="xterm-256color", COLUMNS="140"),
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux: the other side is closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    text = shown.decode()
    assert process.returncode == 0, text
    assert "\x1b[" in text
    assert "━" in text
    assert "epoch 9/9: train loss" in text
    assert "test: accuracy" in text


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGPIPE")
def test_a_reader_that_leaves_early(pretrained, photos):
    """As `head` does: no traceback."""
    names = [str(photos)] * 40
    with subprocess.Popen(
        command("predict", pretrained / "best.safetensors", *names, "--format", "csv"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(timeout=120) == 1
    assert error == b""
