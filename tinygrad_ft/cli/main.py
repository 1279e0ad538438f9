"""`tinygrad-ft`: the group of sub-commands, and what becomes of errors.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (143 by SIGTERM, see stop.py).
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Sequence

import click

from tinygrad_ft.cli.lazy import LazyGroup
from tinygrad_ft.version import __version__

COMMANDS = {
    "demo": "The whole story on embedded data: pretrain, fine-tune, compare.",
    "pretrain": "Train a network from scratch.",
    "finetune": "Train a pretrained network on for another task.",
    "search": "Try fine-tuning settings, and keep the best.",
    "evaluate": "Measure a trained network on labelled images.",
    "predict": "Classify image files.",
    "export": "Write a trained network as ONNX or safetensors.",
    "lesson": "Learn how it works: ten lessons that check themselves.",
    "explain": "See backprop happen: step through a real computation, or print it.",
    "info": "Versions, processor, threads and kernel cache.",
    "warmup": "Compile every kernel now, once.",
}


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    commands_help=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="tinygrad-ft")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Pretrain a ResNet, fine-tune it on your images, and get a report, on a CPU.

    \b
    A folder of images is enough:    photos/train/CLASS/*.jpg   (or a .zip of it)
    Start from trained weights:      tinygrad-ft finetune photos --weights W --model resnet20
    See it work first:               tinygrad-ft demo
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: runs the command and exits with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # no file name can break a message
    # what Pillow finds odd in an image and decodes all the same is nothing a user could act on
    warnings.filterwarnings("ignore", module=r"PIL\.")
    code = run(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _reader_is_gone()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run a command line; every expected error becomes one sentence on stderr and an exit code."""
    words = list(arguments)
    try:
        result = cli.main(words, prog_name="tinygrad-ft", standalone_mode=False, obj=words)
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        hint = f" (see {where.command_path} --help)" if where is not None else ""
        click.echo(f"error: {_one_line(error.format_message())}{hint}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        return _reader_is_gone()
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        click.echo(f"error: {_one_line(str(error)) or 'not enough memory'}", err=True)
        return code
    return result if isinstance(result, int) else 0


def _exit_code(error: Exception) -> int | None:
    """The exit code of an error that a user can cause; None for a bug: it shows its traceback."""
    # imported here: `--help` and `--version` must not load the engine
    from tinygrad_ft.data import DataError
    from tinygrad_ft.io import FileError
    from tinygrad_ft.train import NonFiniteLoss, SettingsError
    from tinygrad_ft.train.recipe.non_finite import NonFiniteValue

    if isinstance(error, SettingsError):
        return 2
    failures = (DataError, FileError, NonFiniteLoss, NonFiniteValue, MemoryError, OSError)
    if isinstance(error, failures):
        return 1
    return None


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _reader_is_gone() -> int:
    """The other end of the pipe was closed, as `head` does: not worth a word."""
    # or Python would try to write the rest at exit
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
