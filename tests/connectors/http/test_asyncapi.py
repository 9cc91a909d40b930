"""`asyncapi.publish` and `asyncapi.receive` over HTTP, and the answer for every other protocol."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from tenuto.connectors import asyncapi, messages
from tenuto.errors import ERROR_BASE, Faulted
from tenuto.plugin import Call


def version3(server: Any) -> dict[str, Any]:
    """Return an AsyncAPI 3.0 document whose HTTP servers are the test's."""
    return {
        "asyncapi": "3.0.0",
        "defaultContentType": "application/json",
        "servers": {
            "broker": {"host": "broker.example", "protocol": "kafka"},
            "greetings": {
                "host": f"127.0.0.1:{server.port}",
                "pathname": "/{environment}",
                "protocol": "http",
                "variables": {"environment": {"enum": ["dev", "live"], "default": "live"}},
            },
        },
        "channels": {
            "greet": {
                "address": "greet/{lang}",
                "parameters": {"lang": {"default": "en"}},
                "servers": [{"$ref": "#/servers/greetings"}],
                "messages": {
                    "greeting": {"correlationId": {"location": "$message.payload#/meta/id"}},
                },
            },
            "mixed": {"address": "mixed"},
            "stream": {"address": None, "servers": [{"$ref": "#/servers/greetings"}]},
        },
        "operations": {
            "greet": {"action": "receive", "channel": {"$ref": "#/channels/greet"}},
            "put": {
                "action": "receive",
                "channel": {"$ref": "#/channels/greet"},
                "bindings": {"http": {"method": "PUT", "query": {"properties": {"v": {"const": "2"}}}}},
            },
            "inbox": {"action": "send", "channel": {"$ref": "#/channels/greet"}},
            "mixed": {"action": "send", "channel": {"$ref": "#/channels/mixed"}},
            "stream": {"action": "send", "channel": {"$ref": "#/channels/stream"}},
        },
    }


def version2(server: Any) -> dict[str, Any]:
    """Return the AsyncAPI 2.6 document of the same service."""
    return {
        "asyncapi": "2.6.0",
        "servers": {
            "mq": {"url": "mq.example", "protocol": "amqp"},
            "web": {"url": f"127.0.0.1:{server.port}/live", "protocol": "http"},
        },
        "channels": {
            "/notifications": {
                "publish": {"operationId": "notify", "message": {"contentType": "text/plain"}},
                "subscribe": {"operationId": "notified", "message": {"$ref": "#/components/messages/note"}},
                "servers": ["web"],
            }
        },
        "components": {"messages": {"note": {"correlationId": {"location": "$message.header#/trace"}}}},
    }


@pytest.fixture
def document(server: Any) -> dict[str, Any]:
    """Serve the 3.0 document and give it as an external resource."""
    server.routes["/v3.json"] = lambda request, received: version3(server)
    server.routes["/v2.json"] = lambda request, received: version2(server)
    return {"endpoint": server.url("/v3.json")}


async def fault_of(awaitable: Any) -> Any:
    """Return the fault that the awaitable raises."""
    with pytest.raises(Faulted) as caught:
        await awaitable
    return caught.value.fault


async def test_a_message_is_published(server: Any, call: Call, document: dict[str, Any]) -> None:
    """Payload and headers go to the operation's channel on the chosen server, with the credential."""
    answer = await asyncapi.publish(
        call,
        document=document,
        operation="greet",
        server={"name": "greetings", "variables": {"environment": "dev"}},
        message={"payload": {"greetings": "Hello"}, "headers": {"foo": "bar"}},
        authentication={"bearer": {"token": "abc"}},
    )

    assert ("POST", "/dev/greet/en", {"greetings": "Hello"}) == (
        answer["method"],
        answer["path"],
        json.loads(answer["body"]),
    )
    assert ("bar", "Bearer abc", "key-1", "application/json") == tuple(
        answer["headers"][name] for name in ("foo", "authorization", "idempotency-key", "content-type")
    )


async def test_a_binding_chooses_method_and_query(call: Call, document: dict[str, Any]) -> None:
    """An HTTP binding names the method; query parameters with one possible value are sent."""
    answer = await asyncapi.publish(call, document=document, operation="put", protocol="http", message={})

    assert ("PUT", "/live/greet/en?v=2", "") == (answer["method"], answer["path"], answer["body"])


