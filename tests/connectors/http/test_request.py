"""`http.request`: what is sent, what comes back, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from tenuto.connectors import http, http_client, http_form
from tenuto.connectors.content import FORM
from tenuto.errors import ERROR_BASE, Faulted
from tenuto.plugin import Call
from tenuto.runtime.network import SystemNetwork


async def fault_of(awaitable: Any) -> Any:
    """Return the fault that the awaitable raises."""
    with pytest.raises(Faulted) as caught:
        await awaitable
    return caught.value.fault


async def test_content_is_the_default_output(server: Any, call: Call) -> None:
    """A JSON answer comes back as a value; the URI keeps the escapes that it was given."""
    answer = await http.request(call, method="get", endpoint=server.url("/pets/a%2Fb?x=1"))

    assert ("GET", "/pets/a%2Fb?x=1") == (answer["method"], answer["path"])


async def test_response_output_has_status_headers_and_request(server: Any, call: Call) -> None:
    """`response` gives the standard's object, with canonical header names and no credentials."""
    endpoint = {"uri": server.url("/x"), "authentication": {"bearer": {"token": "t0ken"}}}
    headers = {"x-api-key": "k3y", "cookie": "a=b", "x-plain": "shown"}

    answer = await http.request(call, method="get", endpoint=endpoint, headers=headers, output="response")

    sent = answer["request"]["headers"]
    assert {"content", "headers", "request", "statusCode"} == set(answer)
    assert ("get", server.url("/x"), 200) == (
        answer["request"]["method"],
        answer["request"]["uri"],
        answer["statusCode"],
    )
    assert "application/json; charset=utf-8" == answer["headers"]["Content-Type"]
    assert ("***", "***", "***", "shown") == (
        sent["Authorization"],
        sent["X-Api-Key"],
        sent["Cookie"],
        sent["X-Plain"],
    )
    assert "Bearer t0ken" == answer["content"]["headers"]["authorization"]


async def test_raw_output_is_base64(server: Any, call: Call) -> None:
    """`raw` gives the body's bytes in base64, whatever their type."""
    server.routes["/text"] = lambda request, received: web.Response(text="héllo")

    answer = await http.request(call, method="get", endpoint=server.url("/text"), output="raw")

    assert base64.b64encode("héllo".encode()).decode() == answer


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b'{"a": 1}', "application/json", {"a": 1}),
        (b'{"a": 1}', "application/problem+json; charset=utf-8", {"a": 1}),
        ('{"a": "é"}'.encode("latin-1"), "application/json; charset=latin-1", {"a": "é"}),
        ("grüß".encode("latin-1"), "text/plain; charset=iso-8859-1", "grüß"),
        (b"<a/>", "application/xml", "<a/>"),
        (b"a=1&b=2&b=3", "application/x-www-form-urlencoded", {"a": "1", "b": ["2", "3"]}),
        (b"\x00\x01", "application/octet-stream", "AAE="),
        (b"\x00\x01", None, "AAE="),
        (b"", "application/json", None),
    ],
)
async def test_content_follows_its_type(
    server: Any, call: Call, body: bytes, content_type: str | None, expected: Any
) -> None:
    """JSON and forms are deserialized, text is a string, an empty body null, all else base64."""
    headers = {"Content-Type": content_type} if content_type else {}

    def route(request: web.Request, received: Any) -> web.Response:
        response = web.Response(body=body, headers=headers)
        if not content_type:
            response.headers["Content-Type"] = ""
        return response

    server.routes["/typed"] = route

    assert expected == await http.request(call, method="get", endpoint=server.url("/typed"))


async def test_an_answer_that_is_not_its_type_is_a_communication_fault(server: Any, call: Call) -> None:
    """Invalid JSON under a JSON content type is an invalid answer of the service."""
    server.routes["/bad"] = lambda request, received: web.Response(text="{", content_type="application/json")

    fault = await fault_of(http.request(call, method="get", endpoint=server.url("/bad")))

    assert (ERROR_BASE + "communication", 502, False) == (fault.type, fault.status, fault.transient)
    assert "not valid JSON" in fault.detail


