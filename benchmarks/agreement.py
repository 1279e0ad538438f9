"""Does it compute the same as PyTorch?

    python -m benchmarks.agreement DATA

trains a ResNet-20 from the same weights on the same images with PyTorch in both of its memory
formats and with this project in three variants, compares the first gradient layer by layer with
float64, and the 3x3 convolutions one by one. README.md tells what was found."""

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console

import kernels
from benchmarks.agreement_errors import LAYERS, error_table, layer_errors
from benchmarks.output import WIDTH
from benchmarks.tables import Table, markdown, print_table
from tinygrad_ft.data import DataError


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("data", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--steps", type=click.IntRange(min=1), default=300, show_default=True)
@click.option("--lr", type=click.FloatRange(min=0), default=0.1, show_default=True)
@click.option("--batch", type=click.IntRange(min=2), default=128, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=kernels.get_num_threads(),
    show_default=True,
    help="Threads for ours and for PyTorch.",
)
@click.option(
    "--errors",
    is_flag=True,
    help="Only the errors of single convolutions; needs neither DATA nor PyTorch.",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/agreement"),
    show_default=True,
    help="Folder for the picture.",
)
def main(
    data: Path | None,
    steps: int,
    lr: float,
    batch: int,
    seed: int,
    threads: int,
    errors: bool,
    as_markdown: bool,
    out: Path,
) -> None:
    """Compare what is computed, not how fast: this project, PyTorch and float64.

    DATA is a data set of images with the splits train and test: a folder, a .zip of one, or what
    else `tinygrad-ft` opens.
    """
    kernels.set_num_threads(threads)
    if errors:
        say = Console(stderr=True, highlight=False, soft_wrap=True)
        found = []
        for layer in LAYERS:
            say.print(layer.name)
            found.append(layer_errors(layer))
        _show([error_table(found)], as_markdown)
        return
    if data is None:
        raise click.UsageError("give DATA, a data set of images, or --errors")
    if find_spec("torch") is None:
        raise click.UsageError('PyTorch is not installed: pip install ".[bench]"')
    # imported here: --errors needs no PyTorch
    import torch

    from benchmarks.agreement_chart import draw_trainings
    from benchmarks.agreement_gradients import compare
    from benchmarks.agreement_problem import open_problem
    from benchmarks.agreement_report import gradient_tables, training_tables
    from benchmarks.agreement_training import contenders

    torch.set_num_threads(threads)
    say = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        problem = open_problem(data, steps, lr, batch, seed)
        out.mkdir(parents=True, exist_ok=True)
    except (DataError, OSError) as error:
        raise click.UsageError(str(error)) from error
    command = shlex.join(["python", "-m", "benchmarks.agreement", *sys.argv[1:]])
    say.print("the first gradient", markup=False)
    tables = gradient_tables(compare(problem))
    trainings = {}
    for name, train in contenders().items():
        say.print(f"{steps} steps of {name}", markup=False)
        trainings[name] = train(problem)
    tables += training_tables(trainings)
    picture = out / "agreement.png"
    draw_trainings(picture, trainings, f"ResNet-20, batch {batch}, learning rate {lr:g}")
    say.print(f"wrote {picture}", markup=False)
    if as_markdown:
        print(f"```\n{command}\n```\n")
    _show(tables, as_markdown)


def _show(tables: list[Table], as_markdown: bool) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    for table in tables:
        if as_markdown:
            print(markdown(table))
        else:
            print_table(console, table)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.agreement")
