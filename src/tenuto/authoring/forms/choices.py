"""Unions, enums and literals: one of several things.

A member of a union is written plainly when its kind of JSON value (null, boolean, integer,
float, string, array, object) is its alone; otherwise as `{"type": <name>, "value": <plain>}`.
If any member is written like that, members that are objects are too. Tagged structs with
different tags in the same member are told apart by those.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final

from tenuto.authoring.forms.form import KIND_OF, Definitions, Form, Kind, Unfit, did_you_mean, found, listed
from tenuto.authoring.forms.scalars import HIGHEST_INT, LOWEST_INT, write_str
from tenuto.authoring.forms.untyped import json_of
from tenuto.engine.model import Json

_OBJECT: Final[Kind] = "object"


def optional(form: Form) -> Form:
    """Return the form of a value or None, for values that are never written as null."""
    write_value, read_value = form.write, form.read

    def write(value: Any) -> Json:
        return None if value is None else write_value(value)

    def read(data: Json) -> Any:
        return None if data is None else read_value(data)

    types = None if form.types is None else form.types | {type(None)}

    def schema(definitions: Definitions) -> dict[str, Json]:
        return {"anyOf": [form.schema(definitions), {"type": "null"}]}

    kinds: frozenset[Kind] = form.kinds | {"null"}
    return Form(f"{form.name} | None", write, read, types, kinds, schema, form.hashable)


def union(members: list[Form], name: str = "", wrap: Form | None = None) -> Form:
    """Return the form of one of several types whose names differ; `wrap`: only this one is wrapped."""
    name = name or " | ".join(member.name for member in members)
    wrapped = _wrapped(members) if wrap is None else {wrap.name: wrap}
    plain = [member for member in members if member.name not in wrapped]
    kinds = frozenset(kind for member in plain for kind in member.kinds)
    if wrapped:
        kinds |= {_OBJECT}
    types: frozenset[type] | None = frozenset()
    for member in members:
        types = None if types is None or member.types is None else types | member.types

    def schema(definitions: Definitions) -> dict[str, Json]:
        return {"anyOf": [_member_schema(m, m.name in wrapped, definitions) for m in members]}

    hashable = all(member.hashable for member in members)
    write, read = _union_writer(members, wrapped, name), _union_reader(plain, wrapped, name)
    return Form(name, write, read, types, kinds, schema, hashable)


def _wrapped(members: list[Form]) -> dict[str, Form]:
    """Return the members whose plain form could be taken for another one's, by name."""
    owners: dict[Kind, list[Form]] = {}
    for member in members:
        for kind in member.kinds:
            owners.setdefault(kind, []).append(member)
    shared = {
        member.name
        for owning in owners.values()
        if len(owning) > 1 and not _told_apart_by_tags(owning)
        for member in owning
    }
    if shared:
        shared |= {member.name for member in owners.get(_OBJECT, [])}
    return {member.name: member for member in members if member.name in shared}


def _told_apart_by_tags(members: list[Form]) -> bool:
    tags = {member.tag for member in members if member.tag}
    return len(tags) == len(members) and len({tag[0] for tag in tags}) == 1


def _member_schema(form: Form, wrapped: bool, definitions: Definitions) -> dict[str, Json]:
    plain = form.schema(definitions)
    if not wrapped:
        return plain
    members = {"type": {"const": form.name}, "value": plain}
    return {
        "type": "object",
        "properties": members,
        "required": ["type", "value"],
        "additionalProperties": False,
    }


def _union_writer(members: list[Form], wrapped: dict[str, Form], name: str) -> Callable[[Any], Json]:
    by_type: dict[type, list[tuple[str | None, Callable[[Any], Json]]]] = {}
    unknown: list[tuple[str | None, Callable[[Any], Json]]] = []
    for member in members:
        entry = (member.name if member.name in wrapped else None, member.write)
        if member.types is None:
            unknown.append(entry)
        for kind in member.types or ():
            by_type.setdefault(kind, []).append(entry)
    if not any(int in (member.types or ()) for member in members) and float in by_type:
        by_type[int] = by_type[float]

    def write(value: Any) -> Json:
        candidates = by_type.get(type(value), ())
        complaint: Unfit | None = None
        for tag, write_member in (*candidates, *unknown):
            try:
                written = write_member(value)
            except Unfit as unfit:
                complaint = complaint or unfit
            else:
                return written if tag is None else {"type": tag, "value": written}
        if complaint is not None and len(candidates) + len(unknown) == 1:
            raise complaint
        problem = f"expected one of {listed([m.name for m in members])}, found {found(value)}"
        if complaint is not None:
            problem += f" that fits none of them (the first: {complaint.problem})"
        raise Unfit(problem, complaint.hint if complaint else _subclass_hint(by_type, value, name))

    return write


def _subclass_hint(known: dict[type, Any], value: object, name: str) -> str | None:
    base = next((kind for kind in known if isinstance(value, kind)), None)
    if base is None:
        return None
    return (
        f"it is a subclass of `{base.__name__}` and would come back as that: "
        f"declare `{name} | {type(value).__name__}`"
    )


