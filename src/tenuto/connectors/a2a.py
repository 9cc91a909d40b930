"""Call agents over the Agent2Agent protocol, as the standard's `call: a2a` does."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final, Literal
from urllib.parse import urljoin, urlsplit

import msgspec

from tenuto.connectors.arguments import endpoint_of
from tenuto.connectors.authentication import open_as, secrets_in
from tenuto.connectors.content import JSON
from tenuto.connectors.documents import fetch, parse
from tenuto.connectors.http import check_status
from tenuto.connectors.http_client import Incoming, Request
from tenuto.connectors.http_form import place_of
from tenuto.connectors.json_rpc import EVENT_STREAM, answers, messages_of, request_of, result_of
from tenuto.plugin import Call, communication_fault, configuration_fault, function, runtime_fault

VERSION = "1.0.0"

A2A_SECONDS: Final = 600.0  # for one call, a stream's last event included
A2A_EVENTS: Final = 10_000  # of one stream

Method = Literal[
    "message/send",
    "message/stream",
    "tasks/get",
    "tasks/list",
    "tasks/cancel",
    "tasks/resubscribe",
    "tasks/pushNotificationConfig/set",
    "tasks/pushNotificationConfig/get",
    "tasks/pushNotificationConfig/list",
    "tasks/pushNotificationConfig/delete",
    "agent/getAuthenticatedExtendedCard",
]
_STREAMS: Final = frozenset({"message/stream", "tasks/resubscribe"})
_MESSAGES: Final = frozenset({"message/send", "message/stream"})
_BINDING: Final = "JSONRPC"
_IDENTIFIERS: Final = uuid.UUID("5f2b6f0e-8f5a-4d39-9a64-6d1f6c7f4c0b")  # a namespace of our own


@function(effect="write")
async def call(
    call: Call,
    *,
    method: Method,
    agentCard: dict[str, Any] | None = None,
    server: str | dict[str, Any] | None = None,
    parameters: dict[str, Any] | None = None,
    authentication: dict[str, Any] | None = None,
) -> Any:
    """Send one request to an agent and return its result; of a stream, the list of all results.

    Args:
        method: The JSON-RPC method.
        agentCard: The agent's card, an external resource `{endpoint}`; goes before `server`.
        server: The agent's URI, or `{uri, authentication}`.
        parameters: The method's parameters; a message's id, role and kind are filled in.
        authentication: How to authenticate to the agent, in place of what the others say.
    """
    uri, found = await _agent(call, agentCard, server)
    credentials = authentication or found
    prepared = Request(
        method="POST",
        uri=uri,
        headers=(
            ("Content-Type", JSON),
            ("Accept", f"{EVENT_STREAM}, {JSON};q=0.9" if method in _STREAMS else JSON),
            ("Idempotency-Key", call.idempotency_key),
        ),
        body=msgspec.json.encode(request_of(call.idempotency_key, method, _filled(call, method, parameters))),
    )
    place = f"{method} at {place_of(uri)}"
    secrets = secrets_in(credentials)
    async with open_as(call, prepared, credentials, timeout_seconds=A2A_SECONDS) as incoming:
        if not 200 <= incoming.status <= 299:
            check_status("POST", await incoming.read(), credentials)
        results = await _results(incoming, place, call.idempotency_key, secrets)
    if method in _STREAMS:
        return results
    if not results:
        raise communication_fault(f"{place} was not answered", 502)
    return results[0]


async def _results(incoming: Incoming, place: str, number: str, secrets: list[str]) -> list[Any]:
    results: list[Any] = []
    async with aclosing(messages_of(incoming, place)) as messages:
        async for message in messages:
            if not answers(message, number):
                raise communication_fault(f"{place} sent what is no answer to the request", 502)
            results.append(result_of(message, place, secrets))
            if len(results) > A2A_EVENTS:
                raise runtime_fault(f"{place} streamed more than {A2A_EVENTS} results (limit A2A_EVENTS)")
    return results


def _filled(call: Call, method: str, parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the parameters with what the standard fills in; the id is equal across attempts."""
    if method not in _MESSAGES:
        return None if parameters is None else dict(parameters)
    message = (parameters or {}).get("message")
    if not isinstance(message, Mapping):
        raise configuration_fault(f"`parameters.message` must be an object: `{method}` sends a message")
    given = {
        "kind": "message",
        "messageId": str(uuid.uuid5(_IDENTIFIERS, call.idempotency_key)),
        "role": "user",
    }
    return {**(parameters or {}), "message": {**given, **message}}


# ── the agent ────────────────────────────────────────────────────────────────────────────


async def _agent(
    call: Call, card: Mapping[str, Any] | None, server: str | Mapping[str, Any] | None
) -> tuple[str, Mapping[str, Any] | None]:
    """Return the agent's URI and the credential for it."""
    if card is None and server is None:
        raise configuration_fault("`call: a2a` needs `agentCard` or `server`")
    if card is None:
        return endpoint_of(server, "server")
    if "endpoint" not in card:
        raise configuration_fault("`agentCard` must be an external resource with `endpoint`")
    place, authentication = endpoint_of(card["endpoint"], "agentCard.endpoint")
    described = await parse(await fetch(call, card["endpoint"]))
    uri = urljoin(place, _uri_in(described, place))
    if urlsplit(place).scheme == "https" and urlsplit(uri).scheme != "https":
        raise communication_fault(
            f"the agent card at {place_of(place)} leads to {place_of(uri)}, which is not https", 502
        )
    # The credential for the card is meant for the agent only where both are the same server.
    return uri, authentication if urlsplit(uri)[:2] == urlsplit(place)[:2] else None


def _uri_in(card: Any, place: str) -> str:
    """Return where the card says that JSON-RPC is spoken."""
    if not isinstance(card, Mapping):
        raise configuration_fault(f"the agent card at {place_of(place)} must be an object")
    offered: list[Mapping[str, Any]] = [
        {"url": card.get("url"), "transport": card.get("preferredTransport", _BINDING)}
    ]
    for name in ("additionalInterfaces", "supportedInterfaces"):
        interfaces = card.get(name)
        listed = interfaces if isinstance(interfaces, list) else ()
        offered.extend(one for one in listed if isinstance(one, Mapping))
    for one in offered:
        binding = one.get("transport") or one.get("protocolBinding")
        uri = one.get("url")
        if binding == _BINDING and isinstance(uri, str) and uri:
            return uri
    raise configuration_fault(
        f"the agent card at {place_of(place)} names no URL for the transport {_BINDING}, "
        "the one that is spoken here"
    )