async def test_query_is_added_to_the_uris_own(server: Any, call: Call) -> None:
    """Arrays repeat a parameter, null leaves it out, and every character is encoded."""
    query = {"b": ["x y", "&="], "c": None, "d": True, "e": 1.5, "f": "Zoë"}

    answer = await http.request(call, method="get", endpoint=server.url("/q?a=1#top"), query=query)

    assert "/q?a=1&b=x%20y&b=%26%3D&d=true&e=1.5&f=Zo%C3%AB" == answer["path"]


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        ({"a": [1, None]}, None, ('{"a":[1,null]}', "application/json")),
        ([1], "application/vnd.api+json", ("[1]", "application/vnd.api+json")),
        ({"a": "x y", "b": [1, 2]}, FORM, ("a=x+y&b=1&b=2", FORM)),
        ("plain", None, ("plain", "text/plain; charset=utf-8")),
        ('{"ready": 1}', "application/json", ('{"ready": 1}', "application/json")),
        (5, "text/plain", ("5", "text/plain")),
        (False, None, ("false", "application/json")),
    ],
)
async def test_body_follows_its_type(
    server: Any, call: Call, body: Any, content_type: str | None, expected: tuple[str, str]
) -> None:
    """A string goes as it is, other values as the content type demands, JSON by default."""
    headers = {"content-type": content_type} if content_type else {}

    answer = await http.request(call, method="post", endpoint=server.url("/b"), headers=headers, body=body)

    assert expected == (answer["body"], answer["headers"]["content-type"])


async def test_a_body_that_its_type_cannot_hold_is_a_validation_fault(server: Any, call: Call) -> None:
    """An object has no form as XML, and nothing is sent."""
    fault = await fault_of(
        http.request(
            call,
            method="post",
            endpoint=server.url("/b"),
            headers={"Content-Type": "application/xml"},
            body={"a": 1},
        )
    )

    assert (ERROR_BASE + "validation", []) == (fault.type, server.received)


@pytest.mark.parametrize(
    ("status", "transient"),
    [
        *[(status, False) for status in (302, 304, 400, 401, 403, 404, 501, 505)],
        *[(status, True) for status in (408, 425, 429, 500, 502, 503)],
    ],
)
async def test_an_error_status_is_a_communication_fault(
    server: Any, call: Call, status: int, transient: bool
) -> None:
    """The fault has the HTTP status, its phrase as title, and says whether trying again may help."""
    fault = await fault_of(http.request(call, method="get", endpoint=server.url(f"/status/{status}")))

    assert (ERROR_BASE + "communication", status, transient) == (fault.type, fault.status, fault.transient)
    assert fault.title == http.phrase_of(status)
    assert f"answered {status}" in fault.detail


async def test_redirect_true_accepts_3xx_and_follows_nothing(server: Any, call: Call) -> None:
    """Status 300 to 399 are answers with `redirect: true` and faults without; none is ever followed."""
    endpoint = {"uri": server.url("/away"), "authentication": {"basic": {"username": "u", "password": "p"}}}
    server.routes["/away"] = lambda request, received: web.Response(
        status=302, headers={"Location": f"http://{'localhost'}:{server.port}/stolen"}
    )

    answer = await http.request(call, method="get", endpoint=endpoint, redirect=True, output="response")
    fault = await fault_of(http.request(call, method="get", endpoint=endpoint))
    beyond = await fault_of(
        http.request(call, method="get", endpoint=server.url("/status/404"), redirect=True)
    )

    assert (302, "Location") == (
        answer["statusCode"],
        next(name for name in answer["headers"] if name == "Location"),
    )
    assert (302, 404) == (fault.status, beyond.status)
    assert "redirects are not followed" in fault.detail
    assert ["/away", "/away", "/status/404"] == server.paths()


async def test_details_are_one_short_line_without_credentials(server: Any, call: Call) -> None:
    """What the service said is cut, put on one line, and the credential sent is not repeated."""
    server.routes["/leak"] = lambda request, received: web.Response(
        status=500, text=f"{received.headers['authorization']}\r\n\x1b[31mp4ss {'x' * 5000}"
    )
    endpoint = {
        "uri": server.url("/leak?key=query-secret"),
        "authentication": {"basic": {"username": "u", "password": "p4ss"}},
    }

    fault = await fault_of(http.request(call, method="get", endpoint=endpoint))

    assert "***" in fault.detail
    assert not any(secret in fault.detail for secret in ("p4ss", "query-secret", "dTpwNHNz", "\n", "\x1b"))
    assert len(fault.detail) < 500


async def test_a_cut_detail_ends_with_no_piece_of_a_credential(server: Any, call: Call) -> None:
    """Credentials are struck out before the text is cut, not after."""
    server.routes["/leak"] = lambda request, received: web.Response(
        status=500, text="x" * 294 + received.headers["authorization"].removeprefix("Bearer ")
    )
    endpoint = {"uri": server.url("/leak"), "authentication": {"bearer": {"token": "canary-token"}}}

    fault = await fault_of(http.request(call, method="get", endpoint=endpoint))

    assert fault.detail.endswith("x***")


