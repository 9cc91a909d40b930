"""Credentials for calls over HTTP: what the standard's `authentication` makes of a request."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from tenuto.connectors.arguments import text_of
from tenuto.connectors.digest import DigestCredential
from tenuto.connectors.http_client import (
    RESPONSE_LIMIT_BYTES,
    TIMEOUT_SECONDS,
    HttpClient,
    Incoming,
    Request,
    Response,
    client_for,
)
from tenuto.connectors.oauth import TokenCredential
from tenuto.plugin import Call, configuration_fault

SCHEMES: Final = ("basic", "bearer", "digest", "oauth2", "oidc")


class Credential(Protocol):
    """Puts a credential on a request, and answers a refusal once."""

    async def first(self, request: Request, /) -> Request:
        """Return the request to send first."""

    async def again(self, request: Request, refused: Incoming, /) -> Request | None:
        """Return the request to send after a 401, or None if there is nothing better to send."""


class _NoCredential:
    async def first(self, request: Request, /) -> Request:
        return request

    async def again(self, _request: Request, _refused: Incoming, /) -> Request | None:
        return None


class _FixedCredential:
    """One `Authorization` header, known beforehand."""

    def __init__(self, call: Call, scheme: str, parameter: str) -> None:
        self._call = call
        self._scheme = scheme
        self._parameter = parameter

    async def first(self, request: Request, /) -> Request:
        self._call.authorized(self._scheme, self._parameter)
        return request.with_header("Authorization", f"{self._scheme} {self._parameter}")

    async def again(self, _request: Request, _refused: Incoming, /) -> Request | None:
        return None


def _scheme_of(authentication: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    named = [scheme for scheme in SCHEMES if authentication.get(scheme) is not None]
    if len(named) != 1:
        raise configuration_fault(
            f"`authentication` must have exactly one of {', '.join(SCHEMES)}; "
            f"it has {' and '.join(named) or 'none'}"
        )
    properties = authentication[named[0]]
    if not isinstance(properties, Mapping):
        raise configuration_fault(f"`authentication.{named[0]}` must be an object")
    return named[0], properties


def _password_of(properties: Mapping[str, Any], where: str) -> str:
    password = properties.get("password")
    if not isinstance(password, str):
        raise configuration_fault(f"`{where}.password` must be a string")
    return password


def credential_for(call: Call, client: HttpClient, authentication: Mapping[str, Any] | None) -> Credential:
    """Return the credential that an `authentication` object describes."""
    if authentication is None:
        return _NoCredential()
    scheme, properties = _scheme_of(authentication)
    where = f"authentication.{scheme}"
    match scheme:
        case "basic":
            name, password = text_of(properties, "username", where), _password_of(properties, where)
            if ":" in name:
                raise configuration_fault(f"`{where}.username` must not hold a colon (RFC 7617)")
            return _FixedCredential(call, "Basic", base64.b64encode(f"{name}:{password}".encode()).decode())
        case "bearer":
            return _FixedCredential(call, "Bearer", text_of(properties, "token", where))
        case "digest":
            name, password = text_of(properties, "username", where), _password_of(properties, where)
            return DigestCredential(call, client, name, password)
        case _:
            return TokenCredential(call, client, properties, discover=scheme == "oidc")


@asynccontextmanager
async def open_as(
    call: Call,
    request: Request,
    authentication: Mapping[str, Any] | None,
    *,
    limit_bytes: int = RESPONSE_LIMIT_BYTES,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> AsyncIterator[Incoming]:
    """Send a request with its credential; give the response while its body arrives."""
    if authentication is not None and request.has_header("Authorization"):
        raise configuration_fault(
            "the call has both an `authorization` header and `authentication`: keep one"
        )
    client = await client_for(call.network)
    credential = credential_for(call, client, authentication)
    attempt = await credential.first(request)
    async with client.open(attempt, limit_bytes=limit_bytes, timeout_seconds=timeout_seconds) as incoming:
        better = await credential.again(request, incoming) if incoming.status == 401 else None
        if better is None:
            yield incoming
            return
        await incoming.drain()
    async with client.open(better, limit_bytes=limit_bytes, timeout_seconds=timeout_seconds) as incoming:
        yield incoming


async def send_as(
    call: Call,
    request: Request,
    authentication: Mapping[str, Any] | None = None,
    *,
    limit_bytes: int = RESPONSE_LIMIT_BYTES,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Response:
    """Send a request with its credential and return the whole response, whatever its status."""
    async with open_as(
        call, request, authentication, limit_bytes=limit_bytes, timeout_seconds=timeout_seconds
    ) as incoming:
        return await incoming.read()


_SECRET_NAMES: Final = frozenset({"password", "token", "secret", "assertion"})


def secrets_in(authentication: Any, sent: tuple[tuple[str, str], ...] = ()) -> list[str]:
    """Return what must not show up in a message: the secret properties, and what was sent of them."""
    found = [value.partition(" ")[2] or value for name, value in sent if name.lower() in SECRET_HEADERS]
    if isinstance(authentication, Mapping):
        for name, value in authentication.items():
            if name in _SECRET_NAMES and isinstance(value, str):
                found.append(value)
            else:
                found.extend(secrets_in(value))
    return sorted((secret for secret in found if secret), key=len, reverse=True)


SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})


def redacted(text: str, secrets: list[str]) -> str:
    """Return the text with each secret replaced by `***`."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text
