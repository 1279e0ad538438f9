"""`tinygrad-ft lesson`"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.markdown import Markdown

from tinygrad_ft.lessons import LESSONS, Lesson
from tinygrad_ft.lessons.pages import folder
from tinygrad_ft.lessons.process import check_in_process


@click.command("lesson")
@click.argument("number", type=click.IntRange(1, len(LESSONS)), required=False)
@click.option("--read", is_flag=True, help="Show the lesson's page in the terminal.")
@click.option(
    "--start",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a file to start from. Nothing is overwritten.",
)
@click.option(
    "--check",
    "answer",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    help="Check your file: right, or what is wrong and a hint.",
)
@click.option(
    "--timeout",
    default=20.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds that your file may run.",
)
def command(
    number: int | None, read: bool, start: Path | None, answer: Path | None, timeout: float
) -> int:
    """Learn how it works: ten lessons with exercises that check themselves.

    \b
    tinygrad-ft lesson                       the list
    tinygrad-ft lesson 1                     the task
    tinygrad-ft lesson 1 --read              the page
    tinygrad-ft lesson 1 --start my.py       a file to start from
    tinygrad-ft lesson 1 --check my.py       is it right?

    Your file is run as your own program: it can do what any program of yours can.
    """
    if number is None:
        if read or start or answer:
            raise click.UsageError("say which lesson: tinygrad-ft lesson 1 ...")
        return _list()
    lesson = LESSONS[number - 1]
    if sum([read, start is not None, answer is not None]) > 1:
        raise click.UsageError("--read, --start and --check: one at a time")
    if read:
        page = (folder() / lesson.page).read_text(encoding="utf-8")
        Console().print(Markdown(page))
        return 0
    if start is not None:
        return _start(lesson, start)
    if answer is not None:
        return _check(lesson, answer, timeout)
    return _task(lesson)


def _list() -> int:
    for lesson in LESSONS:
        click.echo(f"{lesson.number:3}  {lesson.title}")
    click.echo(f"\nThe pages: {folder()}\nBegin with: tinygrad-ft lesson 1")
    return 0


def _task(lesson: Lesson) -> int:
    click.echo(f"Lesson {lesson.number}: {lesson.title}\n")
    click.echo(click.wrap_text(lesson.task.replace("`", ""), width=88))
    click.echo(f"\n  page   {folder() / lesson.page}")
    for what, options in (
        ("read", "--read"),
        ("start", f"--start my_{lesson.slug}.py"),
        ("check", f"--check my_{lesson.slug}.py"),
    ):
        click.echo(f"  {what:5}  tinygrad-ft lesson {lesson.number} {options}")
    return 0


def _start(lesson: Lesson, path: Path) -> int:
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(lesson.starter)
    except FileExistsError:
        raise click.ClickException(
            f"{path} exists and is left as it is; choose another name"
        ) from None
    click.echo(f"wrote {path}: fill in the marked place in {lesson.name}, then")
    click.echo(f"  tinygrad-ft lesson {lesson.number} --check {path}")
    return 0


def _check(lesson: Lesson, path: Path, timeout: float) -> int:
    verdict, printed = check_in_process(lesson, path, timeout)
    if printed.strip():
        click.echo("your program printed:")
        for line in printed.rstrip().splitlines()[:20]:
            click.echo(f"  | {line[:100]}")
    if not verdict.right:
        click.echo(f"not yet: {verdict.text}")
        if verdict.hint:
            click.echo(f"hint: {verdict.hint}")
        return 1
    click.echo(f"right: {verdict.text}")
    if lesson.number < len(LESSONS):
        following = LESSONS[lesson.number]
        click.echo(f"next: {following.title} (tinygrad-ft lesson {following.number})")
    return 0
