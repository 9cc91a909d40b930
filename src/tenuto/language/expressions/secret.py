"""References to secrets: what an expression gives instead of a secret's value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, unquote

from tenuto.engine.model import Json

REFERENCE: Final = re.compile("\x01([0-9A-Za-z_-]{1,128}):([0-9A-Za-z_.%-]{1,1024})\x01")
"""A reference in a text: the run's nonce, then the secret's name and fields, each percent-encoded."""


def reference(nonce: str, path: Iterable[str]) -> str:
    r"""Return the reference to a secret, or to a field of it.

    >>> reference("n1", ["db", "password"])
    '\x01n1:db.password\x01'
    """
    encoded = (quote(part, safe="").replace(".", "%2E").replace("~", "%7E") for part in path)
    return f"\x01{nonce}:{'.'.join(encoded)}\x01"


def references(text: str) -> set[str]:
    r"""Return the names of the secrets that a text refers to.

    >>> references("Bearer \x01n1:api.token\x01")
    {'api'}
    """
    return {unquote(match.group(2).partition(".")[0]) for match in REFERENCE.finditer(text)}


def without_references(value: Json) -> Json:
    r"""Return a value as others may see it: each reference in its texts is `***`.

    >>> without_references({"header": "Bearer \x01n1:api.token\x01"})
    {'header': 'Bearer ***'}
    """
    if isinstance(value, str):
        return REFERENCE.sub("***", value) if "\x01" in value else value
    if isinstance(value, dict):
        return {name: without_references(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_references(item) for item in value]
    return value
