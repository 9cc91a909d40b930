"""OAuth 2 and OpenID Connect: every grant and client authentication, against an authority that checks."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from aiohttp import web

from tenuto.connectors import http, oauth
from tenuto.errors import ERROR_BASE, Faulted
from tenuto.plugin import Call

SECRET = "s3cret & +/% of at least 32 bytes!"


async def fault_of(awaitable: Any) -> Any:
    """Return the fault that the awaitable raises."""
    with pytest.raises(Faulted) as caught:
        await awaitable
    return caught.value.fault


@dataclass
class Authority:
    """A token endpoint that checks what it is sent, and a service that checks the tokens."""

    server: Any
    answer: dict[str, Any] = field(default_factory=lambda: {"token_type": "bearer", "expires_in": 3600})
    requests: list[dict[str, list[str]]] = field(default_factory=list)
    valid: set[str] = field(default_factory=set)

    def token(self, request: web.Request, received: Any) -> Any:
        """Give a token to `client 1` if it proves who it is."""
        if received.headers["content-type"] == "application/json":
            asked = {
                name: value if isinstance(value, list) else [value] for name, value in received.json.items()
            }
        else:
            asked = parse_qs(received.body.decode(), strict_parsing=True)
        self.requests.append(asked)
        if not self.knows(asked, received.headers):
            return web.json_response({"error": "invalid_client", "error_description": "who?"}, status=401)
        token = self.answer.get("access_token") or f"token-{len(self.requests)}"
        self.valid.add(token)
        return {"access_token": token, **self.answer}

    def knows(self, asked: dict[str, list[str]], headers: dict[str, str]) -> bool:
        """Tell whether the client has proved that it is `client 1`."""
        if "authorization" in headers:
            text = base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode()
            return text == "client+1:s3cret+%26+%2B%2F%25+of+at+least+32+bytes%21"
        if "client_assertion" in asked:
            assertion = asked["client_assertion"][0]
            if assertion == "ready.made.assertion":
                return True
            claims = jwt.decode(
                assertion,
                SECRET,
                algorithms=["HS256"],
                audience=self.server.url("/auth/oauth2/token"),
                options={"require": ["exp", "iat", "jti", "iss", "sub", "aud"]},
            )
            return bool(claims["iss"] == claims["sub"] == "client 1")
        if "client_secret" in asked:
            return asked["client_id"] == ["client 1"] and asked["client_secret"] == [SECRET]
        return asked.get("client_id") == ["public"]

    def service(self, request: web.Request, received: Any) -> Any:
        """Let in whoever has a valid token."""
        token = received.headers.get("authorization", "").removeprefix("Bearer ")
        return {"token": token} if token in self.valid else web.Response(status=401)


@pytest.fixture
def authority(server: Any) -> Authority:
    """Run an authority at `/auth` and a service at `/service`."""
    authority = Authority(server)
    server.routes["/auth/oauth2/token"] = authority.token
    server.routes["/service"] = authority.service
    return authority


def endpoint(server: Any, scheme: str = "oauth2", /, **changes: Any) -> dict[str, Any]:
    """Return the service's endpoint, with client credentials unless changed."""
    properties = {
        "authority": server.url("/auth"),
        "grant": "client_credentials",
        "client": {"id": "client 1", "secret": SECRET},
        **changes,
    }
    return {"uri": server.url("/service"), "authentication": {scheme: properties}}


@pytest.mark.parametrize(
    "client",
    [
        {"id": "client 1", "secret": SECRET},
        *[
            {"id": "client 1", "secret": SECRET, "authentication": method}
            for method in ("client_secret_post", "client_secret_basic", "client_secret_jwt")
        ],
        {"id": "client 1", "assertion": "ready.made.assertion", "authentication": "private_key_jwt"},
        {"id": "public", "authentication": "none"},
    ],
)
@pytest.mark.parametrize("encoding", ["application/x-www-form-urlencoded", "application/json"])
async def test_every_client_authentication_is_accepted(
    server: Any,
    make_call: Callable[..., Call],
    authority: Authority,
    client: dict[str, Any],
    encoding: str,
) -> None:
    """The authority accepts each method, as a form and as JSON; a wrong secret is refused."""
    told: list[tuple[str, str]] = []
    good = endpoint(server, client=client, request={"encoding": encoding})

    answer = await http.request(make_call(told=told), method="get", endpoint=good)

    assert {"token": "token-1"} == answer
    assert [("Bearer", "token-1")] == told


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic", "client_secret_jwt", "none"])
async def test_a_wrong_secret_is_an_authentication_fault(
    server: Any, call: Call, authority: Authority, method: str
) -> None:
    """A refusal of the authority is an `authentication` error, 401, that says why and not the secret."""
    wrong = {"id": "client 1", "secret": "wrong-secret-that-is-long-enough-too", "authentication": method}
    if method == "client_secret_jwt":
        authority.knows = lambda asked, headers: False  # type: ignore[method-assign]

    fault = await fault_of(http.request(call, method="get", endpoint=endpoint(server, client=wrong)))

    assert (ERROR_BASE + "authentication", 401, False) == (fault.type, fault.status, fault.transient)
    assert "invalid_client who?" in fault.detail
    assert "wrong-secret" not in fault.detail
    assert "/service" not in server.paths()


