"""The workflow language as a program of the engine: documents in, commands out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from tenuto.engine.advance import Run as EngineRun
from tenuto.engine.advance import recalled
from tenuto.engine.model import (
    Answered,
    Arrived,
    CancelRequested,
    Command,
    Entry,
    Event,
    Failed,
    Json,
    Listen,
    Note,
    Restarted,
    Resumed,
    Started,
    Suspended,
)
from tenuto.language.fold import Fold, Kind
from tenuto.language.program import Outline, subscribed_types
from tenuto.language.state import ROOT, Frame, FrameTable, State, TaskFrame, WaitTable
from tenuto.language.tasks.attempts import Try
from tenuto.language.tasks.calls import Call, Run
from tenuto.language.tasks.listening import Listen as ListenTask
from tenuto.language.tasks.loops import For, Fork
from tenuto.language.tasks.simple import Do, EmitTask, Raise, Set, Switch, Wait, Workflow

KINDS: Final[dict[str, Kind]] = {
    "workflow": Workflow(),
    "do": Do(),
    "set": Set(),
    "switch": Switch(),
    "raise": Raise(),
    "wait": Wait(),
    "emit": EmitTask(),
    "for": For(),
    "fork": Fork(),
    "try": Try(),
    "call": Call(),
    "run": Run(),
    "listen": ListenTask(),
}


class Interpreter:
    """A document as a `Program`: pure, and shared by all of the document's runs."""

    def __init__(self, document: dict[str, Json]) -> None:
        self.outline = Outline(document)
        self._types = subscribed_types({"do": document["do"], "use": self.outline.use})
        self._encoder = msgspec.json.Encoder(enc_hook=dict)
        self._decoder = msgspec.json.Decoder(State, dec_hook=_read_table)

    def begin(
        self, started: Started, restarted: Restarted | None, recorded: Sequence[Note] | None = None
    ) -> tuple[State, list[Command]]:
        """Start with the workflow's input; a run that took over a history keeps its own id."""
        state = State(
            run=restarted.run if restarted else started.run,
            nonce=started.nonce,
            runtime=started.runtime,
            input=started.input,
            started=started.time,
            frames=FrameTable(),
            next=ROOT + 1,
            waits=WaitTable(),
            undo=started.undo,
        )
        if restarted:
            state.restart = (restarted.task, restarted.replace, restarted.input)
        root = TaskFrame(ROOT, 0, "", "", state.run, raw=started.input, started=started.time)
        state.frames = FrameTable.of({ROOT: root})
        state.agenda = [ROOT]
        fold = Fold(self.outline, KINDS, state, started.time)
        if self._types != ():
            fold.open(lambda id: Listen(id, self._types), 0)
        return fold.run()

    def step(
        self, state: State, event: Event, recorded: Sequence[Note] | None = None
    ) -> tuple[State, list[Command]]:
        """Take an event and go on as far as possible."""
        fold = Fold(self.outline, KINDS, state, event.time)
        if isinstance(event, Suspended | Resumed):
            return fold.pause(isinstance(event, Suspended))
        match event:
            case Answered():
                fold.take_answer(event.id, event.output, event.scheme)
            case Failed():
                fold.take_fault(event.id, event.fault)
            case Arrived():
                fold.take_event(event.event)
            case CancelRequested():
                fold.cancel()
            case Restarted():
                fold.take_over(event)
        return fold.run()

    def recall(self, run: EngineRun | None, entries: Sequence[Entry]) -> EngineRun | None:
        """Fold recorded entries."""
        return recalled(self, run, entries)

    def encode(self, state: State) -> bytes:
        """Encode a state as JSON."""
        return self._encoder.encode(state)

    def query(self, state: State, name: str) -> Json:
        """Nothing: documents have no queries."""
        raise KeyError(name)

    def stale(self, state: State) -> bool:
        """Never: a state is a value."""
        return False

    def forget(self, state: State) -> None:
        """Nothing is held."""

    def decode(self, data: bytes) -> State:
        """Decode a state; the functions that it had fetched are known again."""
        state = self._decoder.decode(data)
        for node, (name, definition) in state.resources.items():
            self.outline.add_function(node, name, definition)
        return state


def _read_table(kind: type, rows: Json) -> Json:
    """Decode a table of a state, which is an object of rows by number."""
    if kind is FrameTable:
        return FrameTable.of(msgspec.convert(rows, dict[int, Frame], str_keys=True))
    return WaitTable.of(msgspec.convert(rows, dict[int, int], str_keys=True))
