"""The part of LDAP v3 (RFC 4511) that the `ldap` connector speaks: messages as bytes, and filters.

request(1, bind_request("cn=admin", b"secret"))  ->  bytes
Reply(message_id=1, code=0, ...)      <-  read_reply(bytes)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from tenuto.plugin import validation_fault

MAX_FILTER_DEPTH: Final = 32
MAX_REPLY_BYTES: Final = 16 * 1024 * 1024

SEARCH_ENTRY: Final = 0x64
SEARCH_REFERENCE: Final = 0x73

_BOOLEAN, _INTEGER, _OCTETS, _ENUMERATED, _SEQUENCE, _SET = 0x01, 0x02, 0x04, 0x0A, 0x30, 0x31
_START_TLS: Final = b"1.3.6.1.4.1.1466.20037"
_PAGED_RESULTS: Final = b"1.2.840.113556.1.4.319"

SCOPES: Final = {"base": 0, "one": 1, "subtree": 2}
CHANGES: Final = {"add": 0, "remove": 1, "replace": 2}


# ── bytes ────────────────────────────────────────────────────────────────────────────────


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _integer(value: int, tag: int = _INTEGER) -> bytes:
    return _element(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _octets(value: str | bytes, tag: int = _OCTETS) -> bytes:
    return _element(tag, value.encode() if isinstance(value, str) else value)


def _sequence(parts: Iterable[bytes], tag: int = _SEQUENCE) -> bytes:
    return _element(tag, b"".join(parts))


def header_size(start: bytes) -> tuple[int, int] | None:
    """Return the sizes of an element's header and content, or None while too few bytes are there.

    Raises ValueError for what is no LDAP message or is larger than `MAX_REPLY_BYTES`.
    """
    if len(start) < 2:
        return None
    if start[0] != _SEQUENCE:
        raise ValueError("not an LDAP message")
    if start[1] < 0x80:
        return 2, start[1]
    count = start[1] & 0x7F
    if not 1 <= count <= 4:
        raise ValueError("not an LDAP message")
    if len(start) < 2 + count:
        return None
    size = int.from_bytes(start[2 : 2 + count], "big")
    if size > MAX_REPLY_BYTES:
        raise ValueError(f"an LDAP message of {size} bytes; MAX_REPLY_BYTES is {MAX_REPLY_BYTES}")
    return 2 + count, size


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(content):
        if position + 2 > len(content):
            raise ValueError("truncated")
        tag, size = content[position], content[position + 1]
        position += 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(content[position : position + count], "big")
            position += count
        if position + size > len(content):
            raise ValueError("truncated")
        yield tag, content[position : position + size]
        position += size


# ── requests ─────────────────────────────────────────────────────────────────────────────


def request(message_id: int, operation: bytes, controls: bytes = b"") -> bytes:
    """Return a whole message."""
    return _sequence((_integer(message_id), operation, _element(0xA0, controls) if controls else b""))


def bind_request(dn: str, password: str) -> bytes:
    """Return a simple bind."""
    return _sequence((_integer(3), _octets(dn), _octets(password, 0x80)), 0x60)


def start_tls_request() -> bytes:
    """Return the extended operation StartTLS."""
    return _sequence((_octets(_START_TLS, 0x80),), 0x77)


def unbind_request() -> bytes:
    """Return the farewell; it has no answer."""
    return _element(0x42, b"")


def _attribute(name: str, values: Iterable[bytes]) -> bytes:
    return _sequence((_octets(name), _sequence(map(_octets, values), _SET)))


def add_request(dn: str, attributes: Mapping[str, Sequence[bytes]]) -> bytes:
    """Return the addition of an entry."""
    return _sequence(
        (_octets(dn), _sequence(_attribute(name, values) for name, values in attributes.items())), 0x68
    )


def delete_request(dn: str) -> bytes:
    """Return the deletion of an entry."""
    return _octets(dn, 0x4A)


def modify_request(dn: str, changes: Iterable[tuple[str, str, Sequence[bytes]]]) -> bytes:
    """Return a change of an entry: (`add`, `remove` or `replace`, attribute, values) each."""
    return _sequence(
        (
            _octets(dn),
            _sequence(
                _sequence((_integer(CHANGES[change], _ENUMERATED), _attribute(name, values)))
                for change, name, values in changes
            ),
        ),
        0x66,
    )


def compare_request(dn: str, attribute: str, value: bytes) -> bytes:
    """Return the question whether an entry's attribute has a value, by the attribute's own rule."""
    return _sequence((_octets(dn), _sequence((_octets(attribute), _octets(value)))), 0x6E)


def search_request(base: str, scope: str, condition: bytes, attributes: Sequence[str], limit: int) -> bytes:
    """Return a search; `limit` 0 means none, `attributes` empty means all that users see."""
    return _sequence(
        (
            _octets(base),
            _integer(SCOPES[scope], _ENUMERATED),
            _integer(0, _ENUMERATED),  # aliases are not followed
            _integer(limit),
            _integer(0),
            _element(_BOOLEAN, b"\x00"),
            condition,
            _sequence(map(_octets, attributes)),
        ),
        0x63,
    )


def paging(size: int, cookie: bytes) -> bytes:
    """Return the control that asks for one page of results (RFC 2696), as critical."""
    value = _sequence((_integer(size), _octets(cookie)))
    return _sequence((_octets(_PAGED_RESULTS), _element(_BOOLEAN, b"\xff"), _octets(value)))


# ── replies ──────────────────────────────────────────────────────────────────────────────


class Reply(msgspec.Struct, frozen=True):
    """One message from the server; `code` and `diagnostic` are meaningless for a search entry."""

    message_id: int
    kind: int
    code: int = 0
    diagnostic: str = ""
    dn: str = ""
    attributes: dict[str, list[bytes]] = {}
    cookie: bytes = b""


def read_reply(message: bytes) -> Reply:
    """Return the reply in the content of a message; raise ValueError if it is none."""
    parts = list(_elements(message))
    if len(parts) < 2:
        raise ValueError("truncated")
    message_id = int.from_bytes(parts[0][1], "big")
    kind, content = parts[1]
    if kind == SEARCH_ENTRY:
        (_, dn), (_, listed) = _elements(content)
        attributes: dict[str, list[bytes]] = {}
        for _, attribute in _elements(listed):
            (_, name), (_, values) = _elements(attribute)
            attributes[name.decode()] = [value for _, value in _elements(values)]
        return Reply(message_id, kind, dn=dn.decode(), attributes=attributes)
    if kind == SEARCH_REFERENCE:
        return Reply(message_id, kind)
    (_, code), _, (_, diagnostic), *_ = _elements(content)
    cookie = _read_cookie(parts[2][1]) if len(parts) > 2 else b""
    return Reply(
        message_id, kind, int.from_bytes(code, "big"), diagnostic.decode(errors="replace"), cookie=cookie
    )


def _read_cookie(controls: bytes) -> bytes:
    for _, control in _elements(controls):
        (_, name), *rest = _elements(control)
        if name == _PAGED_RESULTS and rest:
            ((_, value),) = _elements(rest[-1][1])
            _, (_, cookie) = _elements(value)
            return cookie
    return b""


# ── filters ──────────────────────────────────────────────────────────────────────────────

_ITEM: Final = re.compile(
    r"(?P<attribute>[A-Za-z0-9.;-]*)(?P<dn>:dn)?(?::(?P<rule>[A-Za-z0-9.-]+))?(?P<operator>:=|>=|<=|~=|=)"
)
_PLACE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ESCAPE: Final = re.compile(rb"\\(?:([0-9A-Fa-f]{2})|)")
_TAGS: Final = {"=": 0xA3, ">=": 0xA5, "<=": 0xA6, "~=": 0xA8}


def equals(values: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the filter that an entry has all these values."""
    return _sequence((_sequence((_octets(name), _octets(value)), 0xA3) for name, value in values), 0xA0)


