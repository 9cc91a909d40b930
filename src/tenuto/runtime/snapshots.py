"""Snapshots: a run's folded state as bytes, and when taking one pays."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Final

import msgspec

from tenuto.engine.advance import Program, Run, is_busy
from tenuto.engine.model import Open, Restarted, Status
from tenuto.engine.ports import Snapshot
from tenuto.engine.table import Table

# A snapshot is taken when this many entries, and more bytes than the last snapshot had, have come
# since: folding after a restart stays short, and snapshots never cost more than the journal.
ENTRIES_PER_SNAPSHOT: Final = 200
# A state that is larger than this is folded from the journal instead.
SNAPSHOT_BYTES_MAX: Final = 64 * 1024 * 1024
FORMAT: Final = 1


class _Stored(msgspec.Struct, array_like=True):
    format: int
    status: Status
    open: dict[int, Open]
    state: msgspec.Raw
    restarted: Restarted | None = None


_LOG: Final = logging.getLogger("tenuto")
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Stored)


class SnapshotPolicy:
    """Counts what came since the last snapshot."""

    __slots__ = ("_bytes", "_entries", "_last")

    def __init__(self) -> None:
        self._entries = 0
        self._bytes = 0
        self._last = 0

    def due(self, entry_bytes: int) -> bool:
        """Count an entry, and say whether it is time for a snapshot."""
        self._entries += 1
        self._bytes += entry_bytes
        return self._entries >= ENTRIES_PER_SNAPSHOT and self._bytes >= self._last

    def passed(self, entries: int, bytes: int) -> None:
        """Count many entries at once."""
        self._entries += entries
        self._bytes += bytes

    def taken(self, state_bytes: int) -> None:
        """A snapshot was taken."""
        self._entries = self._bytes = 0
        self._last = state_bytes


def snapshot_of(number: int, seq: int, program: Program, run: Run) -> Snapshot | None:
    """Return a snapshot of a run; None if it would be too large, or if JSON cannot carry the state."""
    try:
        state = encode_run(program, run)
    except (RecursionError, TypeError, ValueError) as error:
        _tell(f"no snapshot of run number {number} can be taken", type(error).__name__)
        return None
    if state is None:
        return None
    if len(state) > SNAPSHOT_BYTES_MAX:
        _tell(f"no snapshot of run number {number} is taken", f"over {SNAPSHOT_BYTES_MAX} bytes")
        return None
    return Snapshot(number, seq, state)


def encode_run(program: Program, run: Run) -> bytes | None:
    """Encode a folded run; None if its state can only be had by folding."""
    state = program.encode(run.state)
    if state is None:
        return None
    return _encoder.encode(_Stored(FORMAT, run.status, dict(run.open), msgspec.Raw(state), run.restarted))


def decode_run(program: Program, data: bytes) -> Run | None:
    """Decode a folded run; None if it cannot be read here, and the journal must be folded.

    Another version wrote it, it is damaged, or it is nested too deep for what this stack has left.
    """
    try:
        stored = _decoder.decode(data)
        if stored.format != FORMAT:
            _tell("a snapshot cannot be read", "another version wrote it")
            return None
        opened = Table.of(stored.open)
        busy = sum(is_busy(command) for command in stored.open.values())
        return Run(stored.status, program.decode(bytes(stored.state)), opened, busy, stored.restarted)
    except (msgspec.DecodeError, RecursionError, LookupError, TypeError, ValueError) as error:
        _tell("a snapshot cannot be read", type(error).__name__)
        return None


@lru_cache(maxsize=1024)
def _tell(what: str, why: str) -> None:
    """Log why a run is folded from its whole journal; only once, however often it comes to that.

    An error's text is left out: it may hold what the state holds.
    """
    _LOG.warning("%s (%s): the run is folded from its whole journal, which takes longer", what, why)
