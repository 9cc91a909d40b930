"""How an event is written: a live run is told just what a replay will read.

    Answered(1.0, 3, float("nan"))   ->   b'["answered",1.0,3,null,null]'   ->   Answered(1.0, 3, None)

What JSON cannot carry is refused before anything is folded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from tenuto.engine.model import (
    JOURNAL_VERSION,
    STUCK,
    Answered,
    Command,
    Entry,
    Event,
    Json,
    Note,
    Started,
    Suspended,
)
from tenuto.engine.rules import DATA_DEPTH_MAX, passed_limit
from tenuto.errors import Conflict, Fault, Faulted, InvalidInput, LimitExceeded, TenutoError, runtime_fault

_AS_IT_IS: Final = frozenset({bool, str, type(None)})
_PLAIN_INT: Final = 2**53

_encoder = msgspec.json.Encoder()
_events = msgspec.json.Decoder(Event)
_entries = msgspec.json.Decoder(Entry)


def written(event: Event) -> tuple[Event, bytes]:
    """Return an event as it will be read again, and as it is written.

    Raises:
        LimitExceeded: It passes `DATA_DEPTH_MAX` or `DATA_VALUES_MAX`.
        InvalidInput: JSON cannot carry it.
    """
    try:
        data = _encoder.encode(event)
    except RecursionError:
        raise LimitExceeded(f"the data passes DATA_DEPTH_MAX, {DATA_DEPTH_MAX} levels") from None
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"this is nothing that JSON can carry: {error}") from None
    # Data that nests has two brackets for each level: most is seen at a glance not to.
    if len(data) > 2 * DATA_DEPTH_MAX and data.count(b"[") + data.count(b"{") > DATA_DEPTH_MAX:
        passed = passed_limit(msgspec.json.decode(data))
        if passed is not None:
            raise LimitExceeded(f"the data passes {passed}")
    if type(event) is Answered and event.scheme is None and _comes_back(event.output):
        return event, data
    try:
        return _events.decode(data), data
    except msgspec.ValidationError as error:
        raise InvalidInput(f"this is no event: {error}") from None


def _comes_back(value: Json) -> bool:
    """Whether a value is read as it was written: most answers are that plain."""
    kind = type(value)
    return kind in _AS_IT_IS or (kind is int and -_PLAIN_INT < value < _PLAIN_INT)


def entry_of(event: Event, data: bytes, commands: Sequence[Command]) -> tuple[Entry, bytes]:
    """Return a journal's entry: the event that was written as `data`, and the notes of its fold."""
    notes = tuple([command for command in commands if type(command) is Note])
    return Entry(event, notes), b"[%b,%b]" % (data, _encoder.encode(notes))


def read_entry(data: bytes) -> Entry:
    """Return an entry that was written; raises `Conflict` if a newer version wrote it."""
    try:
        entry = _entries.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _newer(str(error)) from None
    if type(entry.event) is Started and entry.event.version > JOURNAL_VERSION:
        raise _newer(f"its format is {entry.event.version}, known here is {JOURNAL_VERSION}")
    return entry


def read_lines(data: bytes) -> list[Entry]:
    """Return entries that were written, one in each line; raises `Conflict` as `read_entry`."""
    try:
        return _entries.decode_lines(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _newer(str(error)) from None


def _newer(what: str) -> Conflict:
    return Conflict(
        f"the run's history cannot be read by this version of Tenuto: {what}",
        hint="go on with the newer version that wrote it; the run is kept as it is",
    )


def reason_of(entry: Entry) -> str | None:
    """Return why a run cannot go on until its code is mended, if the entry says so."""
    if isinstance(entry.event, Suspended):
        return entry.event.reason
    for note in entry.notes:
        if note.what == STUCK:
            return str(note.data)
    return None


def told_reason(error: Exception) -> str:
    """Return what is recorded as the reason why a run cannot go on."""
    text = error.message if isinstance(error, TenutoError) else f"{type(error).__name__}: {error}"
    hint = error.hint if isinstance(error, TenutoError) else None
    return f"{text}\nhint: {hint or 'mend the code, then resume the run'}"


def fault_of(error: BaseException) -> Fault:
    """Return the fault of a command that ended with an error, foreseen or not."""
    if isinstance(error, Faulted):
        return error.fault
    text = error.message if isinstance(error, TenutoError) else f"{type(error).__name__}: {error}"
    return runtime_fault(text.encode(errors="replace").decode(), title="Unexpected Error").fault
