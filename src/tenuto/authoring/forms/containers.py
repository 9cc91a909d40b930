"""Lists, tuples, sets and dicts of values whose types are known."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from tenuto.authoring.forms.form import Definitions, Form, Kind, Unfit, Write, wrong_type
from tenuto.authoring.forms.scalars import read_int
from tenuto.authoring.forms.untyped import ANYTHING, order_key
from tenuto.engine.model import Json

_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,19})")
_OBJECT: Final[frozenset[Kind]] = frozenset({"object"})
_ARRAY: Final[frozenset[Kind]] = frozenset({"array"})


def sequence(
    kind: type, item: Form, name: str, build: Callable[[list[Any]], Any] | None, hashable: bool
) -> Form:
    """Return the form of a list, or of a tuple of any length; `build` makes the one of the other."""
    write_item, read_item = item.write, item.read

    def write(value: Any) -> Json:
        if type(value) is not kind:
            raise wrong_type(name, value, kind)
        return _each(value, write_item)

    def read(data: Json) -> Any:
        if type(data) is not list:
            raise wrong_type(name, data, written=", as an array")
        items = _each(data, read_item)
        return items if build is None else build(items)

    def schema(definitions: Definitions) -> dict[str, Json]:
        return {"type": "array", "items": item.schema(definitions)}

    return Form(name, write, read, frozenset({kind}), _ARRAY, schema, hashable)


def _each(items: Any, convert: Callable[[Any], Any]) -> list[Any]:
    converted: list[Any] = []
    try:
        for item in items:
            converted.append(convert(item))  # noqa: PERF401  # its length names the place of a mistake
    except Unfit as unfit:
        unfit.place.append(f"[{len(converted)}]")
        raise
    return converted


def fixed_tuple(items: list[Form], name: str) -> Form:
    """Return the form of a tuple with one type for each place."""
    writes, reads = [item.write for item in items], [item.read for item in items]

    def write(value: Any) -> Json:
        if type(value) is not tuple:
            raise wrong_type(name, value, tuple)
        return _places(value, writes)

    def read(data: Json) -> Any:
        if type(data) is not list:
            raise wrong_type(name, data, written=", as an array")
        return tuple(_places(data, reads))

    def _places(values: Any, converters: list[Callable[[Any], Any]]) -> list[Any]:
        if len(values) != len(converters):
            raise Unfit(f"expected `{name}`, which has {len(converters)} items, found {len(values)}")
        converted: list[Any] = []
        try:
            for convert, value in zip(converters, values, strict=True):
                converted.append(convert(value))  # its length names the place of a mistake
        except Unfit as unfit:
            unfit.place.append(f"[{len(converted)}]")
            raise
        return converted

    def schema(definitions: Definitions) -> dict[str, Json]:
        members = [item.schema(definitions) for item in items]
        return {"type": "array", "prefixItems": members, "minItems": len(items), "maxItems": len(items)}

    hashable = all(item.hashable for item in items)
    return Form(name, write, read, frozenset({tuple}), _ARRAY, schema, hashable)


def unordered(kind: type[set[Any] | frozenset[Any]], item: Form, name: str) -> Form:
    """Return the form of a set or a frozenset: an array, sorted, so that equal sets look alike."""
    write_item, read_item = item.write, item.read

    def write(value: Any) -> Json:
        if type(value) is not kind:
            raise wrong_type(name, value, kind)
        written = []
        for member in value:
            try:
                written.append(write_item(member))
            except Unfit as unfit:
                unfit.place.append("{...}")
                raise
        return sorted(written, key=order_key) if len(written) > 1 else written

    def read(data: Json) -> Any:
        if type(data) is not list:
            raise wrong_type(name, data, written=", as an array")
        items = _each(data, read_item)
        try:
            return kind(items)
        except TypeError:
            raise Unfit(f"expected `{name}`, found members that a set cannot hold") from None

    def schema(definitions: Definitions) -> dict[str, Json]:
        return {"type": "array", "items": item.schema(definitions), "uniqueItems": True}

    return Form(name, write, read, frozenset({kind}), _ARRAY, schema, kind is frozenset)


def mapping(key: Form, value: Form, name: str) -> Form:
    """Return the form of a dict: an object whose member names are the written keys."""
    write_key, read_key = _keys(key)
    write_value, read_value = value.write, value.read

    def write(held: Any) -> Json:
        if type(held) is not dict:
            raise wrong_type(name, held, dict)
        return _members(held, write_key, write_value)

    def read(data: Json) -> Any:
        if type(data) is not dict:
            raise wrong_type(name, data, written=", as an object")
        return _members(data, read_key, read_value)

    def schema(definitions: Definitions) -> dict[str, Json]:
        return {"type": "object", "additionalProperties": value.schema(definitions)}

    return Form(name, write, read, frozenset({dict}), _OBJECT, schema, hashable=False)


def _members(
    held: dict[Any, Any], convert_key: Callable[[Any], Any], convert: Callable[[Any], Any]
) -> dict[Any, Any]:
    converted: dict[Any, Any] = {}
    key: Any = None
    try:
        for key, value in held.items():  # the last one names the place
            try:
                name = convert_key(key)
            except Unfit as unfit:
                unfit.place.append(" (a key)")
                raise
            converted[name] = convert(value)
    except Unfit as unfit:
        unfit.place.append(f"[{key!r}]")
        raise
    return converted


def may_be_key(form: Form) -> bool:
    """Whether values of a form can name the members of an object."""
    return form is ANYTHING or form.kinds in ({"string"}, {"integer"})


def _keys(form: Form) -> tuple[Write, Callable[[str], Any]]:
    if form is ANYTHING:
        return _write_text_key, lambda name: name
    if form.kinds == {"string"}:
        return form.write, form.read

    def read(name: str) -> Any:
        if not _WHOLE.fullmatch(name) or name == "-0":
            raise Unfit(f'expected `{form.name}` as text like "12", found other text')
        return form.read(read_int(int(name)))

    return lambda key: str(form.write(key)), read


def _write_text_key(key: Any) -> Json:
    if type(key) is str:
        return ANYTHING.write(key)
    raise Unfit(
        "the key's type is not declared, and it is no str: it would come back as text",
        "annotate the keys, as in `dict[int, str]`",
    )
