"""From an annotation to the form of its values, decided once, when something is declared."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import inspect
import operator
import types
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    LiteralString,
    Never,
    NewType,
    NoReturn,
    NotRequired,
    Required,
    Union,
    Unpack,
    get_args,
    get_origin,
    is_typeddict,
)

import msgspec

from tenuto.authoring.forms import choices, containers, records
from tenuto.authoring.forms.form import Definitions, Form, Unfit, text_of
from tenuto.authoring.forms.hints import class_hints, substitute
from tenuto.authoring.forms.models import is_model, model_form
from tenuto.authoring.forms.records import Field, Record
from tenuto.authoring.forms.refusals import reason_against
from tenuto.authoring.forms.scalars import NOTHING, SCALARS
from tenuto.authoring.forms.untyped import ANYTHING
from tenuto.errors import Invalid

_LISTS: Final = (list, collections.abc.MutableSequence)
_DICTS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_SETS: Final = (set, collections.abc.MutableSet)
_BUILTINS: Final = (str, bytes, bytearray, int, float, list, tuple, dict, set, frozenset)
_BOUNDS: Final = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")


class Compiler:
    """Makes the forms of one declaration.

    `unbounded` says whether its data may nest without end, `checked` whether making its values
    runs code of their authors, which could change them.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.unbounded = False
        self.checked = False
        self._classes: dict[Any, Form] = {}
        self._open: set[Any] = set()
        self._names: dict[str, Any] = {}
        self._inside: list[str] = []

    def form(self, kind: Any) -> Form:
        """Return the form of a type; raise Invalid for types whose values could not come back."""
        kind = _unwrapped(kind)
        if kind is Any or kind is object or kind is inspect.Parameter.empty:
            self.unbounded = True
            return ANYTHING
        if _is_hashable(kind) and kind in SCALARS:
            return SCALARS[kind]
        if kind is Never or kind is NoReturn:
            return NOTHING
        origin = get_origin(kind)
        if origin is Annotated:
            return self._constrained(kind)
        if origin is Union or origin is types.UnionType:
            return self._union(kind)
        if origin is Literal:
            return self._literal(kind)
        container = self._container(origin or kind, kind)
        if container is not None:
            return container
        owner = origin or kind
        if isinstance(owner, type):
            if issubclass(owner, enum.Enum):
                return self._enum(owner)
            if is_typeddict(owner) or _is_record(owner) or is_model(owner):
                return self._class(kind, owner)
        raise self._refusal(kind, *reason_against(kind))

    def _refusal(self, kind: Any, reason: str, hint: str) -> Invalid:
        inside = "".join(f" in {step}" for step in reversed(self._inside))
        return Invalid(f"{self.where}: `{text_of(kind)}`{inside} cannot be passed: {reason}", hint=hint)

    def _inner(self, kind: Any, place: str) -> Form:
        self._inside.append(place)
        form = self.form(kind)
        self._inside.pop()
        return form

    # ── one of several ───────────────────────────────────────────────────────────────────

    def _union(self, kind: Any) -> Form:
        forms: dict[str, Form] = {}
        seen: dict[str, Any] = {}
        for member in _members(kind):
            form = self._inner(member, f"`{text_of(kind)}`")
            if form.name in forms and seen[form.name] != member:
                raise self._refusal(
                    kind, f"two of its members are called `{form.name}`", "give them different names"
                )
            forms[form.name], seen[form.name] = form, member
        nothing = forms.pop("None", None)
        if nothing is None:
            return choices.union(list(forms.values())) if len(forms) > 1 else next(iter(forms.values()))
        if not forms:
            return nothing
        if len(forms) == 1:
            (only,) = forms.values()
            if only.types is not None and "null" not in only.kinds:
                return choices.optional(only)
            if only is ANYTHING:
                return only
        return choices.union([*forms.values(), nothing])

    def _literal(self, kind: Any) -> Form:
        table: list[tuple[Any, Any]] = []
        for value in get_args(kind):
            if isinstance(value, enum.Enum):
                table.append((value, self._enum(type(value)).write(value)))
            elif type(value) in {str, int, bool, type(None)}:
                table.append((value, SCALARS[type(value)].write(value)))
            else:
                raise self._refusal(
                    kind, f"a literal {type(value).__name__} has no JSON of its own", "use an Enum"
                )
        try:
            return choices.constants(text_of(kind), table)
        except ValueError:
            raise self._refusal(kind, "two of its values are written alike", "use an Enum") from None

    def _enum(self, kind: type[enum.Enum]) -> Form:
        form = choices.enumeration(kind)
        form.name = self._name(kind)
        return form

    # ── containers ───────────────────────────────────────────────────────────────────────

    def _container(self, origin: Any, kind: Any) -> Form | None:
        if origin in _DICTS:
            return self._dict(kind)
        if origin is tuple:
            return self._tuple(kind)
        if not _is_hashable(origin) or origin not in {
            *_LISTS,
            *_SETS,
            frozenset,
            collections.abc.Sequence,
            collections.abc.Set,
        }:
            return None
        (inner,) = get_args(kind) or (Any,)
        item = self._inner(inner, f"`{text_of(kind)}`")
        if origin in _LISTS:
            return self._list(item)
        if origin is collections.abc.Sequence:
            other = containers.sequence(tuple, item, "tuple", tuple, item.hashable)
            return choices.union([self._list(item), other], f"Sequence[{item.name}]", wrap=other)
        self._check_hashable(item, inner, kind, "a set")
        if origin in _SETS:
            return containers.unordered(set, item, f"set[{item.name}]")
        frozen = containers.unordered(frozenset, item, "frozenset")
        if origin is frozenset:
            frozen.name = f"frozenset[{item.name}]"
            return frozen
        plain = containers.unordered(set, item, f"set[{item.name}]")
        return choices.union([plain, frozen], f"Set[{item.name}]", wrap=frozen)

    def _list(self, item: Form) -> Form:
        return containers.sequence(list, item, f"list[{item.name}]", None, hashable=False)

    def _tuple(self, kind: Any) -> Form:
        inner = get_args(kind)
        if kind is tuple or (not inner and get_origin(kind) is None):
            inner = (Any, ...)
        if len(inner) == 2 and inner[1] is ...:
            item = self._inner(inner[0], f"`{text_of(kind)}`")
            return containers.sequence(tuple, item, f"tuple[{item.name}, ...]", tuple, item.hashable)
        if any(get_origin(member) is Unpack or getattr(member, "__unpacked__", False) for member in inner):
            raise self._refusal(
                kind, "a part of it has no fixed length", "put that part into a tuple of its own"
            )
        items = [self._inner(member, f"`{text_of(kind)}`") for member in inner]
        return containers.fixed_tuple(items, f"tuple[{', '.join(item.name for item in items) or '()'}]")

    def _dict(self, kind: Any) -> Form:
        key_kind, value_kind = get_args(kind) or (Any, Any)
        key = self._inner(key_kind, f"the keys of `{text_of(kind)}`")
        value = self._inner(value_kind, f"`{text_of(kind)}`")
        self._check_hashable(key, key_kind, kind, "a dict key")
        if not containers.may_be_key(key):
            raise self._refusal(
                kind,
                f"keys of the type `{key.name}` have no one way to be text",
                f"use `list[tuple[{key.name}, {value.name}]]`, or str, int, date, UUID or enum keys",
            )
        return containers.mapping(key, value, f"dict[{key.name}, {value.name}]")

    def _check_hashable(self, form: Form, inner: Any, kind: Any, what: str) -> None:
        if not form.hashable:
            raise self._refusal(
                kind, f"`{text_of(inner)}` cannot be in {what}", "use a list, or frozen values (frozen=True)"
            )

    # ── classes ──────────────────────────────────────────────────────────────────────────

    def _name(self, kind: Any) -> str:
        """Return the name of a class, made longer if another one has it already."""
        name = text_of(kind)
        if self._names.setdefault(name, kind) == kind:
            return name
        owner = get_origin(kind) or kind
        return f"{owner.__module__}.{owner.__qualname__}{name.removeprefix(owner.__name__)}"

    def _class(self, kind: Any, owner: type) -> Form:
        key = kind if _is_hashable(kind) else repr(kind)
        if key in self._classes:
            self.unbounded = self.unbounded or key in self._open
            return self._classes[key]
        name = self._name(kind)
        if is_model(owner):
            self.unbounded = True
            self._classes[key] = model_form(owner, name)
            return self._classes[key]
        form = self._classes[key] = _empty_form(name, owner)
        self._open.add(key)
        hints = class_hints(kind, self.where)
        if is_typeddict(owner):
            records.typed_dict_form(form, self._typed_dict_fields(owner, hints))
        else:
            record = self._record(kind, owner, hints)
            self.checked = self.checked or record.checked
            records.record_form(form, record)
        self._open.discard(key)
        return form

    def _typed_dict_fields(self, owner: Any, hints: dict[str, Any]) -> tuple[Field, ...]:
        fields = []
        for name, hint in hints.items():
            wrapper = get_origin(hint)
            required = (
                name in owner.__required_keys__
                if wrapper not in {Required, NotRequired}
                else wrapper is Required
            )
            fields.append(Field(name, name, name, self._field(hint, name, owner), required))
        return tuple(fields)

    def _record(self, kind: Any, owner: Any, hints: dict[str, Any]) -> Record:
        if issubclass(owner, msgspec.Struct):
            return self._struct(owner, hints)
        if "__attrs_attrs__" in owner.__dict__:
            return self._attrs(owner, hints)
        if issubclass(owner, tuple):
            defaults = owner._field_defaults
            fields = tuple(
                Field(name, name, name, self._field(hints.get(name, Any), name, owner), name not in defaults)
                for name in owner._fields
            )
            return Record(owner, fields, checked="_fields" not in owner.__dict__)
        return self._dataclass(kind, owner, hints)

    def _field(self, hint: Any, name: str, owner: type) -> Form:
        return self._inner(hint, f"the field `{name}` of `{owner.__name__}`")

    def _struct(self, owner: Any, hints: dict[str, Any]) -> Record:
        fields = tuple(
            self._unsettable(f.name, f.encode_name, hints[f.name], owner, f.required)
            for f in msgspec.structs.fields(owner)
        )
        return Record(owner, fields, _tag(owner), checked=hasattr(owner, "__post_init__"))

    def _unsettable(self, name: str, member: str, hint: Any, owner: type, required: bool) -> Field:
        members = _members(hint)
        rest = tuple(kept for kept in members if kept is not msgspec.UnsetType)
        if len(rest) == len(members) or not rest:
            return Field(name, member, name, self._field(hint, name, owner), required)
        kind = functools.reduce(operator.or_, rest)
        return Field(name, member, name, self._field(kind, name, owner), required, may_be_unset=True)

    def _attrs(self, owner: Any, hints: dict[str, Any]) -> Record:
        fields = tuple(
            Field(
                a.name,
                a.name,
                a.alias if a.init else None,
                self._field(hints.get(a.name, a.type or Any), a.name, owner),
                a.init and repr(a.default) == "NOTHING",
            )
            for a in owner.__attrs_attrs__
        )
        return Record(owner, fields, checked=True)

    def _dataclass(self, kind: Any, owner: Any, hints: dict[str, Any]) -> Record:
        declared = dataclasses.fields(owner)
        if sorted(inspect.signature(owner).parameters) != sorted(
            field.name for field in declared if field.init
        ):
            raise self._refusal(
                kind,
                "it cannot be made again from its fields, since creating it takes something else",
                "let `__init__` take exactly the fields: without InitVar, and generated by @dataclass",
            )
        missing = dataclasses.MISSING
        fields = tuple(
            Field(
                f.name,
                f.name,
                f.name if f.init else None,
                self._field(hints[f.name], f.name, owner),
                f.init and f.default is missing and f.default_factory is missing,
            )
            for f in declared
        )
        generated = getattr(owner.__init__, "__code__", None)
        checked = (
            hasattr(owner, "__post_init__")
            or generated is None
            or generated.co_filename != "<string>"
            or any(not field.init for field in declared)
        )
        return Record(owner, fields, checked=checked)

    # ── constraints ──────────────────────────────────────────────────────────────────────

    def _constrained(self, kind: Any) -> Form:
        inner, *extras = get_args(kind)
        form = self.form(inner)
        metas = [
            extra
            for extra in extras
            if isinstance(extra, msgspec.Meta) and any(getattr(extra, bound) is not None for bound in _BOUNDS)
        ]
        if not metas:
            return form
        checked: Any = _shallow(inner)
        for meta in metas:
            checked = Annotated[checked, meta]
        try:
            msgspec.json.Decoder(checked)
        except TypeError as error:
            raise self._refusal(kind, f"its bounds do not fit: {error}", "mend them") from None
        return _with_check(form, checked)


