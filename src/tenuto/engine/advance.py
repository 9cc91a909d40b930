"""The one door: tell a run what happened, learn what it now wants.

Front ends (the workflow language, Python code) are `Program`s behind this door. What holds for
every run, whoever wrote it, is decided here: nothing after the end, an answer counts once and
only for a command that is open, a suspended run asks for nothing.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from tenuto.engine.model import (
    TERMINAL,
    Answered,
    CancelRequested,
    Command,
    Drop,
    Event,
    Failed,
    Finish,
    Listen,
    Note,
    Open,
    Restarted,
    Resumed,
    Started,
    Status,
    Suspended,
    Wake,
)
from tenuto.engine.table import Table

State = Any  # a front end's own state: a value that its program can encode


class Program(Protocol):
    """A front end's side of the door. All three are pure: no I/O, clock or chance."""

    def begin(self, started: Started, restarted: Restarted | None) -> tuple[State, list[Command]]:
        """Answer the first state and commands; `restarted` if the run takes over a history."""

    def step(self, state: State, event: Event) -> tuple[State, list[Command]]:
        """Answer the next state and what is newly wanted; after a pause began or ended, notes alone."""

    def encode(self, state: State) -> bytes:
        """Encode a state for a snapshot."""

    def decode(self, data: bytes) -> State:
        """Decode what `encode` gave."""


class Run(msgspec.Struct, frozen=True):
    """A run as its journal folds: status, the program's state, the commands still open.

    `busy` counts the open commands that are neither timers nor subscriptions.
    """

    status: Status
    state: State
    open: Table[Open]
    busy: int = 0
    restarted: Restarted | None = None
    finish: Finish | None = None

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self.finish is not None


def accepts(run: Run | None, event: Event) -> bool:
    """Whether an event means anything to a run; what does not is never recorded.

    An answer to a command that is not open (answered before, or dropped) is late and means
    nothing; so does everything after the end.
    """
    match event:
        case Started():
            return run is None or run.restarted is not None
        case Restarted():
            return run is None or not run.over
        case _ if run is None or run.status in TERMINAL:
            return False
        case Answered() | Failed():
            return event.id in run.open
        case Suspended():
            return run.status != "suspended"
        case Resumed():
            return run.status == "suspended"
        case _:
            return True


def advance(program: Program, run: Run | None, event: Event) -> tuple[Run, tuple[Command, ...]]:
    """Tell a run what just happened; answer what it is now, and everything it now wants.

    Pure: the same program, run and event always give the same answer, so this one function
    serves live execution, crash recovery, time travel, simulation and golden tests. The caller
    has made sure that the run `accepts` the event.
    """
    if isinstance(event, Suspended | Resumed):
        assert run is not None
        return _pause(program, run, event)
    if run is None or run.state is None:
        restarted = run.restarted if run else None
        if isinstance(event, Restarted):
            return Run("pending", None, Table(), 0, event), ()
        assert isinstance(event, Started)
        state, commands = program.begin(event, restarted)
        return _apply("running", Table(), 0, None, state, commands)
    answered = event.id if isinstance(event, Answered | Failed) else None
    state, commands = program.step(run.state, event)
    held = run.status == "suspended" and not isinstance(event, CancelRequested)
    return _apply("suspended" if held else "running", run.open, run.busy, answered, state, commands)


def _pause(program: Program, run: Run, event: Suspended | Resumed) -> tuple[Run, tuple[Command, ...]]:
    """Begin or end a pause: the program only says to which of its tasks that happens."""
    state, commands = program.step(run.state, event) if run.state is not None else (None, [])
    notes = [command for command in commands if isinstance(command, Note)]
    if isinstance(event, Suspended):
        return msgspec.structs.replace(run, status="suspended", state=state), tuple(notes)
    status = _status(run.open, run.busy)
    return msgspec.structs.replace(run, status=status, state=state), (*notes, *run.open.values())


def _apply(
    status: Status,
    opened: Table[Open],
    busy: int,
    answered: int | None,
    state: State,
    commands: list[Command],
) -> tuple[Run, tuple[Command, ...]]:
    """Bring the table of open commands up to date: one answered, some dropped, some new."""
    draft = opened.draft()
    if answered is not None:
        busy -= is_busy(draft.pop(answered))
    for command in commands:
        if isinstance(command, Note):
            continue
        if isinstance(command, Drop):
            busy -= is_busy(draft.pop(command.id))
        elif isinstance(command, Finish):
            return Run(command.status, state, Table(), 0, None, command), tuple(commands)
        else:
            draft[command.id] = command
            busy += is_busy(command)
    now_open = draft.done()
    if status == "suspended":
        kept = (Note, Drop, Listen)
        return Run(status, state, now_open, busy), tuple(c for c in commands if isinstance(c, kept))
    return Run(_status(now_open, busy), state, now_open, busy), tuple(commands)


def is_busy(command: Open | None) -> bool:
    """Return whether a command is work under way, not only waiting for time or for events from outside."""
    return command is not None and not isinstance(command, Wake | Listen)


def _status(opened: Table[Open], busy: int) -> Status:
    """Say `waiting` when only time or events from outside can move the run."""
    return "running" if busy or not opened else "waiting"
