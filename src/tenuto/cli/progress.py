"""Shows on standard error how a run goes: a live tree of tasks in a terminal, lines elsewhere.

✓ prepare                                    4 ms
● provision                        attempt 2  1.2 s
  ✓ directory                               80 ms
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from typing import Final, TextIO

import click

from tenuto.cli.terminal import COLORS, SYMBOLS, as_tree, duration, progress_text, shown_name, symbols_for
from tenuto.cli.text import cells, cut, printable
from tenuto.engine.model import Entry
from tenuto.operations.history import OVER, Tasks, TaskView

FRAME_SECONDS: Final = 0.1
SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
LONGEST_LINE: Final = 100


class Progress:
    """What happened to one run, told entry by entry and shown in the way that the stream can.

    Entries of other runs are ignored; those that come before the run's id is known are kept
    until then.
    """

    def __init__(self, stream: TextIO, now: Callable[[], float], *, live: bool, color: bool) -> None:
        self._stream = stream
        self._now = now
        self._live = live
        self._color = color
        self._symbols = symbols_for(stream.encoding)
        self._bar = "│ " if self._symbols is SYMBOLS else "| "
        self._tasks = Tasks(answers=False)
        self._run: str | None = None
        self._early: list[tuple[str, int, Entry]] = []
        self._seen = 0
        self._drawn = 0
        self._logged: list[str] = []
        self._frame = 0

    def watch(self, run: str, seq: int, entry: Entry) -> None:
        """Take in an entry of any run."""
        if self._run is None:
            self._early.append((run, seq, entry))
        elif run == self._run:
            self._tell(seq, entry)

    def remember(self, seq: int, entry: Entry) -> None:
        """Take in an entry of the run's past, without showing it."""
        self._seen = seq
        self._tasks.tell(entry)

    def follow(self, run: str, shared: int = 0) -> None:
        """Follow this run from now on; so many of its entries were taken over from another run."""
        for other, seq, entry in self._early:
            if other == run and self._seen < seq <= shared:
                self.remember(seq, entry)
        if self._seen and not self._live:
            done = sum(task.status == "completed" for task in self._tasks.all)
            self._say("going on" + (f" after {done} finished task{'' if done == 1 else 's'}" if done else ""))
        self._run = run
        early, self._early = self._early, []
        for other, seq, entry in early:
            self.watch(other, seq, entry)

    def has_begun(self, run: str) -> bool:
        """Tell whether the first entry of a run was among those that came early."""
        return any(other == run and seq == 1 for other, seq, _ in self._early)

    @property
    def tasks(self) -> list[TaskView]:
        """The run's tasks, as far as they are known."""
        return self._tasks.all

    @property
    def stuck(self) -> str | None:
        """Why the run cannot go on, if it cannot."""
        return self._tasks.stuck

    def _tell(self, seq: int, entry: Entry) -> None:
        if seq <= self._seen:
            return
        self._seen = seq
        changed = self._tasks.tell(entry)
        for task, note in changed:
            if note.what == "logged":
                self._log(note.kind, str(note.data))
            elif not self._live and task is not None and not note.what.startswith("correlation"):
                self._line(task, note.what)

    def _log(self, level: str, message: str) -> None:
        """Show what the workflow wrote: at once, or above the tree with the next picture."""
        said = message if level == "info" else f"{level}: {message}"
        lines = [self._styled(self._bar, "skipped") + printable(line) for line in said.splitlines() or [""]]
        if self._live:
            self._logged += lines
        else:
            for line in lines:
                self._say(line)

    # ── one line for each change ──────────────────────────────────────────────────────

    def _line(self, task: TaskView, what: str) -> None:
        status = "running" if what in {"started", "retried"} else task.status
        symbol = self._styled(self._symbols.get(status, "*"), status)
        text = f"{symbol} {what:9} {shown_name(task)}"
        if task.attempt > 1:
            text += f" (attempt {task.attempt})"
        if what == "progressed":
            text += f": {progress_text(task)}"
        if what in OVER and what != "skipped" and task.ended is not None:
            text += f" in {duration(task.ended - task.started)}"
        self._say(text)

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):
            print(text, file=self._stream, flush=True)

    # ── the tree ──────────────────────────────────────────────────────────────────────

    async def draw_always(self) -> None:
        """Redraw the tree again and again, until cancelled."""
        while True:
            self.draw()
            await asyncio.sleep(FRAME_SECONDS)

    def draw(self, *, last: bool = False) -> None:
        """Draw the tree over the former one, in one write, so that nothing flickers."""
        if not self._live:
            return
        size = shutil.get_terminal_size()
        width = max(20, min(size.columns - 1, LONGEST_LINE))
        lines = self._lines(width, max(3, size.lines - 3), last)
        self._frame += 1
        # Line wrap is off while drawing: a terminal that was just made narrower must not add lines.
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        # What was logged scrolls away above the tree: only the tree is drawn over.
        body = "".join(f"\x1b[2K{line}\n" for line in [*self._logged, *lines])
        self._logged.clear()
        with contextlib.suppress(OSError):
            self._stream.write(f"\x1b[?7l{up}\r{body}\x1b[J\x1b[?7h")
            self._stream.flush()
        self._drawn = len(lines)

    def _lines(self, width: int, height: int, last: bool) -> list[str]:
        tree = as_tree(
            self._tasks.all[-5 * height :] if len(self._tasks.all) > 50 * height else self._tasks.all
        )
        if len(tree) <= height:
            return [self._tree_line(depth, task, width, last) for depth, task in tree]
        kept = _most_telling(tree, height - 1)
        hidden = len(self._tasks.all) - len(kept)
        lines = [self._tree_line(depth, task, width, last) for depth, task in kept]
        return [self._styled(cut(f"… {hidden} more tasks", width), "skipped"), *lines]

    def _tree_line(self, depth: int, task: TaskView, width: int, last: bool) -> str:
        symbol = self._symbols.get(task.status, "*")
        if task.status == "running" and not last and symbol == "●":
            symbol = SPINNER[self._frame % len(SPINNER)]
        end = task.ended if task.ended is not None else self._now()
        right = "" if task.status == "skipped" else duration(end - task.started)
        if task.attempt > 1:
            right = f"attempt {task.attempt}  {right}"
        if task.progress is not None and task.status == "running":
            right = f"{progress_text(task)}  {right}"
        if task.status in {"waiting", "skipped"}:
            right = f"{task.status}  {right}".rstrip()
        indent = "  " * min(depth, max(0, width // 4 - 4))
        name = cut(shown_name(task), max(4, width - len(indent) - 3 - cells(right)))
        space = " " * max(1, width - len(indent) - 2 - cells(name) - cells(right))
        dimmed = self._styled(name, "skipped") if task.status == "skipped" else name
        return f"{indent}{self._styled(symbol, task.status)} {dimmed}{space}{self._styled(right, 'skipped')}"

    def _styled(self, text: str, status: str) -> str:
        return click.style(text, fg=COLORS.get(status)) if self._color and text else text


def _most_telling(tree: list[tuple[int, TaskView]], count: int) -> list[tuple[int, TaskView]]:
    """Choose tasks that fit: what runs, waits or failed before what is done, later before earlier."""
    ranked = sorted(range(len(tree)), key=lambda i: (tree[i][1].status in {"completed", "skipped"}, -i))
    return [tree[i] for i in sorted(ranked[:count])]
