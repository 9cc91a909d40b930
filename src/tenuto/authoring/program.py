"""A workflow in Python as a program of the engine.

Its state is a place in an execution: the execution moves on with each event, so a state that is not its
newest one is *stale* and has to be folded from the journal again. The same holds after the code could
not take an event (`Stuck`): the event is kept in the state, the run is suspended, and takes it when it
is resumed, by then with mended code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from tenuto.authoring.asking import close_generators_left, restore_generator_hooks
from tenuto.authoring.declare import Step, Workflow
from tenuto.authoring.execution import Execution
from tenuto.authoring.fresh import Fresh
from tenuto.authoring.tasks import Guard
from tenuto.authoring.waits import Action
from tenuto.engine.advance import Run, accepts, advance, is_busy
from tenuto.engine.model import (
    STUCK,
    Answered,
    Arrived,
    CancelRequested,
    Command,
    Drop,
    Entry,
    Event,
    Failed,
    Finish,
    Json,
    Note,
    Restarted,
    Resumed,
    Started,
    Status,
    Suspended,
)
from tenuto.engine.stuck import HistoryMismatch, Stuck
from tenuto.engine.table import Table
from tenuto.errors import InvalidInput

_ANSWERED: Final = (Answered, Failed)
_ANSWERS: Final = frozenset({*_ANSWERED, Arrived})


class Place(msgspec.Struct, frozen=True):
    """A state: the execution, how far it was, and the events that its code could not take yet."""

    execution: Execution
    position: int
    deferred: tuple[Event, ...] = ()


class PythonProgram:
    """A workflow's side of the engine's door; see `engine.advance.Program`."""

    def __init__(
        self, workflow: Workflow[..., Any], know: Callable[[Step[..., Any]], None], guard: Guard | None = None
    ) -> None:
        self.workflow = workflow
        self._know = know
        self._guard = guard
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Fresh)

    def begin(
        self, started: Started, restarted: Restarted | None, recorded: Sequence[Note] | None = None
    ) -> tuple[Place, list[Command]]:
        """Run the code from its start to where all of it waits."""
        run = restarted.run if restarted else started.run
        execution = Execution(self.workflow, run, started.nonce, self._know, self._guard)
        if restarted is not None:
            execution.replace(restarted)
        return self._go_on(Place(execution, 0), [started], recorded)

    def step(
        self, place: Place, event: Event, recorded: Sequence[Note] | None = None
    ) -> tuple[Place, list[Command]]:
        """Take an event and go on as far as possible."""
        if not place.deferred and type(event) in _ANSWERS:
            return self._go_on(place, (event,), recorded)
        if isinstance(event, Suspended):
            return place, []
        if place.deferred:
            if isinstance(event, CancelRequested):
                return place, [Finish("cancelled")]
            if isinstance(event, Restarted):
                # It says what the task is given that the events which could not be taken yet begin.
                return Place(place.execution, place.position, (event, *place.deferred)), []
            if not isinstance(event, Resumed):
                return Place(place.execution, place.position, (*place.deferred, event)), []
            return self._go_on(place, place.deferred, recorded)
        if isinstance(event, Resumed):
            return place, []
        return self._go_on(place, (event,), recorded)

    def _go_on(
        self, place: Place, events: Sequence[Event], recorded: Sequence[Note] | None
    ) -> tuple[Place, list[Command]]:
        """Let the code take events, one after the other; what it cannot take is deferred."""
        execution = place.execution
        execution.expect(recorded)
        for number, event in enumerate(events):
            if recorded and execution.was_stuck(recorded):
                execution.position += 1
                deferred = tuple(events[number:])
                return Place(execution, execution.position, deferred), execution.stuck(str(recorded[-1].data))
            if number and execution.is_late(event):
                continue
            try:
                execution.take(event)
            except Stuck as stuck:
                if recorded is not None:
                    raise
                return Place(execution, execution.position, tuple(events[number:])), execution.stuck(
                    str(stuck)
                )
        commands = execution.done()
        return Place(execution, execution.position), commands

    def recall(self, run: Run | None, entries: Sequence[Entry]) -> Run | None:
        """Fold recorded entries, as `advance` does one by one; a row of answers in one go.

        Raises:
            HistoryMismatch: The code asks for something else; `seq` counts from the first of these entries.
        """
        position = 0
        while position < len(entries):
            try:
                if run is not None and run.status in {"running", "waiting"}:
                    run, position = self._recall_answers(run, entries, position)
                if position < len(entries):
                    entry = entries[position]
                    if not accepts(run, entry.event):
                        raise HistoryMismatch([f"{entry.event!r}"], ["nothing that this could answer"])
                    run, _ = advance(self, run, entry.event, entry.notes)
                    position += 1
            except HistoryMismatch as mismatch:
                raise HistoryMismatch(
                    mismatch.recorded, mismatch.asked, mismatch.seq or position + 1
                ) from None
        return run

    def _recall_answers(self, run: Run, entries: Sequence[Entry], position: int) -> tuple[Run, int]:
        """Fold answers and arrivals up to the next entry of another kind, without a `Run` for each."""
        execution: Execution = run.state.execution
        return execution.context.run(self._recall_inside, execution, run, entries, position)

    def _recall_inside(
        self, execution: Execution, run: Run, entries: Sequence[Entry], position: int
    ) -> tuple[Run, int]:
        opened: dict[int, Any] = dict(run.open)
        hooks = close_generators_left()
        try:
            while position < len(entries):
                event, notes = entries[position].event, entries[position].notes
                if type(event) not in _ANSWERS or (notes and notes[-1].what == STUCK):
                    break
                if isinstance(event, _ANSWERED) and opened.pop(event.id, None) is None:
                    break
                for command in execution.take_again(event, notes):
                    if type(command) is Action:
                        opened[command.id] = command
                    elif isinstance(command, Finish):
                        state = Place(execution, execution.position)
                        return Run(command.status, state, Table(), 0, None, command), position + 1
                    elif isinstance(command, Drop):
                        opened.pop(command.id, None)
                    elif not isinstance(command, Note):
                        opened[command.id] = command
                position += 1
        except HistoryMismatch as mismatch:
            execution.discard()
            raise HistoryMismatch(mismatch.recorded, mismatch.asked, position + 1) from None
        except InvalidInput as refusal:
            raise execution.refused(refusal) from None
        except BaseException:
            execution.discard()
            raise
        finally:
            restore_generator_hooks(hooks)
        opened = {id: open.perform() if type(open) is Action else open for id, open in opened.items()}
        busy = sum(map(is_busy, opened.values()))
        status: Status = "running" if busy or not opened else "waiting"
        return Run(status, Place(execution, execution.position), Table.of(opened), busy), position

    def query(self, place: Place, name: str) -> Json:
        """Return what the code has set for a query; raises KeyError if it has not."""
        return place.execution.published[name]

    def encode(self, place: Place) -> bytes | None:
        """Encode a run that has just begun anew; every other state is the whole journal's."""
        fresh = place.execution.fresh
        if fresh is None or place.deferred or self.stale(place):
            return None
        return self._encoder.encode(fresh)

    def decode(self, data: bytes) -> Place:
        """Run the first slice of a run that had begun anew."""
        fresh = self._decoder.decode(data)
        execution = Execution(self.workflow, fresh.run, fresh.nonce, self._know, self._guard)
        execution.revive(fresh)
        return Place(execution, execution.position)

    def stale(self, place: Place) -> bool:
        """Whether the execution has moved on, or has died."""
        return place.execution.dead or place.execution.position != place.position

    def forget(self, place: Place) -> None:
        """Let go of the coroutines."""
        place.execution.discard()
