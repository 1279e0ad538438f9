"""The pages of the lessons: their code runs and prints what the page shows, their links lead on."""

import re
from pathlib import Path
from typing import Any

import pytest
from page_code import blocks, printed, without_numbers

from tinygrad_ft.lessons import LESSONS, Lesson
from tinygrad_ft.lessons.pages import folder

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "learn"

each = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.slug)


def text_of(lesson: Lesson) -> str:
    return (PAGES / lesson.page).read_text(encoding="utf-8")


@each
def test_the_code_prints_what_the_page_shows(lesson: Lesson) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    found = blocks(text_of(lesson))
    assert len(found) >= 2
    for block in found:
        out = printed(block, PAGES / lesson.page, names)
        where = f"{lesson.page}, line {block.line}"
        if block.timed:
            assert block.shown is not None
            assert without_numbers(out) == without_numbers(block.shown), where
        else:
            assert out == (block.shown or ""), where


def test_a_wrong_output_would_be_noticed() -> None:
    (block,) = blocks("```python\nprint(1)\n```\n\n```text\n2\n```\n")
    assert printed(block, Path("page"), {}) == "1\n" != block.shown
    assert without_numbers("a  1.25 GFLOP/s\nTrue") == without_numbers("a 117.3 GFLOP/s\nTrue")
    assert without_numbers("a 1.25\nTrue") != without_numbers("a 1.25\nFalse")


@each
def test_a_page_ends_with_its_exercise(lesson: Lesson) -> None:
    text = text_of(lesson)
    assert text.startswith(f"# {lesson.number}. ")
    exercise = text.partition("## Your turn\n")[2]
    for option in ("start", "check"):
        assert f"tinygrad-ft lesson {lesson.number} --{option} my_{lesson.slug}.py" in exercise
    assert "[All lessons](README.md)" in exercise
    words = len(re.sub(r"```.*?```", "", text, flags=re.DOTALL).split())
    assert words < 1000, "ten minutes with the code"


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_links_and_pictures_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert targets
    for target in targets:
        assert (PAGES / target).exists(), target
    for alt in re.findall(r"!\[([^\]]*)\]", text):
        assert len(alt) > 20, "a picture says what it shows"


def test_the_index_lists_every_lesson() -> None:
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| \[(.+)\]\((.+)\) \|", index, re.MULTILINE)
    assert rows == [(str(x.number), x.title, x.page) for x in LESSONS]
    assert [x.number for x in LESSONS] == list(range(1, len(LESSONS) + 1))


def test_every_picture_is_drawn_by_the_script_and_shown() -> None:
    script = (PAGES / "make_pictures.py").read_text(encoding="utf-8")
    drawn = re.findall(r"^def (\w+)\(\) -> None:", script, re.MULTILINE)
    files = {path.stem for path in (PAGES / "pictures").glob("*.svg")}
    assert files == set(drawn) - {"main"}
    text = "".join(text_of(lesson) for lesson in LESSONS)
    assert files == set(re.findall(r"pictures/(\w+)\.svg", text))


def test_the_pages_are_those_of_the_checkout() -> None:
    """They lie there, or what is tested is an installed package, which has a copy."""
    found = {p.relative_to(folder()) for p in folder().rglob("*") if p.suffix in (".md", ".svg")}
    assert found == {p.relative_to(PAGES) for p in PAGES.rglob("*") if p.suffix in (".md", ".svg")}
    for path in found:
        assert (folder() / path).read_bytes() == (PAGES / path).read_bytes()
