"""Objects with named fields: dataclasses, structs, attrs classes, named tuples, typed dicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from tenuto.authoring.forms.form import (
    Definitions,
    Form,
    Unfit,
    did_you_mean,
    found,
    listed,
    reference,
    wrong_type,
)
from tenuto.engine.model import Json


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `member` is its name in JSON, `argument` that in `__init__` (None: not there)."""

    attribute: str
    member: str
    argument: str | None
    form: Form
    required: bool
    may_be_unset: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A class of values with named fields.

    `checked` says that creating a value runs the author's code, which might change fields:
    then a value is accepted only if it can be made again (see `Codec.encode`).
    """

    kind: type
    fields: tuple[Field, ...]
    tag: tuple[str, str | int] | None = None
    checked: bool = False


def record_form(form: Form, record: Record) -> None:
    """Fill in how values of a record class are written and read."""
    form.write = _writer(record)
    form.read = _reader(record)
    form.schema = _definer(record, form.name)


def _writer(record: Record) -> Callable[[Any], dict[str, Json]]:
    kind = record.kind
    tag = dict([record.tag]) if record.tag else {}
    fields = [(f.attribute, f.member, f.form.write) for f in record.fields]
    if any(field.may_be_unset for field in record.fields):
        return _unset_writer(record)

    def write(value: Any) -> dict[str, Json]:
        if type(value) is not kind:
            raise wrong_type(kind.__name__, value, kind)
        written: dict[str, Json] = tag.copy()
        attribute = ""
        try:
            for attribute, member, write_field in fields:  # the last one names the place
                written[member] = write_field(getattr(value, attribute))
        except Unfit as unfit:
            unfit.place.append(f".{attribute}")
            raise
        except AttributeError:
            raise Unfit(f"the field `{attribute}` has no value", "give it one") from None
        return written

    return write


def _unset_writer(record: Record) -> Callable[[Any], dict[str, Json]]:
    """Return a writer that leaves out fields which are UNSET."""
    kind = record.kind

    def write(value: Any) -> dict[str, Json]:
        if type(value) is not kind:
            raise wrong_type(kind.__name__, value, kind)
        written: dict[str, Json] = dict([record.tag]) if record.tag else {}
        for field in record.fields:
            held = getattr(value, field.attribute)
            if held is msgspec.UNSET and field.may_be_unset:
                continue
            try:
                written[field.member] = field.form.write(held)
            except Unfit as unfit:
                unfit.place.append(f".{field.attribute}")
                raise
        return written

    return write


def _reader(record: Record) -> Callable[[Json], Any]:
    kind = record.kind
    members = tuple(field.member for field in record.fields)
    known = frozenset(members) | (frozenset({record.tag[0]}) if record.tag else frozenset())
    given = [(f.member, f.argument, f.form.read, f.required) for f in record.fields if f.argument]
    later = [(f.member, f.attribute, f.form.read) for f in record.fields if f.argument is None]
    written = f", as an object with the members {listed(members)}"

    def read(data: Json) -> Any:
        if type(data) is not dict:
            raise wrong_type(kind.__name__, data, written=written)
        arguments: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for member, argument, read_field, required in given:
            if member in data:
                try:
                    arguments[argument] = read_field(data[member])
                except Unfit as unfit:
                    unfit.place.append(f".{member}")
                    raise
            elif required:
                check_members(data, known, members, kind.__name__)
                raise missing(member, kind.__name__)
        for member, attribute, read_field in later:
            if member in data:
                rest[attribute] = read_field(data[member])
        if len(arguments) + len(rest) != len(data):
            check_members(data, known, members, kind.__name__)
        try:
            value = kind(**arguments)
        except Exception as error:  # the author's own checks may raise whatever they like
            raise Unfit(f"`{kind.__name__}` refused its fields: {type(error).__name__}: {error}") from error
        for attribute, held in rest.items():
            object.__setattr__(value, attribute, held)
        return value

    if record.tag is None:
        return read
    return _tagged(read, record.tag, kind.__name__)


def _tagged(read: Callable[[Json], Any], tag: tuple[str, str | int], name: str) -> Callable[[Json], Any]:
    member, wanted = tag

    def read_tagged(data: Json) -> Any:
        if type(data) is dict and data.get(member, wanted) != wanted:
            raise Unfit(f"expected `{name}`, whose member `{member}` is {wanted!r}, found another one")
        return read(data)

    return read_tagged


def check_members(data: dict[str, Json], known: frozenset[str], names: tuple[str, ...], owner: str) -> None:
    """Raise Unfit if an object has members that nobody knows."""
    if data.keys() <= known:
        return
    unknown = next(name for name in data if name not in known)
    raise Unfit(
        f"`{owner}` has no member `{unknown}`{did_you_mean(unknown, names)}",
        f"its members are {listed(names)}" if names else "it has no members",
    )


def missing(member: str, owner: str) -> Unfit:
    """Return the complaint about a member that must be there."""
    return Unfit(f"the member `{member}` of `{owner}` is missing", f"give `{member}`")


def _definer(record: Record, name: str) -> Callable[[Definitions], dict[str, Json]]:
    def schema(definitions: Definitions) -> dict[str, Json]:
        if name not in definitions:
            definitions[name] = {}
            definitions[name].update(object_schema(record.fields, definitions, record.tag, name))
        return reference(name)

    return schema


def object_schema(
    fields: tuple[Field, ...], definitions: Definitions, tag: tuple[str, str | int] | None, title: str
) -> dict[str, Json]:
    """Return the JSON Schema of an object with these fields."""
    properties: dict[str, Json] = {tag[0]: {"const": tag[1]}} if tag else {}
    properties |= {field.member: field.form.schema(definitions) for field in fields}
    required = [field.member for field in fields if field.required]
    members: dict[str, Json] = {"title": title, "type": "object", "properties": properties}
    return members | {"required": required, "additionalProperties": False}


def typed_dict_form(form: Form, fields: tuple[Field, ...]) -> None:
    """Fill in how the values of a TypedDict are written and read."""
    names = tuple(field.member for field in fields)
    known = frozenset(names)
    required = [field.member for field in fields if field.required]
    writes = {field.member: field.form.write for field in fields}
    reads = {field.member: field.form.read for field in fields}

    def convert(held: Any, converters: dict[str, Callable[[Any], Any]]) -> dict[str, Any]:
        if type(held) is not dict:
            raise Unfit(f"expected `{form.name}`, a dict with the keys {listed(names)}, found {found(held)}")
        check_members(held, known, names, form.name)
        for name in required:
            if name not in held:
                raise missing(name, form.name)
        converted: dict[str, Any] = {}
        name = ""
        try:
            for name, value in held.items():  # the last one names the place
                converted[name] = converters[name](value)
        except Unfit as unfit:
            unfit.place.append(f"[{name!r}]")
            raise
        return converted

    def schema(definitions: Definitions) -> dict[str, Json]:
        if form.name not in definitions:
            definitions[form.name] = {}
            definitions[form.name].update(object_schema(fields, definitions, None, form.name))
        return reference(form.name)

    form.write = lambda value: convert(value, writes)
    form.read = lambda data: convert(data, reads)
    form.schema = schema
