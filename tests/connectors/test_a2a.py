"""Calls of agents over A2A, against an agent that answers in the forms the protocol has."""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, get_args

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from tenuto.connectors import a2a
from tenuto.plugin import Call, Faulted
from tenuto.runtime.network import SystemNetwork
from tests.servers.authority import Authority

TASK = {"id": "t1", "kind": "task", "status": {"state": "completed"}}
SAID = {"message": {"parts": [{"kind": "text", "text": "Generate the Q1 sales report."}]}}


class Agent:
    """An agent with a card; it keeps what it received."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.uri = ""
        self.card: Any = {"name": "reporter", "url": "/rpc"}
        self.token: str | None = None

    async def give_card(self, request: web.Request) -> web.Response:
        """Answer with the card."""
        self.check(request)
        return web.json_response(self.card)

    def check(self, request: web.Request) -> None:
        """Refuse a request without the token, if there is one."""
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise web.HTTPUnauthorized(text=f"not {request.headers.get('Authorization')}")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a JSON-RPC request as its method and parameters say."""
        message = await request.json()
        self.received.append(({name.lower(): value for name, value in request.headers.items()}, message))
        self.check(request)
        number, method, parameters = message["id"], message["method"], message.get("params", {})
        if parameters.get("id") == "unknown":
            error = {"code": -32001, "message": "Task not found", "data": {"id": "unknown"}}
            return web.json_response({"jsonrpc": "2.0", "id": number, "error": error})
        if parameters.get("id") == "page":
            return web.Response(text="<html>", content_type="text/html")
        if parameters.get("id") == "stranger":
            return web.json_response({"jsonrpc": "2.0", "id": "other", "result": {}})
        if parameters.get("id") == "nothing":
            return web.Response(content_type="text/event-stream")
        if method not in ("message/stream", "tasks/resubscribe"):
            return web.json_response({"jsonrpc": "2.0", "id": number, "result": {"method": method, **TASK}})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for state in ("submitted", "working", "completed"):
            result = {"kind": "status-update", "status": {"state": state}, "final": state == "completed"}
            text = json.dumps({"jsonrpc": "2.0", "id": number, "result": result}, indent=1)
            await response.write(
                "".join(f"data: {line}\r\n" for line in text.splitlines()).encode() + b"\r\n"
            )
            if parameters.get("id") == "break":
                error = {"code": -32603, "message": "broke off"}
                text = json.dumps({"jsonrpc": "2.0", "id": number, "error": error})
                await response.write(f"data: {text}\n\n".encode())
        await response.write_eof()
        return response


@pytest_asyncio.fixture
async def agent() -> AsyncIterator[Agent]:
    """An agent on loopback."""
    here = Agent()
    application = web.Application()
    application.router.add_get("/.well-known/agent-card.json", here.give_card)
    application.router.add_post("/rpc", here.answer)
    async with TestServer(application) as server:
        here.uri = str(server.make_url("/"))[:-1]
        yield here


def call_of(*mappings: str, attempt: int = 1) -> Call:
    """Return a call with these address mappings."""
    network = SystemNetwork(mappings)
    return Call(run="r1", task="/do/0/ask", attempt=attempt, idempotency_key="r1:ask", network=network)


def card_of(agent: Agent, **more: Any) -> dict[str, Any]:
    """Return the external resource of the agent's card."""
    return {"endpoint": {"uri": f"{agent.uri}/.well-known/agent-card.json", **more}}


async def fault_of(action: Awaitable[Any]) -> dict[str, Any]:
    """Return the fault that an action ends with."""
    with pytest.raises(Faulted) as caught:
        await action
    return caught.value.fault.to_json()


async def test_a_message_through_the_agents_card(agent: Agent) -> None:
    """The standard's example: the card says where the agent is; id, role and kind are filled in."""
    result = await a2a.call(call_of(), method="message/send", agentCard=card_of(agent), parameters=SAID)

    assert result["status"] == {"state": "completed"}
    headers, sent = agent.received[0]
    message = sent["params"]["message"]
    assert uuid.UUID(message["messageId"])
    assert (message["role"], message["kind"], message["parts"]) == (
        "user",
        "message",
        SAID["message"]["parts"],
    )
    assert headers["idempotency-key"] == "r1:ask"


