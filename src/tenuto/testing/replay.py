"""Plays recorded histories over the code of now: would runs that are under way go on with it?

    check_replay("histories/order-4711.jsonl", order_flow)

Nothing is called: the recorded answers are given to the code, and what it asks for is compared with
what was asked for then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tenuto import __version__
from tenuto.authoring.declare import Step, Workflow
from tenuto.authoring.failures import told
from tenuto.authoring.program import PythonProgram
from tenuto.engine.advance import Program, Run, accepts, advance
from tenuto.engine.model import JOURNAL_VERSION, TERMINAL, Command, Entry, Note, Started
from tenuto.engine.ports import DocumentRow
from tenuto.engine.stuck import HistoryMismatch, Stuck
from tenuto.errors import Invalid, NotFound, TenutoError
from tenuto.language.interpret import Interpreter
from tenuto.language.load import load
from tenuto.operations.recorded import RunHistory, read_history
from tenuto.runtime.code import Code
from tenuto.runtime.guard import Guard
from tenuto.storage.versions import precedence
from tenuto.testing.documents import Document, document_row


class ReplayMismatch(AssertionError):
    """The code does not fit a recorded history; `mismatch` has the difference."""

    def __init__(self, name: str, mismatch: Stuck) -> None:
        super().__init__(f"{name}: {mismatch}")
        self.mismatch = mismatch


def read(file: str | Path) -> RunHistory:
    """Read a history that `tenuto export` wrote; raises `Invalid` or `NotFound`."""
    try:
        content = Path(file).read_bytes()
    except FileNotFoundError:
        raise NotFound(
            f"there is no file {str(file)!r}", hint="`tenuto export RUN --output FILE` writes one"
        ) from None
    return read_history(content, str(file))


def check_replay(
    history: RunHistory | str | Path, workflow: Workflow[..., Any] | Document | None = None
) -> None:
    """Play a recorded history over a workflow of now.

    Args:
        history: The file, or what `read` gave.
        workflow: A workflow in Python or a YAML document. Without it the document as it was recorded,
            over this version of Tenuto.

    Raises:
        ReplayMismatch: It would not go on as it was recorded.
        Invalid: The history is of a newer version, or damaged.
    """
    given = history if isinstance(history, RunHistory) else read(history)
    name = given.workflow if isinstance(history, RunHistory) else str(history)
    try:
        replay(given, program_for(given, workflow), name)
    except Stuck as mismatch:
        raise ReplayMismatch(name, mismatch) from None


def program_for(history: RunHistory, workflow: Workflow[..., Any] | Document | None) -> Program:
    """Return what a history is played over."""
    if isinstance(workflow, Workflow):
        return PythonProgram(workflow, lambda step: None, Guard())
    if workflow is not None:
        return _interpreter(document_row(workflow).source)
    if history.run.kind != "document":
        raise NotFound(
            f"{history.workflow} is a workflow in Python, and its code is not given",
            hint="check_replay(history, its_workflow), or --code module",
        )
    return _interpreter(history.run.source)


def _interpreter(source: str) -> Interpreter:
    """Return what a recorded document is played over: it was valid when it was recorded."""
    try:
        return Interpreter(load(source).data)
    except TenutoError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Invalid(f"the recorded document is damaged: {error!r}", hint="export the run again") from error


class Present:
    """The code and documents of now, by name: what histories are played over."""

    def __init__(self, workflows: Iterable[Workflow[..., Any]], documents: Iterable[DocumentRow]) -> None:
        self._code = Code(workflows, _ignore, Guard(), {})
        self._documents = {(row.namespace, row.name): row for row in documents}

    def program(self, history: RunHistory) -> Program:
        """Return what a history is played over; raises `NotFound` if its code is not there."""
        run = history.run
        row = DocumentRow(
            digest=run.digest,
            namespace=run.namespace,
            name=run.name,
            version=run.version,
            source=run.source,
            kind=run.kind,
        )
        if run.kind != "document":
            return self._code.build(row).program
        given = self._documents.get((run.namespace, run.name), row)
        return _interpreter(given.source)


def replay(history: RunHistory, program: Program, name: str) -> None:
    """Fold a history, entry by entry.

    Raises:
        Stuck: It goes another way; a `HistoryMismatch` has the entry and the difference.
        Invalid: It is of a newer version.
    """
    run: Run | None = None
    for seq, entry in enumerate(history.entries, 1):
        if isinstance(entry.event, Started):
            _require_known(entry.event, name)
        if not accepts(run, entry.event):
            over = run is not None and run.over
            raise HistoryMismatch([_said(entry)], ["the end of the run" if over else "nothing like it"], seq)
        try:
            run, commands = advance(program, run, entry.event, entry.notes)
        except HistoryMismatch as mismatch:
            raise HistoryMismatch(mismatch.recorded, mismatch.asked, seq) from None
        if history.run.kind == "document":
            # Code in Python compares for itself, and knows what may differ.
            _compare_notes(entry, commands, seq)
    if run is not None and run.state is not None:
        program.forget(run.state)
    ended = run.status if run is not None and run.over else None
    if history.run.status in TERMINAL and ended != history.run.status:
        raise HistoryMismatch(
            [f"the end of the run: {history.run.status}"],
            [f"the end of the run: {ended}" if ended else "to go on"],
            len(history.entries),
        )


def _require_known(started: Started, name: str) -> None:
    newer = started.version > JOURNAL_VERSION
    if not newer and started.runtime:
        newer = precedence(started.runtime) > precedence(__version__)
    if newer:
        raise Invalid(
            f"{name} was recorded by Tenuto {started.runtime or '?'} (journal format {started.version}),"
            f" and this is {__version__} (format {JOURNAL_VERSION})",
            hint=f"install Tenuto {started.runtime or 'of that time'} or newer",
        )


def _compare_notes(entry: Entry, commands: Sequence[Command], seq: int) -> None:
    """Compare what happened to tasks then and now."""
    now = [told(command) for command in commands if isinstance(command, Note)]
    then = [told(note) for note in entry.notes]
    if now != then:
        raise HistoryMismatch(then, now, seq)


def _said(entry: Entry) -> str:
    event: Mapping[str, Any] = msgspec.structs.asdict(entry.event)
    kind = str(type(entry.event).__struct_config__.tag)
    return f"{kind} {event.get('id', '')}".strip()


def _ignore(step: Step[..., Any]) -> None:
    """Steps are not called here."""
