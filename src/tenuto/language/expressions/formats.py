"""`@json`, `@csv` and the like: values as text of other languages."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

from tenuto.language.expressions.values import Json, Meter, Raised, dump, kind, show, to_text, wrong

_HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"})
_TSV: Final = str.maketrans({"\t": "\\t", "\r": "\\r", "\n": "\\n", "\\": "\\\\"})
_BASE64: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def format_value(name: str, value: Json, meter: Meter) -> str:
    """Return a value in the named format."""
    text = _FORMATS[name](value, meter)
    meter.spend(1 + (len(text) >> 8))
    return text


def _row(value: Json, meter: Meter, name: str) -> str:
    """Return an array as a row of CSV or TSV."""
    if type(value) is not list:
        raise wrong(value, f"cannot be {name}-formatted, only array")
    cells = []
    for item in value:
        meter.spend(1)
        if type(item) is str:
            cells.append('"' + item.replace('"', '""') + '"' if name == "csv" else item.translate(_TSV))
        elif item is None or item != item:  # noqa: PLR0124 - NaN is an empty cell
            cells.append("")
        elif type(item) in (list, dict):
            raise Raised(f"{kind(item)} ({show(item)}) is not valid in a csv row")
        else:
            cells.append(dump(item, meter))
    return ("," if name == "csv" else "\t").join(cells)


def _decode(value: Json, meter: Meter) -> str:
    """Return what a Base64 text stands for; bytes that are no UTF-8 become U+FFFD."""
    text = to_text(value, meter)
    data = text.partition("=")[0]
    if not _BASE64.issuperset(data):
        raise wrong(text, "is not valid base64 data")
    if len(data) % 4 == 1:
        raise wrong(text, "trailing base64 byte found")
    decoded = base64.b64decode(data + "=" * (-len(data) % 4))
    try:
        return decoded.decode()
    except UnicodeDecodeError:
        meter.spend(len(decoded))
        return "".join(_characters(decoded))


def _characters(data: bytes) -> Iterator[str]:
    """Yield the characters of UTF-8 with U+FFFD for each wrong sequence, cut where jq cuts it."""
    at = 0
    while at < len(data):
        first = data[at]
        wanted = 1 if first < 0xC2 or first > 0xF4 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
        end = min(at + wanted, len(data))
        following = at + 1
        while following < end and data[following] & 0xC0 == 0x80:
            following += 1
        cut = end if at + wanted > len(data) else following
        try:
            yield data[at:cut].decode()
        except UnicodeDecodeError:
            yield "\ufffd"
        at = cut


def _encode(value: Json, meter: Meter) -> str:
    """Return a text in Base64."""
    return base64.b64encode(to_text(value, meter).encode()).decode("ascii")


_FORMATS: Final[dict[str, Callable[[Json, Meter], str]]] = {
    "text": to_text,
    "json": dump,
    "html": lambda value, meter: to_text(value, meter).translate(_HTML),
    "uri": lambda value, meter: quote(to_text(value, meter), safe="-_.~"),
    "csv": lambda value, meter: _row(value, meter, "csv"),
    "tsv": lambda value, meter: _row(value, meter, "tsv"),
    "base64": _encode,
    "base64d": _decode,
}
