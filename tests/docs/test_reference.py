"""The pages hold together: links lead somewhere, every error and reading is where it is looked for."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest

from tenuto import errors
from tenuto.cli.root import status_of
from tenuto.errors import TenutoError
from tests.docs.pages import ROOT, anchors_of, links_of, pages

REFERENCE: Final = ROOT / "docs" / "reference"
SOURCES: Final = sorted((ROOT / "src" / "tenuto").rglob("*.py"))
OPEN_POINTS: Final = 24  # of the standard, each answered by the reading of that number
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


def unreached(docs: Path) -> set[Path]:
    """Return the pages of a folder that no chain of links from its README.md leads to."""
    reached: set[Path] = set()
    waiting = [docs / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or docs not in page.parents or not page.exists():
            continue
        reached.add(page)
        names = (target.partition("#")[0] for _, target in links_of(page.read_text(encoding="utf-8")))
        waiting += [(page.parent / name).resolve() for name in names if name and ":" not in name]
    return set(docs.rglob("*.md")) - reached


def test_every_page_is_reached_from_the_index() -> None:
    """Whoever opens docs/README.md finds each page of docs/ by following links."""
    assert set() == unreached(ROOT / "docs")


def test_a_page_that_nothing_leads_to_is_noticed(tmp_path: Path) -> None:
    """Links are followed from page to page; a page that only links to others is not reached by that."""
    pages = {"README.md": "[a](x/a.md)", "x/a.md": "[b](b.md#c)", "x/b.md": "", "x/lost.md": "[a](a.md)"}
    for name, text in pages.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert {tmp_path / "x" / "lost.md"} == unreached(tmp_path)


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


def missing_pages(source: str) -> list[str]:
    """Return what a text names below docs/ and is not there, with its heading if one is named."""
    named = re.findall(r"(docs/[\w./-]+\.md)(?:#([\w-]+\b))?", source)
    return [
        f"{page}#{anchor}" if anchor else page
        for page, anchor in named
        if not (ROOT / page).exists()
        or (anchor and anchor not in anchors_of((ROOT / page).read_text(encoding="utf-8")))
    ]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_page_that_the_code_names_exists(file: Path) -> None:
    """A page named in a message or a comment is there, and so is its heading."""
    assert [] == missing_pages(file.read_text(encoding="utf-8"))


def test_pages_that_are_not_there_are_noticed() -> None:
    """A page, and a heading of a page that is there."""
    text = "See docs/gone.md#x, docs/reference/cli.md, docs/reference/cli.md#gone. docs/reference/cli.md#exit-status."

    assert ["docs/gone.md#x", "docs/reference/cli.md#gone"] == missing_pages(text)


# ── errors ───────────────────────────────────────────────────────────────────────────────


def statuses_of(module: object) -> dict[str, str]:
    """Return the exit status of the command for each error code that a module defines."""
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    # `__new__` suffices: the status depends on the class alone.
    codes = {c.code: str(status_of(c.__new__(c))) for c in classes if issubclass(c, TenutoError)}
    # A fault that reaches the door is the outcome of a run.
    return {code: "1" if code == "faulted" else status for code, status in codes.items()}


def statuses_told(page: str) -> dict[str, str]:
    """Return the exit status of each code in the table of a page."""
    return dict(re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", page, re.MULTILINE))


def test_every_error_code_is_documented_with_its_exit_status() -> None:
    """errors.md lists the codes of errors.py, no others, each with the status that the command gives."""
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")

    assert statuses_of(errors) == statuses_told(page)


def test_an_error_code_that_is_not_documented_is_noticed() -> None:
    """A new class, and a row with another status."""

    class TooLate(errors.Unavailable):
        """Never raised."""

        code = "too-late"

    assert {"too-late": "4"} == statuses_of(SimpleNamespace(TooLate=TooLate))
    assert {"too-late": "2"} == statuses_told("| code |\n|---|\n| `too-late` | 2 | x | y |\n")


# ── readings ─────────────────────────────────────────────────────────────────────────────


def readings(page: str) -> list[tuple[int, str]]:
    """Return (number, the cell that names tests) of each row of the table of readings."""
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", page, re.MULTILINE)
    return [(int(number), tests) for number, tests in rows]


def wrong_in_readings(page: str) -> list[str]:
    """Say where the numbers in the text and in the table differ, and which tests do not exist."""
    rows = readings(page)
    numbers = [number for number, _ in rows]
    stated = {int(number) for number in re.findall(r"\*\*Reading (\d+)[a-z]?:?\*\*", page)}
    there = {file.name for file in (ROOT / "tests").rglob("test_*.py")}
    return [
        *(["the rows are not numbered 1, 2, 3, ..."] if numbers != [*range(1, len(rows) + 1)] else []),
        *(f"{number} is stated but has no row" for number in sorted(stated - {*numbers})),
        *(f"{number} is not stated" for number in sorted({*range(1, OPEN_POINTS + 1)} - stated)),
        *(
            f"{number} names no test"
            for number, tests in rows
            if not re.search(r"`test_|with the server", tests)
        ),
        *(
            f"{number} names {name}, which does not exist"
            for number, tests in rows
            for name in re.findall(r"`(test_\w+\.py)`", tests)
            if name not in there
        ),
    ]


def test_every_reading_is_stated_listed_and_tested() -> None:
    """Readings 1 to 24 answer the standard's open points; further ones follow in order; tests hold each."""
    assert [] == wrong_in_readings(LANGUAGE_PAGE)


def test_readings_that_are_not_kept_are_noticed() -> None:
    """A gap, a reading without a row, a test that is gone, a row without a test."""
    page = LANGUAGE_PAGE.replace("| 7 |", "| 77 |").replace("**Reading 9:**", "**Reading 99:**")
    page = page.replace(
        "| 4 | initial `$context` | null | `test_data_flow.py` |", "| 4 | x | null | `test_gone.py` |"
    )
    page = page.replace("`test_duration.py`", "soon")

    assert [
        "the rows are not numbered 1, 2, 3, ...",
        "7 is stated but has no row",
        "99 is stated but has no row",
        "9 is not stated",
        "29 names no test",
        "4 names test_gone.py, which does not exist",
    ] == wrong_in_readings(page)
