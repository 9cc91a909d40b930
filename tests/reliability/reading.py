"""Reads what a database holds, without the engine: the journals, and what folding them again gives."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec

from tenuto.authoring.declare import Workflow
from tenuto.authoring.program import PythonProgram
from tenuto.engine.advance import Program, Run, accepts, advance
from tenuto.engine.model import Entry, Note
from tenuto.engine.ports import DocumentRow, RunRow, Snapshot
from tenuto.engine.stuck import Stuck
from tenuto.language.interpret import Interpreter
from tenuto.language.load import load
from tenuto.runtime.snapshots import decode_run
from tests.reliability.evidence import Replay

Stored: TypeAlias = dict[str, tuple[RunRow, list[tuple[int, bytes]]]]
Build: TypeAlias = Callable[[DocumentRow], Program]

_encoder = msgspec.json.Encoder()
_entries = msgspec.json.Decoder(Entry)

_RUNS = """
SELECT number, id, definition, namespace, name, version, status, started, updated, ended,
       wake_at, parent, parent_command, origin, origin_entries, outcome
FROM runs ORDER BY number
"""
_JOURNAL = """
SELECT run, seq, coalesce(entry, (SELECT data FROM blobs WHERE digest = journal.blob))
FROM journal ORDER BY run, seq
"""
_SNAPSHOTS = """
SELECT run, seq, coalesce(state, (SELECT data FROM blobs WHERE digest = snapshots.blob)) FROM snapshots
"""
_DOCUMENTS = "SELECT digest, namespace, name, version, source, origin, kind FROM documents"


def read_journals(path: Path) -> Stored:
    """Return every run of a SQLite database: its row, and its entries (seq, as stored) in order.

    Raises:
        sqlite3.DatabaseError: The file is damaged, or not ours.
    """
    with closing(_open(path)) as database:
        database.execute("BEGIN")  # somebody may be writing: all of it is of one moment
        rows = {number: _row(number, *rest) for number, *rest in database.execute(_RUNS)}
        stored: dict[int, list[tuple[int, bytes]]] = {number: [] for number in rows}
        for number, seq, entry in database.execute(_JOURNAL):
            stored.setdefault(number, []).append((seq, bytes(entry)))
    if lost := stored.keys() - rows.keys():
        raise sqlite3.DatabaseError(f"there are entries of runs that have no row: {sorted(lost)}")
    if len({row.id for row in rows.values()}) != len(rows):
        raise sqlite3.DatabaseError("two runs have the same id")
    return {row.id: (row, stored[number]) for number, row in rows.items()}


def replayed(path: Path, build: Build, *, most: int | None = None) -> Mapping[str, tuple[Replay, Replay]]:
    """Fold every journal of a database twice, each time in fresh programs (I10); see `folded_twice`.

    Of more runs than `most`, only so many are folded, spread over all.
    """
    with closing(_open(path)) as database:
        documents = {row[0]: _document(row) for row in database.execute(_DOCUMENTS)}
        snapshots = {
            number: Snapshot(number, seq, bytes(state)) for number, seq, state in database.execute(_SNAPSHOTS)
        }
    stored = list(read_journals(path).items())
    every = 1 if most is None else max(1, len(stored) // most)
    return {
        run: folded_twice(
            [data for _, data in entries], snapshots.get(row.number), documents[row.definition], build
        )
        for run, (row, entries) in stored[::every]
    }


def builder(workflows: Iterable[Workflow[..., Any]] = ()) -> Build:
    """Return what makes fresh programs of stored documents, and of these workflows in Python."""
    known = {(each.namespace, each.name, each.version): each for each in workflows}

    def build(row: DocumentRow) -> Program:
        if row.kind == "document":
            return Interpreter(load(row.source).data)
        return PythonProgram(known[row.namespace, row.name, row.version], lambda step: None)

    return build


def folded_twice(
    entries: Sequence[bytes], snapshot: Snapshot | None, document: DocumentRow, build: Build
) -> tuple[Replay, Replay]:
    """Fold a journal entry by entry, twice.

    What is open at the end comes in the second from another way, the one that recovery goes: the newest
    snapshot and the rest of the journal, in one go.
    """
    first = folded(entries, build(document))
    second = folded(entries, build(document))
    if second.stuck is None:
        second = _recovered(second, entries, snapshot, build(document))
    return first, second


def folded(entries: Sequence[bytes], program: Program) -> Replay:
    """Fold a journal entry by entry."""
    run: Run | None = None
    notes: list[bytes] = []
    wanted: list[bytes] = []
    try:
        for data in entries:
            entry = _entries.decode(data)
            if not accepts(run, entry.event):
                return Replay(
                    tuple(notes), (), tuple(wanted), "", f"entry {len(notes) + 1} means nothing there"
                )
            run, commands = advance(program, run, entry.event, entry.notes)
            notes.append(_encoder.encode([each for each in commands if type(each) is Note]))
            wanted.append(_encoder.encode([each for each in commands if type(each) is not Note]))
    except (Stuck, msgspec.DecodeError) as error:
        return Replay(tuple(notes), (), tuple(wanted), "", str(error))
    finally:
        _forget(program, run)
    return Replay(tuple(notes), _opened(run), tuple(wanted), run.status if run else "")


def _recovered(
    replay: Replay, entries: Sequence[bytes], snapshot: Snapshot | None, program: Program
) -> Replay:
    """Return a replay with what is open, and the status, as recovery finds them."""
    run = None if snapshot is None else decode_run(program, snapshot.state)
    rest = entries if run is None or snapshot is None else entries[snapshot.seq :]
    try:
        run = program.recall(run, [_entries.decode(data) for data in rest])
    except Stuck as error:
        return msgspec.structs.replace(replay, stuck=f"recovery: {error}")
    finally:
        _forget(program, run)
    return msgspec.structs.replace(replay, open=_opened(run), status=run.status if run else "")


def _opened(run: Run | None) -> tuple[bytes, ...]:
    return tuple(_encoder.encode(command) for command in run.open.values()) if run is not None else ()


def _forget(program: Program, run: Run | None) -> None:
    if run is not None and run.state is not None:
        program.forget(run.state)


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)


def _row(*values: Any) -> RunRow:
    *plain, outcome = values
    decoded = None if outcome is None else msgspec.json.decode(outcome)
    return RunRow(**dict(zip(RunRow.__struct_fields__, plain, strict=False)), outcome=decoded)


def _document(values: Sequence[Any]) -> DocumentRow:
    return DocumentRow(**dict(zip(DocumentRow.__struct_fields__, values, strict=True)))
