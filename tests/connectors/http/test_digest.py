"""HTTP Digest: the vectors of RFC 7616 and RFC 2617, and a server that really checks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from tenuto.connectors import digest, http
from tenuto.errors import Faulted
from tenuto.plugin import Call

NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
OPAQUE = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
HEADERS = [
    f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
    f'nonce="{NONCE}", opaque="{OPAQUE}"'
    for algorithm in ("SHA-256", "MD5")
]


def parameters_of(parameter: str) -> dict[str, str]:
    """Return the parameters of an answer, read by a parser of the test's own."""
    found = re.findall(r'([\w*]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', parameter)
    return {name: quoted or bare for name, quoted, bare in found}


@pytest.mark.parametrize(
    ("header", "response"),
    [
        (HEADERS[1], "8ca523f5e9506fed4657c9700eebdbec"),
        (HEADERS[0], "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_answers_of_rfc_7616_section_3_9_1(header: str, response: str) -> None:
    """Mufasa's answers in MD5 and SHA-256 are the RFC's."""
    challenge = digest.choose([header])
    assert challenge is not None

    answer = parameters_of(
        digest.respond(
            challenge,
            username="Mufasa",
            password="Circle of Life",
            method="GET",
            uri="/dir/index.html",
            cnonce=CNONCE,
        )
    )

    assert {
        "username": "Mufasa",
        "realm": "http-auth@example.org",
        "uri": "/dir/index.html",
        "algorithm": challenge.algorithm,
        "nonce": NONCE,
        "nc": "00000001",
        "cnonce": CNONCE,
        "qop": "auth",
        "response": response,
        "opaque": OPAQUE,
    } == answer


def test_the_hashed_user_name_of_rfc_7616_section_3_9_2() -> None:
    """With `userhash` the name goes as the RFC's hash of it, in SHA-512-256."""
    header = (
        'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, '
        'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", '
        'opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true'
    )
    challenge = digest.choose([header])
    assert challenge is not None

    answer = parameters_of(
        digest.respond(
            challenge,
            username="Jäsøn Doe",
            password="Secret, or not?",
            method="GET",
            uri="/doe.json",
            cnonce="NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm",
        )
    )

    realm_hash = hashlib.new("sha512_256", "Jäsøn Doe:api@example.org".encode()).hexdigest()
    assert (realm_hash, "true") == (answer["username"], answer["userhash"])


def test_the_answer_of_rfc_2617() -> None:
    """A challenge without an algorithm means MD5 and is answered without naming one."""
    header = (
        'Digest realm="testrealm@host.com", qop="auth,auth-int", '
        'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    challenge = digest.choose([header])
    assert challenge is not None

    answer = parameters_of(
        digest.respond(
            challenge,
            username="Mufasa",
            password="Circle Of Life",
            method="GET",
            uri="/dir/index.html",
            cnonce="0a4f113b",
        )
    )

    assert "6629fae49393a05397450978507c4ef1" == answer["response"]
    assert "algorithm" not in answer


def test_the_strongest_challenge_is_answered() -> None:
    """Of several challenges, in one header or more, the strongest algorithm is chosen."""
    together = 'Basic realm="x, y", ' + HEADERS[1] + ", " + HEADERS[0]

    chosen = [digest.choose(headers) for headers in (HEADERS, HEADERS[::-1], [together])]

    assert ["SHA-256"] * 3 == [challenge.algorithm for challenge in chosen if challenge]


@pytest.mark.parametrize(
    "header",
    [
        'Basic realm="a"',
        'Digest realm="a"',
        'Digest realm="a", nonce="b", algorithm=SHA-1',
        'Digest realm="a", nonce="b", qop="auth-new"',
        "",
        '===,,,"',
        "Digest",
    ],
)
def test_what_cannot_be_answered_is_left(header: str) -> None:
    """Other schemes, unknown algorithms and broken headers give no answer, and no error."""
    assert digest.choose([header]) is None


class Guard:
    """A server's side of Digest, written from the RFC without the code under test."""

    def __init__(self, algorithm: str | None = None, qop: str | None = "auth") -> None:
        self.algorithm = algorithm
        self.qop = qop
        self.nonces = ["nonce-1"]
        self.seen: list[tuple[str, str]] = []

    def hashed(self, text: bytes) -> str:
        """Return a hash by the guard's algorithm."""
        name = (self.algorithm or "MD5").removesuffix("-sess")
        return hashlib.new(
            {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}[name], text
        ).hexdigest()

    def challenge(self) -> web.Response:
        """Return a refusal with a challenge."""
        parts = ['realm="r \\"q\\""', f'nonce="{self.nonces[-1]}"']
        parts += [f"algorithm={self.algorithm}"] if self.algorithm else []
        parts += [f'qop="{self.qop}"'] if self.qop else []
        return web.Response(status=401, headers={"WWW-Authenticate": "Digest " + ", ".join(parts)})

    def __call__(self, request: web.Request, received: Any) -> Any:
        """Check the credential of a request; user `ann`, password `pä:ss`."""
        header = received.headers.get("authorization", "")
        given = parameters_of(header.removeprefix("Digest "))
        if not given or given["nonce"] != self.nonces[-1]:
            return self.challenge()
        use = (given["nonce"], given.get("nc", ""))
        if self.qop and use in self.seen:
            return web.Response(status=400, text="replay")
        self.seen.append(use)
        first = self.hashed('ann:r "q":pä:ss'.encode())
        if (self.algorithm or "").endswith("-sess"):
            first = self.hashed(f"{first}:{given['nonce']}:{given['cnonce']}".encode())
        action = f"{received.method}:{given['uri']}".encode()
        if given.get("qop") == "auth-int":
            action += b":" + self.hashed(received.body).encode()
        parts = [first, given["nonce"]]
        parts += [given["nc"], given["cnonce"], given["qop"]] if "qop" in given else []
        good = self.hashed(":".join([*parts, self.hashed(action)]).encode()) == given["response"]
        return {"in": good} if good and given["uri"] == received.path else self.challenge()


def endpoint(server: Any, password: str = "pä:ss") -> dict[str, Any]:
    """Return the guarded endpoint with a credential."""
    return {
        "uri": server.url("/guarded?a=b%20c"),
        "authentication": {"digest": {"username": "ann", "password": password}},
    }


@pytest.mark.parametrize("algorithm", [None, "MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256"])
@pytest.mark.parametrize("qop", [None, "auth", "auth-int", "auth-int, auth"])
async def test_a_server_that_checks_lets_the_right_password_in(
    server: Any, make_call: Callable[..., Call], algorithm: str | None, qop: str | None
) -> None:
    """Every algorithm and quality of protection is answered, with a body too; a wrong password is not let in."""
    told: list[tuple[str, str]] = []
    guard = server.routes["/guarded"] = Guard(algorithm, qop)

    good = await http.request(make_call(told=told), method="post", endpoint=endpoint(server), body={"a": 1})
    guard.nonces.append("nonce-2")
    with pytest.raises(Faulted) as caught:
        await http.request(make_call(), method="post", endpoint=endpoint(server, "wrong"), body={"a": 1})

    assert ({"in": True}, 401) == (good, caught.value.fault.status)
    assert ["Digest"] == [scheme for scheme, _ in told]


async def test_a_known_challenge_is_answered_at_once(server: Any, call: Call) -> None:
    """The second call needs one exchange, counts its uses, and a new nonce is taken up."""
    guard = Guard("SHA-256")
    server.routes["/guarded"] = guard

    for _ in range(3):
        await http.request(call, method="get", endpoint=endpoint(server))
    guard.nonces.append("nonce-2")
    await http.request(call, method="get", endpoint=endpoint(server))

    assert [
        ("nonce-1", "00000001"),
        ("nonce-1", "00000002"),
        ("nonce-1", "00000003"),
        ("nonce-2", "00000001"),
    ] == (guard.seen)
    assert 6 == len(server.received)
