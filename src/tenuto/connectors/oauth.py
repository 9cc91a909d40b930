"""Access tokens from OAuth 2 and OpenID Connect authorities, kept in memory until they expire."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit
from weakref import WeakKeyDictionary

import msgspec

from tenuto.connectors.arguments import object_of, text_of, texts_of
from tenuto.connectors.content import FORM, JSON, excerpt
from tenuto.connectors.http_client import HttpClient, Incoming, Request, Response
from tenuto.connectors.http_form import place_of
from tenuto.plugin import Call, authentication_fault, communication_fault, configuration_fault

TOKEN_LIMIT: Final = 1024
TOKEN_RESPONSE_LIMIT_BYTES: Final = 256 * 1024
TOKEN_MARGIN_SECONDS: Final = 30.0
TOKEN_UNKNOWN_LIFETIME_SECONDS: Final = 60.0
_FAR: Final = 1e12  # as good as never, and a float
DISCOVERY_SECONDS: Final = 600.0
ASSERTION_SECONDS: Final = 60

TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  # a name
GRANTS: Final = ("authorization_code", "client_credentials", "password", "refresh_token", TOKEN_EXCHANGE)
CLIENT_METHODS: Final = (
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "none",
)
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:"  # noqa: S105  # the name of a type
_WELL_KNOWN: Final = "/.well-known/openid-configuration"

Pairs = list[tuple[str, str]]


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """An access token; `until` is on the event loop's clock, the margin already taken off."""

    scheme: str
    value: str
    until: float
    refresh: str | None = None


class _Slot:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.token: Token | None = None


class TokenStore:
    """The tokens of one client; one fetch at a time for each kind of token."""

    def __init__(self) -> None:
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self.discovered: dict[str, tuple[float, dict[str, Any]]] = {}

    def slot(self, key: str) -> _Slot:
        """Return the place for the token of that key, making one if need be."""
        slot = self._slots.setdefault(key, _Slot())
        self._slots.move_to_end(key)
        while len(self._slots) > TOKEN_LIMIT:
            self._slots.popitem(last=False)
        return slot


_STORES: Final[WeakKeyDictionary[HttpClient, TokenStore]] = WeakKeyDictionary()


class TokenCredential:
    """A bearer token obtained as `oauth2` or `oidc` properties say."""

    def __init__(
        self, call: Call, client: HttpClient, properties: Mapping[str, Any], *, discover: bool
    ) -> None:
        self._call = call
        self._client = client
        self._properties = properties
        self._where = "authentication.oidc" if discover else "authentication.oauth2"
        self._discover = discover
        self._store = _STORES.setdefault(client, TokenStore())
        described = msgspec.json.encode([discover, properties], order="deterministic")
        self._slot = self._store.slot(hashlib.sha256(described).hexdigest())
        self._used: Token | None = None
        self._fetched = False

    async def first(self, request: Request, /) -> Request:
        """Return the request with a token, fetched unless one is at hand."""
        return self._with(request, await self._token())

    async def again(self, request: Request, _refused: Incoming, /) -> Request | None:
        """Return the request with a new token if the refused one came from memory."""
        if self._fetched:
            return None
        return self._with(request, await self._token(refused=self._used))

    def _with(self, request: Request, token: Token) -> Request:
        self._used = token
        self._call.authorized(token.scheme, token.value)
        return request.with_header("Authorization", f"{token.scheme} {token.value}")

    async def _token(self, refused: Token | None = None) -> Token:
        async with self._slot.lock:
            token = self._slot.token
            now = asyncio.get_running_loop().time()
            if token is not None and token is not refused and token.until > now:
                return token
            self._slot.token = await self._fetch(token.refresh if token else None)
            self._fetched = True
            return self._slot.token

    async def _fetch(self, refresh: str | None) -> Token:
        endpoint, issuer = await self._endpoint()
        response = await self._client.send(
            token_request(endpoint, self._properties, self._where, refresh=refresh),
            limit_bytes=TOKEN_RESPONSE_LIMIT_BYTES,
        )
        answer = _answer_of(response, "token request")
        token = _token_of(answer, place_of(endpoint), asyncio.get_running_loop().time(), refresh)
        _check_issuer(texts_of(self._properties, "issuers", self._where), answer, issuer)
        return token

    async def _endpoint(self) -> tuple[str, str | None]:
        """Return the token endpoint, and the authority's own name if it was discovered."""
        authority = text_of(self._properties, "authority", self._where).rstrip("/")
        if not self._discover:
            path = object_of(self._properties, "endpoints", self._where).get("token") or "/oauth2/token"
            return resolve_endpoint(authority, str(path)), None
        uri = authority if authority.endswith(_WELL_KNOWN) else authority + _WELL_KNOWN
        described = await self._described(uri)
        endpoint = described.get("token_endpoint")
        if not isinstance(endpoint, str):
            raise authentication_fault(f"{uri} names no `token_endpoint`")
        if urlsplit(uri).scheme == "https" and urlsplit(endpoint).scheme != "https":
            raise authentication_fault(
                f"{uri} names the token endpoint {place_of(endpoint)}, which is not https"
            )
        issuer = described.get("issuer")
        return endpoint, issuer if isinstance(issuer, str) else None

    async def _described(self, uri: str) -> dict[str, Any]:
        now = asyncio.get_running_loop().time()
        known = self._store.discovered.get(uri)
        if known and known[0] > now:
            return known[1]
        request = Request(method="GET", uri=uri, headers=(("Accept", JSON),))
        response = await self._client.send(request, limit_bytes=TOKEN_RESPONSE_LIMIT_BYTES)
        answer = _answer_of(response, "discovery")
        if len(self._store.discovered) >= TOKEN_LIMIT:
            self._store.discovered.clear()
        self._store.discovered[uri] = (now + DISCOVERY_SECONDS, answer)
        return answer


