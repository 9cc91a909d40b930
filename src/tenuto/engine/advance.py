"""The one door: tell a run what happened, learn what it now wants.

Front ends (the workflow language, Python code) are `Program`s behind this door. What holds for
every run, whoever wrote it, is decided here: nothing after the end, an answer counts once and
only for a command that is open, a suspended run asks for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from tenuto.engine.model import (
    STUCK,
    TERMINAL,
    Answered,
    CancelRequested,
    Command,
    Drop,
    Entry,
    Event,
    Failed,
    Finish,
    Json,
    Listen,
    Note,
    Open,
    Perform,
    Progressed,
    Restarted,
    Resumed,
    Started,
    Status,
    Suspended,
    Wake,
)
from tenuto.engine.table import Table

# As tuples: a union in `isinstance` would be made anew each time.
_ANSWERS: Final = (Answered, Failed, Progressed)
_PAUSES: Final = (Suspended, Resumed)
_WAITING: Final = (Wake, Listen)

State = Any  # a front end's own state: a value that its program can encode


class Program(Protocol):
    """A front end's side of the door. All of it is pure: no I/O, clock or chance.

    `recorded` are the notes that were recorded with an event that is folded again; None for a new one.
    """

    def begin(
        self, started: Started, restarted: Restarted | None, recorded: Sequence[Note] | None = None
    ) -> tuple[State, list[Command]]:
        """Answer the first state and commands; `restarted` if the run takes over a history."""

    def step(
        self, state: State, event: Event, recorded: Sequence[Note] | None = None
    ) -> tuple[State, list[Command]]:
        """Answer the next state and what is newly wanted; after a pause began, notes alone."""

    def recall(self, run: Run | None, entries: Sequence[Entry]) -> Run | None:
        """Answer what `advance` over recorded entries gives, from the first to the last."""

    def query(self, state: State, name: str) -> Json:
        """Return what a state says of itself under a name; raises `KeyError` if it says nothing."""

    def encode(self, state: State) -> bytes | None:
        """Encode a state for a snapshot; None if it can only be had by folding the journal again."""

    def decode(self, data: bytes) -> State:
        """Decode what `encode` gave."""

    def stale(self, state: State) -> bool:
        """Whether a state has to be folded from the journal again before it can take an event."""

    def forget(self, state: State) -> None:
        """Let go of what a state that is not used any more holds."""


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
    if run is not None and isinstance(event, _ANSWERS):
        # Nearly all events are: nothing is open after the end.
        return event.id in run.open
    match event:
        case Started():
            return run is None or run.restarted is not None
        case Restarted():
            return run is None or not run.over
        case _ if run is None or run.status in TERMINAL:
            return False
        case Suspended():
            return run.status != "suspended"
        case Resumed():
            return run.status == "suspended"
        case _:
            return True


def advance(
    program: Program, run: Run | None, event: Event, recorded: Sequence[Note] | None = None
) -> tuple[Run, tuple[Command, ...]]:
    """Tell a run what just happened; answer what it is now, and everything it now wants.

    Pure: the same program, run and event always give the same answer, so this one function
    serves live execution, crash recovery, time travel, simulation and golden tests. The caller
    has made sure that the run `accepts` the event. `recorded` are the notes that the event has
    in the journal, if it comes from there.
    """
    if isinstance(event, _PAUSES):
        assert run is not None
        return _pause(program, run, event, recorded)
    if isinstance(event, Progressed):
        assert run is not None
        return _progress(program, run, event, recorded)
    if run is None or run.state is None:
        restarted = run.restarted if run else None
        if isinstance(event, Restarted):
            return Run("pending", None, Table(), 0, event), ()
        assert isinstance(event, Started)
        state, commands = program.begin(event, restarted, recorded)
        return _apply("running", Table(), 0, None, state, commands)
    answered = event.id if isinstance(event, _ANSWERS) else None
    state, commands = program.step(run.state, event, recorded)
    if run.status != "suspended":
        return _apply("running", run.open, run.busy, answered, state, commands)
    if not isinstance(event, CancelRequested):
        return _apply("suspended", run.open, run.busy, answered, state, commands)
    return _end_pause(*_apply("running", run.open, run.busy, None, state, commands))


def recalled(program: Program, run: Run | None, entries: Sequence[Entry]) -> Run | None:
    """Advance over recorded entries, one by one: `recall` of programs that know no quicker way."""
    for entry in entries:
        run, _ = advance(program, run, entry.event, entry.notes)
    return run


def _pause(
    program: Program, run: Run, event: Suspended | Resumed, recorded: Sequence[Note] | None
) -> tuple[Run, tuple[Command, ...]]:
    """Begin or end a pause: the program says to which of its tasks that happens.

    At the end, everything that is open is carried out; and a program that was stuck takes what it could not.
    """
    state, commands = program.step(run.state, event, recorded) if run.state is not None else (None, [])
    if isinstance(event, Suspended):
        notes = tuple(command for command in commands if isinstance(command, Note))
        return msgspec.structs.replace(run, status="suspended", state=state), notes
    return _end_pause(*_apply("running", run.open, run.busy, None, state, commands))


def _end_pause(now: Run, wanted: tuple[Command, ...]) -> tuple[Run, tuple[Command, ...]]:
    """Want everything that is open, whether it was asked for before the pause, in it, or now."""
    if now.finish is not None or now.status == "suspended":
        return now, wanted
    kept = tuple(command for command in wanted if isinstance(command, Note | Drop))
    return now, (*kept, *now.open.values())


def _progress(
    program: Program, run: Run, event: Progressed, recorded: Sequence[Note] | None
) -> tuple[Run, tuple[Command, ...]]:
    """Keep what an action tells of itself with its command, for its next start."""
    draft = run.open.draft()
    command = draft[event.id]
    if not isinstance(command, Perform):
        return run, ()
    draft[event.id] = msgspec.structs.replace(command, progress=event.progress)
    note = Note(command.task, "progressed", "", command.attempt, event.progress)
    # The program keeps it for the next attempt.
    state, _ = program.step(run.state, event, None if recorded is None else ())
    return msgspec.structs.replace(run, state=state, open=draft.done()), (note,)


def _apply(
    status: Status,
    opened: Table[Open],
    busy: int,
    answered: int | None,
    state: State,
    commands: list[Command],
) -> tuple[Run, tuple[Command, ...]]:
    """Bring the table of open commands up to date: one answered, some dropped, some new."""
    new: dict[int, Open] = {}
    gone = []
    if answered is not None:
        gone.append(answered)
        busy -= is_busy(opened.get(answered))
    for command in commands:
        if isinstance(command, Note):
            if command.what == STUCK:
                status = "suspended"
        elif isinstance(command, Drop):
            if command.id not in new:
                gone.append(command.id)
            busy -= is_busy(new.pop(command.id, None) or opened.get(command.id))
        elif isinstance(command, Finish):
            return Run(command.status, state, Table(), 0, None, command), tuple(commands)
        else:
            new[command.id] = command
            busy += not isinstance(command, _WAITING)
    now_open = opened.replaced(gone, new)
    if status == "suspended":
        kept = (Note, Drop, Listen)
        return Run(status, state, now_open, busy), tuple(c for c in commands if isinstance(c, kept))
    return Run(_status(now_open, busy), state, now_open, busy), tuple(commands)


def is_busy(command: Open | None) -> bool:
    """Return whether a command is work under way, not only waiting for time or for events from outside."""
    return command is not None and not isinstance(command, _WAITING)


def _status(opened: Table[Open], busy: int) -> Status:
    """Say `waiting` when only time or events from outside can move the run."""
    return "running" if busy or not opened else "waiting"
