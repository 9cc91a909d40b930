"""What goes over the wire: URIs, header fields and methods in the one form in which they are sent."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, urlsplit

import idna
from yarl import URL

from tenuto.plugin import configuration_fault

URI_LIMIT_CHARACTERS: Final = 8192

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORBIDDEN_IN_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FORBIDDEN_IN_URI: Final = re.compile(r"[\x00-\x20\x7f\\]")
_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_URI_SAFE: Final = "%/:@!$&'()*+,;=-._~?"
_FRAMING_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def place_of(uri: str) -> str:
    """Return a URI without its query, which may hold credentials, for use in messages.

    >>> place_of("https://api.example.com/pets?key=secret")
    'https://api.example.com/pets'
    """
    return uri.partition("?")[0].partition("#")[0]


def parse_uri(text: str) -> URL:
    """Return an absolute http or https URI in the form that goes over the wire.

    Characters that may not stand in a URI are percent-encoded, escapes stay as they are, and
    the fragment is dropped. Raises a `configuration` fault that says what is wrong.
    """
    shown = text if len(text) <= 200 else text[:200] + "…"
    if len(text) > URI_LIMIT_CHARACTERS:
        raise configuration_fault(
            f"the URI `{shown}` has {len(text)} characters; {URI_LIMIT_CHARACTERS} are allowed "
            "(limit `uri_characters`)"
        )
    cleaned = text.strip(" ").replace(" ", "%20")
    if _FORBIDDEN_IN_URI.search(cleaned):
        raise configuration_fault(f"the URI {shown!r} holds a control character or a backslash")
    try:
        parts = urlsplit(cleaned)
        port = parts.port
    except ValueError as error:
        raise configuration_fault(f"`{shown}` is not a URI: {error}") from error
    if parts.scheme not in ("http", "https"):
        raise configuration_fault(f"the URI `{shown}` must be absolute, with the scheme http or https")
    if "@" in parts.netloc:
        raise configuration_fault(
            f"the URI of {parts.hostname} holds a user name or password: put them into `authentication`"
        )
    if not parts.hostname:
        raise configuration_fault(f"the URI `{shown}` names no host")
    return URL.build(
        scheme=parts.scheme,
        host=_ascii_host(parts.hostname, shown),
        port=port if port is not None else (443 if parts.scheme == "https" else 80),
        path=_escaped(parts.path) or "/",
        query_string=_escaped(parts.query),
        encoded=True,
    )


def _escaped(text: str) -> str:
    return quote(_STRAY_PERCENT.sub("%25", text), safe=_URI_SAFE)


def _ascii_host(host: str, shown: str) -> str:
    if host.isascii():
        if re.fullmatch(r"[a-z0-9._\-]+|[0-9a-f:.]+(%[a-z0-9]+)?", host):
            return f"[{host}]" if ":" in host else host
        raise configuration_fault(f"the URI `{shown}` names the host `{host}`, which no host can be called")
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise configuration_fault(f"the URI `{shown}` names the host `{host}`: {error}") from error


def checked_headers(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the headers, or raise a `configuration` fault for one that may not be sent.

    Refused are names that are no tokens, values with line breaks or other control characters,
    and the headers that frame the message, which are ours to set.
    """
    checked = []
    for name, value in headers:
        if not _TOKEN.fullmatch(name):
            raise configuration_fault(f"{name!r} is not a header name")
        if name.lower() in _FRAMING_HEADERS:
            raise configuration_fault(
                f"the header `{name}` frames the message and cannot be set: leave it out"
            )
        if _FORBIDDEN_IN_VALUE.search(value):
            raise configuration_fault(
                f"the value of the header `{name}` holds a line break or control character"
            )
        checked.append((name, value.strip(" \t")))
    return tuple(checked)


def checked_method(method: str) -> str:
    """Return a method in upper case, or raise a `configuration` fault for one that is no call."""
    if not _TOKEN.fullmatch(method) or method.upper() in ("CONNECT", "TRACE"):
        raise configuration_fault(f"{method!r} is not a method that can be sent, such as get or post")
    return method.upper()
