"""What a run of faults leaves behind, for the checker: what clients saw, what the journals hold, what the world felt.

    client history   what callers asked for and what they were told, in Jepsen's words
    journals         the rows and entries that the database holds once the faults are over
    effect ledger    what an outside system, which does not crash, saw of the steps

Clients and the ledger live outside the process that is killed; each line is on disk before it counts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from tenuto.engine.model import Json
from tenuto.engine.ports import RunRow

T = TypeVar("T")

UNDER_WAY_SECONDS: Final = 1.0
"""What was under way when nobody wanted it any more may reach the world this much later, if nothing else is known."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a client's history.

    `what` is `invoke` when the client asks, then one of `ok` (it was acknowledged), `fail` (it was refused and
    has not happened) or `info` (nobody knows: the process died or said that the store failed). Both lines
    of a call have the same `client` and `number`; a client asks one thing at a time, and never again after an `info`
    under the same `client`.

    `verb` is `start`, `signal`, `emit`, `cancel`, `suspend` or `resume`. `value` is what was sent: of a start
    `{"workflow": ..., "input": ...}`, of a signal `{"name": ..., "data": ...}`; data of signals and events are unique.
    `at` is seconds of a clock that no fault touches, equal for clients and ledger.
    """

    client: int
    number: int
    what: Literal["invoke", "ok", "fail", "info"]
    verb: str
    run: str
    at: float
    value: Json = None


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a step did to the outside world, as the outside saw it.

    `key` is the call's idempotency key, `life` counts the lives of the process that did it, from 1.
    `at` is seconds of a clock that no fault touches.
    """

    run: str
    task: str
    key: str
    attempt: int
    life: int
    at: float
    value: Json = None


class Replay(msgspec.Struct, frozen=True):
    """What folding a run's journal again gave.

    `entries` are the notes of each entry, `wanted` is a JSON list for each entry of the commands that it asked
    for (without its notes), `open` are the commands that are open after the last, encoded. `status` is
    the run's status then; `stuck` says why the fold did not get to the end, if it did not.
    """

    entries: tuple[bytes, ...]
    open: tuple[bytes, ...] = ()
    wanted: tuple[bytes, ...] = ()
    status: str = ""
    stuck: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known after the faults.

    `journals` maps a run to its row and its entries, as stored (JSON lines, in order of seq, with the seq).
    `acked_entries` are (run, seq) of entries that some watcher, query or answer showed to the outside as durable;
    `acked_digests` say what was shown then: `digest_of` the entry's bytes as stored.
    `settled` says that faults had stopped and time enough had passed for every run to end; runs in `waiting_for_ever` are
    not expected to end. `replays` are what two folds of each journal gave (I10). `canaries` are secret values that
    may stand in none of `texts` (name to bytes: logs, error output, database files) (I11).
    `ticks` maps a schedule's tick to the runs that it started (I12).

    `seen_at` says when, by the ledger's clock, somebody outside learned that an entry was durable. `clocks_agree`
    says that the engine's clock was the ledger's all the time, so that times in journals compare with those
    of effects; a layer that turns clocks says no. `timer_bound_seconds` is how late a timer may be at most, where that
    is known: the times in which no process is there count too, those in which its run was paused do not; it is not
    looked at where clocks do not agree. `under_way_seconds` is how much later than the end of its time an action may
    still reach the world, because it was under way. `code_was_changed` says that there was other code for a while,
    which did not fit the history of some runs.
    """

    calls: Sequence[Call] = ()
    journals: Mapping[str, tuple[RunRow, Sequence[tuple[int, bytes]]]] = field(default_factory=dict)
    effects: Sequence[Effect] = ()
    acked_entries: frozenset[tuple[str, int]] = frozenset()
    settled: bool = False
    waiting_for_ever: frozenset[str] = frozenset()
    replays: Mapping[str, tuple[Replay, Replay]] = field(default_factory=dict)
    canaries: Sequence[bytes] = ()
    texts: Mapping[str, bytes] = field(default_factory=dict)
    ticks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seen_at: Mapping[tuple[str, int], float] = field(default_factory=dict)
    clocks_agree: bool = True
    timer_bound_seconds: float | None = None
    acked_digests: Mapping[tuple[str, int], str] = field(default_factory=dict)
    under_way_seconds: float = UNDER_WAY_SECONDS
    code_was_changed: bool = False


class Violation(msgspec.Struct, frozen=True):
    """An invariant that does not hold: its name (`I1` ... `I12`, or `promise`), the run and what was seen."""

    invariant: str
    run: str
    seen: str


def digest_of(data: bytes) -> str:
    """Return what stands for an entry's bytes as stored.

    >>> digest_of(b"[]")
    '71857576257465c7'
    """
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def append_line(path: Path, value: msgspec.Struct) -> None:
    """Append a value to a file of lines, in one write that survives the process."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, msgspec.json.encode(value) + b"\n")
    finally:
        os.close(descriptor)


def read_values(path: Path, kind: type[T]) -> list[T]:
    """Return the values of a file of lines; a last line that was cut off is left out."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [msgspec.json.decode(line, type=kind) for line in whole.split(b"\n") if line]