def everything() -> bytes:
    """Return the filter that any entry fits."""
    return _octets("objectClass", 0x87)


def read_filter(text: str, values: Mapping[str, str]) -> bytes:
    """Return a filter (RFC 4515) as bytes; `{name}` in a value stands for `values[name]`.

    A value is put in after the filter has been taken apart, so nothing in it is ever syntax.

    >>> read_filter("(uid={who})", {"who": "*"}) == equals([("uid", b"*")])[2:]
    True
    """
    condition, end = _read_filter(text.strip(), 0, values, 1)
    if end != len(text.strip()):
        raise validation_fault(f"the filter goes on after its end, at character {end + 1}: `{text.strip()}`")
    return condition


def _read_filter(text: str, start: int, values: Mapping[str, str], depth: int) -> tuple[bytes, int]:
    if depth > MAX_FILTER_DEPTH:
        raise validation_fault(f"the filter is nested deeper than MAX_FILTER_DEPTH ({MAX_FILTER_DEPTH})")
    if text[start : start + 1] != "(":
        raise validation_fault(f"the filter lacks a `(` at character {start + 1}: `{text}`")
    position = start + 1
    sign = text[position : position + 1]
    if sign and sign in "&|!":
        parts: list[bytes] = []
        position += 1
        while text[position : position + 1] == "(":
            part, position = _read_filter(text, position, values, depth + 1)
            parts.append(part)
        if sign == "!" and len(parts) != 1:
            raise validation_fault(f"`!` takes one condition, at character {start + 1}: `{text}`")
        condition = _sequence(parts, {"&": 0xA0, "|": 0xA1, "!": 0xA2}[sign])
    else:
        end = re.compile(r"[()]|$").search(text, position)
        assert end is not None
        condition = _read_item(text[position : end.start()], values)
        position = end.start()
    if text[position : position + 1] != ")":
        raise validation_fault(f"the filter lacks a `)` at character {position + 1}: `{text}`")
    return condition, position + 1


