"""Arguments and results as plain JSON: what an annotation says decides how they are written.

    None, bool, int, float, str            themselves (int of at most 64 bits, finite float)
    bytes, bytearray                       text, base64
    Decimal, UUID, date, time, datetime    text; datetimes with an offset, or without a zone
    timedelta                              text, ISO 8601
    Enum                                   the value if all values are str or int, or else the name
    list, tuple, set, frozenset            array; sets are sorted
    dict                                   object; keys str, or written as text
    dataclass, Struct, attrs, NamedTuple,
    TypedDict                              object of its fields, defaults included
    pydantic model                         its own JSON
    union                                  see `tenuto.authoring.forms.choices`
    no annotation, Any                     JSON as it is; all else is refused

What is read is equal to what was written and of the same type, or it was refused when it was
written. One thing is adapted: an int where a float is declared arrives as that float.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final, Generic, TypeVar

import msgspec

from tenuto.authoring.forms.compiler import Compiler
from tenuto.authoring.forms.form import Definitions, Unfit, text_of
from tenuto.engine.model import Json
from tenuto.errors import InvalidInput

T = TypeVar("T")

DEEPEST: Final = 100  # levels of arrays and objects in each other; every JSON reader copes with these
_WHILE_WRITING: Final = "pass what is declared, or declare what is passed"
_WHILE_READING: Final = "give what is declared; data recorded by older code needs the type of that time"
_FLATTEN: Final = "pass a flat list of things that refer to each other by id"


class Codec(Generic[T]):
    """Writes values of one type as plain JSON and reads them back.

    `where` says what the values are, as in "parameter `order` of step `charge`".
    """

    __slots__ = ("_checked", "_form", "_read", "_unbounded", "_write", "where")

    def __init__(self, kind: Any, where: str) -> None:
        """Decide how values are written; raise Invalid for types whose values could not come back."""
        compiler = Compiler(where)
        self.where = where
        self._form = compiler.form(kind)
        self._write = self._form.write
        self._read = self._form.read
        self._checked = compiler.checked
        self._unbounded = compiler.unbounded

    def encode(self, value: T) -> Json:
        """Return a value as plain JSON that shares nothing with it; raise InvalidInput if it does not fit."""
        try:
            data = self._write(value)
        except Unfit as unfit:
            raise self._refusal(unfit, _WHILE_WRITING) from unfit.__cause__
        except RecursionError:
            raise self._endless(value) from None
        if self._unbounded and _too_deep(data, DEEPEST):
            raise self._endless(value)
        if self._checked:
            self._check(data)
        return data

    def decode(self, data: Json) -> T:
        """Return the value that JSON stands for, sharing nothing with it; raise InvalidInput if none does."""
        if self._unbounded and _too_deep(data, DEEPEST):
            raise self._endless(data)
        try:
            value: T = self._read(data)
        except Unfit as unfit:
            raise self._refusal(unfit, _WHILE_READING) from unfit.__cause__
        except RecursionError:
            raise self._endless(data) from None
        return value

    def schema(self) -> dict[str, Json]:
        """Return the JSON Schema of what `encode` gives."""
        definitions: Definitions = {}
        schema = self._form.schema(definitions)
        return schema | {"$defs": definitions} if definitions else schema

    def define(self, definitions: Definitions) -> dict[str, Json]:
        """Return the schema for use in another one, with what it refers to put into `definitions`."""
        return self._form.schema(definitions)

    def _check(self, data: Json) -> None:
        """Refuse what would not be made again as it was, because its classes run code of their own."""
        hint = "let __post_init__, converters and validators leave alone what has its final form already"
        try:
            again = self._write(self._read(data))
        except Unfit as unfit:
            unfit.problem = f"it could not be made again from its own fields: {unfit.problem}"
            raise self._refusal(unfit, hint) from unfit.__cause__
        if again != data:
            place = _difference(data, again)
            raise self._refusal(Unfit(f"`{place}` changes when it is made again from its fields"), hint)

    def _refusal(self, unfit: Unfit, hint: str) -> InvalidInput:
        place = f", at `{unfit.where}`" if unfit.where else ""
        return InvalidInput(f"{self.where}{place}: {unfit.problem}", hint=unfit.hint or hint)

    def _endless(self, value: object) -> InvalidInput:
        if _contains_itself(value):
            return InvalidInput(
                f"{self.where}: the {text_of(type(value))} contains itself, which JSON cannot say",
                hint=_FLATTEN,
            )
        return InvalidInput(f"{self.where}: nested more than {DEEPEST} levels deep", hint=_FLATTEN)


def _too_deep(data: Json, left: int) -> bool:
    kind = type(data)
    if kind is not list and kind is not dict:
        return False
    if left == 0:
        return True
    for item in data if kind is list else data.values():
        if (type(item) is list or type(item) is dict) and _too_deep(item, left - 1):
            return True
    return False


def _difference(data: Json, again: Json) -> str:
    """Return where two JSON values differ, as in `.lines[0].price`."""
    if isinstance(data, dict) and isinstance(again, dict) and data.keys() == again.keys():
        for name in data:
            if data[name] != again[name]:
                return f".{name}{_difference(data[name], again[name])}"
    if isinstance(data, list) and isinstance(again, list) and len(data) == len(again):
        for index, (item, other) in enumerate(zip(data, again, strict=True)):
            if item != other:
                return f"[{index}]{_difference(item, other)}"
    return ""


def _contains_itself(value: object) -> bool:
    """Whether a value is part of itself; without recursion, since that is what has just failed."""
    above: set[int] = set()
    done: set[int] = set()
    todo: list[tuple[object, bool]] = [(value, False)]
    while todo:
        item, left = todo.pop()
        if left:
            above.discard(id(item))
            done.add(id(item))
            continue
        if id(item) in above:
            return True
        if id(item) not in done:
            above.add(id(item))
            todo.append((item, True))
            todo.extend((part, False) for part in _parts(item))
    return False


def _parts(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    return list(getattr(value, "__dict__", {}).values())
