"""A click group that imports a sub-command only when it is used, so that `--help` is instant."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """Sub-command NAME is the object `command` in `tinygrad_ft.cli.NAME`."""

    def __init__(self, *args: Any, commands_help: dict[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.commands_help = commands_help

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands_help)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands_help:
            return None
        command: click.Command = import_module(f"tinygrad_ft.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.commands_help.items()))
