"""Call servers of the Model Context Protocol, as the standard's `call: mcp` does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, Literal, Protocol

import msgspec

from tenuto.connectors.arguments import endpoint_of, object_of, text_of, texts_of
from tenuto.connectors.authentication import open_as, redacted, secrets_in
from tenuto.connectors.child import OUTPUT_BYTES, Child, child, clean_environment, fresh_folder, tail, text
from tenuto.connectors.content import JSON, excerpt
from tenuto.connectors.duration import seconds_of
from tenuto.connectors.http import check_status, header_pairs
from tenuto.connectors.http_client import Request, header_of
from tenuto.connectors.http_form import place_of
from tenuto.connectors.json_rpc import EVENT_STREAM, answers, message_of, messages_of, request_of, result_of
from tenuto.plugin import (
    Call,
    Faulted,
    communication_fault,
    configuration_fault,
    function,
    runtime_fault,
    timeout_fault,
)

VERSION = "1.0.0"

MCP_SECONDS: Final = 60.0  # for one call with its initialization, unless `timeout` says otherwise
SECRET_CHARACTERS: Final = 8  # from which length on a variable's value is kept out of messages
PARTING_SECONDS: Final = 2.0  # for a server to end once its stdin is closed, and for a session's end

# The versions whose messages are, for the methods offered here, the ones that are written below.
VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")

Method = Literal[
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/read",
    "resources/templates/list",
]
_SESSION: Final = "Mcp-Session-Id"
_NOT_FOUND: Final = -32601


class Peer(Protocol):
    """A connection to a server."""

    place: str
    secrets: list[str]

    async def ask(self, method: str, parameters: Mapping[str, Any]) -> Any:
        """Send a request and return its result."""

    async def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message that has no answer."""

    def agree(self, version: str) -> None:
        """Go on with that version of the protocol."""


@function(effect="write")
async def call(
    call: Call,
    *,
    method: Method,
    transport: dict[str, Any],
    parameters: dict[str, Any] | None = None,
    protocolVersion: str = "2025-06-18",
    timeout: str | dict[str, Any] | None = None,
    client: dict[str, Any] | None = None,
) -> Any:
    """Initialize a session, send one request, end the session, and return the result.

    Args:
        method: The MCP method.
        transport: `{http: {endpoint, headers}}` or `{stdio: {command, arguments, environment}}`.
        parameters: The method's parameters.
        protocolVersion: The version to ask for; an older one that the server prefers is accepted.
        timeout: A duration for all of it.
        client: `{name, version}`, how this client introduces itself.
    """
    seconds = MCP_SECONDS if timeout is None else seconds_of(timeout, "timeout")
    introduced = {"name": "tenuto", "version": VERSION, **(client or {})}
    try:
        async with asyncio.timeout(seconds) as deadline, _connected(call, transport, seconds) as peer:
            hello = {"protocolVersion": protocolVersion, "capabilities": {}, "clientInfo": introduced}
            _agree(peer, await peer.ask("initialize", hello))
            await peer.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})
            result = await peer.ask(method, parameters or {})
    except TimeoutError:
        if not deadline.expired():
            raise
        raise timeout_fault(f"`{method}` was not answered within {seconds:g} s") from None
    if method == "tools/call" and isinstance(result, Mapping) and result.get("isError"):
        raise _tool_fault(str((parameters or {}).get("name")), peer, result)
    return result


def _agree(peer: Peer, answer: Any) -> None:
    version = answer.get("protocolVersion") if isinstance(answer, Mapping) else None
    if version not in VERSIONS:
        raise communication_fault(
            f"{peer.place} speaks version {version!r} of the protocol; {', '.join(VERSIONS)} are spoken here",
            502,
        )
    peer.agree(version)


def _tool_fault(tool: str, peer: Peer, result: Mapping[str, Any]) -> Faulted:
    content = result.get("content")
    parts = content if isinstance(content, list) else ()
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    whole = " ".join(text for text in texts if isinstance(text, str))
    said = excerpt(redacted(whole, peer.secrets), 1000)
    return runtime_fault(
        f"tool `{tool}` of {peer.place} failed{': ' + said if said else ''}", title="Tool Failed"
    )


@asynccontextmanager
async def _connected(call: Call, transport: Mapping[str, Any], seconds: float) -> AsyncIterator[Peer]:
    named = [name for name in ("http", "stdio") if transport.get(name) is not None]
    if len(named) != 1:
        raise configuration_fault("`transport` must have exactly one of `http` and `stdio`")
    properties = object_of(transport, named[0], "transport")
    if named == ["http"]:
        http_peer = _HttpPeer(call, properties, seconds)
        try:
            yield http_peer
        finally:
            await http_peer.part()
        return
    where = "transport.stdio"
    argv = [text_of(properties, "command", where), *texts_of(properties, "arguments", where)]
    given = object_of(properties, "environment", where)
    inbox = _Inbox()
    async with (
        fresh_folder() as folder,
        child(
            argv, environment=clean_environment(given), folder=folder, stdin=True, receive=inbox.receive
        ) as started,
    ):
        yield _StdioPeer(started, inbox, given)
        started.close_stdin()
        await asyncio.wait({started.exited}, timeout=PARTING_SECONDS)


