"""The hosts that the standard's documents name, served here: one TLS and one plain server for all names."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.servers.authority import Authority

Route = Callable[[web.Request, bytes], Any]


@dataclass(frozen=True)
class Reply:
    """An answer that is more than a body of JSON with status 200; it waits until `after` requests have come."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    after: int = 0


NEVER = Reply(status=0)


@dataclass
class Request:
    """What a host was asked."""

    method: str
    url: str
    headers: dict[str, str]
    body: Any


@dataclass
class Hosts:
    """Host names with their routes; `requests` is what they were asked, in order.

    `replies` are answers for one test, before any route: `{"get host/path": [first, second]}`; the
    last one is given from then on. An integer is a status, NEVER an answer that does not come.
    """

    routes: dict[str, dict[str, Route]]
    trust_file: Path
    tls_port: int = 0
    plain_port: int = 0
    requests: list[Request] = field(default_factory=list)
    replies: dict[str, list[Any]] = field(default_factory=dict)
    held: set[asyncio.Future[None]] = field(default_factory=set)
    asked: asyncio.Condition = field(default_factory=asyncio.Condition)

    def expect(self, replies: Mapping[str, Sequence[Any]]) -> None:
        """Forget what was asked, and prepare answers."""
        self.requests.clear()
        self.replies = {place: list(answers) for place, answers in replies.items()}

    @property
    def resolve(self) -> list[str]:
        """Return the address mappings that lead every name here."""
        pairs = [(443, self.tls_port), (80, self.plain_port), (5011, self.plain_port)]
        return [f"{host}:{port}=127.0.0.1:{here}" for host in self.routes for port, here in pairs]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer with the longest route of the host whose path begins the request's."""
        body = await request.read()
        host = request.host.partition(":")[0]
        self.requests.append(
            Request(
                request.method.lower(),
                f"{host}{request.path_qs}",
                {name.lower(): value for name, value in request.headers.items()},
                _readable(body),
            )
        )
        async with self.asked:
            self.asked.notify_all()
        if answers := self.replies.get(f"{request.method.lower()} {host}{request.path}"):
            return await self.prepared(answers[0] if len(answers) == 1 else answers.pop(0))
        routes = self.routes.get(host, {})
        for path in sorted(routes, key=len, reverse=True):
            if request.path.startswith(path):
                answer = routes[path](request, body)
                return answer if isinstance(answer, web.StreamResponse) else web.json_response(answer)
        return web.json_response({"message": f"no {request.path} at {host}"}, status=404)

    async def prepared(self, answer: Any) -> web.StreamResponse:
        """Give an answer that a test has prepared."""
        if answer is NEVER:
            gone = asyncio.get_running_loop().create_future()
            self.held.add(gone)
            await gone
        if isinstance(answer, int):
            answer = Reply(answer)
        if not isinstance(answer, Reply):
            return web.json_response(answer)
        async with self.asked:
            await self.asked.wait_for(lambda: len(self.requests) >= answer.after)
        if answer.body is None:
            return web.Response(status=answer.status, headers=answer.headers)
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        headers = {"Content-Type": "application/json", **answer.headers}
        return web.Response(status=answer.status, text=text, headers=headers)

    def let_go(self) -> None:
        """End the requests that were never answered."""
        for gone in self.held:
            gone.cancel()


def _readable(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


@contextmanager
def serving(hosts: dict[str, dict[str, Route]], authority: Authority, folder: Path) -> Iterator[Hosts]:
    """Serve hosts in a thread of their own as long as the context is open."""
    made = Hosts(hosts, authority.file)
    certificate, key = authority.issue(folder, *hosts)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        server = web.Server(made.answer)
        runner = web.ServerRunner(server)
        await runner.setup()
        secure = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        plain = web.TCPSite(runner, "127.0.0.1", 0)
        await secure.start()
        await plain.start()
        made.tls_port, made.plain_port = (address[1] for address in runner.addresses)
        ready.set()
        await stop.wait()
        made.let_go()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


PETS = [{"id": 1, "name": "Rex", "status": "available"}, {"id": 2, "name": "Milou", "status": "available"}]

SWAGGER = {
    "swagger": "2.0",
    "info": {"title": "Pets", "version": "1.0.0"},
    "host": "petstore.swagger.io",
    "basePath": "/v2",
    "schemes": ["https"],
    "paths": {
        "/pet/findByStatus": {
            "get": {
                "operationId": "findPetsByStatus",
                "produces": ["application/json"],
                "parameters": [
                    {
                        "name": "status",
                        "in": "query",
                        "required": True,
                        "type": "array",
                        "items": {"type": "string"},
                        "collectionFormat": "multi",
                    }
                ],
                "responses": {"200": {"description": "pets"}},
            }
        },
        "/pet/{petId}": {
            "get": {
                "operationId": "getPetById",
                "produces": ["application/json"],
                "parameters": [{"name": "petId", "in": "path", "required": True, "type": "integer"}],
                "responses": {"200": {"description": "a pet"}},
            }
        },
    },
}


def _pet(request: web.Request, body: bytes) -> Any:
    number = request.path.rsplit("/", 1)[1]
    if request.method == "PUT":
        return json.loads(body)
    known = {str(pet["id"]): pet for pet in PETS}
    return known.get(number) or web.json_response({"message": "Pet not found"}, status=404)


def _basic(request: web.Request, body: bytes) -> Any:
    _, user, password = request.path.strip("/").split("/")
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    good = request.headers.get("Authorization") == wanted
    return web.json_response({"authenticated": good}, status=200 if good else 401)


PETSTORE: dict[str, dict[str, Route]] = {
    "petstore.swagger.io": {
        "/v2/pet/findByStatus": lambda request, body: PETS,
        "/v2/pet/": _pet,
        "/v2/swagger.json": lambda request, body: SWAGGER,
    },
    "httpbin.org": {"/basic-auth/": _basic},
}
