"""Markdown pages taken apart: fenced blocks with their markers, headings, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

_FENCE: Final = re.compile(r"(?P<indent> *)(?P<ticks>`{3,})(?P<language>[^`]*)")
_MARKER: Final = re.compile(r"\s*<!-- (?P<verb>invalid|not run)(?:: *(?P<value>.*?))? *-->\s*")
_CAPTION: Final = re.compile(r"(?:.* )?`(?P<file>[\w./-]+\.\w+)`:")
_WHOLE_PAGE: Final = re.compile(r"^<!-- blocks: (?P<test>\S+) -->$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where its text begins, and what the page says about it just above.

    `marker` is `invalid` or `not run`, `reason` what stands behind it; `file` is the name under
    which the reader is told to save the text.
    """

    line: int
    language: str
    text: str
    marker: str = ""
    reason: str = ""
    file: str = ""


def pages() -> list[Path]:
    """Return every page of the repository; folders whose names begin with a dot are not read."""
    return sorted(
        page
        for page in ROOT.rglob("*.md")
        if not any(part.startswith(".") or part == "node_modules" for part in page.relative_to(ROOT).parts)
    )


def blocks_of(page: str) -> Iterator[Block]:
    """Yield a page's fenced blocks; an indented fence's text loses the indentation.

    >>> [(block.language, block.text) for block in blocks_of("```json\\n1\\n```\\n")]
    [('json', '1\\n')]
    """
    lines = page.split("\n")
    number = 0
    while number < len(lines):
        fence = _FENCE.fullmatch(lines[number])
        if fence is None:
            number += 1
            continue
        start = number + 1
        number = start
        while number < len(lines) and lines[number].strip() != fence["ticks"]:
            number += 1
        text = "".join(line.removeprefix(fence["indent"]) + "\n" for line in lines[start:number])
        yield Block(start + 1, fence["language"].strip(), text, *_said_above(lines, start - 2))
        number += 1


def _said_above(lines: list[str], above: int) -> tuple[str, str, str]:
    """Return marker, reason and file name that the lines over a fence give."""
    marker = _MARKER.fullmatch(lines[above]) if above >= 0 else None
    if marker is not None:
        above -= 1
    while above >= 0 and not lines[above].strip():
        above -= 1
    caption = _CAPTION.fullmatch(lines[above].strip()) if above >= 0 else None
    file = caption["file"] if caption else ""
    return (marker["verb"], marker["value"] or "", file) if marker else ("", "", file)


def other_test_of(page: str) -> str | None:
    """Return the test file that a page names for all its blocks, or None."""
    found = _WHOLE_PAGE.search(page)
    return found["test"] if found else None


def without_code(page: str) -> str:
    """Return the page's prose: fenced blocks and code in lines are gone, the lines keep their numbers."""
    lines, ticks = [], ""
    for line in page.split("\n"):
        fence = _FENCE.fullmatch(line)
        if ticks or fence:
            lines.append("")
            if ticks and line.strip() == ticks:
                ticks = ""
            elif not ticks and fence:
                ticks = fence["ticks"]
        else:
            lines.append(line)
    return "\n".join(lines)


def anchors_of(page: str) -> set[str]:
    """Return the anchors of a page's headings, as Markdown viewers make them.

    >>> sorted(anchors_of("# One `two`\\n## call: http\\n## call: http\\n"))
    ['call-http', 'call-http-1', 'one-two']
    """
    found: dict[str, int] = {}
    anchors = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", without_code(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text).lower().replace(" ", "-")
        again = found.get(anchor, 0)
        found[anchor] = again + 1
        anchors.add(f"{anchor}-{again}" if again else anchor)
    return anchors


def links_of(page: str) -> Iterator[tuple[int, str]]:
    """Yield (line, target) of a page's links and pictures."""
    for number, line in enumerate(without_code(page).split("\n"), 1):
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
            yield number, target
