"""JSON-RPC 2.0: what MCP and A2A share, over HTTP answers that are JSON or a stream of events."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final

import msgspec

from tenuto.connectors.authentication import redacted
from tenuto.connectors.content import excerpt, is_json, media_type
from tenuto.connectors.http_client import Incoming, header_of
from tenuto.connectors.messages import LineReader
from tenuto.plugin import Faulted, communication_fault, runtime_fault

EVENT_STREAM: Final = "text/event-stream"

_UNREADABLE: Final = 502


def request_of(number: int | str, method: str, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a request; a null `parameters` leaves `params` out."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "method": method}
    return message if parameters is None else {**message, "params": parameters}


def answers(message: Mapping[str, Any], number: int | str) -> bool:
    """Tell whether a message is the answer to the request of that number (an error may lack it)."""
    if "result" in message:
        return bool(message.get("id") == number)
    return "error" in message and message.get("id") in (number, None)


def result_of(message: Mapping[str, Any], place: str, secrets: list[str]) -> Any:
    """Return the result in an answer, or raise the `runtime` fault that its error is."""
    if "error" not in message:
        return message["result"]
    raise error_fault(message["error"], place, secrets)


def error_fault(error: Any, place: str, secrets: list[str]) -> Faulted:
    """Return the `runtime` fault for a JSON-RPC error: its code and its message are in the detail."""
    error = error if isinstance(error, Mapping) else {"message": str(error)}
    detail = f"{place} answered error {error.get('code', 'without a code')}"
    if said := excerpt(redacted(str(error.get("message") or ""), secrets)):
        detail += f": {said}"
    if error.get("data") is not None:
        data = msgspec.json.encode(error["data"]).decode()
        detail += f" ({excerpt(redacted(data, secrets))})"
    return runtime_fault(detail, title="JSON-RPC Error")


def message_of(text: str | bytes, place: str) -> dict[str, Any]:
    """Return one message, or raise a `communication` fault for what is none."""
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise communication_fault(f"{place} sent what is no JSON: {error}", _UNREADABLE) from None
    if not isinstance(message, dict):
        raise communication_fault(f"{place} sent what is no JSON-RPC message", _UNREADABLE)
    return message


async def messages_of(incoming: Incoming, place: str) -> AsyncGenerator[dict[str, Any], None]:
    """Give the messages of an HTTP answer: one of a JSON body, each event's of an event stream."""
    kind = media_type(header_of(incoming.headers, "content-type"))
    if kind == EVENT_STREAM:
        async with aclosing(incoming.chunks()) as chunks, aclosing(event_data(chunks)) as events:
            async for data in events:
                yield message_of(data, place)
    elif is_json(kind):
        yield message_of((await incoming.read()).body, place)
    else:
        raise communication_fault(
            f"{place} answered with content type {kind or 'none'}; JSON or {EVENT_STREAM} was expected",
            _UNREADABLE,
        )


async def event_data(chunks: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
    """Give the data of each server-sent event; an event that the stream breaks off is dropped.

    b"data: a\\ndata: b\\n\\n" gives "a\\nb".
    """
    reader, data = LineReader(limit=sys.maxsize), list[str]()  # the whole answer is bounded already
    async for chunk in chunks:
        for line in reader.feed(chunk):
            name, _, value = line.partition(":")
            if name == "data":
                data.append(value.removeprefix(" "))
            elif not line and data:
                yield "\n".join(data)
                data.clear()