def _empty_form(name: str, owner: Any) -> Form:
    """Return the form of a class before its fields are known; it may be one of their types."""

    def write(value: Any) -> Any:
        return form.write(value)

    def read(data: Any) -> Any:
        return form.read(data)

    def schema(definitions: Definitions) -> dict[str, Any]:
        return form.schema(definitions)

    of_dict = is_typeddict(owner)
    types, hashable = frozenset({dict if of_dict else owner}), not of_dict and owner.__hash__ is not None
    form = Form(name, write, read, types, frozenset({"object"}), schema, hashable, _tag(owner))
    return form


def _with_check(form: Form, checked: Any) -> Form:
    """Return a form that also holds values to the bounds of an annotation."""
    write_value, read_value = form.write, form.read

    def check(value: Any) -> None:
        try:
            msgspec.convert(value, checked)
        except msgspec.ValidationError as error:
            raise Unfit(f"a constraint is broken: {error}", "keep to the bounds") from None

    def write(value: Any) -> Any:
        written = write_value(value)
        check(value)
        return written

    def read(data: Any) -> Any:
        value = read_value(data)
        check(value)
        return value

    return dataclasses.replace(form, write=write, read=read)


def _shallow(kind: Any) -> Any:
    """Return what msgspec needs to know to check bounds: the outermost type only."""
    members = _members(kind)
    if len(members) > 1:
        return Union[tuple(_shallow(member) for member in members)]  # noqa: UP007  # made from a list
    kind = _unwrapped(kind)
    return get_origin(kind) or kind