@pytest.mark.parametrize(
    "named", [{"channel": "/notifications"}, {"channel": "notifications"}, {"operation": "notify"}]
)
async def test_version_2_is_published_by_channel_or_operation(
    server: Any, call: Call, document: dict[str, Any], named: dict[str, str]
) -> None:
    """In 2.x the channel's name is its address, and the message's content type decides its form."""
    answer = await asyncapi.publish(call, document=server.url("/v2.json"), message={"payload": "hi"}, **named)

    assert ("/live/notifications", "hi", "text/plain") == (
        answer["path"],
        answer["body"],
        answer["headers"]["content-type"],
    )


@pytest.mark.parametrize(
    ("body", "kind", "payloads"),
    [
        ('{"a": 1}', "application/json", [{"a": 1}]),
        ('[{"a": 1}, 2]', "application/json", [{"a": 1}, 2]),
        ("", "application/json", []),
        ("[]", "application/json", []),
        ('{"a": 1}\n\n{"a": 2}\r\n3', "application/x-ndjson", [{"a": 1}, {"a": 2}, 3]),
        ("hello", "text/plain", ["hello"]),
        (
            ': hi\n\ndata: {"a": 1}\n\ndata: plain\ndata: text\n\ndata: cut',
            "text/event-stream",
            [{"a": 1}, "plain\ntext"],
        ),
    ],
)
async def test_a_poll_gives_messages(
    server: Any, call: Call, document: dict[str, Any], body: str, kind: str, payloads: list[Any]
) -> None:
    """One answer of JSON, lines of JSON, text or events becomes a list of messages, in order."""
    server.routes["/live/greet/en"] = lambda request, received: web.Response(text=body, content_type=kind)

    received = await asyncapi.receive(call, document=document, operation="inbox")

    assert payloads == [message["payload"] for message in received]


async def test_messages_have_headers_and_correlation_ids(
    server: Any, call: Call, document: dict[str, Any]
) -> None:
    """A message brings its own headers or the answer's; the id is found where the document says."""
    sent = [{"payload": {"meta": {"id": 7}}, "headers": {"h": "1"}}, {"meta": {"id": "x"}}, {"meta": {}}]
    server.routes["/live/greet/en"] = lambda request, received: web.json_response(sent, headers={"X-A": "b"})
    server.routes["/live/notifications"] = lambda request, received: web.json_response(
        {"n": 1}, headers={"Trace": "t9"}
    )

    first, second, third = await asyncapi.receive(call, document=document, operation="inbox")
    by_header = await asyncapi.receive(call, document=server.url("/v2.json"), operation="notified")

    assert {"payload": {"meta": {"id": 7}}, "headers": {"h": "1"}, "correlationId": "7"} == first
    assert ("b", "x") == (second["headers"]["X-A"], second["correlationId"])
    assert "correlationId" not in third
    assert "t9" == by_header[0]["correlationId"]


@pytest.mark.parametrize("status", [204, 304])
async def test_no_content_is_no_messages(
    server: Any, call: Call, document: dict[str, Any], status: int
) -> None:
    """A service with nothing to say answers 204 or 304."""
    server.routes["/live/greet/en"] = lambda request, received: web.Response(status=status)

    assert [] == await asyncapi.receive(call, document=document, operation="inbox")


async def test_a_poll_that_is_refused_is_a_communication_fault(
    server: Any, call: Call, document: dict[str, Any]
) -> None:
    """Any other status is a fault, as for every call over HTTP."""
    server.routes["/live/greet/en"] = lambda request, received: web.Response(status=503)

    fault = await fault_of(asyncapi.receive(call, document=document, operation="inbox"))

    assert (ERROR_BASE + "communication", 503, True) == (fault.type, fault.status, fault.transient)


async def test_a_stream_is_left_after_its_first_messages_and_taken_up_again(
    server: Any, call: Call, document: dict[str, Any]
) -> None:
    """A stream that never ends gives what has come; the next poll goes on after the last event's id."""

    async def route(request: web.Request, received: Any) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        last = int(received.headers.get("last-event-id", "0"))
        await response.write(f"id: {last + 1}\nevent: tick\ndata: {last + 1}\n\n".encode())
        await asyncio.Event().wait()
        return response

    server.routes["/live"] = route

    first = await asyncapi.receive(call, document=document, operation="stream")
    second = await asyncapi.receive(call, document=document, operation="stream")

    assert [{"payload": 1, "headers": {"id": "1", "event": "tick"}}] == first
    assert [2] == [message["payload"] for message in second]


