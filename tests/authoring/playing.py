"""Plays a workflow in Python purely: the test says what happens, and sees what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tenuto.authoring.declare import Workflow
from tenuto.authoring.program import PythonProgram
from tenuto.engine.advance import Run, accepts, advance
from tenuto.engine.model import (
    Answered,
    Arrived,
    CancelRequested,
    Command,
    Emit,
    Entry,
    Event,
    Failed,
    Json,
    Listen,
    Note,
    Perform,
    Resumed,
    Started,
    StartRun,
    Suspended,
    Wake,
)
from tenuto.errors import Fault, runtime_fault

START = 1_700_000_000.0


class Play:
    """One run; every event takes a second."""

    def __init__(self, workflow: Workflow[..., Any], data: Json | None = None, guard: Any = None) -> None:
        self.steps: dict[str, Any] = {}
        self.program = PythonProgram(workflow, lambda step: self.steps.setdefault(step.name, step), guard)
        self.run: Run | None = None
        self.commands: tuple[Command, ...] = ()
        self.entries: list[Entry] = []
        self.time = START
        self.tell(Started(self.time, "run", "digest", {} if data is None else data, "nonce"))

    def tell(self, event: Event) -> tuple[Command, ...]:
        """Tell the run what happened."""
        assert accepts(self.run, event), event
        self.run, self.commands = advance(self.program, self.run, event)
        self.entries.append(Entry(event, tuple(c for c in self.commands if isinstance(c, Note))))
        return self.commands

    def tick(self) -> float:
        """Let a second go by."""
        self.time += 1
        return self.time

    # ── what is open ──────────────────────────────────────────────────────────────────

    def open(self, kind: type[Any]) -> list[Any]:
        """All open commands of a kind, the oldest first."""
        assert self.run is not None
        return [command for _, command in sorted(self.run.open.items()) if isinstance(command, kind)]

    @property
    def performs(self) -> list[Perform]:
        """Open actions."""
        return self.open(Perform)

    @property
    def asked(self) -> list[str]:
        """The paths of open actions."""
        return [command.task for command in self.performs]

    # ── what happens ──────────────────────────────────────────────────────────────────

    def answer(self, output: Json = None, task: str | None = None) -> None:
        """An action ends well: the named one, or the oldest."""
        self.tell(Answered(self.tick(), self._perform(task).id, output))

    def fail(self, fault: Fault | None = None, task: str | None = None) -> None:
        """An action ends with a fault."""
        fault = fault or runtime_fault("broken").fault
        self.tell(Failed(self.tick(), self._perform(task).id, fault))

    def wake(self) -> None:
        """The earliest timer fires."""
        timer = min(self.open(Wake), key=lambda command: command.at)
        self.time = max(self.time, timer.at)
        self.tell(Answered(self.time, timer.id))

    def child_ends(self, output: Json) -> None:
        """The oldest child completes."""
        self.tell(Answered(self.tick(), self.open(StartRun)[0].id, output))

    def arrive(self, type: str, data: Json = None, **attributes: Json) -> None:
        """An event comes."""
        event = {"type": type, **attributes}
        self.tell(Arrived(self.tick(), event if data is None else {**event, "data": data}))

    def sent(self) -> None:
        """The oldest emission is recorded with everybody."""
        self.tell(Answered(self.tick(), self.open(Emit)[0].id))

    def cancel(self) -> None:
        """Somebody cancels."""
        self.tell(CancelRequested(self.tick()))

    def suspend(self) -> None:
        """Somebody pauses."""
        self.tell(Suspended(self.tick()))

    def resume(self) -> None:
        """Somebody ends the pause."""
        self.tell(Resumed(self.tick()))

    def play(self, functions: dict[str, Callable[..., Json]], most: int = 10_000) -> None:
        """Answer every action by these functions of its arguments, fire every timer, until the end."""
        for _ in range(most):
            assert self.run is not None
            if self.run.over:
                return
            if self.performs:
                command = self.performs[0]
                self.answer(functions[command.task.partition("#")[0].lstrip("/")](**command.arguments))
            else:
                self.wake()
        raise AssertionError("the run does not end")

    def _perform(self, task: str | None) -> Perform:
        return next(command for command in self.performs if task is None or command.task == task)

    # ── what came of it ───────────────────────────────────────────────────────────────

    @property
    def status(self) -> str:
        """The run's status."""
        assert self.run is not None
        return self.run.status

    @property
    def output(self) -> Json:
        """What a completed run answered."""
        assert self.run is not None
        assert self.run.finish is not None
        assert self.run.finish.status == "completed", self.run.finish
        return self.run.finish.output

    @property
    def fault(self) -> Fault:
        """What a run failed with."""
        assert self.run is not None
        assert self.run.finish is not None
        assert self.run.finish.fault is not None
        return self.run.finish.fault

    @property
    def told(self) -> list[str]:
        """All notes, as `what path`."""
        return [f"{note.what} {note.task}" for entry in self.entries for note in entry.notes]

    @property
    def reason(self) -> str:
        """Why the run is stuck."""
        return next(
            str(note.data) for entry in reversed(self.entries) for note in entry.notes if note.what == "stuck"
        )

    @property
    def listening(self) -> list[tuple[str, ...] | None]:
        """The types that the run listens for."""
        return [command.types for command in self.open(Listen)]


def again(
    workflow: Workflow[..., Any], entries: Sequence[Entry], guard: Any = None
) -> tuple[Run, PythonProgram]:
    """Fold recorded entries with a workflow's code, as after a crash."""
    program = PythonProgram(workflow, lambda step: None, guard)
    run: Run | None = None
    for entry in entries:
        assert accepts(run, entry.event)
        run, _ = advance(program, run, entry.event, entry.notes)
    assert run is not None
    return run, program
