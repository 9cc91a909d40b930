"""A real HTTP and HTTPS server on loopback for the tests of calls over HTTP.

It runs in a thread of its own, with certificates of an authority made for the test session, and
records what it was sent. Requests for `https://api.example` reach it by address mapping only.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from tenuto.plugin import Call
from tenuto.runtime.network import SystemNetwork

HOST = "api.example"
BOMB = gzip.compress(b"\0" * 64 * 1024 * 1024)


@dataclass
class Received:
    """One request as the server got it; `headers` has lower-case names."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body read as JSON."""
        return json.loads(self.body)


Handler = Callable[[web.Request, Received], Any]


@dataclass
class Server:
    """The server's ports, what it received, and the routes that a test adds."""

    port: int = 0
    tls_port: int = 0
    trust_file: str = ""
    received: list[Received] = field(default_factory=list)
    routes: dict[str, Handler] = field(default_factory=dict)

    def url(self, path: str) -> str:
        """Return the plain HTTP URL of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    def network(self, *mappings: str) -> SystemNetwork:
        """Return a network that trusts the test's authority and finds `api.example` here."""
        return SystemNetwork(
            [
                f"{HOST}:443=127.0.0.1:{self.tls_port}",
                f"{HOST}:80=127.0.0.1:{self.port}",
                f"wrong.example:443=127.0.0.1:{self.tls_port}",
                *mappings,
            ],
            trust_file=self.trust_file,
        )

    def paths(self) -> list[str]:
        """Return the paths of all requests, in order."""
        return [request.path for request in self.received]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer with the route that fits, or with an echo of the request."""
        received = Received(
            request.method,
            request.raw_path,
            {name.lower(): value for name, value in request.headers.items()},
            await request.read(),
        )
        self.received.append(received)
        route = self.routes.get(request.path)
        if route is None:
            return _builtin(request, received)
        answer = route(request, received)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return answer if isinstance(answer, web.StreamResponse) else web.json_response(answer)


def _builtin(request: web.Request, received: Received) -> web.StreamResponse:
    parts = request.path.strip("/").split("/")
    match parts:
        case ["status", code]:
            return web.json_response({"message": f"this is {code}"}, status=int(code))
        case ["bytes", count]:
            return web.Response(body=b"x" * int(count), content_type="application/octet-stream")
        case ["bomb"]:
            return web.Response(body=BOMB, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})
        case ["basic", name, password]:
            expected = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
            good = received.headers.get("authorization") == expected
            return web.json_response({"authenticated": good}, status=200 if good else 401)
        case ["bearer", token]:
            good = received.headers.get("authorization") == f"Bearer {token}"
            return web.json_response({"authenticated": good}, status=200 if good else 401)
        case _:
            return web.json_response(
                {
                    "method": received.method,
                    "path": received.path,
                    "headers": received.headers,
                    "body": received.body.decode("utf-8", "replace"),
                }
            )


def _serve(server: Server, context: ssl.SSLContext, ready: threading.Event, stop: asyncio.Event) -> None:
    async def main() -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", server.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        plain = web.TCPSite(runner, "127.0.0.1", 0)
        secure = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await plain.start()
        await secure.start()
        ports = [address[1] for address in runner.addresses]
        server.port, server.tls_port = ports[0], ports[1]
        server.loop = asyncio.get_running_loop()  # type: ignore[attr-defined]
        ready.set()
        await stop.wait()
        await runner.cleanup()

    asyncio.run(main())


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the server for the whole session."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST, "127.0.0.1").configure_cert(context)
    trust = tmp_path_factory.mktemp("trust") / "ca.pem"
    authority.cert_pem.write_to_path(str(trust))
    server, ready, stop = Server(trust_file=str(trust)), threading.Event(), asyncio.Event()
    thread = threading.Thread(target=_serve, args=(server, context, ready, stop))
    thread.start()
    assert ready.wait(10)
    yield server
    server.loop.call_soon_threadsafe(stop.set)  # type: ignore[attr-defined]
    thread.join()


@pytest.fixture
def server(running_server: Server) -> Iterator[Server]:
    """Give the server with nothing recorded and no added routes."""
    running_server.received.clear()
    running_server.routes.clear()
    return running_server


@pytest.fixture
def make_call(server: Server, tmp_path: Path) -> Callable[..., Call]:
    """Return a function that makes a `Call`; it records credentials in the list given as `told`."""

    def make(
        *mappings: str,
        told: list[tuple[str, str]] | None = None,
        folders: tuple[Path, ...] = (),
        key: str = "key-1",
    ) -> Call:
        return Call(
            run="run-1",
            task="/do/0/call",
            attempt=1,
            idempotency_key=key,
            network=server.network(*mappings),
            folders=folders,
            authorized=lambda scheme, parameter: (
                told.append((scheme, parameter)) if told is not None else None
            ),
        )

    return make


@pytest.fixture
def call(make_call: Callable[..., Call]) -> Call:
    """Give a call as the worker makes it."""
    return make_call()
