"""One HTTP exchange: the only way by which connectors send a request over HTTP.

Everything that must hold for each request holds here: only `http` and `https`, addresses from
the call's `Network`, no proxies, cookies or redirects of the library's own, headers without
line breaks, and limits on what is sent and received. Connections are kept and used again, one
pool for each network and event loop; the pool is closed when its loop shuts down.
"""

from __future__ import annotations

import asyncio
import io
import ipaddress
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from yarl import URL

from tenuto.connectors.compression import BROKEN, unpacker
from tenuto.connectors.http_form import checked_headers, checked_method, parse_uri, place_of
from tenuto.plugin import (
    Faulted,
    Network,
    communication_fault,
    configuration_fault,
    timeout_fault,
    validation_fault,
)

REQUEST_LIMIT_BYTES: Final = 4 * 1024 * 1024
RESPONSE_LIMIT_BYTES: Final = 16 * 1024 * 1024
TIMEOUT_SECONDS: Final = 60.0
CONNECTION_LIMIT: Final = 512
DRAIN_LIMIT_BYTES: Final = 64 * 1024
PIECE_LIMIT_BYTES: Final = 512 * 1024

UNREACHABLE: Final = 503


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What to send: an absolute URI, header pairs in order, and the body's bytes."""

    method: str
    uri: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None

    def with_header(self, name: str, value: str) -> Request:
        """Return the same request with that header in place of any of the same name."""
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return msgspec.structs.replace(self, headers=(*kept, (name, value)))

    def has_header(self, name: str) -> bool:
        """Tell whether a header of that name is set."""
        return any(pair[0].lower() == name.lower() for pair in self.headers)


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; `sent` are the request's headers as they went out, `uri` where to."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    uri: str
    sent: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """Return the first header of that name, whatever its case."""
        return header_of(self.headers, name)


