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
from benchmarks.agreement_errors import LAYERS, layer_errors
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
    "--test-images", type=click.IntRange(min=1), help="Evaluate on so many only. Default: all."
)
@click.option("--errors", is_flag=True, help="Only the single convolutions; needs neither DATA nor PyTorch.")
@click.option("--gradients", is_flag=True, help="Only the first gradient.")
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
    test_images: int | None,
    errors: bool,
    gradients: bool,
    as_markdown: bool,
    out: Path,
) -> None:
    """Compare what is computed, not how fast: this project, PyTorch and float64.

    DATA is a data set of images with the splits train and test: a folder, a .zip of one, or what
    else `tinygrad-ft` opens.
    """
    show = _Shower(as_markdown)
    kernels.set_num_threads(threads)
    if errors:
        show.tables([_error_table()])
        return
    if data is None:
        raise click.UsageError("give DATA, a data set of images, or --errors")
    if find_spec("torch") is None:
        raise click.UsageError('PyTorch is not installed: pip install ".[bench]"')
    # imported here: --errors needs no PyTorch
    import torch

    from benchmarks.agreement_gradients import compare
    from benchmarks.agreement_problem import open_problem
    from benchmarks.agreement_report import gradient_tables, training_tables
    from benchmarks.agreement_training import contenders

    torch.set_num_threads(threads)
    try:
        problem = open_problem(data, steps, lr, batch, seed, test_images)
        out.mkdir(parents=True, exist_ok=True)
    except (DataError, OSError) as error:
        raise click.UsageError(str(error)) from error
