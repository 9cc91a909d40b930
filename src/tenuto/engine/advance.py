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

State = Any  # a front end's own state: a value that its program can encode


class Program(Protocol):
    """A front end's side of the door. All three are pure: no I/O, clock or chance."""

    def begin(self, started: Started, restarted: Restarted | None) -> tuple[State, list[Command]]:
        """Answer the first state and commands; `restarted` if the run takes over a history."""

    def step(self, state: State, event: Event) -> tuple[State, list[Command]]:
        """Answer the next state and what is newly wanted."""

    def encode(self, state: State) -> bytes:
        """Encode a state for a snapshot."""

    def decode(self, data: bytes) -> State:
        """Decode what `encode` gave."""


class Run(msgspec.Struct, frozen=True):
    """A run as its journal folds: status, the program's state, the commands still open."""

    status: Status
    state: State
    open: dict[int, Open]
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
    if isinstance(event, Suspended):
        assert run is not None
        return msgspec.structs.replace(run, status="suspended"), ()
    if isinstance(event, Resumed):
        assert run is not None
        return msgspec.structs.replace(run, status=_status(run.open)), tuple(run.open.values())
    if run is None or run.state is None:
        restarted = run.restarted if run else None
        if isinstance(event, Restarted):
            return Run("pending", None, {}, event), ()
        assert isinstance(event, Started)
        state, commands = program.begin(event, restarted)
        return _apply("running", {}, state, commands)
    opened = run.open
    if isinstance(event, Answered | Failed):
        opened = {id: command for id, command in opened.items() if id != event.id}
    state, commands = program.step(run.state, event)
    held = run.status == "suspended" and not isinstance(event, CancelRequested)
    return _apply("suspended" if held else "running", opened, state, commands)


def _apply(
    status: Status, opened: dict[int, Open], state: State, commands: list[Command]
) -> tuple[Run, tuple[Command, ...]]:
    opened = dict(opened)
    for command in commands:
        if isinstance(command, Note):
            continue
        if isinstance(command, Drop):
            opened.pop(command.id, None)
        elif isinstance(command, Finish):
            return Run(command.status, state, {}, None, command), tuple(commands)
        else:
            opened[command.id] = command
    if status == "suspended":
        kept = (Note, Drop)
        return Run(status, state, opened), tuple(c for c in commands if isinstance(c, kept))
    return Run(_status(opened), state, opened), tuple(commands)


def _status(opened: dict[int, Open]) -> Status:
    """Say `waiting` when only time or events from outside can move the run."""
    for command in opened.values():
        if not isinstance(command, Wake | Listen):
            return "running"
    return "waiting" if opened else "running"