async def test_the_message_id_is_equal_across_attempts(agent: Agent) -> None:
    """An agent can recognise a repetition; what the author wrote is never replaced."""
    own = {"message": {"messageId": "m1", "role": "agent", "parts": []}}
    for attempt, parameters in ((1, SAID), (2, SAID), (3, own)):
        await a2a.call(
            call_of(attempt=attempt), method="message/send", server=f"{agent.uri}/rpc", parameters=parameters
        )

    first, second, third = (sent["params"]["message"] for _, sent in agent.received)
    assert first["messageId"] == second["messageId"]
    assert (third["messageId"], third["role"]) == ("m1", "agent")


@pytest.mark.parametrize("method", [name for name in get_args(a2a.Method) if not name.startswith("message/")])
async def test_every_other_method(agent: Agent, method: a2a.Method) -> None:
    """The output is the result; of a stream, the list of all results in order."""
    result = await a2a.call(call_of(), method=method, server=f"{agent.uri}/rpc", parameters={"id": "t1"})

    states = [one["status"]["state"] for one in result] if isinstance(result, list) else result["method"]
    assert states == (["submitted", "working", "completed"] if method == "tasks/resubscribe" else method)
    assert agent.received[0][1]["params"] == {"id": "t1"}


async def test_a_streamed_message(agent: Agent) -> None:
    """`message/stream` gives the sequence of all results."""
    result = await a2a.call(call_of(), method="message/stream", server=f"{agent.uri}/rpc", parameters=SAID)

    assert [one["status"]["state"] for one in result] == ["submitted", "working", "completed"]
    assert agent.received[0][0]["accept"].startswith("text/event-stream")


async def test_no_parameters_are_left_out(agent: Agent) -> None:
    """A method that needs none is sent without `params`."""
    await a2a.call(call_of(), method="agent/getAuthenticatedExtendedCard", server=f"{agent.uri}/rpc")

    assert "params" not in agent.received[0][1]


@pytest.mark.parametrize(
    ("method", "parameters", "detail"),
    [
        ("tasks/get", {"id": "unknown"}, 'answered error -32001: Task not found ({"id":"unknown"})'),
        ("tasks/resubscribe", {"id": "break"}, "answered error -32603: broke off"),
    ],
)
async def test_an_error_is_a_runtime_fault(
    agent: Agent, method: a2a.Method, parameters: dict[str, Any], detail: str
) -> None:
    """A JSON-RPC error, also one inside a stream, is a runtime fault with its code."""
    fault = await fault_of(
        a2a.call(call_of(), method=method, server=f"{agent.uri}/rpc", parameters=parameters)
    )

    assert fault["type"].endswith("/runtime")
    assert fault["detail"] == f"{method} at {agent.uri}/rpc {detail}"


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("page", "answered with content type text/html"),
        ("stranger", "sent what is no answer to the request"),
        ("nothing", "was not answered"),
    ],
)
async def test_what_is_no_answer_is_a_communication_fault(agent: Agent, which: str, said: str) -> None:
    """Each way to answer wrongly gives one clear fault."""
    fault = await fault_of(
        a2a.call(call_of(), method="tasks/get", server=f"{agent.uri}/rpc", parameters={"id": which})
    )

    assert fault["type"].endswith("/communication")
    assert said in fault["detail"]


async def test_credentials_for_the_card_hold_for_an_agent_on_the_same_server(agent: Agent) -> None:
    """One server, one credential, given once."""
    agent.token = "canary"
    card = card_of(agent, authentication={"bearer": {"token": "canary"}})

    assert (await a2a.call(call_of(), method="tasks/get", agentCard=card))["id"] == "t1"