async def test_basic_and_bearer_are_checked_by_the_server(
    server: Any, make_call: Callable[..., Call]
) -> None:
    """The right credential opens, a wrong one gives 401, and the call is told what was used."""
    told: list[tuple[str, str]] = []
    call = make_call(told=told)
    basic = {
        "uri": server.url("/basic/ann/s%C3%BC%C3%9F"),
        "authentication": {"basic": {"username": "ann", "password": "süß"}},
    }
    bearer = {"uri": server.url("/bearer/abc"), "authentication": {"bearer": {"token": "abc"}}}
    wrong = {"uri": server.url("/bearer/abc"), "authentication": {"bearer": {"token": "abd"}}}

    assert {"authenticated": True} == await http.request(call, method="get", endpoint=basic)
    assert {"authenticated": True} == await http.request(call, method="get", endpoint=bearer)
    assert 401 == (await fault_of(http.request(call, method="get", endpoint=wrong))).status
    assert ("Basic", base64.b64encode("ann:süß".encode()).decode()) == told[0]
    assert [("Bearer", "abc"), ("Bearer", "abd")] == told[1:]


async def test_tls_reaches_a_mapped_host_under_its_own_name(server: Any, call: Call) -> None:
    """Address and port are mapped; the certificate is checked for, and Host names, the original."""
    answer = await http.request(call, method="get", endpoint="https://api.example/x")

    assert "api.example" == answer["headers"]["host"]


async def test_tls_refuses_a_certificate_for_another_name(server: Any, call: Call) -> None:
    """A mapped host whose certificate names another is refused, and trying again is no use."""
    fault = await fault_of(http.request(call, method="get", endpoint="https://wrong.example/x"))

    assert (ERROR_BASE + "communication", 502, False) == (fault.type, fault.status, fault.transient)
    assert "certificate" in fault.detail
    assert [] == server.received


async def test_tls_refuses_an_unknown_authority(server: Any, call: Call) -> None:
    """Without the test's authority the same server is not trusted."""
    strict = SystemNetwork([f"api.example:443=127.0.0.1:{server.tls_port}"])
    stranger = Call(run="r", task="/do/0", attempt=1, idempotency_key="k", network=strict)

    fault = await fault_of(http.request(stranger, method="get", endpoint="https://api.example/x"))

    assert "SSL_CERT_FILE" in fault.detail


async def test_a_literal_address_can_be_mapped_too(server: Any, make_call: Callable[..., Call]) -> None:
    """Nothing is looked up for a literal address, and still it is mapped, under its own name."""
    call = make_call(f"192.0.2.7:80=127.0.0.1:{server.port}")

    answer = await http.request(call, method="get", endpoint="http://192.0.2.7/x")

    assert "192.0.2.7" == answer["headers"]["host"]


async def test_nobody_listening_is_transient(call: Call) -> None:
    """A refused connection is a communication fault that says where, and may pass."""
    fault = await fault_of(http.request(call, method="get", endpoint="http://127.0.0.1:1/x"))

    assert (ERROR_BASE + "communication", 503, True) == (fault.type, fault.status, fault.transient)
    assert "127.0.0.1:1" in fault.detail


async def test_an_unknown_name_is_transient(call: Call) -> None:
    """A name that cannot be resolved is a communication fault that names it."""
    fault = await fault_of(http.request(call, method="get", endpoint="http://nowhere.invalid/x"))

    assert (503, True) == (fault.status, fault.transient)
    assert "nowhere.invalid" in fault.detail


