"""A run's history as a file: for replay tests, and to show others what happened.

    {"tenuto-history": 1, "runtime": "0.1.0", "run": {...}, "document": {...}}       one header
    ["started", ...]                                                                 then each entry

Each line is JSON. References to secrets stay references; the values of secrets, wherever else they
turned up, and the fields of the input that were to be masked, are struck out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from tenuto.engine.model import Entry, Json, Started
from tenuto.engine.ports import DocumentRow, Journal, RunRow
from tenuto.errors import Fault, Invalid, InvalidInput, NotFound
from tenuto.governance.secrets import MASK, redact, texts_in
from tenuto.numbers import whole_number
from tenuto.operations.history import entries

FORMAT: Final = 1
"""The newest format of history files that this version reads, and the one that it writes."""

_EVERY: Final = "*"
_PAYLOADS: Final = frozenset({"input", "output", "fault", "event", "reason", "progress", "data"})
_ENTRY: Final = msgspec.json.Decoder(Entry)


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the run and its document, without the document's place on any machine."""

    id: str
    namespace: str
    name: str
    version: str
    status: str
    digest: str
    kind: str
    source: str
    module: str | None = None


class RunHistory(msgspec.Struct, frozen=True):
    """One run's history, with the version of Tenuto that wrote it down."""

    run: Recorded
    entries: tuple[Entry, ...]
    runtime: str = ""

    @property
    def workflow(self) -> str:
        """The workflow's whole name: `shop/order:1.0.0`."""
        return f"{self.run.namespace}/{self.run.name}:{self.run.version}"

    def encode(self) -> bytes:
        """Return the history as a file's content."""
        run = msgspec.to_builtins(self.run)
        document = {name: run.pop(name) for name in ("digest", "kind", "source", "module")}
        head = {"tenuto-history": FORMAT, "runtime": self.runtime, "run": run, "document": document}
        lines = [msgspec.json.encode(head), *map(msgspec.json.encode, self.entries)]
        return b"\n".join(lines) + b"\n"


async def recorded_history(
    journal: Journal,
    row: RunRow,
    runtime: str,
    *,
    secrets: Mapping[str, Json] | None = None,
    masks: Sequence[str] = (),
) -> RunHistory:
    """Read a run's whole history.

    Args:
        journal: Where it is.
        row: The run.
        runtime: The version of Tenuto.
        secrets: Values that must not be in it.
        masks: JSON pointers into the run's input: `/card/number`; `*` stands for every item or member.

    Raises:
        InvalidInput: The input has no such field.
    """
    document = await journal.document(row.definition)
    if document is None:
        raise NotFound(f"the document of run {row.id} is not in the database")
    listed = [entry async for _, entry in entries(journal, row.number)]
    known = [text for value in (secrets or {}).values() for text in texts_in(value)]
    hidden = list(known)
    started = next((entry.event for entry in listed if isinstance(entry.event, Started)), None)
    if masks and started is not None:
        data = started.input
        for mask in masks:
            data, texts = _masked(data, mask)
            hidden += texts
        listed = [_with_input(entry, data) for entry in listed]
    if hidden:
        listed = [_struck(entry, hidden) for entry in listed]
    if hidden or masks:
        # With other data, tasks are begun with other arguments: a replay must not compare these then.
        listed = [_without_digests(entry) for entry in listed]
    return RunHistory(_about(row, document, known), tuple(listed), runtime)


def _without_digests(entry: Entry) -> Entry:
    notes = tuple(
        msgspec.structs.replace(note, data=None) if note.what == "started" else note for note in entry.notes
    )
    return msgspec.structs.replace(entry, notes=notes)


def _about(row: RunRow, document: DocumentRow, secrets: Sequence[str]) -> Recorded:
    return Recorded(
        id=row.id,
        namespace=row.namespace,
        name=row.name,
        version=row.version,
        status=row.status,
        digest=row.definition,
        kind=document.kind,
        source=str(redact(document.source, secrets)),
        module=_module(document),
    )


def _module(document: DocumentRow) -> str | None:
    """Return the module that a workflow in Python is in; a file's path would say too much."""
    origin = document.origin
    return origin if document.kind != "document" and origin and "/" not in origin else None


# ── what must not be seen ────────────────────────────────────────────────────────────────