async def test_a_silent_stream_gives_nothing_in_the_end(
    server: Any, call: Call, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit `asyncapi_poll_seconds` ends a poll without messages."""
    monkeypatch.setattr(asyncapi, "POLL_SECONDS", 0.05)
    server.routes["/live"] = lambda request, received: asyncio.Event().wait()

    assert [] == await asyncapi.receive(call, document=document, operation="stream")


@pytest.mark.parametrize("protocol", [name for name in asyncapi.PROTOCOLS if name != "http"])
async def test_other_protocols_are_one_configuration_fault(
    server: Any, call: Call, document: dict[str, Any], protocol: str
) -> None:
    """Each of the standard's other protocols is named as what this installation lacks."""
    sent = await fault_of(asyncapi.publish(call, document=document, operation="greet", protocol=protocol))
    polled = await fault_of(asyncapi.receive(call, document=document, operation="greet", protocol=protocol))

    expected = f"needs protocol {protocol}, which this installation does not have"
    assert [(ERROR_BASE + "configuration", 400, expected)] * 2 == [
        (fault.type, fault.status, fault.detail) for fault in (sent, polled)
    ]


def test_the_protocols_are_the_standards() -> None:
    """The standard names nineteen."""
    assert 19 == len(set(asyncapi.PROTOCOLS))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "exactly one of"),
        ({"channel": "a", "operation": "b"}, "exactly one of"),
        ({"operation": "greeet"}, "did you mean `greet`?"),
        ({"channel": "mixd"}, "did you mean `mixed`?"),
        ({"operation": "greet", "server": {"name": "greeting"}}, "did you mean `greetings`?"),
        ({"operation": "mixed"}, "needs protocol kafka"),
        ({"operation": "mixed", "server": {"name": "broker"}}, "needs protocol kafka"),
        ({"operation": "greet", "protocol": "htp"}, "`protocol` must be one of amqp"),
        (
            {"operation": "greet", "server": {"name": "greetings", "variables": {"environment": "moon"}}},
            "must be one of dev, live",
        ),
    ],
)
async def test_what_cannot_be_found_is_named(
    call: Call, document: dict[str, Any], arguments: dict[str, Any], words: str
) -> None:
    """Operation, channel, server and variables are checked, with the nearest name as a hint."""
    fault = await fault_of(asyncapi.publish(call, document=document, message={}, **arguments))

    assert ERROR_BASE + "configuration" == fault.type
    assert words in fault.detail


async def test_a_protocol_chooses_among_the_servers(
    server: Any, call: Call, document: dict[str, Any]
) -> None:
    """`protocol` passes over the servers that speak another one; `server` wins over `protocol`."""
    chosen = await asyncapi.publish(call, document=document, operation="mixed", protocol="http", message={})
    named = await asyncapi.publish(
        call, document=document, operation="mixed", protocol="kafka", server={"name": "greetings"}, message={}
    )

    assert ["/live/mixed", "/live/mixed"] == [chosen["path"], named["path"]]


def test_events_may_arrive_in_any_pieces() -> None:
    """Cutting a stream anywhere, also inside a character or a line end, gives the same events."""
    stream = "\ufeffid: 1\r\nevent: é\r\ndata: a\r\ndata\r\n\r\nid\rdata: b\r\r: c\n\ndata:c\n\n".encode()
    expected = [{"data": "a\n", "event": "é", "id": "1"}, {"data": "b", "id": ""}, {"data": "c", "id": ""}]

    for cut in range(len(stream) + 1):
        reader = messages.EventReader()

        assert expected == reader.feed(stream[:cut]) + reader.feed(stream[cut:])


def test_an_endless_line_is_refused() -> None:
    """A stream without line ends stops at the limit `stream_line_bytes`."""
    reader = messages.LineReader()
    with pytest.raises(Faulted, match="stream_line_bytes"):
        reader.feed(b"x" * (messages.LINE_LIMIT_BYTES + 1))


async def test_a_line_that_is_not_json_is_a_fault(server: Any, call: Call, document: dict[str, Any]) -> None:
    """Lines of JSON that are none are an invalid answer."""
    server.routes["/live/greet/en"] = lambda request, received: web.Response(
        text="{\n", content_type="application/x-ndjson"
    )

    fault = await fault_of(asyncapi.receive(call, document=document, operation="inbox"))

    assert (502, ERROR_BASE + "communication") == (fault.status, fault.type)