def resolve_endpoint(authority: str, path: str) -> str:
    """Return the URI of an authority's endpoint, which is given relative to it.

    >>> resolve_endpoint("https://id.example/realms/a", "/oauth2/token")
    'https://id.example/realms/a/oauth2/token'
    """
    if path.startswith(("http://", "https://")):
        return path
    return authority.rstrip("/") + "/" + path.lstrip("/")


def token_request(
    endpoint: str, properties: Mapping[str, Any], where: str, *, refresh: str | None = None
) -> Request:
    """Return the request for a token: grant, scopes, audiences and the client's authentication.

    `refresh` is a refresh token from an earlier answer, for the grants whose own token can be
    used only once.
    """
    pairs = _grant_pairs(properties, where, refresh)
    if scopes := texts_of(properties, "scopes", where):
        pairs.append(("scope", " ".join(scopes)))
    pairs += [("audience", audience) for audience in texts_of(properties, "audiences", where)]
    headers, client_pairs = _client_pairs(object_of(properties, "client", where), f"{where}.client", endpoint)
    pairs += client_pairs
    encoding = object_of(properties, "request", where).get("encoding", FORM)
    if encoding == FORM:
        body = urlencode(pairs).encode()
    elif encoding == JSON:
        body = msgspec.json.encode(_as_object(pairs))
    else:
        raise configuration_fault(f"`{where}.request.encoding` must be {FORM} or {JSON}, not {encoding!r}")
    return Request(
        method="POST",
        uri=endpoint,
        headers=(*headers, ("Accept", JSON), ("Content-Type", encoding)),
        body=body,
    )


def _as_object(pairs: Pairs) -> dict[str, str | list[str]]:
    names = OrderedDict.fromkeys(name for name, _ in pairs)
    grouped = {name: [value for key, value in pairs if key == name] for name in names}
    return {name: values[0] if len(values) == 1 else values for name, values in grouped.items()}


def _grant_pairs(properties: Mapping[str, Any], where: str, refresh: str | None) -> Pairs:
    grant = properties.get("grant")
    if grant in ("authorization_code", "refresh_token") and refresh:
        return [("grant_type", "refresh_token"), ("refresh_token", refresh)]
    match grant:
        case "client_credentials":
            return [("grant_type", grant)]
        case "password":
            return [
                ("grant_type", grant),
                ("username", text_of(properties, "username", where)),
                ("password", text_of(properties, "password", where)),
            ]
        case "authorization_code":
            return [("grant_type", grant), ("code", _subject(properties, where)[0])]
        case "refresh_token":
            return [("grant_type", grant), ("refresh_token", _subject(properties, where)[0])]
        case str() if grant == TOKEN_EXCHANGE:
            token, kind = _subject(properties, where)
            pairs = [
                ("grant_type", grant),
                ("subject_token", token),
                ("subject_token_type", _token_type(kind)),
            ]
            if actor := object_of(properties, "actor", where):
                pairs.append(("actor_token", text_of(actor, "token", f"{where}.actor")))
                pairs.append(("actor_token_type", _token_type(text_of(actor, "type", f"{where}.actor"))))
            return pairs
        case _:
            raise configuration_fault(f"`{where}.grant` must be one of {', '.join(GRANTS)}, not {grant!r}")


def _subject(properties: Mapping[str, Any], where: str) -> tuple[str, str]:
    subject = object_of(properties, "subject", where)
    if not subject:
        raise configuration_fault(
            f"the grant {properties.get('grant')} needs `{where}.subject.token`: "
            "the authorization code, refresh token or security token to hand in"
        )
    return text_of(subject, "token", f"{where}.subject"), str(subject.get("type") or "access_token")


