"""The command line: see `python -m benchmarks --help`."""

import shlex
import sys
from pathlib import Path

import click
from rich.console import Console

import kernels
from benchmarks.discovery import load_suite, suite_names
from benchmarks.machine import machine_facts
from benchmarks.output import Run, print_markdown, print_tables, write
from benchmarks.peak import measure_peaks
from benchmarks.runner import run as run_one
from benchmarks.settings import Settings
from benchmarks.tables import in_short
from benchmarks.timing import QUICK, Effort


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("suites", nargs=-1, required=True, type=click.Choice([*suite_names(), "all"]))
@click.option("--peers", help="Compare with these only, by comma: numpy,torch. Default: all.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=kernels.get_num_threads(),
    show_default=True,
    help="Threads for ours and for every peer.",
)
@click.option("--compile", "compiled", is_flag=True, help="Let torch.compile take part (all does).")
@click.option("--match", metavar="TEXT", help="Only cases with this in their group or name.")
@click.option("--quick", is_flag=True, help="One short round, to see that everything works.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/benchmarks"),
    show_default=True,
    help="Folder for the JSON file and the pictures.",
)
def main(
    suites: tuple[str, ...],
    peers: str | None,
    threads: int,
    compiled: bool,
    match: str | None,
    quick: bool,
    as_markdown: bool,
    out: Path,
) -> None:
    """Time this project's kernels and networks beside other libraries, on the same cores.

    A suite is a file in benchmarks/cases/. benchmarks/README.md tells how to read the numbers.
    """
    chosen = suite_names() if "all" in suites else list(dict.fromkeys(suites))
    names = frozenset(filter(None, (p.strip() for p in peers.split(",")))) if peers else None
    try:
        settings = Settings(threads, quick, compiled or "all" in suites, names)
        loaded = {name: load_suite(name) for name in chosen}
        out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    run = Run(
        command=shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        machine=machine_facts(),
        peaks=measure_peaks(threads, quick),
        settings=settings,
    )
    kernels.trim()
    progress = Console(stderr=True, highlight=False, soft_wrap=True)
    effort = QUICK if quick else Effort()
    try:
        for name, suite in loaded.items():
            for case in suite(settings):
                if match is None or match in f"{case.group}: {case.name}":
                    progress.print(f"{name}: {case.group}: {case.name}: ", markup=False, end="")
                    run.results.append(run_one(name, case, effort))
                    progress.print(in_short(run.results[-1]), markup=False)
    except KeyboardInterrupt:
        progress.print("interrupted")
        sys.exit(130)
    finally:  # also after an error in a suite: hours may have been measured before it
        for path in write(run, out):
            progress.print(f"wrote {path}", markup=False)
        (print_markdown if as_markdown else print_tables)(run)
    if any(result.error for result in run.results):
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