async def test_no_answer_in_time_is_a_timeout_fault(server: Any, call: Call) -> None:
    """The limit `http_seconds` ends a call whose answer does not come."""
    client = await http_client.client_for(call.network)
    server.routes["/slow"] = lambda request, received: asyncio.Event().wait()

    with pytest.raises(Faulted) as caught:
        await client.send(http_client.Request(method="get", uri=server.url("/slow")), timeout_seconds=0.05)

    fault = caught.value.fault
    assert (ERROR_BASE + "timeout", 408, True) == (fault.type, fault.status, fault.transient)


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"]
)
async def test_a_broken_answer_is_a_communication_fault(call: Call, answer: bytes) -> None:
    """No answer, one that is not HTTP, and one that breaks off are faults with status 502."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as broken:
        port = broken.sockets[0].getsockname()[1]
        fault = await fault_of(http.request(call, method="post", endpoint=f"http://127.0.0.1:{port}/"))

    assert (ERROR_BASE + "communication", 502) == (fault.type, fault.status)


async def test_the_idempotency_key_goes_with_posts(server: Any, make_call: Callable[..., Call]) -> None:
    """POST and PATCH carry the action's key unless the author set one; other methods do not."""
    call = make_call(key="run-1/7")

    sent = {
        method: (await http.request(call, method=method, endpoint=server.url("/x")))["headers"].get(
            "idempotency-key"
        )
        for method in ("post", "patch", "put", "get", "delete")
    }
    own = await http.request(
        call, method="post", endpoint=server.url("/x"), headers={"IDEMPOTENCY-KEY": "mine"}
    )

    assert {"post": "run-1/7", "patch": "run-1/7", "put": None, "get": None, "delete": None} == sent
    assert "mine" == own["headers"]["idempotency-key"]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "a\r\nX-Admin: yes"},
        {"X-A": "a\nb"},
        {"X-A": "a\x00b"},
        {"X-A\r\nX-Admin": "yes"},
        {"X A": "b"},
        {"": "b"},
        {"Content-Length": "3"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close"},
    ],
)
async def test_header_injection_is_refused(server: Any, call: Call, headers: dict[str, str]) -> None:
    """A header with a line break, or one that frames the message, is a fault; nothing is sent."""
    fault = await fault_of(http.request(call, method="get", endpoint=server.url("/x"), headers=headers))

    assert (ERROR_BASE + "configuration", []) == (fault.type, server.received)


async def test_credentials_cannot_inject_headers(server: Any, call: Call) -> None:
    """A token with a line break is refused like any other header value."""
    endpoint = {"uri": server.url("/x"), "authentication": {"bearer": {"token": "a\r\nX-Admin: yes"}}}

    fault = await fault_of(http.request(call, method="get", endpoint=endpoint))

    assert (ERROR_BASE + "configuration", []) == (fault.type, server.received)


@pytest.mark.parametrize(
    ("uri", "word"),
    [
        ("/relative", "absolute"),
        ("ftp://a.example/x", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("http://", "no host"),
        ("http://u:p@a.example/", "authentication"),
        ("http://a.example\\@b.example/", "backslash"),
        ("http://a.example/\r\nX: y", "control"),
        ("http://a.example:99999/", "not a URI"),
        ("http://a_b c.example/", "no host can be called"),
        ("http://a.example/" + "x" * 9000, "uri_characters"),
        ("http://127.1/", "cannot be sent"),
        ("http://2130706433/", "cannot be sent"),
    ],
)
async def test_a_uri_that_cannot_be_called_is_a_configuration_fault(call: Call, uri: str, word: str) -> None:
    """Only http and https URIs of one unmistakable reading are called."""
    fault = await fault_of(http.request(call, method="get", endpoint=uri))

    assert ERROR_BASE + "configuration" == fault.type
    assert word in fault.detail


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://a.example", "http://a.example/"),
        ("https://A.Example:443/x", "https://a.example/x"),
        ("https://a.example:8443/x y/ü", "https://a.example:8443/x%20y/%C3%BC"),
        ("http://a.example/%2F%zz?q=é&r=%20", "http://a.example/%2F%25zz?q=%C3%A9&r=%20"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://a.example/../b#frag", "http://a.example/../b"),
    ],
)
def test_a_uri_goes_out_in_one_form(text: str, expected: str) -> None:
    """What may not stand in a URI is encoded, what is encoded stays, the fragment falls away."""
    assert expected == str(http_form.parse_uri(text))


async def test_a_large_body_is_not_sent(server: Any, call: Call) -> None:
    """A body over 4 MiB is a fault that names the limit; one of 4 MiB goes through."""
    largest = "x" * http_client.REQUEST_LIMIT_BYTES

    fault = await fault_of(http.request(call, method="post", endpoint=server.url("/x"), body=largest + "x"))
    server.routes["/x"] = lambda request, received: {"size": len(received.body)}

    assert "http_request_bytes" in fault.detail
    assert {"size": len(largest)} == await http.request(
        call, method="post", endpoint=server.url("/x"), body=largest
    )


async def test_a_large_answer_is_cut_off(server: Any, call: Call) -> None:
    """An answer over 16 MiB is a fault that names the limit; one of 16 MiB comes back."""
    limit = http_client.RESPONSE_LIMIT_BYTES

    fault = await fault_of(http.request(call, method="get", endpoint=server.url(f"/bytes/{limit + 1}")))
    whole = await http.request(call, method="get", endpoint=server.url(f"/bytes/{limit}"), output="raw")

    assert "http_response_bytes" in fault.detail
    assert limit == len(base64.b64decode(whole))