def header_of(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    """Return the first header of that name, whatever its case."""
    return next((value for key, value in headers if key.lower() == name.lower()), None)


class Incoming:
    """A response whose body is still on its way."""

    def __init__(self, response: aiohttp.ClientResponse, uri: str, limit_bytes: int) -> None:
        self.status = response.status
        self.reason = response.reason or ""
        self.headers = tuple(response.headers.items())
        self.sent = tuple(response.request_info.headers.items())
        self.uri = uri
        self._response = response
        self._limit_bytes = limit_bytes

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Give the body piece by piece, decompressed; raises when its limit is passed."""
        coding = self._response.headers.get("Content-Encoding", "").strip().lower()
        unpack = unpacker(coding, place_of(self.uri))
        size = 0
        async for chunk in self._response.content.iter_any():
            for piece in unpack.feed(chunk):
                size += len(piece)
                if size > self._limit_bytes:
                    raise _too_large(self.uri, self._limit_bytes)
                yield piece
        unpack.finish()

    async def drain(self) -> None:
        """Read a short body to its end, so that the connection can be used again."""
        left = DRAIN_LIMIT_BYTES
        async for chunk in self._response.content.iter_any():
            left -= len(chunk)
            if left < 0:
                break

    async def read(self) -> Response:
        """Return the whole response."""
        body = b"".join([piece async for piece in self.chunks()])
        return Response(
            status=self.status,
            reason=self.reason,
            headers=self.headers,
            body=body,
            uri=self.uri,
            sent=self.sent,
        )


def _too_large(uri: str, limit_bytes: int) -> Faulted:
    return communication_fault(
        f"the answer of {place_of(uri)} is larger than {limit_bytes} bytes (limit `http_response_bytes`)",
        BROKEN,
    )


class _Resolver(AbstractResolver):
    """Looks up where to connect: the one place that turns a name into addresses."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses to connect to for `host:port`, as the network maps it."""
        target, target_port = self._network.address(host, port)
        found = await asyncio.get_running_loop().getaddrinfo(
            target, target_port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
        )
        return [
            ResolveResult(
                hostname=host, host=str(place[0]), port=int(place[1]), family=kind, proto=proto, flags=0
            )
            for kind, _, proto, _, place in found
        ]

    async def close(self) -> None:
        """Let go of nothing: lookups hold nothing."""


class HttpClient:
    """The connections of one network on one event loop."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._connector = aiohttp.TCPConnector(
            resolver=_Resolver(network), use_dns_cache=False, limit=CONNECTION_LIMIT, family=socket.AF_UNSPEC
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    @property
    def closed(self) -> bool:
        """Tell whether the connections are closed for good."""
        return self._session.closed

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    @asynccontextmanager
    async def open(
        self,
        request: Request,
        *,
        limit_bytes: int = RESPONSE_LIMIT_BYTES,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> AsyncIterator[Incoming]:
        """Send a request and give the response while its body arrives; raises `Faulted` only."""
        url = parse_uri(request.uri)
        place = f"{request.method.upper()} {place_of(str(url))}"
        method, headers = checked_method(request.method), CIMultiDict(checked_headers(request.headers))
        if request.body is not None and len(request.body) > REQUEST_LIMIT_BYTES:
            raise validation_fault(
                f"the body for {place} has {len(request.body)} bytes; {REQUEST_LIMIT_BYTES} are allowed "
                "(limit `http_request_bytes`)"
            )
        headers.setdefault("User-Agent", "tenuto")
        headers.setdefault("Accept-Encoding", "gzip, deflate")
        target, server_name = self._target(url, headers)
        try:
            async with (
                asyncio.timeout(timeout_seconds) as deadline,
                self._session.request(
                    method,
                    target,
                    headers=headers,
                    data=_payload(request.body),
                    allow_redirects=False,
                    ssl=self._network.tls() if url.scheme == "https" else True,
                    server_hostname=server_name,
                ) as response,
            ):
                yield Incoming(response, str(url), limit_bytes)
        except TimeoutError as error:
            if not deadline.expired():  # the caller's own limit, not ours
                raise
            late = timeout_fault(
                f"{place} was not answered within {timeout_seconds:g} s (limit `http_seconds`)"
            )
            raise Faulted(msgspec.structs.replace(late.fault, transient=True)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _network_fault(error, place, url) from error

    async def send(
        self,
        request: Request,
        *,
        limit_bytes: int = RESPONSE_LIMIT_BYTES,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Response:
        """Send a request and return the whole response, whatever its status."""
        async with self.open(request, limit_bytes=limit_bytes, timeout_seconds=timeout_seconds) as incoming:
            return await incoming.read()

    def _target(self, url: URL, headers: CIMultiDict[str]) -> tuple[URL, str | None]:
        """Return where to connect if the host is a literal address, for which nothing is looked up."""
        host, port = url.host or "", url.port or 0
        if not _is_address(host):
            return url, None
        target, target_port = self._network.address(host, port)
        if (target, target_port) == (host, port):
            return url, None
        headers.setdefault("Host", url.host_port_subcomponent or host)
        return url.with_host(target).with_port(target_port), host if url.scheme == "https" else None


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    """Return the body as the library wants it: large ones in a form that it sends piece by piece."""
    return io.BytesIO(body) if body is not None and len(body) > PIECE_LIMIT_BYTES else body


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _network_fault(error: Exception, place: str, url: URL) -> Faulted:
    host = f"{url.host}:{url.port}"
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
            return communication_fault(
                f"{place} failed: the TLS certificate of {host} is not accepted: {reason} "
                "(SSL_CERT_FILE names the authorities to trust)",
                BROKEN,
            )
        case aiohttp.ClientConnectorSSLError():
            return communication_fault(
                f"{place} failed: no TLS connection to {host}: {error.os_error}", BROKEN
            )
        case aiohttp.ClientConnectorDNSError():
            return communication_fault(
                f"{place} failed: the name {url.host} could not be resolved: {error.os_error}",
                UNREACHABLE,
                transient=True,
            )
        case aiohttp.ClientConnectorError():
            return communication_fault(
                f"{place} failed: no connection to {host}: {error.os_error}", UNREACHABLE, transient=True
            )
        case aiohttp.InvalidURL():
            return configuration_fault(f"{place} cannot be sent: {error}")
        case aiohttp.ClientResponseError():
            return communication_fault(f"{place} was not answered in valid HTTP: {error.message}", BROKEN)
        case aiohttp.ClientPayloadError():
            return communication_fault(f"{place} failed: the answer broke off", BROKEN, transient=True)
        case aiohttp.ServerDisconnectedError():
            return communication_fault(
                f"{place} failed: {host} closed the connection without an answer", BROKEN, transient=True
            )
        case _:
            return communication_fault(f"{place} failed: {error}", UNREACHABLE, transient=True)


_CLIENTS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, tuple[HttpClient, object]]]] = (
    WeakKeyDictionary()
)


async def client_for(network: Network) -> HttpClient:
    """Return the running loop's client for a network, made at the first call.

    The loop's own shutdown closes it: `asyncio.run` and `asyncio.Runner` end asynchronous
    generators before they close their loop, and each client is held by one.
    """
    loop = asyncio.get_running_loop()
    clients = _CLIENTS.setdefault(loop, {})
    held = clients.get(id(network))
    if held is None:
        client = HttpClient(network)
        keeper = _keep(client, network, clients)
        clients[id(network)] = (client, keeper)
        await anext(keeper)
        return client
    return held[0]


async def _keep(
    client: HttpClient, network: Network, clients: dict[int, tuple[HttpClient, object]]
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        clients.pop(id(network), None)
        await client.close()
