"""Call services over HTTP, as the standard's `call: http` does."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.parse import quote

from tenuto.connectors.arguments import endpoint_of
from tenuto.connectors.authentication import SECRET_HEADERS, redacted, secrets_in, send_as
from tenuto.connectors.content import (
    JSON,
    charset,
    decode_body,
    encode_body,
    excerpt,
    form_pairs,
    is_json,
    is_text,
    media_type,
    scalar_text,
)
from tenuto.connectors.http_client import Request, Response, header_of
from tenuto.connectors.http_form import place_of
from tenuto.plugin import Call, communication_fault, configuration_fault, function

VERSION = "1.0.0"

Output = Literal["raw", "content", "response"]
OUTPUTS: Final = ("raw", "content", "response")

_TRANSIENT: Final = frozenset({408, 425, 429})
_LASTING: Final = frozenset({501, 505})
_KEYED_METHODS: Final = frozenset({"post", "patch"})
_ACCEPT: Final = f"{JSON}, */*;q=0.8"


@function(effect="write", idempotent=False)
async def request(
    call: Call,
    *,
    method: str,
    endpoint: str | dict[str, Any],
    headers: dict[str, Any] | None = None,
    query: dict[str, Any] | None = None,
    body: Any = None,
    output: Output = "content",
    redirect: bool = False,
) -> Any:
    """Send one HTTP request and return what came back.

    Args:
        method: The HTTP method, in any case.
        endpoint: An absolute URI, or `{uri, authentication}`.
        headers: Header names and values; an array repeats the header, null leaves it out.
        query: Query parameters, added to those of the URI; an array repeats the parameter.
        body: A string is sent as it is, other values as their content type demands (JSON by default).
        output: `content` (deserialized), `raw` (base64) or `response` (with status and headers).
        redirect: Whether status codes 300 to 399 are accepted. They are never followed.
    """
    uri, authentication = endpoint_of(endpoint)
    pairs = header_pairs(headers or {})
    data, content_type = encode_body(body, header_of(pairs, "content-type"))
    prepared = Request(method=method, uri=with_query(uri, form_pairs(query or {})), headers=pairs, body=data)
    if data is not None and content_type:
        prepared = prepared.with_header("Content-Type", content_type)
    return await exchange(call, prepared, authentication, output=output, redirect=redirect)


async def exchange(
    call: Call,
    prepared: Request,
    authentication: Mapping[str, Any] | None,
    *,
    output: str = "content",
    redirect: bool = False,
) -> Any:
    """Send a prepared request by the rules of `call: http` and return the chosen output."""
    if output not in OUTPUTS:
        raise configuration_fault(f"`output` must be one of {', '.join(OUTPUTS)}, not {output!r}")
    if not prepared.has_header("Accept"):
        prepared = prepared.with_header("Accept", _ACCEPT)
    if prepared.method.lower() in _KEYED_METHODS and not prepared.has_header("Idempotency-Key"):
        prepared = prepared.with_header("Idempotency-Key", call.idempotency_key)
    response = await send_as(call, prepared, authentication)
    check_status(prepared.method, response, authentication, redirect=redirect)
    return shaped(prepared.method, response, output)


def header_pairs(headers: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return header pairs; an array repeats the header, a null leaves it out."""
    return tuple(
        (name, scalar_text(item))
        for name, value in headers.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    )


def with_query(uri: str, pairs: list[tuple[str, str]]) -> str:
    """Return the URI with query parameters added to those that it has.

    >>> with_query("https://a.example/x?a=1#top", [("b", "c d")])
    'https://a.example/x?a=1&b=c%20d'
    """
    if not pairs:
        return uri
    base = uri.partition("#")[0]
    added = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    separator = "" if base.endswith(("?", "&")) else "&" if "?" in base else "?"
    return base + separator + added


def is_transient(status: int) -> bool:
    """Tell whether trying again may change an error status."""
    return status in _TRANSIENT or (500 <= status <= 599 and status not in _LASTING)


def phrase_of(status: int, reason: str = "") -> str:
    """Return the standard's phrase for a status, or what the server calls it."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return excerpt(reason, 60) or f"HTTP {status}"


def check_status(
    method: str,
    response: Response,
    authentication: Mapping[str, Any] | None = None,
    *,
    redirect: bool = False,
) -> None:
    """Raise a `communication` fault with the response's status unless it is accepted."""
    status = response.status
    if 200 <= status <= (399 if redirect else 299):
        return
    title = phrase_of(status, response.reason)
    kind = response.header("content-type")
    said = ""
    if is_json(media_type(kind)) or is_text(media_type(kind)):
        said = response.body[:4096].decode(charset(kind), "replace")
    if not redirect and 300 <= status <= 399 and response.header("location"):
        said = f"it points to {place_of(response.header('location') or '')}; redirects are not followed"
    detail = f"{method.upper()} {place_of(response.uri)} answered {status} {title}"
    if said := excerpt(redacted(said, secrets_in(authentication, response.sent))):
        detail += f": {said}"
    raise communication_fault(detail, status, title, transient=is_transient(status))


def canonical(name: str) -> str:
    """Return a header name in its canonical spelling, so that expressions can rely on it.

    >>> canonical("content-TYPE")
    'Content-Type'
    """
    return "-".join(part.capitalize() for part in name.split("-"))


def header_map(pairs: tuple[tuple[str, str], ...], *, redact: bool = False) -> dict[str, str]:
    """Return headers as a map of canonical names; repeated headers are joined with `, `."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        key = canonical(name)
        shown = "***" if redact and name.lower() in SECRET_HEADERS else value
        headers[key] = f"{headers[key]}, {shown}" if key in headers else shown
    return headers


def shaped(method: str, response: Response, output: str) -> Any:
    """Return a response in the form that `output` names."""
    if output == "raw":
        return base64.b64encode(response.body).decode("ascii")
    source = f"{method.upper()} {place_of(response.uri)}"
    content = decode_body(response.body, response.header("content-type"), source)
    if output == "content":
        return content
    return {
        "request": {"method": method, "uri": response.uri, "headers": header_map(response.sent, redact=True)},
        "statusCode": response.status,
        "headers": header_map(response.headers),
        "content": content,
    }
