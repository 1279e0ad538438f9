"""What a run says while it works: a live bar on a terminal, plain lines on a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_UNBROKEN = 10_000
PLAIN_SECONDS = 30.0  # at most one plain line of progress in so many seconds


class Reporter:
    """Prints lines and shows the progress of phases; `quiet` says nothing."""

    def __init__(self, quiet: bool = False, console: Console | None = None) -> None:
        self.console = console or Console(quiet=quiet, highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = _UNBROKEN  # a line of a table stays a line in a file
        self.live = self.console.is_terminal and not quiet

    def line(self, text: str = "", style: str | None = None) -> None:
        """One line (or several) of plain text; square brackets are not markup."""
        self.console.print(text, style=style, markup=False)

    @contextmanager
    def phase(self, name: str, total: int | None, unit: str = "images") -> Iterator[Phase]:
        """A stretch of work of `total` units, shown until the `with` block ends."""
        if not self.live:
            yield Phase(self, name, total, unit)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(unit),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(name, total=total, note="")
            yield Phase(self, name, total, unit, bar, task)

    @contextmanager
    def phases(self, name: str, unit: str = "images") -> Iterator[Callable[[int, int], None]]:
        """A function to be told (done, total): shows a phase for each stretch of work it hears of.

        A stretch begins when `done` does not rise; without a call nothing is shown.
        """
        with ExitStack() as current:
            phase: Phase | None = None
            last = 0

            def progress(done: int, total: int) -> None:
                nonlocal phase, last
                if phase is None or done <= last:
                    current.close()
                    phase = current.enter_context(self.phase(name, total, unit))
                last = done
                phase.reach(done)

            yield progress


class Phase:
    """One running phase."""

    def __init__(
        self,
        reporter: Reporter,
        name: str,
        total: int | None,
        unit: str,
        bar: Progress | None = None,
        task: Any = None,
    ) -> None:
        self._reporter, self._name, self._total, self._unit = reporter, name, total, unit
        self._bar, self._task = bar, task
        self._done = self._skipped = 0
        self._started = self._last = time.monotonic()

    def skip(self, amount: int) -> None:
        """Units that were finished before, and do not count for the speed."""
        self._done += amount
        self._skipped += amount
        if self._bar is not None:
            self._bar.reset(self._task, completed=self._done, total=self._total)

    def advance(self, amount: int, note: str = "") -> None:
        """`amount` more units are done; `note` is shown beside them."""
        self.reach(self._done + amount, note)

    def reach(self, done: int, note: str = "") -> None:
        """`done` units are done, all in all."""
        self._done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=note)
            return
        now = time.monotonic()
        if now - self._last >= PLAIN_SECONDS:
            self._last = now
            rate = (self._done - self._skipped) / (now - self._started)
            text = f"{self._name}: {self._done:,}"
            if self._total is not None:
                left = (self._total - self._done) / max(rate, 1e-9)
                text += f"/{self._total:,} {self._unit}, {left:.0f} s left"
            self._reporter.line(f"{text}, {rate:.0f} {self._unit}/s  {note}".rstrip())


class _Rate(ProgressColumn):
    """Units per second, measured by rich over the last stretch."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.speed
        return Text("" if speed is None else f"{speed:,.0f} {self._unit}/s", style="cyan")


def duration(seconds: float) -> str:
    """5.2 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
