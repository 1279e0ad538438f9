"""Everything a run shows and writes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.charts import draw_ratios, draw_roofline
from benchmarks.machine import commit_facts
from benchmarks.peak import Peaks
from benchmarks.report_json import as_json
from benchmarks.results import Result
from benchmarks.settings import Settings
from benchmarks.tables import Table, markdown, print_table, suite_table, summary_table

WIDTH = 180
"""Columns of a table that does not go to a terminal."""
BUSY = 0.5
"""A load average above this, before anything was measured, is worth a warning."""


@dataclass
class Run:
    """One call of the tool."""

    command: str
    machine: dict[str, Any]
    peaks: Peaks
    settings: Settings
    results: list[Result] = field(default_factory=list)

    @property
    def suites(self) -> list[str]:
        return list(dict.fromkeys(result.suite for result in self.results))

    @property
    def title(self) -> str:
        """The processor and the threads, in a few words."""
        threads = self.peaks.threads
        return f"{self.machine['cpu']['brand_raw']}, {threads} thread{'s'[: threads > 1]}"

    def tables(self) -> list[Table]:
        """The suites' tables, and the summary."""
        found = [suite_table(s, self.results, self.peaks.gflops) for s in self.suites]
        return [*found, summary_table(self.results)]

    def facts(self) -> list[str]:
        """What the numbers were measured on, and what to think of them."""
        cpu, peaks, machine = self.machine["cpu"], self.peaks, self.machine
        libraries = ", ".join(f"{k} {v}" for k, v in machine["libraries"].items())
        lines = [
            f"{cpu['brand_raw']} ({cpu['llvm_name']}: {', '.join(cpu['flags'])}), "
            f"{cpu['float32_lanes']} float32 lanes, {peaks.threads} of {cpu['count']} cores, "
            f"FMA peak {peaks.gflops_one_thread:.0f} GFLOP/s on 1 thread, {peaks.gflops:.0f} on "
            f"{peaks.threads}; memory {peaks.read_gbs:.0f} GB/s read, {peaks.copy_gbs:.0f} copy, "
            f"{peaks.triad_gbs:.0f} triad",
            f"Python {machine['python_version']}, {libraries}",
        ]
        for peer, reason in self.settings.skipped.items():
            lines.append(f"skipped: {peer}: {reason}")
        for peer in self.settings.unused:
            lines.append(f"no case of these suites compares with {peer}")
        if self.settings.quick:
            lines.append("quick: one short round; these numbers are not for quoting")
        if (machine["load_average"] or 0) > BUSY:
            lines.append(
                f"the machine was busy before the start (load {machine['load_average']:.1f}); "
                "these numbers are not for quoting"
            )
        return lines


def print_tables(run: Run) -> None:
    """For the terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    for line in run.facts():
        console.print(line, markup=False)
    console.print()
    for table in run.tables():
        print_table(console, table)


def print_markdown(run: Run) -> None:
    """The same for a README, with the command line that made it. The summary comes first."""
    print(f"```\n{run.command}\n```\n")
    print("\n".join(f"- {line}" for line in run.facts()) + "\n")
    *suites, summary = run.tables()
    for table in (summary, *suites):
        print(markdown(table))


def write(run: Run, folder: Path) -> Iterator[Path]:
    """Write the JSON file and the pictures; yields their paths. Names begin with date and time, so
    that no earlier run is overwritten."""
    if not run.results:
        return
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{'+'.join(run.suites)}"
    content = as_json(run.results, run.peaks, run.machine, commit_facts(), run.command)
    path = folder / f"{stem}.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    yield path
    ratios, roofline = folder / f"{stem}-ratios.png", folder / f"{stem}-roofline.png"
    if draw_ratios(ratios, run.results, run.title):
        yield ratios
    if draw_roofline(roofline, run.results, run.peaks, run.title):
        yield roofline
