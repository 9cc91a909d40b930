"""Bodies and values: what a content type makes of a value, and of bytes."""

from __future__ import annotations

import base64
import codecs
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

import msgspec

from tenuto.plugin import communication_fault, validation_fault

_NO_CHARSETS: Final = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
_TEXT: Final = frozenset(
    {
        "application/ecmascript",
        "application/javascript",
        "application/jwt",
        "application/sql",
        "application/toml",
        "application/x-ndjson",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
    }
)


def media_type(content_type: str | None) -> str:
    """Return the media type without parameters, in lower case; empty if there is none.

    >>> media_type("Text/Plain; charset=utf-8")
    'text/plain'
    """
    return (content_type or "").partition(";")[0].strip().lower()


def charset(content_type: str | None) -> str:
    """Return the name of the character set in a content type, `utf-8` if it names none we know."""
    for parameter in (content_type or "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            try:
                known = codecs.lookup(value.strip().strip('"')).name
                # Python also knows encodings of bytes as bytes, and some for a single word.
                if b"a".decode(known, "replace") and known not in _NO_CHARSETS:
                    return known
            except (LookupError, ValueError):
                pass
            return "utf-8"
    return "utf-8"


def is_json(kind: str) -> bool:
    """Tell whether a media type is JSON."""
    return kind in (JSON, "text/json") or kind.endswith("+json")


def is_text(kind: str) -> bool:
    """Tell whether a media type is text that is not deserialized further."""
    return kind.startswith("text/") or kind in _TEXT or kind.endswith(("+xml", "+yaml"))


def scalar_text(value: Any) -> str:
    """Return a value as it stands in a header, query or form: strings bare, all else as JSON.

    >>> [scalar_text(value) for value in ("a b", 1, True, None, [1, 2])]
    ['a b', '1', 'true', 'null', '[1,2]']
    """
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def form_pairs(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the name and value pairs of a form or query: arrays repeat the name, nulls fall away."""
    return [
        (name, scalar_text(item))
        for name, value in values.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]


def encode_body(body: Any, content_type: str | None) -> tuple[bytes | None, str | None]:
    """Return the bytes of a body and its content type; null is no body.

    Without a content type a string goes as text and everything else as JSON. With one, a string
    goes as it stands and other values are written as that type demands; a type that has no way to
    write them is a `validation` fault.
    """
    if body is None:
        return None, content_type
    if isinstance(body, str):
        return _encoded(body, content_type), content_type or "text/plain; charset=utf-8"
    kind = media_type(content_type)
    if not kind or is_json(kind):
        return msgspec.json.encode(body), content_type or JSON
    if kind == FORM:
        if not isinstance(body, dict):
            raise validation_fault(f"a body of content type {FORM} must be an object or a string")
        return urlencode(form_pairs(body)).encode(), content_type
    if kind in ("application/x-ndjson", "application/jsonl") and isinstance(body, list):
        return b"".join(msgspec.json.encode(item) + b"\n" for item in body), content_type
    if is_text(kind) and not isinstance(body, dict | list):
        return _encoded(scalar_text(body), content_type), content_type
    raise validation_fault(
        f"a body of content type {kind} must be a string; objects and arrays can be sent as {JSON} or {FORM}"
    )


def _encoded(text: str, content_type: str | None) -> bytes:
    try:
        return text.encode(charset(content_type))
    except UnicodeEncodeError as error:
        raise validation_fault(
            f"the body cannot be written in {charset(content_type)}: {error.reason}"
        ) from error


def decode_body(body: bytes, content_type: str | None, source: str) -> Any:
    """Return a body as a value: JSON and forms deserialized, text as a string, all else as base64.

    An empty body is null. Raises a `communication` fault when a body is not what its content
    type says; `source` names where it came from.
    """
    if not body:
        return None
    kind = media_type(content_type)
    if is_json(kind):
        try:
            return msgspec.json.decode(_as_utf8(body, content_type))
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise communication_fault(
                f"{source} answered with a body that is not valid JSON: {error}", 502
            ) from error
    if is_text(kind):
        return body.decode(charset(content_type), "replace")
    if kind == FORM:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
        return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
    return base64.b64encode(body).decode("ascii")


def _as_utf8(body: bytes, content_type: str | None) -> bytes:
    encoding = charset(content_type)
    if encoding != "utf-8":
        body = body.decode(encoding).encode()
    return body.removeprefix(codecs.BOM_UTF8)


def excerpt(text: str, limit: int = 300) -> str:
    """Return text on one line and without control characters, cut to a number of characters."""
    line = " ".join(
        "".join(character if character.isprintable() else " " for character in text[: limit * 4]).split()
    )
    return line if len(line) <= limit else line[:limit] + "…"
