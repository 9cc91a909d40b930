"""What Tenuto itself wrote, and what may have become of it: journals, snapshots, exported histories."""

from __future__ import annotations

import functools
from typing import Final

import msgspec

from tenuto.engine.model import JOURNAL_VERSION, Entry, Json, Note, Started
from tenuto.errors import TenutoError
from tenuto.language.interpret import Interpreter
from tenuto.language.load import digest
from tenuto.operations.recorded import Recorded, RunHistory, read_history
from tenuto.runtime.recording import read_entry, read_lines
from tenuto.runtime.snapshots import decode_run, encode_run
from tenuto.testing import ReplayMismatch, check_replay
from tests.reliability.fuzzing.language import journal_of, trees
from tests.reliability.fuzzing.target import Target

RUNS: Final = 12
"""How many runs there are of which journals are made."""


@functools.cache
def journals() -> tuple[tuple[Json, list[bytes]], ...]:
    """Return documents, and the journal of a run of each, the longest ones."""
    found = []
    for number, tree in enumerate(trees()):
        try:
            found.append((tree, journal_of(tree, [number * 7 + step * 5 for step in range(20)])))
        except (TenutoError, AssertionError):
            continue
    return tuple(sorted(found, key=lambda each: -len(each[1]))[:RUNS])


def read_one(data: bytes) -> None:
    """Read an entry; what is read is what is written again."""
    entry = read_entry(data)
    again = msgspec.json.encode(entry)
    assert msgspec.json.encode(read_entry(again)) == again, "an entry comes back otherwise"
    assert not isinstance(entry.event, Started) or entry.event.version <= JOURNAL_VERSION


def read_many(data: bytes) -> None:
    """Read lines; each is what it is alone."""
    entries = read_lines(data)
    alone = [read_entry(line) for line in data.split(b"\n") if line.strip()]
    assert entries == alone, "lines are read otherwise together than alone"


def read_snapshot(data: bytes) -> None:
    """Read a snapshot: one that cannot be read is none, and the journal is folded."""
    program = Interpreter(trees()[0])
    run = decode_run(program, data)
    if run is not None:
        again = encode_run(program, run)
        assert again is not None
        assert decode_run(program, again) is not None, "a snapshot comes back not at all"


def read_exported(data: bytes) -> None:
    """Read an exported history; what is read is what is written again."""
    history = read_history(data, "h.jsonl")
    again = read_history(history.encode(), "h.jsonl")
    assert again == history, "a history comes back otherwise"


def replay_exported(data: bytes) -> None:
    """Play an exported history over its own document."""
    check_replay(read_history(data, "h.jsonl"))


@functools.cache
def _entries() -> tuple[bytes, ...]:
    every = [line for _, journal in journals() for line in journal]
    extra = [
        Entry(
            Started(1.0, "r", "d", {}, "n", version=JOURNAL_VERSION + 1),
            (Note("/do", "started"),),
        )
    ]
    return (*every[:60], *map(msgspec.json.encode, extra))


def _many() -> list[bytes]:
    return [b"\n".join(journal) for _, journal in journals()]


def _snapshots() -> list[bytes]:
    found = []
    for tree, journal in journals():
        program = Interpreter(tree)
        for size in range(1, len(journal), 3):
            run = program.recall(None, [read_entry(line) for line in journal[:size]])
            state = encode_run(program, run) if run is not None and not run.over else None
            if state is not None:
                found.append(state)
    return found


def _histories() -> list[bytes]:
    found = []
    for tree, journal in journals():
        source = msgspec.json.encode(tree).decode()
        head = tree["document"]
        about = Recorded(
            id="r",
            namespace=head["namespace"],
            name=head["name"],
            version=head["version"],
            status="running",
            digest=digest(source),
            kind="document",
            source=source,
        )
        found.append(RunHistory(about, tuple(map(read_entry, journal)), "0.1.0").encode())
    return found


TARGETS: Final = (
    Target("journal entries", read_one, lambda: list(_entries()), trees=True),
    Target("journal lines", read_many, _many),
    Target("snapshots", read_snapshot, _snapshots, trees=True),
    Target("exported histories", read_exported, _histories),
    Target(
        "replayed histories",
        replay_exported,
        _histories,
        refuses=(TenutoError, ReplayMismatch),
    ),
)
