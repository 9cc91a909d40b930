"""How runs and tasks look in a terminal: symbols, colours, durations, indentation."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from tenuto.cli.text import cut, printable
from tenuto.operations.history import TaskView
from tenuto.settings import DEFAULT_DATABASE, Settings

PROGRESS_CELLS: Final = 40  # how much of an action's progress is shown beside its task

COLORS: Final[Mapping[str, str]] = {
    "completed": "green",
    "faulted": "red",
    "cancelled": "red",
    "running": "cyan",
    "waiting": "yellow",
    "suspended": "yellow",
    "skipped": "bright_black",
}
SYMBOLS: Final[Mapping[str, str]] = {
    "completed": "✓",
    "faulted": "✗",
    "cancelled": "⊘",
    "running": "●",
    "waiting": "◌",
    "suspended": "‖",
    "skipped": "–",
}
PLAIN_SYMBOLS: Final[Mapping[str, str]] = {
    "completed": "+",
    "faulted": "x",
    "cancelled": "/",
    "running": "*",
    "waiting": "o",
    "suspended": "=",
    "skipped": "-",
}


def symbols_for(encoding: str | None) -> Mapping[str, str]:
    """Return symbols that an encoding can write."""
    try:
        "".join(SYMBOLS.values()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return PLAIN_SYMBOLS
    return SYMBOLS


def duration(seconds: float) -> str:
    """Return a duration in at most two units; none is negative, although the clock may have been set back.

    >>> [duration(s) for s in (0.0042, 1.234, 75.0, 7300.0, 200000.0, -3600.0)]
    ['4 ms', '1.2 s', '1 min 15 s', '2 h 1 min', '2 d 7 h', '0 ms']
    """
    seconds = max(seconds, 0.0)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, length, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


class Depths:
    """How deep each task stands in the tree: one more than the nearest task around it."""

    def __init__(self) -> None:
        self._depths: dict[str, int] = {}

    def of(self, path: str) -> int:
        """Return a task's depth; its ancestors must have been asked for before."""
        known = self._depths.get(path)
        if known is None:
            around = path.rpartition("/")[0]
            while around and around not in self._depths:
                around = around.rpartition("/")[0]
            known = self._depths[path] = self._depths[around] + 1 if around else 0
        return known


def round_of(path: str) -> str:
    """Return which round of the innermost loop a task belongs to, as ` [2]`, if to any.

    >>> round_of("/do/0/greet/for/2/do/0/one"), round_of("/do/0/greet")
    (' [2]', '')
    """
    steps = path.split("/")
    if len(steps) >= 6 and steps[-3] == "do" and steps[-4].isdigit() and steps[-5] in {"for", "foreach"}:
        return f" [{steps[-4]}]"
    return ""


def shown_name(task: TaskView) -> str:
    """Return a task's name for a terminal, with its round of a loop."""
    return printable(task.name) + round_of(task.path)


def progress_text(task: TaskView) -> str:
    """Return what a task's action last told of itself, in one short line."""
    told = task.progress
    text = told if isinstance(told, str) else msgspec.json.encode(told).decode()
    return cut(text, PROGRESS_CELLS)


def as_tree(tasks: Iterable[TaskView]) -> list[tuple[int, TaskView]]:
    """Return tasks with their depths, each below the task that it belongs to, else as they started."""
    listed = list(tasks)
    depths = Depths()
    order: dict[str, tuple[int, ...]] = {}
    keyed = []
    for number, task in enumerate(listed):
        around = task.path.rpartition("/")[0]
        while around and around not in order:
            around = around.rpartition("/")[0]
        key = (*order.get(around, ()), number)
        order[task.path] = key
        keyed.append((key, depths.of(task.path), task))
    keyed.sort(key=lambda item: item[0])
    return [(depth, task) for _, depth, task in keyed]


def program() -> str:
    """Return how this program was called, for commands that are suggested."""
    called = sys.argv[0]
    if os.path.basename(called) == "__main__.py":
        return f"{shlex.quote(os.path.basename(sys.executable))} -m tenuto"
    found = shutil.which(os.path.basename(called))
    if not os.path.exists(called) or (found is not None and os.path.samefile(found, called)):
        return os.path.basename(called) or "tenuto"
    return shlex.quote(os.path.relpath(called) if called.startswith(os.getcwd() + os.sep) else called)


def command(
    verb: str, run: str, settings: Settings, options: Mapping[str, Any], *more: str, works: bool
) -> str:
    """Return the command that does `verb` with a run, with every option that it needs again."""
    if verb == "resume" and settings.resume_command:
        return settings.resume_command
    words = [verb, run, *more]
    if settings.database != DEFAULT_DATABASE:
        words += ["--db", str(settings.database)]
    if works:
        words += [word for path in settings.known for word in ("--with", str(path))]
        words += [word for rule in settings.resolve for word in ("--resolve", rule)]
        words += ["--secrets", options["secrets"]] if options.get("secrets") else []
    return f"{program()} {shlex.join(words)}"