async def test_credentials_for_the_card_do_not_go_elsewhere(agent: Agent) -> None:
    """A card that names another server does not get the credential sent there; `authentication` does."""
    agent.token = "canary"
    port = agent.uri.rpartition(":")[2]
    agent.card = {"url": "http://elsewhere.example/rpc"}
    card = card_of(agent, authentication={"bearer": {"token": "canary"}})
    call = call_of(f"elsewhere.example:80=127.0.0.1:{port}")
    fault = await fault_of(a2a.call(call, method="tasks/get", agentCard=card))
    own = {"bearer": {"token": "canary"}}

    assert fault["status"] == 401
    assert "authorization" not in agent.received[0][0]
    assert (await a2a.call(call, method="tasks/get", agentCard=card, authentication=own))["id"] == "t1"


async def test_a_card_does_not_lead_out_of_https(authority: Authority, tmp_path: Path, agent: Agent) -> None:
    """What was fetched over TLS must not have the call, and its credential, sent in the clear."""
    certificate, key = authority.issue(tmp_path, "cards.example")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    application = web.Application()
    application.router.add_get("/card.json", agent.give_card)
    own = {"bearer": {"token": "canary"}}
    server = TestServer(application, scheme="https")
    await server.start_server(ssl=tls)
    try:
        network = SystemNetwork([f"cards.example:443=127.0.0.1:{server.port}"], trust_file=authority.file)
        call = Call(run="r1", task="/do/0/ask", attempt=1, idempotency_key="k", network=network)
        card = {"endpoint": {"uri": "https://cards.example/card.json"}}
        agent.card = {"url": f"{agent.uri}/rpc"}
        fault = await fault_of(a2a.call(call, method="tasks/get", agentCard=card, authentication=own))
    finally:
        await server.close()

    assert "is not https" in fault["detail"]
    assert [] == agent.received


async def test_a_server_with_its_credential(agent: Agent) -> None:
    """`server` may be an endpoint object; a refused credential is not repeated in the fault."""
    agent.token = "right"
    server = {"uri": f"{agent.uri}/rpc", "authentication": {"bearer": {"token": "canary"}}}
    fault = await fault_of(a2a.call(call_of(), method="tasks/get", server=server))

    assert fault["status"] == 401
    assert "canary" not in fault["detail"]


@pytest.mark.parametrize(
    "card",
    [
        {
            "url": "http://nowhere.invalid",
            "preferredTransport": "GRPC",
            "additionalInterfaces": [
                {"url": "http://nowhere.invalid", "transport": "HTTP+JSON"},
                {"url": "/rpc", "transport": "JSONRPC"},
            ],
        },
        {"supportedInterfaces": [{"url": "/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "0.3"}]},
    ],
)
async def test_the_interface_that_speaks_json_rpc_is_taken(agent: Agent, card: Any) -> None:
    """Among several interfaces of a card, the one for JSON-RPC is used."""
    agent.card = card

    assert (await a2a.call(call_of(), method="tasks/get", agentCard=card_of(agent)))["id"] == "t1"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "`call: a2a` needs `agentCard` or `server`"),
        ({"agentCard": {}}, "`agentCard` must be an external resource with `endpoint`"),
        ({"server": {}}, "`server` must be a URI or an object with `uri`"),
        ({"server": "http://x", "method": "message/send"}, "`parameters.message` must be an object"),
    ],
)
async def test_each_mistake_gives_one_clear_error(given: dict[str, Any], said: str) -> None:
    """What is wrong in the task is a configuration fault that names it."""
    fault = await fault_of(a2a.call(call_of(), **{"method": "tasks/get", **given}))

    assert fault["type"].endswith("/configuration")
    assert said in fault["detail"]


@pytest.mark.parametrize(
    ("card", "said"), [({"url": "/rpc", "preferredTransport": "GRPC"}, "names no URL"), ([], "object")]
)
async def test_a_card_that_cannot_be_used(agent: Agent, card: Any, said: str) -> None:
    """A card without JSON-RPC is refused with the reason."""
    agent.card = card
    fault = await fault_of(a2a.call(call_of(), method="tasks/get", agentCard=card_of(agent)))

    assert said in fault["detail"]