@pytest.mark.parametrize(
    ("changes", "sent"),
    [
        (
            {"scopes": ["api", "read"], "audiences": ["a", "b"]},
            {"grant_type": ["client_credentials"], "scope": ["api read"], "audience": ["a", "b"]},
        ),
        (
            {"grant": "password", "username": "ann", "password": "p&w"},
            {"grant_type": ["password"], "username": ["ann"], "password": ["p&w"]},
        ),
        (
            {"grant": "refresh_token", "subject": {"token": "r1", "type": "refresh_token"}},
            {"grant_type": ["refresh_token"], "refresh_token": ["r1"]},
        ),
        (
            {"grant": "authorization_code", "subject": {"token": "c1", "type": "code"}},
            {"grant_type": ["authorization_code"], "code": ["c1"]},
        ),
        (
            {
                "grant": oauth.TOKEN_EXCHANGE,
                "subject": {"token": "s1", "type": "urn:ietf:params:oauth:token-type:jwt"},
                "actor": {"token": "a1", "type": "access_token"},
            },
            {
                "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
                "subject_token": ["s1"],
                "subject_token_type": ["urn:ietf:params:oauth:token-type:jwt"],
                "actor_token": ["a1"],
                "actor_token_type": ["urn:ietf:params:oauth:token-type:access_token"],
            },
        ),
    ],
)
async def test_every_grant_is_asked_for_as_its_rfc_says(
    server: Any, call: Call, authority: Authority, changes: dict[str, Any], sent: dict[str, list[str]]
) -> None:
    """The five grants send their own parameters, with scopes and audiences where given."""
    await http.request(call, method="get", endpoint=endpoint(server, **changes))

    assert {**sent, "client_id": ["client 1"], "client_secret": [SECRET]} == authority.requests[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grant": "implicit"}, "`authentication.oauth2.grant` must be one of"),
        ({"authority": ""}, "`authentication.oauth2.authority`"),
        ({"client": {"secret": SECRET}}, "`authentication.oauth2.client.id`"),
        ({"client": {"id": "client 1"}}, "`authentication.oauth2.client.secret`"),
        (
            {"client": {"id": "x", "authentication": "private_key_jwt"}},
            "`authentication.oauth2.client.assertion`",
        ),
        ({"client": {"id": "x", "authentication": "tls"}}, "`authentication.oauth2.client.authentication`"),
        ({"client": None}, "`authentication.oauth2.client.id`"),
        ({"grant": "password"}, "`authentication.oauth2.username`"),
        ({"grant": "refresh_token"}, "`authentication.oauth2.subject.token`"),
        (
            {"grant": oauth.TOKEN_EXCHANGE, "subject": {"type": "jwt"}},
            "`authentication.oauth2.subject.token`",
        ),
        ({"scopes": "api"}, "`authentication.oauth2.scopes` must be an array"),
        ({"request": {"encoding": "text/plain"}}, "`authentication.oauth2.request.encoding`"),
    ],
)
async def test_a_mistake_in_the_properties_is_named(
    server: Any, call: Call, authority: Authority, changes: dict[str, Any], words: str
) -> None:
    """What is missing or unknown is a `configuration` fault with its place, before anything is sent."""
    fault = await fault_of(http.request(call, method="get", endpoint=endpoint(server, **changes)))

    assert ERROR_BASE + "configuration" == fault.type
    assert words in fault.detail
    assert [] == server.received


async def test_a_token_is_fetched_once_for_many_calls(server: Any, call: Call, authority: Authority) -> None:
    """Calls at the same time and later ones share a token; other scopes have their own."""
    await asyncio.gather(*[http.request(call, method="get", endpoint=endpoint(server)) for _ in range(20)])
    await http.request(call, method="get", endpoint=endpoint(server))
    await http.request(call, method="get", endpoint=endpoint(server, scopes=["other"]))

    assert 2 == len(authority.requests)


