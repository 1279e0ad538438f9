"""What a run says: plain lines on a pipe, a bar on a terminal, nothing when quiet."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tinygrad_ft.train import progress
from tinygrad_ft.train.progress import Reporter, duration


def on_pipe() -> tuple[Reporter, io.StringIO]:
    text = io.StringIO()
    return Reporter(console=Console(file=text, soft_wrap=True, highlight=False)), text


def on_terminal() -> tuple[Reporter, io.StringIO]:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, highlight=False)
    return Reporter(console=console), text


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0.0 s"), (5.24, "5.2 s"), (59.9, "59.9 s"), (60, "1 min 00 s"), (200, "3 min 20 s"),
     (3599.7, "1 h 00 min"), (7500, "2 h 05 min")],
)  # fmt: skip
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_plain_lines_come_now_and_then(monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    reporter, text = on_pipe()
    with reporter.phase("epoch 1/2", 1000) as phase:
        phase.skip(200)
        for _ in range(8):
            now += 10.0
            phase.advance(100, "loss 0.5")
    assert text.getvalue().splitlines() == [
        "epoch 1/2: 500/1,000 images, 50 s left, 10 images/s  loss 0.5",
        "epoch 1/2: 800/1,000 images, 20 s left, 10 images/s  loss 0.5",
    ]


def test_short_work_says_nothing_on_a_pipe():
    reporter, text = on_pipe()
    with reporter.phase("short", 10) as phase:
        phase.advance(10)
    assert text.getvalue() == ""


def test_a_bar_on_a_terminal():
    reporter, text = on_terminal()
    with reporter.phase("epoch 1/2", 1000) as phase:
        phase.skip(100)
        phase.advance(400, "loss 0.5")
    shown = text.getvalue()
    assert "epoch 1/2" in shown
    assert "500/1000" in shown
    assert "loss 0.5" in shown
    assert "\x1b[" in shown
    assert "━" in shown


def test_quiet_says_nothing(capsys):
    reporter = Reporter(quiet=True)
    reporter.line("words")
    with reporter.phase("work", 5) as phase:
        phase.advance(5)
    assert capsys.readouterr() == ("", "")


def test_a_phase_for_each_stretch_of_work(monkeypatch):
    reporter, _ = on_pipe()
    seen: list[object] = []

    class Seen(progress.Phase):
        def __init__(self, reporter, name, total, unit, *more):
            super().__init__(reporter, name, total, unit, *more)
            seen.append((name, total))

        def reach(self, done, note=""):
            super().reach(done, note)
            seen.append(done)

    monkeypatch.setattr(progress, "Phase", Seen)
    with reporter.phases("decoding") as told:
        pass
    assert seen == []
    with reporter.phases("decoding") as told:
        for done, total in ((128, 200), (200, 200), (100, 100), (64, 64)):
            told(done, total)
    expected = [("decoding", 200), 128, 200, ("decoding", 100), 100, ("decoding", 64), 64]
    assert seen == expected


def test_text_is_no_markup():
    for reporter, text in (on_pipe(), on_terminal()):
        reporter.line("[red]x[/red] [1/2] C:\\[b]")
        assert "[red]x[/red] [1/2] C:\\[b]" in text.getvalue()


def test_long_lines_stay_lines_on_a_pipe():
    reporter, text = on_pipe()
    reporter.line("word " * 100)
    assert len(text.getvalue().splitlines()) == 1