def _masked(data: Json, pointer: str) -> tuple[Json, list[str]]:
    """Return data with the field at a pointer blanked, and the texts that stood there."""
    if not pointer.startswith("/"):
        raise InvalidInput(
            f"{pointer!r} names no field of the input", hint="write it as in /card/number; * is every item"
        )
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/")]
    texts: list[str] = []
    found = _blank(data, steps, texts, pointer)
    return found, texts


def _blank(data: Json, steps: list[str], texts: list[str], pointer: str) -> Json:
    if not steps:
        texts += texts_in(data)
        return _blanked(data)
    step, rest = steps[0], steps[1:]
    if isinstance(data, dict):
        names = list(data) if step == _EVERY else [step]
        if step == _EVERY or step in data:
            return {**data, **{name: _blank(data[name], rest, texts, pointer) for name in names}}
        raise InvalidInput(
            f"the run's input has nothing at {pointer!r}",
            hint=f"there are: {', '.join(data) or 'no members'}",
        )
    if isinstance(data, list):
        place = whole_number(step, len(data) - 1)
        places = range(len(data)) if step == _EVERY else [] if place is None else [place]
        if step == _EVERY or places:
            return [
                _blank(each, rest, texts, pointer) if i in places else each for i, each in enumerate(data)
            ]
    raise InvalidInput(f"the run's input has nothing at {pointer!r}", hint="name a field that is there")


def _blanked(value: Json) -> Json:
    """Return a value of the same shape that says nothing, so that code can still read it."""
    match value:
        case str():
            return MASK
        case bool() | None:
            return value if value is None else False
        case int() | float():
            return 0
        case list():
            return [_blanked(each) for each in value]
        case _:
            return {name: _blanked(each) for name, each in value.items()}


def _with_input(entry: Entry, data: Json) -> Entry:
    if isinstance(entry.event, Started):
        return msgspec.structs.replace(entry, event=msgspec.structs.replace(entry.event, input=data))
    return entry


def _struck(entry: Entry, hidden: Sequence[str]) -> Entry:
    """Return an entry without these texts, in what is data and not the engine's own."""
    numbers = {text for text in hidden if _is_number(text)}

    def strike(value: Json) -> Json:
        if isinstance(value, list):
            return [strike(each) for each in value]
        if isinstance(value, dict):
            return {redact(name, hidden): strike(each) for name, each in value.items()}
        if isinstance(value, int | float) and not isinstance(value, bool):
            return 0 if msgspec.json.encode(value).decode() in numbers else value
        return redact(value, hidden)

    def cleaned(struct: Any) -> Any:
        changes = {}
        for name in struct.__struct_fields__:
            value = getattr(struct, name)
            if name in _PAYLOADS and value is not None:
                plain = strike(msgspec.to_builtins(value))
                changes[name] = msgspec.convert(plain, Fault) if isinstance(value, Fault) else plain
        return msgspec.structs.replace(struct, **changes)

    return Entry(cleaned(entry.event), tuple(cleaned(note) for note in entry.notes))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# ── reading ──────────────────────────────────────────────────────────────────────────────


def read_history(content: bytes, name: str) -> RunHistory:
    """Return the history in a file's content.

    Raises:
        Invalid: It is no history, or one of a newer format; the message names the line.
    """
    lines = content.splitlines()
    head = _head(lines[0] if lines else b"", name)
    written = head["tenuto-history"]
    if written > FORMAT:
        raise Invalid(
            f"{name} is a history in format {written}, written by Tenuto {head.get('runtime') or '?'};"
            f" this version reads formats up to {FORMAT}",
            hint=f"install Tenuto {head.get('runtime') or 'of that time'} or newer",
        )
    try:
        run = msgspec.convert({**head["run"], **head["document"]}, Recorded)
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise Invalid(f"{name}:1: the header is damaged: {error}", hint="export the run again") from None
    return RunHistory(run, tuple(_entries(lines[1:], name)), str(head.get("runtime") or ""))


def _head(line: bytes, name: str) -> dict[str, Any]:
    try:
        head = msgspec.json.decode(line)
        if isinstance(head, dict) and isinstance(head["tenuto-history"], int):
            return head
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, RecursionError):
        pass
    raise Invalid(f"{name} is no recorded history", hint="`tenuto export RUN --output FILE` writes one")


def _entries(lines: Iterable[bytes], name: str) -> Iterable[Entry]:
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        try:
            yield _ENTRY.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid(
                f"{name}:{number}: this is no entry that this version knows: {error}",
                hint="export the run again, or use the version of Tenuto that did",
            ) from None