@pytest.mark.parametrize("lifetime", [0, "0", -5])
async def test_an_expired_token_is_fetched_again(
    server: Any, call: Call, authority: Authority, lifetime: Any
) -> None:
    """A token whose lifetime is over is not used a second time."""
    authority.answer["expires_in"] = lifetime

    tokens = [(await http.request(call, method="get", endpoint=endpoint(server)))["token"] for _ in range(2)]

    assert ["token-1", "token-2"] == tokens


@pytest.mark.parametrize(
    ("answer", "value", "expected"),
    [
        ({"expires_in": 300}, "opaque", 300.0),
        ({"expires_in": "300"}, "opaque", 300.0),
        ({}, "opaque", oauth.TOKEN_UNKNOWN_LIFETIME_SECONDS),
        ({"expires_in": "soon"}, "a.b.c", oauth.TOKEN_UNKNOWN_LIFETIME_SECONDS),
    ],
)
def test_a_lifetime_is_read_from_the_answer(answer: dict[str, Any], value: str, expected: float) -> None:
    """`expires_in` counts; where nothing is said, a token is kept for a minute."""
    assert expected == oauth.lifetime_of(answer, value)


def test_a_lifetime_is_read_from_the_token_itself() -> None:
    """A JWT's `exp` is used where the answer does not say it."""
    token = jwt.encode({"exp": int(time.time()) + 500}, "k" * 32, algorithm="HS256")

    assert 490 < oauth.lifetime_of({}, token) <= 500


async def test_a_refused_token_is_replaced_once(server: Any, call: Call, authority: Authority) -> None:
    """A 401 for a token from memory fetches a new one and repeats; for a new one it is the answer."""
    await http.request(call, method="get", endpoint=endpoint(server))
    authority.valid.clear()

    again = await http.request(call, method="get", endpoint=endpoint(server))
    server.routes["/service"] = lambda request, received: web.Response(status=401)
    fault = await fault_of(http.request(call, method="get", endpoint=endpoint(server)))

    assert {"token": "token-2"} == again
    assert (ERROR_BASE + "communication", 401) == (fault.type, fault.status)
    assert 3 == len(authority.requests)


async def test_a_refresh_token_that_rotates_is_followed(
    server: Any, call: Call, authority: Authority
) -> None:
    """An authorization code is used once; from then on the newest refresh token is."""
    authority.answer.update(expires_in=0, refresh_token="r2")
    coded = endpoint(server, grant="authorization_code", subject={"token": "c1", "type": "code"})

    await http.request(call, method="get", endpoint=coded)
    await http.request(call, method="get", endpoint=coded)

    assert (["authorization_code"], ["refresh_token"], ["r2"]) == (
        authority.requests[0]["grant_type"],
        authority.requests[1]["grant_type"],
        authority.requests[1]["refresh_token"],
    )


def issued_by(issuer: str) -> str:
    """Return a JWT of that issuer."""
    return str(jwt.encode({"iss": issuer}, "k" * 32, algorithm="HS256"))


@pytest.mark.parametrize(
    ("token", "issuers", "words"),
    [
        (issued_by("https://good.example"), ["https://good.example", "https://other.example"], None),
        (issued_by("https://bad.example"), ["https://good.example"], "bad.example"),
        ("opaque", ["https://good.example"], "names no issuer"),
        ("opaque", [], None),
    ],
)
async def test_the_issuer_is_checked(
    server: Any, call: Call, authority: Authority, token: str, issuers: list[str], words: str | None
) -> None:
    """With `issuers`, a token of another issuer, or of none, is not used."""
    authority.answer["access_token"] = token
    request = http.request(call, method="get", endpoint=endpoint(server, issuers=issuers))

    if words is None:
        assert {"token": token} == await request
    else:
        fault = await fault_of(request)
        assert ERROR_BASE + "authentication" == fault.type
        assert words in fault.detail