def _union_reader(plain: list[Form], wrapped: dict[str, Form], name: str) -> Callable[[Json], Any]:
    by_kind: dict[type, Callable[[Json], Any]] = {}
    for python, kind in KIND_OF.items():
        owning = [member for member in plain if kind in member.kinds]
        if len(owning) == 1:
            by_kind[python] = owning[0].read
        elif owning:
            by_kind[python] = _read_by_tag(owning, name)
    if wrapped:
        by_kind[dict] = _read_wrapped(wrapped, name)
    if float in by_kind:
        by_kind.setdefault(int, by_kind[float])
    elif int in by_kind:
        by_kind[float] = by_kind[int]
    names = tuple(wrapped)

    def read(data: Json) -> Any:
        read_kind = by_kind.get(type(data))
        if read_kind is None:
            hint = f'write it as {{"type": ..., "value": ...}}, where type is one of {listed(names)}'
            raise Unfit(
                f"expected `{name}`, found a JSON value of the kind {json_of(type(data))}",
                hint if names else None,
            )
        return read_kind(data)

    return read


def _read_by_tag(members: list[Form], name: str) -> Callable[[Json], Any]:
    readers = {member.tag[1]: member.read for member in members if member.tag}
    field = next(member.tag[0] for member in members if member.tag)

    def read(data: Json) -> Any:
        tag = data.get(field)
        if type(tag) not in {str, int} or tag not in readers:
            raise Unfit(
                f"expected `{name}`, told apart by the member `{field}`, which is missing or unknown",
                f"give `{field}` as one of {listed([str(known) for known in readers])}",
            )
        return readers[tag](data)

    return read


def _read_wrapped(members: dict[str, Form], name: str) -> Callable[[Json], Any]:
    readers = {tag: member.read for tag, member in members.items()}

    def read(data: Json) -> Any:
        tag = data.get("type")
        if len(data) != 2 or "value" not in data or type(tag) is not str or tag not in readers:
            unknown = did_you_mean(tag, list(readers)) if isinstance(tag, str) else ""
            raise Unfit(
                f'expected `{name}` as {{"type": ..., "value": ...}}, found another object{unknown}',
                f"type is one of {listed(list(readers))}, value what it holds",
            )
        try:
            return readers[tag](data["value"])
        except Unfit as unfit:
            unfit.place.append(".value")
            raise

    return read


def constants(name: str, table: list[tuple[Any, Json]]) -> Form:
    """Return the form of one of a few constants; raise ValueError if two are written alike."""
    forward = {(type(value), value): written for value, written in table}
    backward = {(type(written), written): value for value, written in table}
    if len(forward) != len(table) or len(backward) != len(table):
        raise ValueError(name)
    written_names = [str(written) for _, written in table]

    def write(value: Any) -> Json:
        try:
            return forward[type(value), value]
        except (KeyError, TypeError):
            raise Unfit(
                f"expected one of {listed(written_names)}, found {_shown(value, written_names)}"
            ) from None

    def read(data: Json) -> Any:
        try:
            return backward[type(data), data]
        except (KeyError, TypeError):
            raise Unfit(
                f"expected one of {listed(written_names)}, found {_shown(data, written_names)}"
            ) from None

    types = frozenset(type(value) for value, _ in table)
    kinds = frozenset(KIND_OF[type(written)] for _, written in table)
    return Form(name, write, read, types, kinds, lambda _: {"enum": [written for _, written in table]})


def _shown(value: object, known: list[str]) -> str:
    close = did_you_mean(value, known) if isinstance(value, str) else ""
    return f"another {type(value).__name__}{close}" if type(value) in KIND_OF else found(value)


def enumeration(kind: type[enum.Enum]) -> Form:
    """Return the form of an enum: its members' values if those are str or int, or else their names."""
    members = list(kind)
    if issubclass(kind, enum.Flag):
        return _flags(kind)
    plain = all(_is_plain(member.value) for member in members)
    form = constants(kind.__name__, [])
    forward = {member.name: member.value if plain else member.name for member in members}
    backward = {(type(forward[member.name]), forward[member.name]): member for member in members}
    names = [str(written) for written in forward.values()]

    def write(value: Any) -> Json:
        if type(value) is kind:
            return forward[value._name_]
        raise Unfit(
            f"expected `{kind.__name__}`, found {found(value)}",
            f"pass a member of `{kind.__name__}`",
        )

    def read(data: Json) -> Any:
        try:
            return backward[type(data), data]
        except (KeyError, TypeError):
            raise Unfit(
                f"expected `{kind.__name__}`, one of {listed(names)}, found {_shown(data, names)}"
            ) from None

    form.write, form.read = write, read
    form.types = frozenset({kind})
    form.kinds = frozenset(KIND_OF[type(written)] for written in forward.values())
    form.schema = lambda _: {"title": kind.__name__, "enum": list(forward.values())}
    form.hashable = kind.__hash__ is not None
    return form


def _is_plain(value: object) -> bool:
    if type(value) is int:
        return LOWEST_INT <= value <= HIGHEST_INT
    if type(value) is str:
        try:
            write_str(value)
        except Unfit:
            return False
        return True
    return False


def _flags(kind: type[enum.Flag]) -> Form:
    def write(value: Any) -> Json:
        if type(value) is kind:
            return value.value
        raise Unfit(f"expected `{kind.__name__}`, found {found(value)}")

    def read(data: Json) -> Any:
        if type(data) is int:
            try:
                return kind(data)
            except ValueError:
                pass
        raise Unfit(f"expected `{kind.__name__}` as the sum of its members' values, found another value")

    schema: dict[str, Json] = {"title": kind.__name__, "type": "integer"}
    return Form(kind.__name__, write, read, frozenset({kind}), frozenset({"integer"}), lambda _: dict(schema))
