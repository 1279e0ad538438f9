"""`tinygrad-ft warmup`"""

from __future__ import annotations

import time

import click

import kernels
from tinygrad_ft.train.progress import Reporter, duration


@click.command("warmup")
def command() -> None:
    """Compile every kernel now and keep the code on disk, so that later runs start at once."""
    reporter = Reporter()
    compile_kernels(reporter)


def compile_kernels(reporter: Reporter, names: list[str] | None = None) -> None:
    """Compile the kernels that are not on disk yet, with a bar."""
    started = time.monotonic()
    with reporter.phase("compiling", len(names or kernels.registered()), "kernels") as phase:
        kernels.warmup(lambda done, total, name: phase.reach(done, name), names)
    info = kernels.cache_info()
    reporter.line(
        f"{info['on_disk']} of {info['kernels']} kernels compiled, in "
        f"{duration(time.monotonic() - started)}"
    )