@pytest.mark.parametrize(
    ("route", "kind", "status", "transient"),
    [
        (lambda request, received: web.Response(status=503), "communication", 503, True),
        (lambda request, received: web.Response(status=404), "authentication", 401, False),
        (lambda request, received: web.Response(text="<html>"), "authentication", 401, False),
        (lambda request, received: {"token": "x"}, "authentication", 401, False),
        (lambda request, received: {"access_token": "x", "token_type": "mac"}, "authentication", 401, False),
        (lambda request, received: web.Response(text="x" * 300_000), "communication", 502, False),
    ],
)
async def test_an_authority_that_gives_no_token(
    server: Any, call: Call, authority: Authority, route: Any, kind: str, status: int, transient: bool
) -> None:
    """A broken authority is a communication fault, a useless answer an authentication fault."""
    server.routes["/auth/oauth2/token"] = route

    fault = await fault_of(http.request(call, method="get", endpoint=endpoint(server)))

    assert (ERROR_BASE + kind, status, transient) == (fault.type, fault.status, fault.transient)


@pytest.mark.parametrize("path", ["/elsewhere/token", "elsewhere/token"])
async def test_the_token_endpoint_is_relative_to_the_authority(
    server: Any, call: Call, authority: Authority, path: str
) -> None:
    """`endpoints.token` is appended to the authority's path; it defaults to `/oauth2/token`."""
    server.routes["/auth/elsewhere/token"] = authority.token

    await http.request(call, method="get", endpoint=endpoint(server, endpoints={"token": path}))

    assert ["/auth/elsewhere/token", "/service"] == server.paths()


@pytest.mark.parametrize("suffix", ["", "/", "/.well-known/openid-configuration"])
async def test_oidc_discovers_the_token_endpoint(
    server: Any, call: Call, authority: Authority, suffix: str
) -> None:
    """The authority's own document names the endpoint; it is read once for many tokens."""
    server.routes["/auth/token"] = authority.token
    server.routes["/auth/.well-known/openid-configuration"] = lambda request, received: {
        "issuer": server.url("/auth"),
        "token_endpoint": server.url("/auth/token"),
    }
    properties = {"authority": server.url("/auth") + suffix, "issuers": [server.url("/auth")]}

    await http.request(call, method="get", endpoint=endpoint(server, "oidc", **properties))
    await http.request(call, method="get", endpoint=endpoint(server, "oidc", scopes=["x"], **properties))

    assert [
        "/auth/.well-known/openid-configuration",
        "/auth/token",
        "/service",
        "/auth/token",
        "/service",
    ] == server.paths()


@pytest.mark.parametrize(
    ("described", "words"),
    [({}, "names no `token_endpoint`"), ({"token_endpoint": "http://api.example/token"}, "not https")],
)
async def test_a_discovery_that_cannot_be_trusted_is_refused(
    server: Any, call: Call, described: dict[str, Any], words: str
) -> None:
    """A document without an endpoint, or one that leads out of TLS, gives no token and gets no secret."""
    server.routes["/.well-known/openid-configuration"] = lambda request, received: described

    fault = await fault_of(
        http.request(call, method="get", endpoint=endpoint(server, "oidc", authority="https://api.example"))
    )

    assert ERROR_BASE + "authentication" == fault.type
    assert words in fault.detail
    assert ["/.well-known/openid-configuration"] == server.paths()


async def test_a_cancelled_fetch_does_not_take_others_with_it(
    server: Any, call: Call, authority: Authority
) -> None:
    """If the call that fetches is cancelled, the ones that wait fetch for themselves."""
    arrived, slow = asyncio.Event(), True
    loop = asyncio.get_running_loop()

    async def route(request: web.Request, received: Any) -> Any:
        nonlocal slow
        if slow:
            slow = False
            loop.call_soon_threadsafe(arrived.set)
            await asyncio.Event().wait()
        return web.json_response(authority.token(request, received))

    server.routes["/auth/oauth2/token"] = route
    first = asyncio.create_task(http.request(call, method="get", endpoint=endpoint(server)))
    await arrived.wait()
    second = asyncio.create_task(http.request(call, method="get", endpoint=endpoint(server)))
    first.cancel()

    assert {"token": "token-1"} == await second
    assert first.cancelled()


def test_a_client_assertion_is_a_standard_jwt() -> None:
    """Another library verifies the assertion and finds RFC 7523's claims."""
    now = int(time.time())

    assertion = oauth.client_assertion("c", "k" * 32, "https://a.example/token", issued=now, identifier="j1")

    assert {
        "iss": "c",
        "sub": "c",
        "aud": "https://a.example/token",
        "jti": "j1",
        "iat": now,
        "exp": now + 60,
    } == jwt.decode(assertion, "k" * 32, algorithms=["HS256"], audience="https://a.example/token")
    assert {"alg": "HS256", "typ": "JWT"} == json.loads(
        base64.urlsafe_b64decode(assertion.split(".")[0] + "==")
    )
