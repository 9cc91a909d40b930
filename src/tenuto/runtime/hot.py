"""Runs in memory, and what the worker keeps with each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tenuto.engine.advance import Program, Run
from tenuto.engine.model import Command, Entry, Open, Perform
from tenuto.engine.ports import DocumentRow, RunRow
from tenuto.errors import Conflict, NotFound
from tenuto.runtime.snapshots import SnapshotPolicy


@dataclass(frozen=True, slots=True)
class Definition:
    """A document made ready to run, and what its runs have to know from the start."""

    row: DocumentRow
    program: Program
    undo: dict[str, str]
    folders: tuple[Path, ...] = ()


@dataclass(slots=True, eq=False)
class Hot:
    """A run in memory. `active` holds the open commands that this process is working on."""

    row: RunRow
    definition: Definition
    run: Run | None = None
    seq: int = 0
    active: dict[int, asyncio.Task[None] | None] = field(default_factory=dict)
    snapshots: SnapshotPolicy = field(default_factory=SnapshotPolicy)
    unwritten: int = 0


@dataclass(slots=True)
class Step:
    """One entry on its way to the disk, with what is to be done once it is there."""

    hot: Hot
    seq: int
    entry: Entry
    commands: tuple[Command, ...]


def find_start(entries: Sequence[Entry], task: str) -> tuple[str, int]:
    """Return a task's path and how many entries there are up to its last start.

    The task is named by its path, or by its name if that is unique.
    """
    starts = {
        note.task: position
        for position, entry in enumerate(entries, 1)
        for note in entry.notes
        if note.what == "started"
    }
    if task in starts:
        return task, starts[task]
    named = [path for path in starts if path.rsplit("/", 1)[-1] == task]
    if len(named) == 1:
        return named[0], starts[named[0]]
    if named:
        raise Conflict(f"several tasks are called {task!r}", hint="name one by its path: " + ", ".join(named))
    raise NotFound(f"no task {task!r} was started in that run", hint="started were: " + ", ".join(starts))


def wanted(run: Run, command: Open) -> bool:
    """Return whether a command is still to be carried out; a detached action is, also after the run's end."""
    if run.over:
        return isinstance(command, Perform) and command.detached
    return command.id in run.open and run.status != "suspended"