async def test_a_compression_bomb_stays_small(server: Any, call: Call) -> None:
    """64 MiB in 64 KiB are unpacked in pieces up to the limit, never as a whole."""
    client = await http_client.client_for(call.network)
    bomb = http_client.Request(method="get", uri=server.url("/bomb"))

    tracemalloc.start()
    with pytest.raises(Faulted, match="http_response_bytes"):
        await client.send(bomb, limit_bytes=1024 * 1024)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 4 * 1024 * 1024


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare"])
async def test_compressed_answers_are_unpacked(server: Any, call: Call, coding: str) -> None:
    """gzip (several members too) and both readings of deflate give the original bytes."""
    text = "".join(str(number) for number in range(100_000))
    half = len(text) // 2
    bare = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = {
        "gzip": gzip.compress(text[:half].encode()) + gzip.compress(text[half:].encode()),
        "deflate": zlib.compress(text.encode()),
        "bare": bare.compress(text.encode()) + bare.flush(),
    }[coding]
    server.routes["/packed"] = lambda request, received: web.Response(
        body=packed,
        headers={"Content-Encoding": "gzip" if coding == "gzip" else "deflate", "Content-Type": "text/plain"},
    )

    assert text == await http.request(call, method="get", endpoint=server.url("/packed"))


@pytest.mark.parametrize(
    ("cut", "coding", "word"),
    [(10, "gzip", "broke off"), (0, "gzip", ""), (None, "br", "unknown content encoding")],
)
async def test_bad_compression_is_a_fault(
    server: Any, call: Call, cut: int | None, coding: str, word: str
) -> None:
    """Compressed data that breaks off, or of a kind that was not asked for, is a communication fault."""
    packed = gzip.compress(b"hello hello hello")
    body = b"no gzip at all" if cut == 0 else packed[:cut]
    server.routes["/packed"] = lambda request, received: web.Response(
        body=body, headers={"Content-Encoding": coding}
    )

    fault = await fault_of(http.request(call, method="get", endpoint=server.url("/packed")))

    assert 502 == fault.status
    assert word in fault.detail


async def test_a_connection_is_used_again_and_no_cookies_are_kept(server: Any, call: Call) -> None:
    """Calls of one network share connections; a cookie set by one answer is not sent with the next."""
    peers: list[Any] = []

    def route(request: web.Request, received: Any) -> web.Response:
        peers.append(request.transport.get_extra_info("peername"))
        return web.json_response({}, headers={"Set-Cookie": "session=1"})

    server.routes["/peer"] = route
    for _ in range(3):
        await http.request(call, method="get", endpoint="http://api.example/peer")

    assert 1 == len(set(peers))
    assert not any("cookie" in request.headers for request in server.received)


def test_a_closing_loop_closes_its_connections(server: Any, make_call: Callable[..., Call]) -> None:
    """`asyncio.run` ends without open connections, and a second loop has a client of its own."""
    call = make_call()
    clients: list[http_client.HttpClient] = []

    async def once() -> None:
        await http.request(call, method="get", endpoint="https://api.example/x")
        clients.append(await http_client.client_for(call.network))

    asyncio.run(once())
    asyncio.run(once())

    assert clients[0] is not clients[1]
    assert [True, True] == [client.closed for client in clients]


async def test_proxies_from_the_environment_are_ignored(
    server: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy variable cannot take a call elsewhere."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert "GET" == (await http.request(call, method="get", endpoint=server.url("/x")))["method"]


@pytest.mark.parametrize("method", ["connect", "TRACE", "a b", ""])
async def test_a_method_that_cannot_be_sent_is_refused(server: Any, call: Call, method: str) -> None:
    """Methods are tokens; CONNECT and TRACE are no calls."""
    fault = await fault_of(http.request(call, method=method, endpoint=server.url("/x")))

    assert (ERROR_BASE + "configuration", []) == (fault.type, server.received)


@pytest.mark.parametrize(
    "authentication",
    [
        {},
        {"basic": {"username": "u"}},
        {"basic": {"username": "a:b", "password": "c"}},
        {"bearer": {}},
        {"bearer": {"token": "t"}, "basic": {"username": "u", "password": "p"}},
        {"use": "unresolved"},
        {"basic": "text"},
        "text",
    ],
)
async def test_authentication_that_cannot_be_used_is_a_configuration_fault(
    server: Any, call: Call, authentication: Any
) -> None:
    """An empty, doubled or half-filled `authentication` is an author's mistake, not a call without one."""
    endpoint = {"uri": server.url("/x"), "authentication": authentication}

    fault = await fault_of(http.request(call, method="get", endpoint=endpoint))

    assert (ERROR_BASE + "configuration", []) == (fault.type, server.received)