def _reply(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the answer to what a server asks of its client; None if it asks nothing."""
    if "method" not in message or "id" not in message:
        return None
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] == "ping":
        return {**answer, "result": {}}
    return {**answer, "error": {"code": _NOT_FOUND, "message": "this client offers nothing but ping"}}


# ── stdio ────────────────────────────────────────────────────────────────────────────────


class _Inbox:
    """The lines that a child wrote, as they come."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()  # bounded by what `left` lets in
        self.left = OUTPUT_BYTES
        self.full = asyncio.get_running_loop().create_future()
        self._kept = bytearray()

    def receive(self, data: bytes) -> None:
        """Take bytes of stdout."""
        self.left -= len(data)
        if self.left < 0:
            if not self.full.done():
                self.full.set_result(None)
            return
        self._kept += data
        if b"\n" not in data:
            return
        *lines, rest = self._kept.split(b"\n")
        self._kept = bytearray(rest)
        for line in lines:
            if line.strip():
                self.lines.put_nowait(bytes(line))


class _StdioPeer:
    """A server that is a child of this process; messages are lines."""

    def __init__(self, started: Child, inbox: _Inbox, given: Mapping[str, Any]) -> None:
        self.place = f"MCP server `{started.name}`"
        # Short values are no secrets, and hiding each of their characters would hide everything.
        self.secrets = [text(value) for value in given.values() if len(text(value)) >= SECRET_CHARACTERS]
        self._started = started
        self._inbox = inbox
        self._number = 0

    def agree(self, version: str) -> None:
        """Nothing depends on the version here."""

    async def tell(self, message: Mapping[str, Any]) -> None:
        """Send one line."""
        self._started.write(msgspec.json.encode(message) + b"\n")

    async def ask(self, method: str, parameters: Mapping[str, Any]) -> Any:
        """Send a request and wait for its answer."""
        self._number += 1
        await self.tell(request_of(self._number, method, parameters))
        while True:
            message = message_of(await self._line(), self.place)
            if answers(message, self._number):
                return result_of(message, f"`{method}` of {self.place}", self.secrets)
            if reply := _reply(message):
                await self.tell(reply)

    async def _line(self) -> bytes:
        if self._inbox.lines.empty():
            line = asyncio.ensure_future(self._inbox.lines.get())
            ends: set[asyncio.Future[Any]] = {line, self._started.drained, self._inbox.full}
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                line.cancel()
            if line.done() and not line.cancelled():
                return line.result()
        if not self._inbox.lines.empty():
            return self._inbox.lines.get_nowait()
        if self._inbox.full.done():
            raise runtime_fault(f"{self.place} wrote more than OUTPUT_BYTES ({OUTPUT_BYTES} bytes) to stdout")
        await asyncio.wait({self._started.exited}, timeout=PARTING_SECONDS)
        said = tail(redacted(self._started.stderr.decode(errors="replace"), self.secrets), characters=600)
        raise runtime_fault(
            f"{self.place} ended with exit code {self._started.code} before it answered"
            f"{': ' + said if said else ''}"
        )


# ── streamable HTTP ──────────────────────────────────────────────────────────────────────


class _HttpPeer:
    """A server behind a URI; each message is a POST, answered with JSON or a stream of events."""

    def __init__(self, call: Call, properties: Mapping[str, Any], seconds: float) -> None:
        self._call = call
        self._uri, self._authentication = endpoint_of(properties.get("endpoint"), "transport.http.endpoint")
        self._headers = header_pairs(object_of(properties, "headers", "transport.http"))
        self._seconds = seconds
        self._session: str | None = None
        self._version: str | None = None
        self._number = 0
        self.place = f"MCP server {place_of(self._uri)}"
        self.secrets = secrets_in(self._authentication, self._headers)

    def agree(self, version: str) -> None:
        """Name that version in each further request."""
        self._version = version

    async def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message; its answer is a status alone."""
        async with open_as(self._call, self._request("POST", message), self._authentication) as incoming:
            check_status("POST", await incoming.read(), self._authentication)

    async def ask(self, method: str, parameters: Mapping[str, Any]) -> Any:
        """Send a request and read until its answer comes."""
        self._number += 1
        prepared = self._request("POST", request_of(self._number, method, parameters))
        async with open_as(
            self._call, prepared, self._authentication, timeout_seconds=self._seconds
        ) as incoming:
            if not 200 <= incoming.status <= 299:
                check_status("POST", await incoming.read(), self._authentication)
            self._session = header_of(incoming.headers, _SESSION) or self._session
            async with aclosing(messages_of(incoming, self.place)) as messages:
                async for message in messages:
                    if answers(message, self._number):
                        return result_of(message, f"`{method}` of {self.place}", self.secrets)
                    if reply := _reply(message):
                        await self.tell(reply)
        raise communication_fault(f"{self.place} ended its answer to `{method}` without a result", 502)

    async def part(self) -> None:
        """End the session, if there is one; a server that does not care is left alone."""
        if self._session is None:
            return
        try:
            async with open_as(
                self._call, self._request("DELETE"), self._authentication, timeout_seconds=PARTING_SECONDS
            ) as incoming:
                await incoming.drain()
        except Faulted:
            return

    def _request(self, method: str, message: Mapping[str, Any] | None = None) -> Request:
        prepared = Request(
            method=method,
            uri=self._uri,
            headers=self._headers,
            body=None if message is None else msgspec.json.encode(message),
        )
        if message is not None:
            prepared = prepared.with_header("Idempotency-Key", self._call.idempotency_key)
            prepared = prepared.with_header("Content-Type", JSON)
            prepared = prepared.with_header("Accept", f"{JSON}, {EVENT_STREAM}")
        if self._session is not None:
            prepared = prepared.with_header(_SESSION, self._session)
        if self._version is not None:
            prepared = prepared.with_header("MCP-Protocol-Version", self._version)
        return prepared
