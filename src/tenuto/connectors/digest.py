"""HTTP Digest access authentication (RFC 7616), with MD5, SHA-256 and SHA-512-256."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections import OrderedDict
from typing import Final
from urllib.parse import quote
from weakref import WeakKeyDictionary

import msgspec

from tenuto.connectors.http_client import HttpClient, Incoming, Request
from tenuto.connectors.http_form import parse_uri
from tenuto.plugin import Call, configuration_fault

CHALLENGE_LIMIT: Final = 256

# Strongest first; the names are RFC 7616's, the values what hashlib calls them.
_ALGORITHMS: Final = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}
_SCHEME: Final = re.compile(r"\s*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:\s+|$)")
_PARAMETER: Final = re.compile(
    r'[\s,]*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?=,|$)', re.DOTALL
)


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """What a server asks for: one `WWW-Authenticate: Digest` challenge that we can answer."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    named: bool = False
    qop: str = ""
    opaque: str | None = None
    userhash: bool = False


def parse_challenges(header: str) -> list[tuple[str, dict[str, str]]]:
    """Return the scheme and parameters of each challenge in a `WWW-Authenticate` header.

    >>> parse_challenges('Basic realm="a", Digest realm="b, c", nonce=x')
    [('basic', {'realm': 'a'}), ('digest', {'realm': 'b, c', 'nonce': 'x'})]
    """
    challenges: list[tuple[str, dict[str, str]]] = []
    position = 0
    while position < len(header):
        parameter = _PARAMETER.match(header, position)
        if parameter and challenges:
            name, quoted, bare = parameter.groups()
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
            challenges[-1][1].setdefault(name.lower(), value)
            position = parameter.end()
            continue
        scheme = _SCHEME.match(
            header, position + len(header[position:]) - len(header[position:].lstrip(" \t,"))
        )
        if not scheme:
            break
        challenges.append((scheme.group(1).lower(), {}))
        position = scheme.end()
    return challenges


def choose(headers: list[str]) -> Challenge | None:
    """Return the strongest Digest challenge that can be answered, or None."""
    offered: list[tuple[int, Challenge]] = []
    for scheme, parameters in (item for header in headers for item in parse_challenges(header)):
        if scheme != "digest" or "nonce" not in parameters:
            continue
        algorithm = parameters.get("algorithm", "MD5")
        base = algorithm.upper().removesuffix("-SESS")
        qops = [item.strip().lower() for item in parameters.get("qop", "").split(",") if item.strip()]
        qop = next((name for name in ("auth", "auth-int") if name in qops), "")
        if _ALGORITHMS.get(base) not in hashlib.algorithms_available or (qops and not qop):
            continue
        challenge = Challenge(
            realm=parameters.get("realm", ""),
            nonce=parameters["nonce"],
            algorithm=algorithm,
            named="algorithm" in parameters,
            qop=qop,
            opaque=parameters.get("opaque"),
            userhash=parameters.get("userhash", "").lower() == "true",
        )
        offered.append((list(_ALGORITHMS).index(base), challenge))
    return min(offered, key=lambda item: item[0])[1] if offered else None


def respond(
    challenge: Challenge,
    *,
    username: str,
    password: str,
    method: str,
    uri: str,
    body: bytes = b"",
    cnonce: str,
    count: int = 1,
) -> str:
    """Return the parameter of the `Authorization: Digest` header that answers a challenge.

    `uri` is the request target as it stands in the request line; `count` says how often this
    nonce was used, this time included.
    """
    base = challenge.algorithm.upper().removesuffix("-SESS")
    session = challenge.algorithm.upper().endswith("-SESS")

    def digest(data: str | bytes) -> str:
        octets = data.encode() if isinstance(data, str) else data
        return hashlib.new(_ALGORITHMS[base], octets, usedforsecurity=False).hexdigest()

    identity = digest(f"{username}:{challenge.realm}:{password}")
    if session:
        identity = digest(f"{identity}:{challenge.nonce}:{cnonce}")
    action = f"{method}:{uri}" + (f":{digest(body)}" if challenge.qop == "auth-int" else "")
    uses = f"{count:08x}"
    middle = f"{challenge.nonce}:{uses}:{cnonce}:{challenge.qop}" if challenge.qop else challenge.nonce
    response = digest(f"{identity}:{middle}:{digest(action)}")

    parts: list[str] = []
    if challenge.userhash:
        parts += [_quoted("username", digest(f"{username}:{challenge.realm}"))]
    elif username.isascii():
        parts += [_quoted("username", username)]
    else:
        parts += [f"username*=UTF-8''{quote(username, safe='')}"]
    parts += [_quoted("realm", challenge.realm), _quoted("uri", uri)]
    if challenge.named:
        parts += [f"algorithm={challenge.algorithm}"]
    parts += [_quoted("nonce", challenge.nonce)]
    if challenge.qop:
        parts += [f"nc={uses}", _quoted("cnonce", cnonce), f"qop={challenge.qop}"]
    elif session:
        parts += [_quoted("cnonce", cnonce)]
    parts += [_quoted("response", response)]
    if challenge.opaque is not None:
        parts += [_quoted("opaque", challenge.opaque)]
    if challenge.userhash:
        parts += ["userhash=true"]
    return ", ".join(parts)


def _quoted(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{escaped}"'


_KNOWN: Final[WeakKeyDictionary[HttpClient, OrderedDict[tuple[str, str, str], tuple[Challenge, int]]]] = (
    WeakKeyDictionary()
)


class DigestCredential:
    """Answers Digest challenges; a server's last challenge is answered beforehand the next time."""

    def __init__(self, call: Call, client: HttpClient, username: str, password: str) -> None:
        if any(ord(character) < 32 for character in username):
            raise configuration_fault("`authentication.digest.username` holds a control character")
        self._call = call
        self._username = username
        self._password = password
        self._known = _KNOWN.setdefault(client, OrderedDict())

    async def first(self, request: Request, /) -> Request:
        """Return the request, with an answer if the server's challenge is known from before."""
        known = self._known.get(self._key(request))
        return self._answered(request, *known) if known else request

    async def again(self, request: Request, refused: Incoming, /) -> Request | None:
        """Return the request with an answer to the challenge that came with the refusal."""
        headers = [value for name, value in refused.headers if name.lower() == "www-authenticate"]
        challenge = choose(headers)
        if challenge is None:
            return None
        known = self._known.get(self._key(request))
        # A server that gives the same nonce again still expects its uses to be counted on.
        used = known[1] if known and known[0].nonce == challenge.nonce else 0
        return self._answered(request, challenge, used)

    def _answered(self, request: Request, challenge: Challenge, used: int) -> Request:
        key = self._key(request)
        self._known[key] = (challenge, used + 1)
        self._known.move_to_end(key)
        while len(self._known) > CHALLENGE_LIMIT:
            self._known.popitem(last=False)
        parameter = respond(
            challenge,
            username=self._username,
            password=self._password,
            method=request.method.upper(),
            uri=parse_uri(request.uri).raw_path_qs,
            body=request.body or b"",
            cnonce=secrets.token_hex(16),
            count=used + 1,
        )
        self._call.authorized("Digest", parameter)
        return request.with_header("Authorization", f"Digest {parameter}")

    def _key(self, request: Request) -> tuple[str, str, str]:
        url = parse_uri(request.uri)
        return str(url.origin()), self._username, self._password
