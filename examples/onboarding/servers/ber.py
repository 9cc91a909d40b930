"""The Basic Encoding Rules, as far as LDAP uses them (X.690, RFC 4511 section 5.1)."""

from __future__ import annotations

from asyncio import StreamReader
from typing import Final, NamedTuple

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
ENUMERATED: Final = 0x0A
SEQUENCE: Final = 0x30
SET: Final = 0x31

MAX_MESSAGE_BYTES: Final = 1 << 20


class Element(NamedTuple):
    """One tag with its content."""

    tag: int
    content: bytes

    def parts(self) -> list[Element]:
        """Return the elements inside a constructed one."""
        found = []
        rest = self.content
        while rest:
            element, rest = take(rest)
            found.append(element)
        return found

    def number(self) -> int:
        """Return an integer's or enumeration's value."""
        return int.from_bytes(self.content, "big", signed=True)

    def text(self) -> str:
        """Return an octet string as text."""
        return self.content.decode("utf-8")


def take(data: bytes) -> tuple[Element, bytes]:
    """Return the first element of `data` and what follows it; ValueError if it is cut short."""
    if len(data) < 2:
        raise ValueError("element cut short")
    size, start = data[1], 2
    if size & 0x80:
        start = 2 + (size & 0x7F)
        size = int.from_bytes(data[2:start], "big")
    end = start + size
    if end > len(data):
        raise ValueError("element cut short")
    return Element(data[0], data[start:end]), data[end:]


async def read_message(reader: StreamReader) -> Element:
    """Read one whole element; asyncio.IncompleteReadError at the end of the connection."""
    tag, size = await reader.readexactly(2)
    if size & 0x80:
        size = int.from_bytes(await reader.readexactly(size & 0x7F), "big")
    if size > MAX_MESSAGE_BYTES:
        raise ValueError(f"message of {size} bytes is over MAX_MESSAGE_BYTES ({MAX_MESSAGE_BYTES})")
    return Element(tag, await reader.readexactly(size))


def wrap(tag: int, *parts: bytes) -> bytes:
    """Return an element of the given tag around its parts.

    >>> wrap(SEQUENCE, number(5)).hex()
    '3003020105'
    """
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def number(value: int, tag: int = INTEGER) -> bytes:
    """Return an integer or enumeration."""
    return wrap(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def text(value: str, tag: int = OCTET_STRING) -> bytes:
    """Return text as an octet string."""
    return wrap(tag, value.encode("utf-8"))
