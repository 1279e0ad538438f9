"""`tinygrad-ft demo`"""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.table import Table

from tinygrad_ft.cli.options import threads_option
from tinygrad_ft.cli.warmup import compile_kernels
from tinygrad_ft.train.demo import run_demo, table
from tinygrad_ft.train.progress import Reporter, duration


@click.command("demo")
@click.option("--out", default="runs/demo", show_default=True, type=click.Path(file_okay=False))
@threads_option
def command(out: str) -> int:
    """Pretrain on characters drawn from fonts, fine-tune on real handwriting, compare four ways.

    Needs no data and no network. Leaves checkpoints, summary.csv and report.html.
    """
    reporter = Reporter()
    started = time.monotonic()
    compile_kernels(reporter)
    columns, rows = table(run_demo(Path(out), reporter))
    shown = Table(*columns, title="Digits from 10 labelled images a class, mean over 3 seeds")
    for row in rows:
        shown.add_row(*row)
    reporter.console.print(shown)
    reporter.line(f"done in {duration(time.monotonic() - started)}; look at {out}/report.html")
    return 0
