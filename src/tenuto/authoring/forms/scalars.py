"""Values that are written as one JSON scalar."""

from __future__ import annotations

import datetime
from base64 import b64decode, b64encode
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from types import NoneType
from typing import Any, Final, Never
from uuid import UUID

import msgspec

from tenuto.authoring.forms.form import Form, Kind, Read, Unfit, Write, wrong_type
from tenuto.engine.model import Json

LOWEST_INT: Final = -(2**63)
HIGHEST_INT: Final = 2**64 - 1
LARGEST_FLOAT: Final = 1.7976931348623157e308
EXACT_INT: Final = 2**53  # up to here every integer is a float of the same value
_FOLD: Final = "[fold=1]"  # the second of two equal wall times, when clocks go back


def write_none(value: Any) -> Json:
    """Return null."""
    if value is None:
        return None
    raise wrong_type("None", value)


def write_bool(value: Any) -> Json:
    """Return true or false."""
    if value is True or value is False:
        return value
    raise wrong_type("bool", value)


def write_int(value: Any) -> Json:
    """Return a whole number of at most 64 bits."""
    if type(value) is int:
        if LOWEST_INT <= value <= HIGHEST_INT:
            return value
        raise Unfit("the int has more than 64 bits", "declare Decimal or str, and pass it as such")
    raise wrong_type("int", value, int)


def read_int(data: Json) -> Any:
    """Return a whole number; 3.0 is one, since not every JSON writer keeps the two apart."""
    if type(data) is int and LOWEST_INT <= data <= HIGHEST_INT:
        return data
    if type(data) is float and data.is_integer() and -EXACT_INT <= data <= EXACT_INT:
        return int(data)
    return write_int(data)


def write_float(value: Any) -> Json:
    """Return a finite float; an int that is one arrives as that float."""
    if type(value) is float:
        if -LARGEST_FLOAT <= value <= LARGEST_FLOAT:
            return value
        raise Unfit(
            f"the float is {value}, which JSON does not have", "pass None, and declare `float | None`"
        )
    if type(value) is int:
        if -EXACT_INT <= value <= EXACT_INT:
            return float(value)
        raise Unfit("the int is too large to be a float exactly", "declare `int`, or pass float(value)")
    raise wrong_type("float", value, float)


def write_str(value: Any) -> Json:
    """Return text that is Unicode."""
    if type(value) is not str:
        raise wrong_type("str", value, str)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Unfit(
                f"the str has a lone surrogate at index {error.start}, which is not Unicode",
                "declare `bytes`, and pass os.fsencode(value) or the bytes that it was decoded from",
            ) from None
    return value


def _from_text(name: str, example: str, parse: Callable[[str], Any]) -> Read:
    def read(data: Json) -> Any:
        if type(data) is str:
            try:
                return parse(data)
            except (ValueError, InvalidOperation, OverflowError):
                raise Unfit(
                    f"expected `{name}` as text like {example}, found other text", f"write it as {example}"
                ) from None
        raise wrong_type(name, data, written=f", as text like {example}")

    return read


def _to_text(kind: type, write: Callable[[Any], str]) -> Write:
    def checked(value: Any) -> Json:
        if type(value) is kind:
            return write(value)
        raise wrong_type(kind.__name__, value, kind)

    return checked


def _base64(value: bytes | bytearray) -> str:
    return b64encode(value).decode("ascii")


def _bytes_of(text: str) -> bytes:
    return b64decode(text, validate=True)


def _bytearray_of(text: str) -> bytearray:
    return bytearray(_bytes_of(text))


def _decimal_text(value: Decimal) -> str:
    if value.is_finite():
        return str(value)
    raise Unfit(f"the Decimal is {value}, which is not a number", "pass None, and declare `Decimal | None`")


def _decimal_of(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError
    return value


def _check_zone(zone: datetime.tzinfo | None) -> None:
    if zone is not None and type(zone) is not datetime.timezone and zone.utcoffset(None) is None:
        raise Unfit(
            f"the time is in the zone {zone}, whose rules would be lost: only an offset from UTC can be kept",
            "pass value.astimezone(datetime.timezone.utc), and the zone's name beside it where it matters",
        )


def _moment_text(value: datetime.datetime | datetime.time) -> str:
    if value.tzinfo is not None:
        _check_zone(value.tzinfo)
    return value.isoformat() + _FOLD if value.fold else value.isoformat()


def _datetime_of(text: str) -> datetime.datetime:
    if text.endswith(_FOLD):
        return datetime.datetime.fromisoformat(text[: -len(_FOLD)]).replace(fold=1)
    return datetime.datetime.fromisoformat(text)


def _time_of(text: str) -> datetime.time:
    if text.endswith(_FOLD):
        return datetime.time.fromisoformat(text[: -len(_FOLD)]).replace(fold=1)
    return datetime.time.fromisoformat(text)


def _duration_text(value: datetime.timedelta) -> str:
    text: str = msgspec.to_builtins(value)
    return text


def _duration_of(text: str) -> datetime.timedelta:
    return msgspec.convert(text, datetime.timedelta)  # its error is a ValueError


def _scalar(
    kind: type, json: Kind, write: Write, read: Read, hashable: bool = True, **schema: Json
) -> tuple[type, Form]:
    name = "None" if kind is NoneType else kind.__name__
    described = {"type": "number" if json == "float" else json, **schema}
    return kind, Form(
        name, write, read, frozenset({kind}), frozenset({json}), lambda _: dict(described), hashable
    )


def _text(
    kind: type,
    write: Callable[[Any], str],
    example: str,
    parse: Callable[[str], Any],
    hashable: bool = True,
    **schema: Json,
) -> tuple[type, Form]:
    read = _from_text(kind.__name__, f'"{example}"', parse)
    return _scalar(kind, "string", _to_text(kind, write), read, hashable, **schema)


def _nothing(_: Any) -> Never:
    raise Unfit("nothing can be passed here: its type says that there is no value")


SCALARS: Final[dict[Any, Form]] = dict(
    (
        _scalar(NoneType, "null", write_none, write_none),
        _scalar(bool, "boolean", write_bool, write_bool),
        _scalar(int, "integer", write_int, read_int),
        _scalar(float, "float", write_float, write_float),
        _scalar(str, "string", write_str, write_str),
        _text(bytes, _base64, "aGVsbG8=", _bytes_of, contentEncoding="base64"),
        _text(bytearray, _base64, "aGVsbG8=", _bytearray_of, hashable=False, contentEncoding="base64"),
        _text(Decimal, _decimal_text, "12.50", _decimal_of, format="decimal"),
        _text(UUID, str, "8f5c1d1e-7c3b-4d0a-9a55-3f0f1c2b3a4d", UUID, format="uuid"),
        _text(datetime.datetime, _moment_text, "2026-02-28T13:45:00+00:00", _datetime_of, format="date-time"),
        _text(
            datetime.date, datetime.date.isoformat, "2026-02-28", datetime.date.fromisoformat, format="date"
        ),
        _text(datetime.time, _moment_text, "13:45:00", _time_of, format="time"),
        _text(datetime.timedelta, _duration_text, "PT90S", _duration_of, format="duration"),
    )
)
NOTHING: Final = Form("Never", _nothing, _nothing, frozenset(), frozenset(), lambda _: {"not": {}})