def _members(kind: Any) -> list[Any]:
    """Return the members of a union, of unions in it and behind aliases; of other types themselves."""
    kind = _unwrapped(kind)
    if get_origin(kind) is Annotated and not any(isinstance(x, msgspec.Meta) for x in kind.__metadata__):
        return _members(get_args(kind)[0])
    if get_origin(kind) in {Union, types.UnionType}:
        return [inner for member in get_args(kind) for inner in _members(member)]
    return [kind]


def _unwrapped(kind: Any) -> Any:
    """Return what an alias, a NewType or a marker such as Required stands for."""
    while True:
        if kind is None:
            return type(None)
        if kind is LiteralString:
            return str
        origin = get_origin(kind)
        if isinstance(kind, NewType):
            kind = kind.__supertype__
        elif origin in {Required, NotRequired, Final}:
            (kind,) = get_args(kind)
        elif type(kind).__name__ == "TypeAliasType":
            kind = kind.__value__
        elif type(origin).__name__ == "TypeAliasType":
            known = dict(zip(origin.__type_params__, get_args(kind), strict=False))
            kind = substitute(origin.__value__, known)
        else:
            return kind


def _is_hashable(kind: Any) -> bool:
    try:
        hash(kind)
    except TypeError:
        return False
    return True


def _is_record(owner: type) -> bool:
    """Whether a class is made of named fields; subclasses that add no fields properly are not."""
    if issubclass(owner, msgspec.Struct):
        return owner is not msgspec.Struct
    if issubclass(owner, tuple):
        return hasattr(owner, "_fields")
    if issubclass(owner, _BUILTINS):
        return False
    return "__attrs_attrs__" in owner.__dict__ or "__dataclass_params__" in owner.__dict__


def _tag(owner: Any) -> tuple[str, str | int] | None:
    config = getattr(owner, "__struct_config__", None)
    if config is None or config.tag is None:
        return None
    return config.tag_field, config.tag