def _token_type(kind: str) -> str:
    """Return a token type as RFC 8693 spells it; the short names of that RFC are admitted."""
    return kind if ":" in kind else _TOKEN_TYPE + kind


def _client_pairs(client: Mapping[str, Any], where: str, endpoint: str) -> tuple[Pairs, Pairs]:
    """Return the headers and the body pairs that authenticate the client."""
    method = client.get("authentication") or "client_secret_post"
    if method not in CLIENT_METHODS:
        raise configuration_fault(
            f"`{where}.authentication` must be one of {', '.join(CLIENT_METHODS)}, not {method!r}"
        )
    if method == "none":
        return [], [("client_id", str(client["id"]))] if client.get("id") else []
    name = text_of(client, "id", where)
    if method == "private_key_jwt":
        assertion = text_of(client, "assertion", where)
    else:
        secret = text_of(client, "secret", where)
        if method == "client_secret_post":
            return [], [("client_id", name), ("client_secret", secret)]
        if method == "client_secret_basic":
            credential = base64.b64encode(f"{quote_plus(name)}:{quote_plus(secret)}".encode()).decode()
            return [("Authorization", f"Basic {credential}")], []
        assertion = client_assertion(
            name, secret, endpoint, issued=int(time.time()), identifier=secrets.token_hex(16)
        )
    return [], [
        ("client_id", name),
        ("client_assertion_type", _ASSERTION_TYPE),
        ("client_assertion", assertion),
    ]


def client_assertion(client: str, secret: str, audience: str, *, issued: int, identifier: str) -> str:
    """Return the JWT (HS256) by which a client proves that it knows its secret (RFC 7523)."""
    claims = {
        "iss": client,
        "sub": client,
        "aud": audience,
        "jti": identifier,
        "iat": issued,
        "exp": issued + ASSERTION_SECONDS,
    }
    header = {"alg": "HS256", "typ": "JWT"}
    signed = ".".join(_base64url(msgspec.json.encode(part)) for part in (header, claims))
    signature = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_base64url(signature)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _answer_of(response: Response, what: str) -> dict[str, Any]:
    """Return the JSON object of an authority's answer, or raise what fits its status."""
    place = place_of(response.uri)
    try:
        answer = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        answer = None
    if 200 <= response.status <= 299:
        if isinstance(answer, dict):
            return answer
        raise authentication_fault(f"the {what} to {place} was not answered with a JSON object")
    said = ""
    if isinstance(answer, dict):
        said = " ".join(str(answer[name]) for name in ("error", "error_description") if answer.get(name))
    detail = f"the {what} to {place} was refused with status {response.status}" + (
        f": {excerpt(said)}" if said else ""
    )
    if response.status in (408, 425, 429) or response.status >= 500:
        raise communication_fault(detail, response.status, transient=True)
    raise authentication_fault(detail)


def _token_of(answer: dict[str, Any], place: str, now: float, refresh: str | None) -> Token:
    value = answer.get("access_token")
    if not isinstance(value, str) or not value:
        raise authentication_fault(f"the answer of {place} holds no `access_token`")
    kind = str(answer.get("token_type") or "Bearer")
    if kind.lower() not in ("bearer", "n_a"):
        raise authentication_fault(
            f"the answer of {place} holds a token of type {kind!r}; only Bearer can be used"
        )
    lifetime = lifetime_of(answer, value)
    renewed = answer.get("refresh_token")
    return Token(
        scheme="Bearer",
        value=value,
        until=now + lifetime - min(TOKEN_MARGIN_SECONDS, lifetime / 10),
        refresh=renewed if isinstance(renewed, str) and renewed else refresh,
    )


def lifetime_of(answer: dict[str, Any], value: str) -> float:
    """Return for how many seconds a token can be used, as its answer or the token itself says."""
    try:
        return max(0.0, float(answer["expires_in"]))
    except (KeyError, OverflowError, TypeError, ValueError):
        expiry = claims_of(value).get("exp")
        if isinstance(expiry, int | float):
            return max(0.0, min(expiry, _FAR) - time.time())
        return TOKEN_UNKNOWN_LIFETIME_SECONDS


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a JWT without checking its signature; empty if it is none.

    The token came straight from the authority over a connection whose name was checked, which
    is what OpenID Connect Core 3.1.3.7 accepts in place of the signature.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _check_issuer(issuers: list[str], answer: dict[str, Any], discovered: str | None) -> None:
    if not issuers:
        return
    named = [claims_of(str(answer.get(kind) or "")).get("iss") for kind in ("access_token", "id_token")]
    found = [issuer for issuer in named if issuer is not None] or ([discovered] if discovered else [])
    if not found:
        raise authentication_fault("the token names no issuer, but `issuers` demands one")
    for issuer in found:
        if issuer not in issuers:
            raise authentication_fault(f"the token was issued by {issuer!r}, which is not among `issuers`")
