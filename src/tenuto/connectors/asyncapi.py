"""Publish and receive messages that an AsyncAPI 2.x or 3.0 document describes, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing, suppress
from typing import Any, Final

from tenuto.connectors.arguments import object_of
from tenuto.connectors.asyncapi_document import Reader2, Reader3, Target, check_protocol
from tenuto.connectors.authentication import open_as
from tenuto.connectors.content import JSON, encode_body
from tenuto.connectors.documents import fetch_object, reading
from tenuto.connectors.http import check_status, exchange, header_pairs
from tenuto.connectors.http_client import Request, header_of
from tenuto.connectors.http_form import place_of
from tenuto.connectors.messages import LastIds, batches, with_correlation
from tenuto.plugin import Call, configuration_fault, function

VERSION = "1.0.0"

PROTOCOLS: Final = (
    "amqp",
    "amqp1",
    "anypointmq",
    "googlepubsub",
    "http",
    "ibmmq",
    "jms",
    "kafka",
    "mercure",
    "mqtt",
    "mqtt5",
    "nats",
    "pulsar",
    "redis",
    "sns",
    "solace",
    "sqs",
    "stomp",
    "ws",
)
POLL_SECONDS: Final = 30.0
LULL_SECONDS: Final = 0.1
MESSAGE_LIMIT: Final = 1000
_LAST_IDS: Final = LastIds()


@function(effect="write", idempotent=False)
async def publish(
    call: Call,
    *,
    document: str | dict[str, Any],
    channel: str | None = None,
    operation: str | None = None,
    server: dict[str, Any] | None = None,
    protocol: str | None = None,
    message: dict[str, Any] | None = None,
    authentication: dict[str, Any] | None = None,
) -> Any:
    """Publish one message and return what the service answered (null if nothing).

    Args:
        document: The document, as `{endpoint}` or a URI; the endpoint may have its own authentication.
        channel: The channel (AsyncAPI 2.x).
        operation: The operation (AsyncAPI 3.0; in 2.x an `operationId`).
        server: The server to use, as `{name, variables}`.
        protocol: The protocol by which a server is chosen; ignored if `server` is set.
        message: The message, as `{payload, headers}`.
        authentication: The credential for the message itself.
    """
    target = await find_target(call, document, channel, operation, server, protocol, sends=True)
    message = message or {}
    pairs = header_pairs(object_of(message, "headers", "message"))
    content_type = header_of(pairs, "content-type") or target.content_type or JSON
    body, sent_type = encode_body(message.get("payload"), content_type)
    request = Request(method=target.method or "post", uri=target.url, headers=pairs, body=body)
    if body is not None and sent_type:
        request = request.with_header("Content-Type", sent_type)
    return await exchange(call, request, authentication)


@function(effect="read")
async def receive(
    call: Call,
    *,
    document: str | dict[str, Any],
    channel: str | None = None,
    operation: str | None = None,
    server: dict[str, Any] | None = None,
    protocol: str | None = None,
    authentication: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Ask once for messages and return those that came, each `{payload, headers, correlationId}`.

    A stream is read until it pauses after its first messages (or 1,000 have come, limit
    `asyncapi_poll_messages`); none within 30 seconds (limit `asyncapi_poll_seconds`) is an empty list.

    Args:
        document: The document, as `{endpoint}` or a URI; the endpoint may have its own authentication.
        channel: The channel (AsyncAPI 2.x).
        operation: The operation (AsyncAPI 3.0; in 2.x an `operationId`).
        server: The server to use, as `{name, variables}`.
        protocol: The protocol by which a server is chosen; ignored if `server` is set.
        authentication: The credential for the request itself.
    """
    target = await find_target(call, document, channel, operation, server, protocol, sends=False)
    headers = [("Accept", "application/json, text/event-stream, application/x-ndjson;q=0.9, */*;q=0.5")]
    place = (call.run, call.task, target.url)
    if last := _LAST_IDS.get(place):
        headers.append(("Last-Event-ID", last))
    request = Request(method=target.method or "get", uri=target.url, headers=tuple(headers))
    found: list[dict[str, Any]] = []
    # After the limit, or a lull in a stream, what has come so far is the answer.
    with suppress(TimeoutError):
        async with asyncio.timeout(POLL_SECONDS), open_as(call, request, authentication) as incoming:
            if incoming.status in (204, 304):
                return []
            if not 200 <= incoming.status <= 299:
                check_status(request.method, await incoming.read(), authentication)
            async with aclosing(batches(incoming)) as arriving:
                while len(found) < MESSAGE_LIMIT:
                    async with asyncio.timeout(LULL_SECONDS if found else None):
                        batch = await anext(arriving, None)
                    if batch is None:
                        break
                    found += batch
    for message in found:
        if "id" in message["headers"]:
            _LAST_IDS.put(place, str(message["headers"]["id"]))
    return [with_correlation(message, target.correlation) for message in found]


# ── finding the target ───────────────────────────────────────────────────────────────────


async def find_target(
    call: Call,
    document: str | dict[str, Any],
    channel: str | None,
    operation: str | None,
    server: dict[str, Any] | None,
    protocol: str | None,
    *,
    sends: bool,
) -> Target:
    """Return where an operation or channel leads; a `configuration` fault says why it cannot be used."""
    if (channel is None) == (operation is None):
        raise configuration_fault(
            "exactly one of `channel` (AsyncAPI 2.x) and `operation` (AsyncAPI 3.0) must be set"
        )
    if protocol is not None and protocol not in (*PROTOCOLS, "https"):
        raise configuration_fault(f"`protocol` must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
    if server is None and protocol is not None:
        check_protocol(protocol)
    endpoint = (
        document.get("endpoint") if isinstance(document, Mapping) and "endpoint" in document else document
    )
    description, uri = await fetch_object(call, endpoint, "AsyncAPI")
    with reading(uri, "AsyncAPI"):
        return _target(description, uri, channel, operation, server or {}, protocol, sends=sends)


def _target(
    description: dict[str, Any],
    uri: str,
    channel: str | None,
    operation: str | None,
    server: Mapping[str, Any],
    protocol: str | None,
    *,
    sends: bool,
) -> Target:
    version = str(description.get("asyncapi", ""))
    if version.startswith("3."):
        reader: Reader2 = Reader3(description, uri)
    elif version.startswith("2."):
        reader = Reader2(description, uri)
    else:
        raise configuration_fault(f"{place_of(uri)} is neither an AsyncAPI 2.x nor a 3.0 document")
    return reader.target(channel, operation, server, protocol, sends=sends)
