"""`tinygrad-ft explain`"""

from __future__ import annotations

from pathlib import Path

import click

from tinygrad_ft.cli.options import threads_option
from tinygrad_ft.explain.examples import EXAMPLES, explain_example
from tinygrad_ft.explain.page import html
from tinygrad_ft.explain.script import explain_script
from tinygrad_ft.explain.text import walk
from tinygrad_ft.io import atomic_write


@click.command("explain", context_settings={"ignore_unknown_options": True})
@click.argument("what", metavar="[NAME | SCRIPT.py]", default="layer")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--text", is_flag=True, help="Print the walk instead of writing a page.")
@click.option("--out", type=click.Path(dir_okay=False), help="The page; else explain-NAME.html.")
@click.option(
    "--step",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Of a script: which call of backward() to explain.",
)
@threads_option
def command(what: str, arguments: tuple[str, ...], text: bool, out: str | None, step: int) -> int:
    """See backprop happen: step through a real computation, forward and backward.

    NAME is a built-in example: layer (the default), shared, moons, cnn, residual, finetune.

    SCRIPT.py is run, with ARGUMENTS, up to its first backward() and the optimizer step after it.
    Its own tensors and modules give the names.
    """
    if what.endswith(".py"):
        if not Path(what).is_file():
            raise click.BadParameter(f"there is no file {what}", param_hint="SCRIPT.py")
        found = explain_script(Path(what), arguments, step)
        name = Path(what).stem
    elif what in EXAMPLES:
        if arguments:
            raise click.UsageError("a built-in example takes no arguments")
        found, name = explain_example(what), what
    else:
        names = ", ".join(EXAMPLES)
        raise click.BadParameter(
            f"{what!r} is no example ({names}) and no .py file", param_hint="NAME"
        )
    if text:
        walk(found)
        return 0
    target = Path(out or f"explain-{name}.html")
    atomic_write(target, html(found).encode())
    click.echo(f"wrote {target}: open it in a browser")
    return 0
