"""Plays a document by hand: no worker, no disk, a clock that jumps, answers that the test gives."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tenuto.engine.advance import Run, accepts, advance
from tenuto.engine.model import (
    Answered,
    Arrived,
    Command,
    Drop,
    Emit,
    Evaluate,
    Event,
    Failed,
    Finish,
    Listen,
    Note,
    Perform,
    Started,
    StartRun,
    Wake,
)
from tenuto.errors import Fault
from tenuto.language.interpret import Interpreter
from tenuto.language.load import load

HEADER = "document: {dsl: '1.0.3', namespace: test, name: play, version: '1.0.0'}\n"
START = 1_700_000_000.0

Answer = Callable[[Perform | StartRun], Any]


@dataclass
class Play:
    """A run in the making: what it wanted, what happened to its tasks."""

    interpreter: Interpreter
    run: Run | None = None
    now: float = START
    events: list[Event] = field(default_factory=list)
    performed: list[Perform | StartRun] = field(default_factory=list)
    emitted: list[dict[str, Any]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    todo: list[Command] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def tell(self, event: Event) -> None:
        """Give the run an event, if it means anything to it."""
        if not accepts(self.run, event):
            return
        self.events.append(event)
        self.run, commands = advance(self.interpreter, self.run, event)
        for command in commands:
            if isinstance(command, Note):
                self.notes.append((command.task, command.what))
            elif isinstance(command, Drop):
                self.dropped.append(command.id)
            elif not isinstance(command, Finish | Listen):
                self.todo.append(command)

    def go_on(self, answer: Answer = lambda command: None, steps: int = 5_000) -> Play:
        """Carry out what is wanted, timers last, until the run is over or waits for events."""
        while self.todo and self.run is not None and not self.run.over and steps:
            steps -= 1
            command = min(self.todo, key=lambda c: c.at if isinstance(c, Wake) else 0.0)
            self.todo.remove(command)
            if command.id not in self.run.open:  # type: ignore[union-attr]
                continue
            self._carry_out(command, answer)
        return self

    def _carry_out(self, command: Command, answer: Answer) -> None:
        if isinstance(command, Wake):
            self.waits.append(round(command.at - self.now, 3))
            self.now = max(self.now, command.at)
            self.tell(Answered(self.now, command.id))
        elif isinstance(command, Emit):
            self.emitted.append(command.event)
            self.tell(Arrived(self.now, command.event))
            self.tell(Answered(self.now, command.id))
        elif isinstance(command, Evaluate):
            raise AssertionError("these tests use the first lane only")
        elif isinstance(command, Perform | StartRun):
            self.performed.append(command)
            given = answer(command)
            self.now += 0.001
            if isinstance(given, Fault):
                self.tell(Failed(self.now, command.id, given))
            else:
                self.tell(Answered(self.now, command.id, given))

    @property
    def output(self) -> Any:
        """The run's output; fails the test if the run did not complete."""
        assert self.run is not None
        assert self.run.finish is not None, f"still open: {self.run.open}"
        assert self.run.finish.status == "completed", self.run.finish
        return self.run.finish.output

    @property
    def fault(self) -> Fault:
        """The run's fault; fails the test if the run did not fault."""
        assert self.run is not None
        assert self.run.finish is not None, f"still open: {self.run.open}"
        assert self.run.finish.fault is not None, self.run.finish
        return self.run.finish.fault

    def order(self, what: str = "started") -> list[str]:
        """The names of tasks to which something happened, in order."""
        return [task.rsplit("/", 1)[-1] for task, happened in self.notes if happened == what]


def begin(body: str, data: Any = None, undo: dict[str, str] | None = None) -> Play:
    """Start a document, whose `document` part is written here unless it is there."""
    text = textwrap.dedent(body)
    text = text if text.startswith("document:") else HEADER + text
    made = Play(Interpreter(load(text).data))
    made.tell(Started(START, "run-1", "digest", data, "nonce", undo or {}, "0.1.0"))
    return made


def play(body: str, data: Any = None, answer: Answer = lambda command: None, **options: Any) -> Play:
    """Play a document to its end, or to where it waits for events."""
    return begin(body, data, **options).go_on(answer)


def fail_times(count: int, fault: Fault, then: Any = "fine") -> Answer:
    """Return an answer that is a fault `count` times, then `then`."""
    left = iter([fault] * count)
    return lambda command: next(left, then)


def arrived(play_: Play, *events: dict[str, Any]) -> Play:
    """Give a run events from outside, then let it go on."""
    for event in events:
        full = {"specversion": "1.0", "id": str(len(play_.events)), "source": "/test", **event}
        play_.tell(Arrived(play_.now, full))
    return play_.go_on()


def names(performed: Iterable[Perform | StartRun]) -> list[str]:
    """The functions asked for, in order."""
    return [command.function if isinstance(command, Perform) else "run" for command in performed]
