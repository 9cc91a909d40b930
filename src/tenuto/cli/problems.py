"""Shows mistakes in documents the way compilers do: place, message, line with a caret, hint."""

from __future__ import annotations

import re
from typing import Any, Final

import click

from tenuto.cli.text import cells, printable
from tenuto.errors import Problem

_WIDTH: Final = 100
_WORD: Final = re.compile(r""""[^"]*"|'[^']*'|(?:[^\s:,\[\]{}"']|:(?!\s|$))+""")


def described(file: str, text: str | None, problem: Problem) -> str:
    """Return one problem as lines of text, with the source line if the text is given."""
    color = "red" if problem.severity == "error" else "yellow"
    where = click.style(f"{printable(file)}:{problem.line}:{problem.column}:", bold=True)
    lines = [
        f"{where} {click.style(problem.severity + ':', fg=color, bold=True)} {printable(problem.message)}"
        + click.style(f" [{problem.code}]", dim=True)
    ]
    lines += _excerpt(text, problem, color)
    if problem.hint:
        lines.append(f"  {click.style('hint:', fg='cyan')} {printable(problem.hint)}")
    return "\n".join(lines)


def as_json(problem: Problem) -> dict[str, Any]:
    """Return the members that scripts get of a problem."""
    return {
        "code": problem.code,
        "line": problem.line,
        "column": problem.column,
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    }


def _excerpt(text: str | None, problem: Problem, color: str) -> list[str]:
    source = re.split(r"\r\n|\r|\n", text) if text is not None else []
    if not 1 <= problem.line <= len(source):
        return []
    # One for one, so that the caret stays below its word.
    line = "".join(c if c.isprintable() else " " for c in source[problem.line - 1])
    start = problem.column - 1
    if not line.strip():
        return []
    word = _WORD.match(line, start)
    length = word.end() - start if word else 1
    if start + length > _WIDTH:
        shift = max(0, start - _WIDTH // 2)
        line, start = "…" + line[shift + 1 :], start - shift
    if cells(line) > _WIDTH:
        line = line[: _WIDTH - 1] + "…"
    number = f"{problem.line:5}"
    marker = " " * cells(line[:start]) + "^" * max(1, min(length, _WIDTH - start))
    return [
        click.style(f"{number} | ", dim=True) + line,
        click.style(f"{' ' * len(number)} | ", dim=True) + click.style(marker, fg=color),
    ]


def fault_text(fault: dict[str, Any]) -> list[str]:
    """Return a workflow error as lines for people."""
    title = printable(str(fault.get("title") or fault.get("type", "").rstrip("/").rsplit("/", 1)[-1]))
    lines = [click.style(f"{fault.get('status', '')} {title}".strip(), fg="red")]
    if fault.get("detail"):
        detail = re.split(r"\r\n|\n", str(fault["detail"]).rstrip())
        lines += [f"  {printable(line)}" for line in detail]
    if fault.get("instance"):
        lines.append(f"  in {printable(str(fault['instance']))}")
    return lines
