"""References to secrets, replaced by their values at the last moment, and masks for what comes back.

A reference is the text `U+0001 nonce : path U+0001`. The nonce belongs to one run, so that data from
outside cannot forge a reference. The path is the secret's name and its fields, joined with dots, each
percent-encoded where it holds anything but letters, digits, `_` and `-`.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus, unquote

import msgspec

from tenuto.engine.model import Json
from tenuto.errors import authorization_fault

REFERENCE: Final = re.compile("\x01([0-9A-Za-z_-]{1,128}):([0-9A-Za-z_.%-]{1,1024})\x01")
"""A reference in a text: the nonce and the path."""

MASK: Final = "***"
"""What stands where a secret was."""

SHORTEST_SECRET: Final = 4
"""`secret-length`: a shorter secret is masked only where it is a whole string; inside one it is like data."""

_SHORTEST_ENCODED: Final = 5


def resolve(value: Json, nonce: str, lookup: Callable[[str], Json]) -> Json:
    """Return the value with the run's references replaced by what `lookup(path)` gives.

    A string that is exactly one reference may become any JSON value; inside a longer string, a secret that
    is no string is put in as JSON. An unknown secret (`KeyError`) is an authorization fault.

    >>> resolve({"header": "Bearer \\x01n:api.token\\x01"}, "n", {"api.token": "s3cr3t"}.__getitem__)
    {'header': 'Bearer s3cr3t'}
    """
    if b"\\u0001" not in msgspec.json.encode(value):
        return value
    return _resolve(value, nonce, lookup)


def _resolve(value: Json, nonce: str, lookup: Callable[[str], Json]) -> Json:
    """Replace references anywhere in the value, in the names of members too."""
    if isinstance(value, str):
        return _resolve_text(value, nonce, lookup)
    if isinstance(value, list):
        return [_resolve(item, nonce, lookup) for item in value]
    if isinstance(value, dict):
        return {
            _text(_resolve_text(key, nonce, lookup)): _resolve(item, nonce, lookup)
            for key, item in value.items()
        }
    return value


def _resolve_text(text: str, nonce: str, lookup: Callable[[str], Json]) -> Json:
    """Replace references in one string."""
    if "\x01" not in text:
        return text
    whole = REFERENCE.fullmatch(text)
    if whole is not None and whole.group(1) == nonce:
        return _look_up(whole.group(2), lookup)
    return REFERENCE.sub(
        lambda found: _text(_look_up(found.group(2), lookup)) if found.group(1) == nonce else found.group(),
        text,
    )


def _look_up(path: str, lookup: Callable[[str], Json]) -> Json:
    """Return the secret at a path."""
    plain = ".".join(map(unquote, path.split(".")))
    try:
        return lookup(plain)
    except KeyError:
        raise authorization_fault(f"there is no secret {plain!r}") from None


def _text(value: Json) -> str:
    """Return a secret as it stands inside a string."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def redact(value: Json, secrets: Iterable[str]) -> Json:
    """Return the value with every occurrence of a secret masked, in the names of members too.

    Found as it is, and in Base64 (inside longer data too), percent, JSON and HTML encoding.

    >>> redact({"sent": "Bearer s3cr3t", "count": 1}, ["s3cr3t"])
    {'sent': 'Bearer ***', 'count': 1}
    """
    known = {secret for secret in secrets if secret}
    if not known:
        return value
    forms = _all_forms(known)
    longest_first = sorted(forms, key=lambda form: (-len(form), form))
    # Percent encoding is read in either case, digit by digit.
    parts = (
        re.sub("%[0-9A-F]{2}", lambda code: f"(?i:{code.group()})", re.escape(form)) for form in longest_first
    )
    pattern = re.compile("|".join(parts)) if forms else None
    return _redact(value, frozenset(known), pattern)


def _redact(value: Json, whole: frozenset[str], pattern: re.Pattern[str] | None) -> Json:
    """Mask secrets anywhere in the value."""
    if isinstance(value, str):
        if value in whole:
            return MASK
        return value if pattern is None else pattern.sub(MASK, value)
    if isinstance(value, list):
        return [_redact(item, whole, pattern) for item in value]
    if isinstance(value, dict):
        return {_redact(key, whole, pattern): _redact(item, whole, pattern) for key, item in value.items()}
    return MASK if _number_text(value) in whole else value


def redact_cut(text: str, secrets: Iterable[str]) -> str:
    """Return a text in which what an ellipsis has left of a secret is masked too.

    Two characters of a secret or more; for messages, where a wrong guess does no harm.

    >>> redact_cut("the server said: Bearer s3c…", ["s3cr3t"])
    'the server said: Bearer ***…'
    """
    parts = text.split("…")
    forms = _all_forms(secrets) if len(parts) > 1 else set()
    pieces = [(form[:size], form[-size:]) for form in forms for size in range(2, len(form))]
    for number, part in enumerate(parts):
        ends = [len(first) for first, _ in pieces if number < len(parts) - 1 and part.endswith(first)]
        starts = [len(last) for _, last in pieces if number > 0 and part.startswith(last)]
        kept = part[max(starts, default=0) : len(part) - max(ends, default=0)]
        parts[number] = f"{MASK if starts else ''}{kept}{MASK if ends else ''}"
    return "…".join(parts)


def texts_in(value: Json) -> Iterator[str]:
    """Yield the texts by which a secret's value is known again: its strings, and numbers long enough.

    >>> list(texts_in({"user": "ada", "pin": 48151623, "port": 22}))
    ['ada', '48151623']
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from texts_in(member)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)
    elif (text := _number_text(value)) is not None:
        yield text


def _number_text(value: Json) -> str | None:
    """Return a number as JSON if it is long enough to be a secret; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    text = msgspec.json.encode(value).decode()
    return text if len(text) >= SHORTEST_SECRET else None


def _all_forms(secrets: Iterable[str]) -> set[str]:
    """Return the secrets that are long enough, and their encodings."""
    return {form for secret in secrets if len(secret) >= SHORTEST_SECRET for form in _forms(secret)}


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret and its encodings."""
    yield secret
    yield from (quote(secret, safe=""), quote(secret), quote_plus(secret))
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield html.escape(secret)
    yield html.escape(secret).replace("&#x27;", "&apos;")
    yield from _base64_forms(secret.encode())


def _base64_forms(secret: bytes) -> Iterator[str]:
    """Yield what Base64 makes of the bytes wherever they stand in longer data, less the shared edges."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret)
        first = -(-before * 8 // 6)
        last = (before + len(secret)) * 8 // 6
        core = encoded[first:last].decode()
        if len(core) >= _SHORTEST_ENCODED:
            yield core
            yield core.replace("+", "-").replace("/", "_")
