"""Messages in HTTP answers: JSON, lines of JSON, and server-sent events."""

from __future__ import annotations

import codecs
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

import msgspec

from tenuto.connectors.arguments import is_place
from tenuto.connectors.compression import BROKEN
from tenuto.connectors.content import charset, decode_body, is_json, media_type
from tenuto.connectors.http import canonical, header_map
from tenuto.connectors.http_client import Incoming, header_of
from tenuto.connectors.http_form import place_of
from tenuto.plugin import communication_fault

LAST_ID_LIMIT: Final = 4096
LINE_LIMIT_BYTES: Final = 4 * 1024 * 1024
_LINES: Final = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-seq"}
)
_ENVELOPE: Final = frozenset({"payload", "headers", "correlationId"})

Message = dict[str, Any]


class LastIds:
    """The last event id seen at each place, so that a stream goes on where the last poll ended."""

    def __init__(self) -> None:
        self._ids: OrderedDict[tuple[str, ...], str] = OrderedDict()

    def get(self, place: tuple[str, ...]) -> str | None:
        """Return the last id seen at a place."""
        return self._ids.get(place)

    def put(self, place: tuple[str, ...], last: str) -> None:
        """Remember the last id seen at a place; the oldest places are forgotten."""
        self._ids[place] = last
        self._ids.move_to_end(place)
        while len(self._ids) > LAST_ID_LIMIT:
            self._ids.popitem(last=False)


async def batches(incoming: Incoming) -> AsyncGenerator[list[Message], None]:
    """Give the messages of an answer, as many at a time as have arrived whole."""
    content_type = header_of(incoming.headers, "content-type")
    kind = media_type(content_type)
    source = f"GET {place_of(incoming.uri)}"
    headers = header_map(incoming.headers)
    if kind == "text/event-stream":
        events = EventReader()
        async with aclosing(incoming.chunks()) as chunks:
            async for chunk in chunks:
                yield [_from_event(event) for event in events.feed(chunk)]
    elif kind in _LINES:
        lines = LineReader(charset(content_type))
        async with aclosing(incoming.chunks()) as chunks:
            async for chunk in chunks:
                yield _from_lines(lines.feed(chunk), headers, source)
        yield _from_lines(lines.rest(), headers, source)
    else:
        response = await incoming.read()
        value = decode_body(response.body, content_type, source)
        values = value if isinstance(value, list) and is_json(kind) else [] if value is None else [value]
        yield [_from_value(item, headers) for item in values]


def _from_lines(lines: list[str], headers: Mapping[str, str], source: str) -> list[Message]:
    return [_from_value(_parsed(line, source), headers) for line in lines if line.strip(" \x1e")]


def _parsed(line: str, source: str) -> Any:
    try:
        return msgspec.json.decode(line.strip(" \x1e"))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise communication_fault(
            f"{source} answered with a line that is not valid JSON: {error}", BROKEN
        ) from error


def _from_value(value: Any, headers: Mapping[str, str]) -> Message:
    """Return a value as a message: as it is if it has a message's form, or else as the payload."""
    if isinstance(value, dict) and "payload" in value and value.keys() <= _ENVELOPE:
        return {**value, "headers": value.get("headers") or {}}
    return {"payload": value, "headers": dict(headers)}


def _from_event(event: dict[str, str]) -> Message:
    data = event.pop("data")
    try:
        value: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        value = data
    message = _from_value(value, {})
    return {**message, "headers": {**message["headers"], **event}}


class LineReader:
    """Cuts arriving text into lines; a line that is still on its way is kept."""

    def __init__(self, encoding: str = "utf-8", limit: int = LINE_LIMIT_BYTES) -> None:
        self._limit = limit
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._rest: list[str] = []
        self._size = 0
        self._held = ""

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that are complete now; line ends are LF, CR LF and CR."""
        return self._cut(self._held + self._decoder.decode(chunk))

    def _cut(self, text: str) -> list[str]:
        # A CR at the end may be the first half of a CR LF.
        self._held = "\r" if text.endswith("\r") else ""
        lines = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        # What came before is not looked at again: a long line may arrive in very many pieces.
        if len(lines) > 1:
            lines[0] = "".join((*self._rest, lines[0]))
            self._rest.clear()
            self._size = 0
        self._rest.append(lines.pop())
        self._size += len(self._rest[-1])
        if self._size > self._limit:
            raise communication_fault(
                f"a line of the stream is larger than {self._limit} bytes (limit `stream_line_bytes`)",
                BROKEN,
            )
        return lines

    def rest(self) -> list[str]:
        """Return what is left at the end of the stream."""
        lines = self._cut(self._held + self._decoder.decode(b"", True))
        rest = "".join(self._rest)
        self._rest.clear()
        return [*lines, rest] if rest else lines


class EventReader:
    """Reads server-sent events as the HTML standard describes them.

    >>> EventReader().feed(b"id: 7\\nevent: tick\\ndata: a\\ndata: b\\n\\n")
    [{'data': 'a\\nb', 'event': 'tick', 'id': '7'}]
    """

    def __init__(self) -> None:
        self._lines = LineReader()
        self._data: list[str] = []
        self._event = ""
        self._id: str | None = None
        self._begun = False

    def feed(self, chunk: bytes) -> list[dict[str, str]]:
        """Return the events that are complete now."""
        return [event for line in self._lines.feed(chunk) if (event := self._take(line)) is not None]

    def _take(self, line: str) -> dict[str, str] | None:
        if not self._begun:
            line, self._begun = line.removeprefix("\ufeff"), True
        if not line:
            return self._finished()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\x00" not in value:
                self._id = value
        return None

    def _finished(self) -> dict[str, str] | None:
        data, event, self._data, self._event = self._data, self._event, [], ""
        if not data:
            return None
        named = {"event": event} if event else {}
        identified = {"id": self._id} if self._id is not None else {}
        return {"data": "\n".join(data), **named, **identified}


def with_correlation(message: Message, location: str | None) -> Message:
    """Return a message with its correlation id, looked up where the document says, or in its headers.

    >>> with_correlation({"payload": {"a": 7}, "headers": {}}, "$message.payload#/a")["correlationId"]
    '7'
    """
    if message.get("correlationId") is not None:
        return message
    found: Any = None
    headers = message.get("headers") or {}
    if location:
        part, _, pointer = location.partition("#")
        found = message.get("payload") if part == "$message.payload" else headers
        for step in pointer.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            found = _member(found, name)
    else:
        by_name = {canonical(name): value for name, value in headers.items()}
        found = by_name.get("X-Correlation-Id", by_name.get("Correlation-Id"))
    if found is None:
        return message
    return {
        **message,
        "correlationId": found if isinstance(found, str) else msgspec.json.encode(found).decode(),
    }


def _member(value: Any, name: str) -> Any:
    """Return a member of an object; header names are compared without case."""
    if isinstance(value, Mapping):
        if name in value:
            return value[name]
        return next((item for key, item in value.items() if key.lower() == name.lower()), None)
    if isinstance(value, list) and is_place(name, value):
        return value[int(name)]
    return None
