"""The pages embed-in-fastapi.md and embed-in-django.md: excerpts are those of the examples, commands work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks_of
from tests.docs.playing import problems_of
from tests.servers.process import free_port

PAGES = ROOT / "docs" / "how-to"


def wrong_excerpts(page: str) -> list[str]:
    """Say which Python blocks of a page are not, line by line, part of the file that they are said to be of."""
    found = []
    for block in blocks_of(page):
        if block.language == "python":
            file = ROOT / block.file
            text = file.read_text(encoding="utf-8") if block.file and file.is_file() else ""
            if f"\n{block.text}" not in f"\n{text}":
                found.append(f"{block.line}: is not in {block.file or 'any file'}")
    return found


def played(page: str, folder: Path) -> list[str]:
    """Run a page's commands where the examples are, on a port that is free, and return what is wrong."""
    examples = f"```sh\nln -s {ROOT / 'examples'} examples\nexport PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1\n```\n"
    consoles = (f"```console\n{block.text}```\n" for block in blocks_of(page) if block.language == "console")
    return problems_of(f"{examples}\n{''.join(consoles)}".replace("8000", str(free_port())), folder)


def text_of(name: str) -> str:
    """Return a page."""
    return (PAGES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["embed-in-fastapi.md", "embed-in-django.md"])
def test_excerpts_are_those_of_the_examples(name: str) -> None:
    """What a reader copies is code that is tested; every other block is commands that are played."""
    page = text_of(name)

    assert [] == wrong_excerpts(page)
    assert {"python", "console"} == {block.language for block in blocks_of(page)}


def test_an_excerpt_that_is_not_in_the_example_is_noticed() -> None:
    """A changed line, a file that is gone, no file at all."""
    page = text_of("embed-in-fastapi.md")
    changed = page.replace("yield {", "return {", 1)
    gone = page.replace("fastapi_shop/problems.py`:", "fastapi_shop/gone.py`:")
    lost = page.replace("In `examples/fastapi_shop/web.py`:", "", 1)
    found = [wrong_excerpts(text) for text in (changed, gone, lost)]

    assert [1, 1, 1] == [len(problems) for problems in found]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["embed-in-fastapi.md", "embed-in-django.md"])
def test_commands_do_what_the_page_shows(name: str, tmp_path: Path) -> None:
    """From the first request over `kill -9` to the end."""
    problems = played(text_of(name), tmp_path)

    assert [] == problems


@pytest.mark.slow
def test_a_command_that_does_something_else_is_noticed(tmp_path: Path) -> None:
    """Another answer than the page shows."""
    problems = played("```console\n$ ls examples/django_shop/manage.py\nsettings.py\n```\n", tmp_path)

    assert 1 == len(problems)
