"""Runs in memory, and what the worker keeps with each."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tenuto.engine.advance import Program, Run
from tenuto.engine.model import (
    Command,
    Entry,
    Event,
    Listen,
    Open,
    Perform,
    Restarted,
    Resumed,
    Suspended,
    Wake,
)
from tenuto.engine.ports import DocumentRow, RunChange, RunRow
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
    """A run in memory. `active` holds the open commands that this process is working on.

    `idle` means that it came from the disk and nobody works on it yet, `found` has the ids of what it wanted
    there; `orphaned`, that the run which waited for it did so no more by then, and that it was to be told;
    `held`, how many need it to stay in memory just now.
    `stored` is the entry after which its newest snapshot was taken.
    """

    row: RunRow
    definition: Definition
    run: Run | None = None
    seq: int = 0
    active: dict[int, asyncio.Task[None] | None] = field(default_factory=dict)
    snapshots: SnapshotPolicy = field(default_factory=SnapshotPolicy)
    unwritten: int = 0
    stored: int = 0
    idle: bool = False
    found: tuple[int, ...] = ()
    orphaned: bool = False
    held: int = 0

    def lie_idle(self) -> None:
        """Nobody works yet on what it wants by now."""
        self.idle, run = True, self.run
        self.found = tuple(id for id, command in run.open.items() if wanted(run, command)) if run else ()


@dataclass(slots=True)
class Step:
    """One entry on its way to the disk, with what is to be done once it is there."""

    hot: Hot
    seq: int
    entry: Entry
    commands: tuple[Command, ...]


def is_other_code(there: DocumentRow, now: DocumentRow) -> bool:
    """Whether one is the code of the other at another time: it changes under its name, documents do not."""
    return there.kind == now.kind and (there.namespace, there.name) == (now.namespace, now.name)


def new_row(
    number: int,
    id: str,
    definition: DocumentRow,
    now: float,
    *,
    parent: str | None = None,
    parent_command: int | None = None,
    origin: str | None = None,
    origin_entries: int | None = None,
) -> RunRow:
    """Return the row of a run that begins now."""
    return RunRow(
        number=number,
        id=id,
        definition=definition.digest,
        namespace=definition.namespace,
        name=definition.name,
        version=definition.version,
        status="pending",
        started=now,
        updated=now,
        parent=parent,
        parent_command=parent_command,
        origin=origin,
        origin_entries=origin_entries,
    )


def changed(row: RunRow, run: Run, time: float) -> tuple[RunRow, RunChange]:
    """Return a run's row after a change of its status, and that change."""
    ended, outcome, wake_at = None, None, None
    if run.finish is not None:
        fault = run.finish.fault
        outcome = {"output": run.finish.output} if fault is None else {"error": fault.to_json()}
        ended = time
    else:
        wake_at = min(
            (command.at for command in run.open.values() if isinstance(command, Wake)), default=None
        )
    row = msgspec.structs.replace(
        row, status=run.status, updated=time, wake_at=wake_at, ended=ended, outcome=outcome
    )
    return row, RunChange(row.number, run.status, time, wake_at, ended, outcome)


def find_start(entries: Sequence[Entry], task: str) -> tuple[str, int]:
    """Return a task's path and how many entries there are up to its last start.

    The task is named by its path, or by its name if that is unique. A workflow in Python takes back
    what it did when it fails: what is taken back cannot be taken over.
    """
    starts = {
        note.task: position
        for position, entry in enumerate(entries, 1)
        for note in entry.notes
        if note.what == "started"
    }
    named = [task] if task in starts else [path for path in starts if path.rsplit("/", 1)[-1] == task]
    if len(named) > 1:
        raise Conflict(f"several tasks are called {task!r}", hint="name one by its path: " + ", ".join(named))
    if not named:
        raise NotFound(f"no task {task!r} was started in that run", hint="started were: " + ", ".join(starts))
    _refuse_taken_back(entries, starts[named[0]], named[0])
    return named[0], starts[named[0]]


def _refuse_taken_back(entries: Sequence[Entry], cut: int, task: str) -> None:
    """Refuse to take over actions of a workflow in Python that the run has taken back since."""
    done = _notes(entries[:cut], "completed", {"step", "call"})
    undone = _notes(entries[cut:], "started", {"undo"})
    if done and undone:
        raise Conflict(
            f"what the run did before {task} is taken back ({', '.join(undone)}), so it cannot be taken over",
            hint=f"begin with --from {done[0]}, or start a new run",
        )


def _notes(entries: Sequence[Entry], what: str, kinds: Container[str]) -> list[str]:
    """Return the tasks of such notes, in order."""
    notes = (note for entry in entries for note in entry.notes)
    return [note.task for note in notes if note.what == what and note.kind in kinds]


def retold(entries: Sequence[Entry], turn: Restarted) -> list[Event]:
    """Return what a run is told that takes over these entries; the last starts its task, now.

    A pause among them that was not over is over now.
    """
    *before, last = (entry.event for entry in entries)
    pauses = [event for event in before if isinstance(event, Suspended | Resumed)]
    if pauses and isinstance(pauses[-1], Suspended):
        before.append(Resumed(turn.time))
    return [*before, turn, msgspec.structs.replace(last, time=turn.time)]


def wanted(run: Run, command: Open) -> bool:
    """Return whether a command is still to be carried out; a detached action is, also after the run's end."""
    if run.over:
        return isinstance(command, Perform) and command.detached
    # A suspended run does nothing, but hears: what it is told meanwhile is recorded.
    return command.id in run.open and (run.status != "suspended" or isinstance(command, Listen))
