"""Calls of MCP servers: one made with the protocol's own library, and some that break its rules."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from tenuto.connectors import mcp
from tenuto.plugin import Call, Faulted
from tenuto.runtime.network import SystemNetwork

SERVER = str(Path(__file__).with_name("mcp_server.py"))
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}

Respond = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


def call_of(*mappings: str) -> Call:
    """Return a call with these address mappings."""
    return Call(
        run="r1", task="/do/0/ask", attempt=1, idempotency_key="r1:ask", network=SystemNetwork(mappings)
    )


async def fault_of(action: Awaitable[Any]) -> dict[str, Any]:
    """Return the fault that an action ends with."""
    with pytest.raises(Faulted) as caught:
        await action
    return caught.value.fault.to_json()


def stdio(*words: str, **environment: str) -> dict[str, Any]:
    """Return the transport of a Python program."""
    return {"stdio": {"command": sys.executable, "arguments": list(words), "environment": environment}}


@pytest.fixture(scope="module", params=["stream", "json"])
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URI of the library's server over HTTP, answering with event streams or with JSON."""
    process = subprocess.Popen([sys.executable, SERVER, "http", request.param], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"
        process.terminate()
        process.wait()


# ── the library's server ─────────────────────────────────────────────────────────────────

EXCHANGES: list[tuple[Any, dict[str, Any] | None, Callable[[Any], Any], Any]] = [
    ("tools/list", None, lambda it: [tool["name"] for tool in it["tools"]], ["add", "fail", "variables"]),
    (
        "tools/call",
        {"name": "add", "arguments": {"first": 1, "second": 2}},
        lambda it: it["structuredContent"],
        {"result": 3},
    ),
    ("prompts/list", None, lambda it: [prompt["name"] for prompt in it["prompts"]], ["greet"]),
    (
        "prompts/get",
        {"name": "greet", "arguments": {"who": "Ada"}},
        lambda it: it["messages"][0]["content"]["text"],
        "Greet Ada",
    ),
    ("resources/list", None, lambda it: [one["uri"] for one in it["resources"]], ["note://today"]),
    ("resources/read", {"uri": "note://mon/weather"}, lambda it: it["contents"][0]["text"], "rain on mon"),
    (
        "resources/templates/list",
        None,
        lambda it: it["resourceTemplates"][0]["uriTemplate"],
        "note://{day}/weather",
    ),
]


@pytest.mark.parametrize(("method", "parameters", "part", "expected"), EXCHANGES)
async def test_every_method_over_http(
    endpoint: str, method: mcp.Method, parameters: Any, part: Callable[[Any], Any], expected: Any
) -> None:
    """The output is the result of the method, whichever form the server answers in."""
    transport = {"http": {"endpoint": endpoint}}
    result = await mcp.call(call_of(), method=method, parameters=parameters, transport=transport)

    assert part(result) == expected


@pytest.mark.slow
async def test_a_server_that_is_a_child_process() -> None:
    """Over stdio the same holds, and the child's environment holds what was given and nothing of ours."""
    os.environ["TENUTO_SECRET_CANARY"] = "canary"
    try:
        result = await mcp.call(
            call_of(),
            method="tools/call",
            parameters={"name": "variables", "arguments": {}},
            transport=stdio(SERVER, "stdio", GIVEN="1"),
        )
    finally:
        del os.environ["TENUTO_SECRET_CANARY"]

    assert set(result["structuredContent"]["result"]) - {"LC_CTYPE"} <= {"GIVEN", "HOME", "LANG", "PATH"}
    assert "GIVEN" in result["structuredContent"]["result"]


async def test_a_tool_that_fails_is_a_runtime_fault(endpoint: str) -> None:
    """A result with `isError` is no success: the fault has the tool's words."""
    fault = await fault_of(
        mcp.call(
            call_of(),
            method="tools/call",
            parameters={"name": "nope", "arguments": {}},
            transport={"http": {"endpoint": endpoint}},
        )
    )

    assert fault["type"].endswith("/runtime")
    assert fault["detail"] == f"tool `nope` of MCP server {endpoint} failed: Unknown tool: nope"


async def test_an_error_of_the_protocol_is_a_runtime_fault(endpoint: str) -> None:
    """A JSON-RPC error is a fault with its code."""
    fault = await fault_of(
        mcp.call(
            call_of(),
            method="resources/read",
            parameters={"uri": "nope://x"},
            transport={"http": {"endpoint": endpoint}},
        )
    )

    assert fault["type"].endswith("/runtime")
    assert "answered error -32602: Unknown resource: nope://x" in fault["detail"]


async def test_an_address_may_be_mapped(endpoint: str) -> None:
    """`--resolve` holds for MCP over HTTP; the server sees the name that was asked for."""
    port = endpoint.split(":")[2].split("/", maxsplit=1)[0]
    result = await fault_of(
        mcp.call(
            call_of(f"mcp.example:80=127.0.0.1:{port}"),
            method="tools/list",
            transport={"http": {"endpoint": "http://mcp.example/mcp"}},
        )
    )

    assert result["status"] == 421  # the library's server refuses foreign names: it did see this one


# ── a server of ours over HTTP, to see what is sent and to misbehave ─────────────────────


class Scripted:
    """A server whose answers to requests are functions; it keeps what it received."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str], Any]] = []
        self.respond: dict[str, Respond] = {}
        self.uri = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        text = await request.text()
        message = json.loads(text) if text else {}
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append((request.method, headers, message))
        respond = self.respond.get(message.get("method", request.method))
        if respond is not None:
            return await respond(request, message)
        if "id" not in message or "method" not in message:
            return web.Response(status=202)
        result = HELLO if message["method"] == "initialize" else {"tools": []}
        return web.json_response(
            {"jsonrpc": "2.0", "id": message["id"], "result": result}, headers={"Mcp-Session-Id": "s1"}
        )

    async def ask(self, **more: Any) -> Any:
        """List the tools."""
        transport = {"http": {"endpoint": self.uri, **more.pop("http", {})}}
        return await mcp.call(call_of(), method="tools/list", transport=transport, **more)


@pytest_asyncio.fixture
async def scripted() -> AsyncIterator[Scripted]:
    """A scripted server on loopback."""
    here = Scripted()
    application = web.Application()
    application.router.add_route("*", "/mcp", here.handle)
    async with TestServer(application) as server:
        here.uri = str(server.make_url("/mcp"))
        yield here


async def events(request: web.Request, *texts: str) -> web.StreamResponse:
    """Answer with an event stream of these texts."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for text in texts:
        await response.write(text.encode())
    await response.write_eof()
    return response


def event(**message: Any) -> str:
    """Return a message as one event."""
    return f"event: message\ndata: {json.dumps({'jsonrpc': '2.0', **message})}\n\n"


async def test_the_order_and_the_headers_of_a_session(scripted: Scripted) -> None:
    """Initialize, say so, ask, end: session and version travel in the headers, the given ones too."""
    result = await scripted.ask(
        http={"headers": {"X-Team": "blue"}},
        client={"name": "synapse", "version": "2"},
        protocolVersion="2025-03-26",
    )

    assert result == {"tools": []}
    assert [message.get("method", verb) for verb, _, message in scripted.received] == [
        "initialize",
        "notifications/initialized",
        "tools/list",
        "DELETE",
    ]
    assert scripted.received[0][2]["params"] == {
        "protocolVersion": "2025-03-26",
        "capabilities": {},
        "clientInfo": {"name": "synapse", "version": "2"},
    }
    assert all(headers["x-team"] == "blue" for _, headers, _ in scripted.received)
    assert all(headers["mcp-session-id"] == "s1" for _, headers, _ in scripted.received[1:])
    assert all(headers["mcp-protocol-version"] == "2025-06-18" for _, headers, _ in scripted.received[1:])


async def test_credentials_go_along(scripted: Scripted) -> None:
    """An endpoint's authentication holds for each request."""
    endpoint = {"uri": scripted.uri, "authentication": {"bearer": {"token": "t"}}}
    await mcp.call(call_of(), method="tools/list", transport={"http": {"endpoint": endpoint}})

    assert {headers["authorization"] for _, headers, _ in scripted.received} == {"Bearer t"}


async def test_what_a_server_asks_in_between_is_answered(scripted: Scripted) -> None:
    """A ping gets its answer, other requests an error, notifications nothing; the result still comes."""

    async def respond(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        return await events(
            request,
            ": a comment\n\n",
            event(method="notifications/progress", params={}),
            event(id="a", method="ping"),
            event(id="b", method="sampling/createMessage", params={}),
            event(id=message["id"], result={"tools": ["x"]}),
        )

    scripted.respond["tools/list"] = respond
    result = await scripted.ask()

    assert result == {"tools": ["x"]}
    answers = {
        message["id"]: message for _, _, message in scripted.received if message.get("id") in ("a", "b")
    }
    assert answers["a"]["result"] == {}
    assert answers["b"]["error"]["code"] == -32601


@pytest.mark.parametrize(
    ("method", "answer", "kind", "said"),
    [
        (
            "tools/list",
            lambda request, _: events(request, event(id=99, result={})),
            "communication",
            "ended its answer to `tools/list` without a result",
        ),
        (
            "tools/list",
            lambda request, _: events(request, "data: {no\n\n"),
            "communication",
            "sent what is no JSON",
        ),
        (
            "tools/list",
            lambda request, _: events(request, "data: []\n\n"),
            "communication",
            "no JSON-RPC message",
        ),
    ],
)
async def test_broken_answers(scripted: Scripted, method: str, answer: Any, kind: str, said: str) -> None:
    """Each way to break the protocol gives one clear fault."""
    scripted.respond[method] = answer
    fault = await fault_of(scripted.ask())

    assert kind == fault["type"].rpartition("/")[2]
    assert said in fault["detail"]


async def test_an_unknown_version_is_refused(scripted: Scripted) -> None:
    """A server that insists on a version we do not know is not talked to."""

    async def respond(_: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(
            {"jsonrpc": "2.0", "id": message["id"], "result": {"protocolVersion": "1999-01-01"}}
        )

    scripted.respond["initialize"] = respond
    fault = await fault_of(scripted.ask())

    assert "speaks version '1999-01-01' of the protocol" in fault["detail"]
    assert len(scripted.received) == 1


async def test_an_http_status_is_a_communication_fault(scripted: Scripted) -> None:
    """What HTTP itself refuses has the HTTP status."""

    async def respond(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=503, text="later")

    scripted.respond["initialize"] = respond
    fault = await fault_of(scripted.ask())

    assert (fault["type"].rpartition("/")[2], fault["status"], fault["transient"]) == (
        "communication",
        503,
        True,
    )


async def test_an_answer_of_another_type_is_named(scripted: Scripted) -> None:
    """A page in place of a message is refused by its content type."""

    async def respond(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        return web.Response(text="<html>", content_type="text/html")

    scripted.respond["initialize"] = respond
    fault = await fault_of(scripted.ask())

    assert "content type text/html; JSON or text/event-stream was expected" in fault["detail"]


async def test_the_timeout_holds_for_all_of_it(scripted: Scripted) -> None:
    """A server that does not answer in time is a timeout fault, and the session is ended."""
    never = asyncio.Event()

    async def respond(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        await never.wait()
        raise web.HTTPGone

    scripted.respond["tools/list"] = respond
    fault = await fault_of(scripted.ask(timeout={"milliseconds": 50}))
    never.set()

    assert fault["type"].endswith("/timeout")
    assert fault["detail"] == "`tools/list` was not answered within 0.05 s"
    assert scripted.received[-1][0] == "DELETE"


# ── children that misbehave ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import sys; sys.exit('no licence for canary-canary')",
            "exit code 1 before it answered: no licence for ***",
        ),
        ("print('hello')", "sent what is no JSON"),
        ("input()", "ended with exit code 0 before it answered"),
        ("print('x' * 17 * 1024 * 1024)", "wrote more than OUTPUT_BYTES"),
    ],
)
async def test_a_child_that_is_no_server(code: str, said: str) -> None:
    """Each way to be no server gives one clear fault; what the environment holds is kept out of it."""
    transport = stdio("-c", code, KEY="canary-canary")
    fault = await fault_of(mcp.call(call_of(), method="tools/list", transport=transport))

    assert said in fault["detail"]


async def test_a_child_that_never_answers_is_ended() -> None:
    """The timeout ends the child too."""
    transport = stdio("-c", "import signal; signal.pause()")
    fault = await fault_of(
        mcp.call(call_of(), method="tools/list", transport=transport, timeout={"milliseconds": 100})
    )

    assert fault["type"].endswith("/timeout")


@pytest.mark.parametrize(
    ("transport", "said"),
    [
        ({}, "`transport` must have exactly one of `http` and `stdio`"),
        ({"http": {"endpoint": "http://x"}, "stdio": {"command": "x"}}, "exactly one of `http` and `stdio`"),
        ({"http": {}}, "`transport.http.endpoint` must be a URI"),
        ({"stdio": {}}, "`transport.stdio.command` must be a non-empty string"),
        ({"stdio": {"command": "no-such-program"}}, "`no-such-program` cannot be started: No such file"),
        (
            {"stdio": {"command": "x", "arguments": "y"}},
            "`transport.stdio.arguments` must be an array of strings",
        ),
    ],
)
async def test_each_mistake_gives_one_clear_error(transport: dict[str, Any], said: str) -> None:
    """What is wrong in the task is a configuration fault that names it."""
    fault = await fault_of(mcp.call(call_of(), method="tools/list", transport=transport))

    assert fault["type"].endswith("/configuration")
    assert said in fault["detail"]


async def test_a_timeout_must_be_a_duration() -> None:
    """A text that is no duration is refused."""
    fault = await fault_of(
        mcp.call(call_of(), method="tools/list", transport=stdio("-c", "pass"), timeout="soon")
    )

    assert "`timeout` must be a duration such as" in fault["detail"]