def _read_item(text: str, values: Mapping[str, str]) -> bytes:
    item = _ITEM.match(text)
    if item is None or not (item["attribute"] or item["operator"] == ":="):
        raise validation_fault(f"`{text}` in the filter is not of the form attribute=value")
    attribute, operator, written = item["attribute"], item["operator"], text[item.end() :]
    if operator == ":=":
        parts = [_octets(item["rule"], 0x81)] if item["rule"] else []
        parts += [_octets(attribute, 0x82)] if attribute else []
        parts += [_octets(_value(written, values), 0x83)]
        parts += [_element(0x84, b"\xff")] if item["dn"] else []
        return _sequence(parts, 0xA9)
    if item["dn"] or item["rule"]:
        raise validation_fault(f"`{text}` in the filter needs `:=` after the matching rule")
    if operator == "=" and written == "*":
        return _octets(attribute, 0x87)
    if operator == "=" and "*" in written:
        first, *middle, last = written.split("*")
        pieces = [_octets(_value(first, values), 0x80)] if first else []
        pieces += [_octets(_value(piece, values), 0x81) for piece in middle if piece]
        pieces += [_octets(_value(last, values), 0x82)] if last else []
        return _sequence((_octets(attribute), _sequence(pieces)), 0xA4)
    return _sequence((_octets(attribute), _octets(_value(written, values))), _TAGS[operator])


def _value(written: str, values: Mapping[str, str]) -> bytes:
    """Return a value's bytes: `\\2a` is one byte, `{name}` a value from outside."""
    found = b""
    position = 0
    for place in _PLACE.finditer(written):
        if place[1] not in values:
            known = ", ".join(values) or "none"
            raise validation_fault(f"the filter names a value `{place[1]}` that is not given; given: {known}")
        found += _unescape(written[position : place.start()]) + values[place[1]].encode()
        position = place.end()
    return found + _unescape(written[position:])


def _unescape(text: str) -> bytes:
    def byte(escape: re.Match[bytes]) -> bytes:
        if escape[1] is None:
            raise validation_fault(f"`{text}` in the filter: a backslash needs two hexadecimal digits")
        return bytes.fromhex(escape[1].decode())

    return _ESCAPE.sub(byte, text.encode())
