"""The pages hold together: links lead somewhere, every error and reading is where it is looked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tenuto import errors
from tenuto.cli.root import status_of
from tenuto.errors import TenutoError
from tests.docs.pages import ROOT, anchors_of, links_of, pages

REFERENCE: Final = ROOT / "docs" / "reference"
SOURCES: Final = sorted((ROOT / "src" / "tenuto").rglob("*.py"))
LANGUAGE_PAGE: Final = (REFERENCE / "language.md").read_text(encoding="utf-8")


# ── links ────────────────────────────────────────────────────────────────────────────────


def broken_links(page: Path, text: str) -> list[str]:
    """Return each link of a page that leads to no file or no heading, as `line: target`."""
    broken = []
    for line, target in links_of(text):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if file != page and not file.exists():
            broken.append(f"{line}: {target}")
        elif anchor and file.suffix == ".md":
            shown = text if file == page else file.read_text(encoding="utf-8")
            if anchor not in anchors_of(shown):
                broken.append(f"{line}: {target}")
    return broken


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Files that a page links to exist, and so do the headings."""
    assert [] == broken_links(page, page.read_text(encoding="utf-8"))


def test_broken_links_are_noticed() -> None:
    """A missing file, a missing heading elsewhere, and a missing heading on the page itself."""
    page = REFERENCE / "here.md"
    text = "# Here\n[a](gone.md) [b](language.md#gone) [c](#gone)\n\n[d](#here) [e](language.md#fork)"
    text += "\n```\n[f](gone.md)\n```\n`[g](gone.md)` [h](https://example.com)"

    assert ["2: gone.md", "2: language.md#gone", "2: #gone"] == broken_links(page, text)


def test_every_page_is_reached_from_the_index() -> None:
    """Whoever opens docs/README.md finds each page of docs/ by following links."""
    docs = ROOT / "docs"
    reached, waiting = set(), [docs / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or docs not in page.parents or not page.exists():
            continue
        reached.add(page)
        names = (target.partition("#")[0] for _, target in links_of(page.read_text(encoding="utf-8")))
        waiting += [(page.parent / name).resolve() for name in names if name and ":" not in name]

    assert set() == {page for page in pages() if docs in page.parents} - reached


# ── where messages point to ──────────────────────────────────────────────────────────────


def anchors_given(source: str) -> set[str]:
    """Return what a module of the language names as headings of the language reference."""
    return set(re.findall(r'anchor(?:=|:? [^"\n]*)"([a-z-]+)"', source)) | set(
        re.findall(r'^_AUTHENTICATION: Final = "([a-z-]+)"', source, re.MULTILINE)
    )


def test_every_heading_that_messages_point_to_exists() -> None:
    """A hint that says `See docs/reference/language.md#x` tells the truth."""
    language = ROOT / "src" / "tenuto" / "language"
    given = {anchor for file in language.rglob("*.py") for anchor in anchors_given(file.read_text())}

    assert {"document", "authentication", "run-shell", "duration"} <= given
    assert set() == given - anchors_of(LANGUAGE_PAGE)


def test_anchors_are_seen_wherever_they_are_given() -> None:
    """As an argument, as a default, and set on the walk."""
    source = """
shape = Fields(title="x", anchor="one")
shape = Fields(title="x", anchor=anchor or "two")
walk.anchor = "three"
before, walk.anchor = walk.anchor, "four"
_AUTHENTICATION: Final = "five"
"""

    assert {"one", "two", "three", "four", "five"} == anchors_given(source)


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_page_that_the_code_names_exists(file: Path) -> None:
    """A page named in a message or a comment is there, and so is its heading."""
    named = re.findall(r"(docs/[\w./-]+\.md)(?:#([\w-]+\b))?", file.read_text(encoding="utf-8"))
    missing = [
        f"{page}#{anchor}"
        for page, anchor in named
        if not (ROOT / page).exists()
        or (anchor and anchor not in anchors_of((ROOT / page).read_text(encoding="utf-8")))
    ]

    assert [] == missing


# ── errors ───────────────────────────────────────────────────────────────────────────────


def error_classes() -> list[type[TenutoError]]:
    """Return every class of errors.py that has a code."""
    return [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, TenutoError)
    ]


def test_every_error_code_is_documented_with_its_exit_status() -> None:
    """errors.md lists the codes of errors.py, no others, each with the status that the command gives."""
    text = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", text, re.MULTILINE))
    # `__new__` suffices: the status depends on the class alone.
    statuses = {each.code: str(status_of(each.__new__(each))) for each in error_classes()}
    statuses["faulted"] = "1"  # A fault that reaches the door is the outcome of a run.

    assert statuses == documented


# ── readings ─────────────────────────────────────────────────────────────────────────────


def readings() -> list[tuple[int, str]]:
    """Return (number, the cell that names tests) of each row of the table of readings."""
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", LANGUAGE_PAGE, re.MULTILINE)
    return [(int(number), tests) for number, tests in rows]


def test_the_readings_are_numbered_without_gaps() -> None:
    """Readings 1 to 24 answer the standard's open points; further ones follow in order."""
    numbers = [number for number, _ in readings()]

    assert list(range(1, len(numbers) + 1)) == numbers
    assert len(numbers) >= 24


def test_every_reading_in_the_text_is_in_the_table() -> None:
    """A reading that is stated on the page has its row, and rows 1 to 24 are stated."""
    stated = {int(number) for number in re.findall(r"\*\*Reading (\d+)[a-z]?:?\*\*", LANGUAGE_PAGE)}

    assert set(range(1, 25)) == stated & set(range(1, 25))
    assert set() == stated - {number for number, _ in readings()}


@pytest.mark.parametrize(("number", "tests"), readings())
def test_every_reading_is_tested(number: int, tests: str) -> None:
    """The files that a reading names as its tests exist."""
    there = {file.name for file in (ROOT / "tests").rglob("test_*.py")}
    named = set(re.findall(r"`(test_\w+\.py)`", tests))

    assert set() == named - there
    assert named or tests == "with the server", number
